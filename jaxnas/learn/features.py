"""Architectures as the models see them: ranks of their training-free scores, and the graphs of what is live in them.

Ranks come from a pool of architectures without labels, so nothing that is fitted here has seen a target.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxnas.errors import UserError
from jaxnas.learn.graph_features import graph_features
from jaxnas.scorers.consensus import FAMILIES, Consensus
from jaxnas.scorers.counts import Flops, LiveFlops, LiveLayers, Params
from jaxnas.scorers.reference import Reference
from jaxnas.spaces import Space
from jaxnas.spaces.graphs import GraphCode, Graphs

MEMBER_COUNTS = LiveFlops(), LiveLayers()  # the counts in the consensus
COUNTS = Params(), Flops(), *MEMBER_COUNTS


@dataclass(frozen=True)
class RankScale:
    """Where values stand in a pool, from -1 (below all of it) to 1 (above all of it).

    Attributes:
      pool: sorted values of each feature `[F, M]`; a missing one is -inf.
    """

    pool: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray) -> "RankScale":
        """The scale of a pool with the values `[M, F]`."""
        return cls(np.sort(_failures_last(values).T, axis=1))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The ranks `[N, F]` of `values` `[N, F]`; equal ones share theirs, and what is missing ranks last."""
        columns = zip(self.pool, _failures_last(values).T, strict=True)
        ranks = [np.searchsorted(p, v) + np.searchsorted(p, v, side="right") for p, v in columns]
        return np.reshape(ranks, (len(self.pool), -1)).T / max(self.pool.shape[1], 1) - 1


def _failures_last(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, -np.inf)


def with_squares(ranks: np.ndarray) -> np.ndarray:
    """Return ranks and their squares `[N, 2 F]` of ranks `[N, F]`."""
    return np.concatenate([ranks, ranks**2], -1)


class Pool(NamedTuple):
    """N architectures for which a model can be asked, those with labels among them.

    Attributes:
      names: of the scores.
      ranks: of the scores in the pool `[N, F]`, from -1 to 1, higher is better.
      zero_label: rank `[N]` by which they are ordered before there is a label, from -1 to 1; 0 if there is none.
      code: of the space's graphs; None where it has none, or none for some of the architectures.
      graphs: of what is live in the architectures.
    """

    names: tuple[str, ...]
    ranks: np.ndarray
    zero_label: np.ndarray
    code: GraphCode | None
    graphs: Graphs | None

    @property
    def prior(self) -> np.ndarray:
        """The zero-label score, the ranks and their squares `[N, 1 + 2 F]`."""
        return np.column_stack([self.zero_label, with_squares(self.ranks)])

    @property
    def structure(self) -> np.ndarray:
        """The features of the graphs `[N, G]`; none where there are no graphs."""
        if self.code is None or self.graphs is None:
            return np.zeros((len(self.ranks), 0))
        return graph_features(self.code, self.graphs)

    @property
    def described(self) -> np.ndarray:
        """The zero-label score, the ranks and the features of the graphs `[N, 1 + F + G]`."""
        return np.column_stack([self.zero_label, self.ranks, self.structure])

    def graphs_or_refuse(self) -> tuple[GraphCode, Graphs]:
        """The code and the graphs; `UserError` where there are none."""
        if self.code is None or self.graphs is None:
            raise UserError("not all architectures have a graph of ops for a network; use the model ridge, trees or gp")
        return self.code, self.graphs


def make_pool(space: Space, archs: np.ndarray, scores: Mapping[str, np.ndarray]) -> Pool:
    """The pool of `archs` `[N, A]`, of whose scores and counts each one is a feature.

    Args:
      scores: `[N]` each, higher is better; NaN where one failed, which ranks last.
    """
    counts = counts_of(space, archs)
    everything = {**scores, **{name: counts[name] for name in counts if name not in scores}}
    values = np.array([*everything.values()], np.float64).reshape(len(everything), len(archs)).T
    code = space.graph_code
    if code is not None and not code.fits(archs).all():
        code = None
    return Pool(
        names=tuple(everything),
        ranks=RankScale.fit(values)(values),
        zero_label=zero_label(scores, counts, ~space.is_disconnected(archs)),
        code=code,
        graphs=None if code is None else code.encode(space.live(archs)),
    )


def counts_of(space: Space, archs: np.ndarray) -> dict[str, np.ndarray]:
    """#params and FLOPs `[N]` of the architectures, FLOPs and layers of what is live in them."""
    return {count.name: count.of(space, archs) for count in COUNTS}


def zero_label(scores: Mapping[str, np.ndarray], counts: Mapping[str, np.ndarray], connected: np.ndarray) -> np.ndarray:
    """The rank `[N]` by which architectures are ordered before there is a label; 0 if there are no scores.

    It is that of the score `consensus`; where this is not given, of the consensus of the scores and the live counts
    within the connected architectures, which no label has a part in.

    Args:
      scores: `[N]` each, higher is better, NaN where one failed.
      counts: of `counts_of`.
      connected: `[N]`.
    """
    if not scores or not connected.any():
        return np.zeros(len(connected))
    if (whole := scores.get(Consensus.name)) is None:
        members = {**{count.name: count.oriented(counts[count.name]) for count in MEMBER_COUNTS}, **scores}
        reference = Reference({name: values[connected] for name, values in members.items()}, FAMILIES)
        whole = np.where(connected, reference.combine(members), np.nan)
    return RankScale.fit(whole[:, None])(whole[:, None])[:, 0]
