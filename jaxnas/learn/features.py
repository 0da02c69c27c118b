"""Architectures as the models see them: ranks of their training-free scores, and their graphs.

Ranks come from a pool of architectures without labels, so nothing that is fitted here has seen a target.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxnas.errors import UserError
from jaxnas.learn.graph_features import graph_features
from jaxnas.spaces import Space
from jaxnas.spaces.graphs import GraphCode, Graphs


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
      votes: of each score in the zero-label score `[F]`, of sum 1; all 0 if there is none.
      code: of the space's graphs; None where it has none, or none for some of the architectures.
      graphs: of the architectures.
    """

    names: tuple[str, ...]
    ranks: np.ndarray
    votes: np.ndarray
    code: GraphCode | None
    graphs: Graphs | None

    @property
    def zero_label(self) -> np.ndarray:
        """What ranks the architectures before there is a label `[N]`: the mean rank of the scores that vote."""
        return self.ranks @ self.votes

    @property
    def prior(self) -> np.ndarray:
        """Ranks and their squares `[N, 2 F]`."""
        return with_squares(self.ranks)

    @property
    def described(self) -> np.ndarray:
        """Ranks and the features of the graphs `[N, F + G]`."""
        if self.code is None or self.graphs is None:
            return self.ranks
        return np.concatenate([self.ranks, graph_features(self.code, self.graphs)], 1)

    def graphs_or_refuse(self) -> tuple[GraphCode, Graphs]:
        """The code and the graphs; `UserError` where there are none."""
        if self.code is None or self.graphs is None:
            raise UserError("not all architectures have a graph of ops for a network; use the model ridge or trees")
        return self.code, self.graphs


def make_pool(
    space: Space, archs: np.ndarray, scores: Mapping[str, np.ndarray], *, silent: frozenset[str] = frozenset()
) -> Pool:
    """The pool of `archs` `[N, A]`.

    Args:
      scores: `[N]` each, higher is better; NaN where one failed, which ranks last.
      silent: scores that have no vote in the zero-label score, such as the baselines.
    """
    names = tuple(scores)
    values = np.array([scores[name] for name in names], np.float64).reshape(len(names), len(archs)).T
    voting = np.array([name not in silent for name in names], np.float64)
    code = space.graph_code
    if code is not None and not code.fits(archs).all():
        code = None
    return Pool(
        names=names,
        ranks=RankScale.fit(values)(values),
        votes=voting / max(voting.sum(), 1),
        code=code,
        graphs=None if code is None else code.encode(archs),
    )
