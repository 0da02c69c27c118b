"""Search by a predictor that is trained again after every round on all the answers so far.

Of a round's architectures, half are those that are predicted to be the best, half are drawn from the best share of the
predictions, which halves from round to round: BRP-NAS's iterative sampling (Dudziak et al., NeurIPS 2020). The
predictor is the graph network of `jaxnas.learn` on the goal's ranks, with the prior's scores, if there are any, as its
own prior; where architectures are no graphs, ridge regression on these and the counts.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import numpy as np

from jaxnas.errors import check_least
from jaxnas.learn.features import Pool, make_pool
from jaxnas.learn.models import MODELS
from jaxnas.search.goal import Scores
from jaxnas.search.method import InRounds, Method, Task, check_budget, is_new, keys

LISTED = 10**5  # architectures up to which all of a space are candidates
DRAWN = 1000  # candidates of a larger space: half random, half mutations of the best
PARENTS = 16  # the best, whose mutations they are
NARROW = 512  # rows to which the share of the second half shrinks


@dataclass(frozen=True)
class PredictorOptions:
    """Options of the method `predictor`."""

    batch: int = 16
    """Architectures of a round."""
    members: int = 3
    """Networks whose predictions are averaged."""


@dataclass(frozen=True)
class Predictor(InRounds):
    """The best of all that were scored.

    Attributes:
      task: the task.
      per_round: architectures of a round.
      members: networks that are averaged.
      listed: all architectures `[N, A]`, where there are few enough.
    """

    per_round: int
    members: int
    listed: np.ndarray | None = field(repr=False, compare=False)

    @property
    def batch(self) -> int:
        return self.per_round

    @property
    def options(self) -> dict[str, Any]:
        return {"budget": self.task.budget, "batch": self.batch, "members": self.members}

    def propose(self, archs: np.ndarray, scores: Scores, count: int) -> np.ndarray:
        if not len(archs):
            return self.task.first(count)
        ranks = self.task.goal.ranks(scores)
        rng = np.random.default_rng([self.task.seed, len(archs)])
        candidates = self._candidates(archs, ranks, rng) if self.listed is None else self.listed
        predicted = self._predict(archs, -ranks, candidates)
        order = np.argsort(-predicted, kind="stable")
        order = order[is_new(self.task.space, candidates[order], archs)]
        best = order[: -(-count // 2)]
        share = max(len(candidates) >> (len(archs) // self.batch), NARROW)
        rest = order[len(best) : max(share, count)]
        return candidates[[*best, *rng.choice(rest, min(count - len(best), len(rest)), replace=False)]]

    def _candidates(self, archs: np.ndarray, ranks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return `[DRAWN, A]` random architectures and mutations of the best; some may come up twice."""
        space, keys = self.task.space, jax.random.split(jax.random.key(int(rng.integers(2**31))), DRAWN // 2 + 1)
        parents = archs[np.argsort(ranks, kind="stable")[:PARENTS]]  # NaN, of failures, sorts last
        children = [space.mutate(key, parents[k % len(parents)]) for k, key in enumerate(keys[1:])]
        return np.concatenate([space.sample(keys[0], DRAWN - len(children)), children]).astype(np.int32)

    def _predict(self, archs: np.ndarray, labels: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Return predictions for the candidates `[N]`, higher is better; every round has the same shapes."""
        room = self.task.budget - len(archs)
        if self.listed is None:
            pool = self._pool(np.concatenate([archs, np.resize(candidates, (room, archs.shape[1])), candidates]))
            rows = np.arange(self.task.budget)
        else:
            pool = self._all
            rows = np.pad([self._places[key] for key in keys(self.task.space, archs)], (0, room))
        values = np.pad(labels, (0, room), constant_values=np.nan)
        model = MODELS["ridge" if pool.graphs is None else "graph"]
        found = model(pool, *(np.tile(each, (self.members, 1)) for each in (rows, values)), seed=self.task.seed)
        return found[:, -len(candidates) :].mean(0)

    @cached_property
    def _all(self) -> Pool:
        """Of the listed architectures; every round needs it."""
        assert self.listed is not None
        return self._pool(self.listed)

    @cached_property
    def _places(self) -> dict[bytes, int]:
        """The rows of the listed architectures, by their keys."""
        assert self.listed is not None
        return {key: row for row, key in enumerate(keys(self.task.space, self.listed))}

    def _pool(self, archs: np.ndarray) -> Pool:
        space, prior = self.task.space, self.task.prior
        cheap = {} if prior is None else {f"prior {k}": column for k, column in enumerate(prior(archs).T)}
        return make_pool(space, archs, cheap)


def make(task: Task, options: PredictorOptions) -> Method:
    """Return the method for `task`, or raise a `UserError` about the first number that is not possible."""
    check_least(options, {"batch": 1, "members": 1}, "predictor.")
    check_budget(task, 1, "a single one")
    listed = None
    if task.space.size <= LISTED:
        archs = np.asarray(task.space.enumerate(), np.int32)
        listed = archs[task.space.contains(archs)]
    return Predictor(task, options.batch, options.members, listed)
