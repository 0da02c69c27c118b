"""Random search: the best of a uniform sample."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnas.errors import UserError
from jaxnas.runner import summarise
from jaxnas.search.base import Found, Method, Scores, Task, as_text, best_of, best_value, join
from jaxnas.spaces import Space


class Sampled(NamedTuple):
    """The architectures to score, `[N, A]`, and the scores of the batches so far."""

    archs: np.ndarray
    scores: tuple[Scores, ...] = ()


@dataclass(frozen=True)
class Random:
    """The best of `samples` different architectures, drawn uniformly: those of `jaxnas.score --archs random:N`.

    The best has the lowest sum of ranks over the scorers, each by its sign (for ntk and regions the score te_nas); of
    equals the one drawn first. An architecture without one of the scores takes no part.
    """

    space: Space
    signs: Mapping[str, int]
    samples: int
    seed: int
    batch: int

    @property
    def rounds(self) -> int:
        return -(-self.samples // self.batch)

    @property
    def options(self) -> dict[str, Any]:
        return {"samples": self.samples}

    def init(self) -> Sampled:
        return Sampled(self.space.sample(jax.random.key(self.seed), self.samples))

    def ask(self, state: Sampled) -> np.ndarray:
        first = len(state.scores) * self.batch
        return state.archs[first : first + self.batch]

    def step(self, state: Sampled, scores: Scores) -> Sampled:
        return Sampled(state.archs, (*state.scores, scores))

    def done(self, state: Sampled) -> bool:
        return len(state.scores) == self.rounds

    def result(self, state: Sampled) -> Found:
        return best_of(state.archs, join(state.scores), self.signs, more="--samples")

    def report(self, state: Sampled) -> list[dict[str, Any]]:
        return [self._record(scores) for scores in state.scores]

    def table(self, state: Sampled) -> list[dict[str, str]]:
        return as_text(self.report(state))

    def _record(self, scores: Scores) -> dict[str, float | None]:
        """Return how many architectures of a batch have all the scores, and the best value of each score."""
        means = {name: summarise(scores[name])[0] for name in self.signs}
        complete = np.isfinite(np.stack([*means.values()])).all(0)
        best = {n: best_value(mean[complete], self.signs[n]) for n, mean in means.items()}
        return {"samples": len(complete), "complete": int(complete.sum()), **{f"best {n}": v for n, v in best.items()}}


def make(task: Task) -> Method:
    """Return the method for `task`, or raise a `UserError` if the space has fewer architectures."""
    if not 1 <= task.samples <= task.space.size:
        raise UserError(f"--samples is {task.samples}; {task.space.name} has 1 to {task.space.size} different ones")
    return Random(task.space, task.signs, task.samples, task.seed, min(task.batch, task.samples))
