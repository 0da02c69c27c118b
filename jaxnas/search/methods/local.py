"""Local search: step to a neighbour that is better, and begin anew where none is.

Neighbours are mutations of the incumbent that were not scored before. The first of a round that is better than the
incumbent replaces it; after `patience` neighbours in a row that are not, it counts as a local optimum and another
random architecture is the next incumbent.

Source: White et al., Local Search is State of the Art for Neural Architecture Search Benchmarks, UAI 2021 (its variant
that moves as soon as a neighbour is better); they list all neighbours, which not every space can.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnas.errors import check_least
from jaxnas.search.goal import Scores, join
from jaxnas.search.method import Budgeted, Method, Task, check_budget, is_new, keys

TRIES = 100  # mutations in search of one that was not scored before


@dataclass(frozen=True)
class LocalOptions:
    """Options of the method `local`."""

    patience: int = 24
    """Neighbours in a row that are no better before the search begins anew (a cell of NAS-Bench-201 has 24)."""
    brood: int = 1
    """Neighbours that are scored at a time."""


class Walk(NamedTuple):
    """Everything scored so far, in order, and where the walk stands.

    Attributes:
      archs: `[M, A]`; the last ones await their scores.
      scored: how many have them.
      scores: of the rounds so far.
      incumbent: row of the architecture whose neighbours are tried.
      failures: neighbours of it that were no better.
      starts: how often the walk began.
      starting: whether a new start awaits its score, not neighbours.
    """

    archs: np.ndarray
    scored: int
    scores: Scores
    incumbent: int
    failures: int
    starts: int
    starting: bool


@dataclass(frozen=True)
class Local(Budgeted):
    """The best architecture of all walks; the goal's ranks, over everything scored so far, say what is better."""

    patience: int
    brood: int

    @property
    def rounds(self) -> int:
        return self.task.budget

    @property
    def batch(self) -> int:
        return self.brood

    @property
    def options(self) -> dict[str, Any]:
        return {"budget": self.task.budget, "patience": self.patience, "brood": self.brood}

    def init(self) -> Walk:
        return Walk(self.task.first(1), 0, {}, 0, 0, starts=1, starting=True)

    def step(self, state: Walk, scores: Scores) -> Walk:
        scores = join([state.scores, scores]) if state.scored else scores
        ranks = np.nan_to_num(self.task.goal.ranks(scores), nan=np.inf)
        new = np.arange(state.scored, len(state.archs))
        if state.starting or ranks[new].min() < ranks[state.incumbent]:
            incumbent, failures = int(new[ranks[new].argmin()]), 0
        else:
            incumbent, failures = state.incumbent, state.failures + len(new)
        left = self.task.budget - len(state.archs)
        following = self._neighbours(state.archs, incumbent)[:left] if failures < self.patience else []
        starting = not following and left > 0
        if starting:
            following = [self._start(state.archs)]
        archs = np.concatenate([state.archs, np.array(following, np.int32).reshape(-1, state.archs.shape[1])])
        return Walk(archs, len(state.archs), scores, incumbent, failures, state.starts + starting, starting)

    def report(self, state: Walk) -> list[dict[str, Any]]:
        """One record: how often the walk began, and the best value of each objective."""
        goal = self.task.goal
        best = goal.best_values(goal.values(state.scores))
        return [{"starts": state.starts, "scored": state.scored, **best}]

    def _neighbours(self, archs: np.ndarray, incumbent: int) -> list[np.ndarray]:
        """Up to `brood` mutations of the incumbent that were not scored; the draws depend on the walk so far."""
        space = self.task.space
        known = {*keys(space, archs)}
        key = jax.random.fold_in(jax.random.key(self.task.seed), len(archs))
        found: list[np.ndarray] = []
        for number in range(TRIES):
            if len(found) == self.brood:
                break
            child = np.asarray(space.mutate(jax.random.fold_in(key, number), archs[incumbent]), np.int32)
            (name,) = keys(space, child[None])
            if name not in known:
                known.add(name)
                found.append(child)
        return found

    def _start(self, archs: np.ndarray) -> np.ndarray:
        """A random architecture that was not scored."""
        key = jax.random.fold_in(jax.random.key(self.task.seed + 1), len(archs))
        drawn = self.task.space.sample(key, min(len(archs) + 1, self.task.space.size))
        return drawn[is_new(self.task.space, drawn, archs).argmax()]


def make(task: Task, options: LocalOptions) -> Method:
    """Return the method for `task`, or raise a `UserError` about the first number that is not possible."""
    check_least(options, {"patience": 1, "brood": 1}, "local.")
    check_budget(task, 1, "a single one")
    return Local(task, options.patience, options.brood)
