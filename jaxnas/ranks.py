"""Rank statistics: how well a score orders architectures, with bootstrap intervals. NumPy only."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Interval = tuple[float, float]

TOP_FRACTION = 0.1
SPARSE = 1e-3  # width of the bins of the sparse Kendall tau, of accuracies from 0 to 1


def ordering(values: ArrayLike, sign: int = 1) -> Ints:
    """Return dense ranks `[n]`: 0 for the worst, equal for equal values.

    Args:
      values: scores `[n]`; NaN and infinities are failures, which rank below every number, tied.
      sign: +1 where higher is better, -1 where lower is better.
    """
    scores = np.asarray(values, np.float64)
    oriented = np.where(np.isfinite(scores), sign * scores, -np.inf)
    return np.unique(oriented, return_inverse=True)[1].astype(np.int64)


def midranks(dense: Ints, counts: Ints | None = None) -> Floats:
    """Return ranks `[n]` less their mean, ties sharing the average rank.

    Args:
      dense: dense ranks `[n]`.
      counts: how often each observation is present `[n]` (a bootstrap resample); once each by default.
    """
    group = np.bincount(dense, counts)
    return (np.cumsum(group) - (group + group.sum()) / 2)[dense]


def spearman_rho(x: Ints, y: Ints, counts: Ints | None = None) -> float:
    """Return Spearman's rho, the Pearson correlation of the midranks; NaN if `x` or `y` is constant.

    Args:
      x: dense ranks `[n]`.
      y: dense ranks `[n]`.
      counts: as in `midranks`.
    """
    a, b = midranks(x, counts), midranks(y, counts)
    weighted = a if counts is None else a * counts
    other = b if counts is None else b * counts
    variance = _dot(weighted, a) * _dot(other, b)
    return _dot(weighted, b) / math.sqrt(variance) if variance > 0 else math.nan


def _dot(a: Floats, b: Floats) -> float:
    """The dot product of `[n]` and `[n]` on this thread; `@` wakes all of BLAS for each, which then wait."""
    return float(np.einsum("i,i->", a, b))


class KendallTau:
    """Kendall's tau-b of one pair of rankings, prepared so that a bootstrap resample costs no sort.

    tau_b = (C - D) / sqrt((P - T_x)(P - T_y)); P all pairs, C concordant, D discordant, T tied in x or y
    (Kendall 1945, Biometrika 33:239). D counts the inversions of y in the order of x (Knight 1966, JASA 61:436).
    """

    # Two ranks first differ at one binary digit. So for each digit, from the highest, and within each group that
    # agrees in the digits above it, D grows by the pairs whose earlier rank has a 1 and whose later rank has a 0.
    # Who meets where is fixed; a resample changes only how often each observation is present.

    def __init__(self, x: Ints, y: Ints) -> None:
        """Prepare the dense ranks `x`, `y` `[n]`."""
        both = np.unique(x * (y.max() + 1) + y, return_inverse=True)[1]
        self._groups = (np.zeros_like(x), x, y, both)
        self._digits = []
        order = np.lexsort((y, x))
        for digit in reversed(range(int(y.max()).bit_length())):
            prefix = y[order] >> digit
            self._digits.append(_meetings(order, prefix))
            order = order[np.argsort(prefix, kind="stable")]

    def __call__(self, counts: Ints | None = None) -> float:
        """Return tau-b; NaN if x or y is constant. `counts` is as in `midranks`."""
        counts = np.ones(len(self._groups[0]), np.int64) if counts is None else counts
        pairs, tied_x, tied_y, tied_both = (_pairs_within(group, counts) for group in self._groups)
        discordant = 0
        for zeros, ones, first, last in self._digits:
            before = np.concatenate(([0], np.cumsum(counts[ones])))
            discordant += int(counts[zeros] @ (before[last] - before[first]))
        concordant = pairs - tied_x - tied_y + tied_both - discordant
        scale = (pairs - tied_x) * (pairs - tied_y)
        return (concordant - discordant) / math.sqrt(scale) if scale > 0 else math.nan


def _pairs_within(groups: Ints, counts: Ints) -> int:
    sizes = np.bincount(groups, counts).astype(np.int64)
    return int(sizes @ (sizes - 1)) // 2


def _meetings(order: Ints, prefix: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """The observations with a 0, those with a 1, and for each 0 the range of the 1s before it in its group."""
    is_one = (prefix & 1).astype(bool)
    ones_before = np.cumsum(is_one) - is_one
    starts = np.searchsorted(prefix >> 1, prefix >> 1)
    return order[~is_one], order[is_one], ones_before[starts][~is_one], ones_before[~is_one]


def sparse_kendall(scores: ArrayLike, accuracies: ArrayLike, threshold: float = SPARSE) -> float:
    """The sparse Kendall tau of Yu et al. (arXiv:2003.04276, their code); NaN if all accuracies are one bin.

    Accuracies in one bin, equal floor(accuracy / threshold), share a rank; the tau-b is that of these ranks in the
    order of the accuracies and in the order of the scores.

    Args:
      scores: `[n]`, higher is better; equal ones keep their order in the list.
      accuracies: `[n]`, from 0 to 1.
      threshold: width of a bin; it moves the result by up to 0.1, so state it.
    """
    bins = np.floor(np.round(np.asarray(accuracies, np.float64) / threshold, 6))  # 0.943 / 0.001 is below 943
    sparse = ordering(bins)
    return KendallTau(np.sort(sparse), sparse[np.argsort(np.asarray(scores), kind="stable")])()


def bootstrap_intervals(
    statistics: Sequence[Callable[[Ints], float]], n: int, *, resamples: int, seed: int
) -> list[Interval | None]:
    """The 95 % percentile bootstrap interval of each statistic (Efron & Tibshirani 1993, chapter 13).

    Architectures are drawn with replacement, n of n. Resamples where a statistic is undefined are left out; an
    interval is None where all are, and for fewer than three architectures, which are always in some order.

    Args:
      statistics: functions of `counts` `[n]`, how often each architecture was drawn; all see the same draws.
      n: number of architectures.
      resamples: number of draws.
      seed: of the draws.
    """
    if n < 3:
        return [None] * len(statistics)
    rng = np.random.default_rng(seed)
    draws = (np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(resamples))
    values = np.array([[statistic(counts) for statistic in statistics] for counts in draws])
    return [_percentiles(column[np.isfinite(column)]) for column in values.T]


def _percentiles(values: Floats) -> Interval | None:
    if values.size == 0:
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def percentiles_of_top(scores: ArrayLike, accuracies: ArrayLike, population: ArrayLike, k: int) -> Floats:
    """The smallest, median and largest percentile, from 0 to 1, of the accuracies of the best `k` by score.

    Args:
      scores: `[n]`.
      accuracies: `[n]`.
      population: accuracies `[m]`, all of the space; a percentile is the share of them that is not better.
      k: how many are chosen.
    """
    top = np.asarray(accuracies)[best_rows(ordering(scores), k)]
    share = np.searchsorted(np.sort(population), top, side="right") / np.size(population)
    return np.array([share.min(), np.median(share), share.max()])


def surpasses_random(rank: int, size: int, n: int) -> float:
    """The probability that an architecture is at least as good as the best of `n` random ones: (rank / size)^n.

    Args:
      rank: of the architecture among `size`, 1 = worst.
      size: architectures of the space.
      n: random architectures.
    """
    return (rank / size) ** n


def partial_rho(x: Ints, y: Ints, z: Ints) -> float:
    """The rank correlation of `x` and `y` given `z`.

    (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2)) on Spearman's rho (Kendall & Stuart, vol. 2, chapter 27); NaN
    where `x` or `y` is a monotone function of `z`.

    Args:
      x: dense ranks `[n]`.
      y: dense ranks `[n]`.
      z: dense ranks `[n]`, the variable held fixed.
    """
    xy, xz, yz = spearman_rho(x, y), spearman_rho(x, z), spearman_rho(y, z)
    remainder = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / math.sqrt(remainder) if remainder > 1e-12 else math.nan


def top_rho(x: Ints, y: Ints) -> float:
    """Return Spearman's rho within the best tenth by `y` (ties with its last member included).

    Args:
      x: dense ranks `[n]`.
      y: dense ranks `[n]`.
    """
    best = y >= np.sort(y)[-math.ceil(TOP_FRACTION * len(y))]
    return spearman_rho(x[best], y[best])


def top_precision(x: Ints, y: Ints, fraction: float = 0.01) -> float:
    """Which share of the best `fraction` by `x` belongs to the best `fraction` by `y`, ties at its end included.

    Args:
      x: dense ranks `[n]`; of equals, the earlier ones are picked.
      y: dense ranks `[n]`.
      fraction: of the n; at least one is picked.
    """
    count = math.ceil(fraction * len(y))
    return float((y[best_rows(x, count)] >= np.sort(y)[-count]).mean())


def regret(x: Ints, target: Floats, count: int = 50) -> float:
    """Return by how much the largest target exceeds the largest among the best `count` by `x`, in the target's unit.

    Args:
      x: dense ranks `[n]`; of equals, the earlier ones are picked.
      target: measured values `[n]`, higher is better.
      count: how many are looked at.
    """
    return float(target.max() - target[best_rows(x, count)].max())


def best_rows(x: Ints, count: int) -> Ints:
    """The rows of the `count` largest of `x` `[n]`, the best first; of equals the earlier ones."""
    return np.argsort(-x, kind="stable")[:count]


@dataclass(frozen=True)
class Agreement:
    """How one score agrees with the target; None where a figure is undefined, as for a constant score.

    Attributes:
      label: name for tables and plots.
      n: architectures compared, failures included.
      failures: architectures without a value.
      spearman, kendall: rho and tau-b, with their 95 % bootstrap intervals.
      spearman_top: rho within the best tenth by the target.
      partial_given_flops: rank correlation given FLOPs.
      top_target: target of the architecture with the best score, or its mean over `top_ties` tied ones.
    """

    label: str
    n: int
    failures: int
    spearman: float | None
    spearman_interval: Interval | None
    kendall: float | None
    kendall_interval: Interval | None
    spearman_top: float | None
    partial_given_flops: float | None
    top_target: float | None
    top_ties: int


def compare(
    values: Floats,
    target: Floats,
    flops: Floats,
    *,
    sign: int,
    label: str,
    resamples: int,
    seed: int,
    target_sign: int = 1,
) -> Agreement:
    """Compare one score with the target.

    Args:
      values: scores `[n]`; NaN is a failure.
      target: measured values `[n]`.
      flops: `[n]`.
      sign: +1 where a higher score is better, -1 where a lower one is.
      label: as in `Agreement`.
      resamples: as in `bootstrap_intervals`.
      seed: as in `bootstrap_intervals`.
      target_sign: +1 where a higher target is better, -1 where a lower one is.
    """
    x, y, z = ordering(values, sign), ordering(target, target_sign), ordering(flops)
    tau = KendallTau(x, y)
    intervals = bootstrap_intervals([lambda c: spearman_rho(x, y, c), tau], len(x), resamples=resamples, seed=seed)
    valid, best = np.isfinite(values), x == x.max()
    return Agreement(
        label=label,
        n=len(x),
        failures=int(np.sum(~valid)),
        spearman=_defined(spearman_rho(x, y)),
        spearman_interval=intervals[0],
        kendall=_defined(tau()),
        kendall_interval=intervals[1],
        spearman_top=_defined(top_rho(x, y)),
        partial_given_flops=_defined(partial_rho(x, y, z)),
        top_target=float(target[best].mean()) if valid.any() else None,
        top_ties=int(np.sum(best)) if valid.any() else 0,
    )


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None


def front(values: np.ndarray) -> Ints:
    """The rows of finite `values` `[N, K]`, best first, that no other one betters: higher somewhere, lower nowhere."""
    left, found = np.lexsort(-values.T), []  # nobody beats the first: who did would come before it
    while len(left):
        first = values[left[0]]
        found.append(left[0])
        beaten = (values[left] <= first).all(1) & (values[left] < first).any(1)
        left = left[~beaten][1:]
    return np.array(found, np.int64)


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Return ascending ranks `[N]` from 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2)[inverse]
