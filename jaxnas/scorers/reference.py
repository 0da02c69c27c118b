"""A sample of a space that scores are measured against, so that several can be added up for one architecture alone.

A score k of an architecture becomes u_k in (0, 1), the share of the sample that it beats, by a continuous distribution
function F_k: a plain rank would tie everything that is better than the best of the sample, where a search looks.
Distinct values v_1 < ... < v_m of the sample, with counts c_j, have F(v_j) = (c_1 + ... + c_{j-1} + c_j / 2) / N;
between them F is linear. Above, 1 - F(s) = (1 - F(v_m)) exp(-(s - v_m) / b), b being by how much the mean of the K
largest values exceeds the next one, K = max(8, N / 16). Below, F(s) = F(v_1) max(exp(-(v_1 - s) / b'), 1/4), b' from
the K smallest.

Scores of one family count as one, the mean of their log F. Weights come from the agreement of the families in the
sample: the first eigenvector of the correlations of their ranks, what is negative in it being 0. No label is seen, and
a family that contradicts the others on a space has no say there.
"""

import functools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxnas.ranks import mean_ranks
from jaxnas.types import nullable

MAX_FAILURES = 0.05  # share of the sample beyond which a score is left out
MIN_FAMILIES = 2  # that tell the sample apart
MIN_GAP = 0.1  # between the first two eigenvalues, below which the first vector means nothing
MIN_SUM = 0.25  # of the entries of the vector, as a share of their absolute values
FLOOR = 0.25  # of F below the sample, as a share of its lowest value
FAILED = 1 / 16  # of 1 / N: u of a score that failed


@dataclass(frozen=True)
class Reference:
    """The scores of the sample.

    Attributes:
      scores: values `[N]` by name, higher is better, NaN where a score failed.
      families: scores that count as one; those that are not named are each a family of its own.
    """

    scores: Mapping[str, np.ndarray]
    families: Sequence[Collection[str]] = ()

    @property
    def size(self) -> int:
        """Architectures of the sample."""
        return len(next(iter(self.scores.values())))

    @functools.cached_property
    def usable(self) -> list[str]:
        """The scores that differ in the sample and seldom fail."""

        def fits(values: np.ndarray) -> bool:
            known = values[np.isfinite(values)]
            return len(known) >= (1 - MAX_FAILURES) * len(values) and len(np.unique(known)) > 1

        return [name for name, values in self.scores.items() if fits(values)]

    @functools.cached_property
    def grouped(self) -> list[list[str]]:
        """The usable scores of each family that has any."""
        return grouped(self.usable, self.families)

    @functools.cached_property
    def agreement(self) -> tuple[np.ndarray, bool]:
        """The weights `[K]` of the families, and whether these agree; if not, the weights are equal.

        Fewer than `MIN_FAMILIES` cannot agree.
        """
        if len(self.grouped) < MIN_FAMILIES:
            return np.full(len(self.grouped), 1 / max(len(self.grouped), 1)), False
        shares = [np.sum([self.log_share(name, self.scores[name]) for name in group], 0) for group in self.grouped]
        spectrum, vectors = np.linalg.eigh(np.corrcoef([mean_ranks(share) for share in shares]))
        first = vectors[:, -1] * np.sign(vectors[:, -1].sum())
        if spectrum[-1] - spectrum[-2] < MIN_GAP or first.sum() <= MIN_SUM * np.abs(first).sum():
            return np.full(len(first), 1 / len(first)), False
        kept = np.maximum(first, 0)
        return kept / kept.sum(), True

    @property
    def weights(self) -> dict[str, float]:
        """The weights by name, that of a family in equal parts; they sum to 1."""
        pairs = zip(self.grouped, self.agreement[0].tolist(), strict=True)
        return {name: weight / len(group) for group, weight in pairs for name in group}

    def to_json(self) -> dict[str, Any]:
        """The weights, whether the scores agree, and the scores of the sample, for JSON; of what failed None."""
        values = {name: nullable(found) for name, found in self.scores.items()}
        return {"size": self.size, "weights": self.weights, "agree": self.agreement[1], "scores": values}

    def log_share(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return log F `[M]` of values `[M]` of a score; those that failed are below everything.

        Near F = 1 it is as exact as 1 - F.
        """
        values = np.asarray(values, np.float64)
        known = np.isfinite(values)
        logs = np.full(len(values), math.log(FAILED / self.size))
        logs[known] = self._distribution(name)(values[known])
        return logs

    def combine(self, scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """The weighted sum `[M]` of log F over the usable scores, values `[M]` by name, higher is better."""
        logs = [self.weights[name] * self.log_share(name, scores[name]) for name in self.usable if name in scores]
        return np.sum(logs, 0)

    def _distribution(self, name: str) -> "Distribution":
        return _distribution(self.scores[name][np.isfinite(self.scores[name])].tobytes(), self.size)


def grouped(names: Collection[str], families: Sequence[Collection[str]]) -> list[list[str]]:
    """The names of each family that has any; those that are in no family are each one of its own."""
    alone = [{name} for name in names if not any(name in family for family in families)]
    groups = [[name for name in names if name in family] for family in (*families, *alone)]
    return [group for group in groups if group]


@dataclass(frozen=True, eq=False)
class Distribution:
    """A continuous distribution function.

    Attributes:
      knots: distinct values `[m]`, ascending.
      shares: F at the knots `[m]`.
      above: scale of the upper tail.
      below: scale of the lower tail.
    """

    knots: np.ndarray
    shares: np.ndarray
    above: float
    below: float

    @classmethod
    def of(cls, values: np.ndarray, size: int) -> "Distribution":
        """The distribution of `values` `[n]`, which lie above the `size` - n others of the sample, which failed."""
        knots, counts = np.unique(values, return_counts=True)
        shares = (size - len(values) + np.cumsum(counts) - counts / 2) / size
        ordered = np.sort(values)
        return cls(knots, shares, _tail(ordered, knots), _tail(-ordered[::-1], -knots[::-1]))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return log F `[M]`."""
        rest = np.interp(values, self.knots, 1 - self.shares)
        rest = np.where(
            values > self.knots[-1],
            (1 - self.shares[-1]) * np.exp(-np.maximum(values - self.knots[-1], 0) / self.above),
            rest,
        )
        low = np.maximum(np.exp(-np.maximum(self.knots[0] - values, 0) / self.below), FLOOR)
        under: np.ndarray = np.log(self.shares[0] * low)
        return np.where(values < self.knots[0], under, np.log1p(-rest))


@functools.lru_cache(maxsize=64)
def _distribution(values: bytes, size: int) -> Distribution:
    return Distribution.of(np.frombuffer(values), size)


def _tail(ordered: np.ndarray, knots: np.ndarray) -> float:
    """The scale of the upper tail of values in ascending order; of equal ones the smallest gap between `knots`."""
    count = max(8, len(ordered) // 16)
    largest = ordered[-count:]
    excess = largest.mean() - ordered[max(len(ordered) - count - 1, 0)]
    return float(excess if excess > 0 else np.diff(knots).min())
