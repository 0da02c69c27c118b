"""Random search: the best of a uniform sample."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxnas.search.goal import Found, Scores, join
from jaxnas.search.method import Method, Task, as_text, check_budget


class Sampled(NamedTuple):
    """The architectures to score, `[N, A]`, and the scores of the batches so far."""

    archs: np.ndarray
    scores: tuple[Scores, ...] = ()


@dataclass(frozen=True)
class Random:
    """The best of so many different architectures as the budget says: those of `jaxnas.score --archs random:N`.

    The best has the lowest sum of ranks over the scorers, each by its sign (for ntk and regions the score te_nas); of
    equals the one drawn first. An architecture without one of the scores takes no part.
    """

    task: Task

    @property
    def batch(self) -> int:
        return min(self.task.batch, self.task.budget)

    @property
    def rounds(self) -> int:
        return -(-self.task.budget // self.batch)

    @property
    def options(self) -> dict[str, Any]:
        return {"budget": self.task.budget}

    def init(self) -> Sampled:
        return Sampled(self.task.first(self.task.budget))

    def ask(self, state: Sampled) -> np.ndarray:
        first = len(state.scores) * self.batch
        return state.archs[first : first + self.batch]

    def step(self, state: Sampled, scores: Scores) -> Sampled:
        return Sampled(state.archs, (*state.scores, scores))

    def done(self, state: Sampled) -> bool:
        return len(state.scores) == self.rounds

    def result(self, state: Sampled) -> Found:
        return self.task.goal.best(state.archs, join(state.scores), more="--budget")

    def report(self, state: Sampled) -> list[dict[str, Any]]:
        return [self._record(scores) for scores in state.scores]

    def table(self, state: Sampled) -> list[dict[str, str]]:
        return as_text(self.report(state))

    def _record(self, scores: Scores) -> dict[str, float | None]:
        """Return how many architectures of a batch have all the scores, and the best value of each score."""
        values = self.task.goal.values(scores)
        complete = np.isfinite(values).all(0)
        best = self.task.goal.best_values(values[:, complete])
        return {"samples": len(complete), "complete": int(complete.sum()), **best}


def make(task: Task) -> Method:
    """Return the method for `task`, or raise a `UserError` if the space has fewer architectures."""
    check_budget(task, 1, "a single one")
    return Random(task)
