"""Random search: the best of a uniform sample."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxnas.search.goal import Scores
from jaxnas.search.method import InRounds, Method, Task, check_budget


@dataclass(frozen=True)
class Random(InRounds):
    """The best of so many different architectures as the budget says: those of `jaxnas.score --archs random:N`.

    The best has the lowest sum of ranks over the scorers, each by its sign (for ntk and regions the score te_nas); of
    equals the one drawn first. An architecture without one of the scores takes no part.
    """

    @property
    def batch(self) -> int:
        return min(self.task.batch, self.task.budget)

    @cached_property
    def drawn(self) -> np.ndarray:
        """The sample `[budget, A]`."""
        return self.task.first(self.task.budget)

    def propose(self, archs: np.ndarray, scores: Scores, count: int) -> np.ndarray:
        return self.drawn[len(archs) : len(archs) + count]


def make(task: Task) -> Method:
    """Return the method for `task`, or raise a `UserError` if the space has fewer architectures."""
    check_budget(task, 1, "a single one")
    return Random(task)
