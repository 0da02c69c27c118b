"""Regularised evolution, GenNAS's search from end to end: the oldest member of the population dies, not the worst.

It starts from a random population. The parent of a child is the best of `tournament` members, drawn without
replacement; the child is a mutation of it, and takes the place of the oldest member, until as many were born as the
budget says. With `brood` = 1 this is the published algorithm. Larger broods are scored together: their parents come
from one population, as when several machines breed side by side (Real et al.).

What differs from the published code:

- The space decides what a mutation is. That of NAS-Bench-201 is another op on one edge; GenNAS redraws each edge with
  probability 1/5 among all five ops, which leaves 35 % of its children like their parents.
- The architectures of the first population are all different.
- An architecture that came up before is not scored again but has the score it had, which would be the same.
- By several scores the best is that with the lowest sum of ranks over all that were scored so far; GenNAS has one.
- An architecture without one of the scores counts as the worst.

Sources: Real et al., Regularized Evolution for Image Classifier Architecture Search, AAAI 2019; Li et al., Generic
Neural Architecture Search via Regression (GenNAS), NeurIPS 2021, and its official code.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import summarise
from jaxnas.search.goal import Found, Scores, best_value, join
from jaxnas.search.method import Method, Task, as_text, keys
from jaxnas.spaces import Space

TOURNAMENT_ARCHS = 10  # of a tournament, and of a brood


class Round(NamedTuple):
    """How many different architectures were scored by the end of a round, and how many births there had been."""

    scored: int
    births: int


class Lives(NamedTuple):
    """Everyone who ever lived, and the next brood.

    Attributes:
      archs: the different architectures `[M, A]`, in the order in which they came up; the last ones await their scores.
      births: the row in `archs` of everyone, the oldest first; the population are the last ones.
      scores: of the rounds so far, in the order of `archs`.
      rounds: the rounds so far.
    """

    archs: np.ndarray
    births: tuple[int, ...]
    scores: Scores
    rounds: tuple[Round, ...] = ()


@dataclass(frozen=True)
class EvolveOptions:
    """Options of the method `evolve`."""

    population: int = 50
    """Architectures that evolution starts from and keeps; the oldest one dies."""
    tournament: int | None = None
    """Members of the population that are drawn, to make the best one a parent; by default 10, or the population if
    that is smaller."""
    brood: int | None = None
    """Children that are bred and scored at a time, 1 as published; with fewer than --devices some devices idle. By
    default 10, or the population if that is smaller."""


@dataclass(frozen=True)
class Evolve:
    """The best architecture of the whole history of an evolution; the budget counts births, also of known ones.

    The first round scores the population, every other one the architectures of a brood that did not come up before. A
    brood without such needs no round.
    """

    task: Task
    population: int
    tournament: int
    brood: int

    @property
    def rounds(self) -> int:
        return 1 + -(-(self.task.budget - self.population) // self.brood)

    @property
    def batch(self) -> int:
        return self.brood

    @property
    def options(self) -> dict[str, Any]:
        names = ("population", "tournament", "brood")
        return {"budget": self.task.budget, **{name: getattr(self, name) for name in names}}

    def init(self) -> Lives:
        first = self.task.first(self.population)
        return Lives(*_bear(self.task.space, first[:0], (), first), {})

    def ask(self, state: Lives) -> np.ndarray:
        return state.archs[state.rounds[-1].scored if state.rounds else 0 :]

    def step(self, state: Lives, scores: Scores) -> Lives:
        scores = join([state.scores, scores]) if state.rounds else scores
        ranks = np.nan_to_num(self.task.goal.ranks(scores), nan=np.inf)
        archs, births = state.archs, state.births
        end = Round(len(archs), len(births))
        while len(archs) == end.scored and end.births < self.task.budget:
            archs, births = _bear(self.task.space, archs, births, self._next(archs, births, ranks))
            if len(archs) == end.scored:
                end = Round(len(archs), len(births))
        return Lives(archs, births, scores, (*state.rounds, end))

    def done(self, state: Lives) -> bool:
        return bool(state.rounds) and state.rounds[-1].births == self.task.budget

    def result(self, state: Lives) -> Found:
        return self.task.goal.best(state.archs, state.scores, more="--budget")

    def report(self, state: Lives) -> list[dict[str, Any]]:
        """Return of each round the best value so far of every score, and its median over the population.

        Architectures that lack a score take no part.
        """
        means = {name: summarise(state.scores[name])[0] for name in self._signs}
        complete = np.isfinite(np.stack([*means.values()])).all(0)
        records = []
        for scored, births in state.rounds:
            rows = np.array(state.births[births - self.population : births])
            alive, known = rows[complete[rows]], np.flatnonzero(complete[:scored])
            record: dict[str, Any] = {"born": births, "scored": scored}
            for name, mean in means.items():
                record[f"best {name}"] = best_value(mean[known], self._signs[name])
                record[f"median {name}"] = float(np.median(mean[alive])) if len(alive) else None
            records.append(record)
        return records

    def table(self, state: Lives) -> list[dict[str, str]]:
        return as_text(self.report(state))

    @property
    def _signs(self) -> Mapping[str, int]:
        return self.task.goal.signs

    def _next(self, archs: np.ndarray, births: tuple[int, ...], ranks: np.ndarray) -> list[np.ndarray]:
        """The next brood: the `brood` children of this population, or as many as are still to come."""
        members = np.array(births[-self.population :])
        numbers = range(len(births), min(len(births) + self.brood, self.task.budget))
        return [self._child(archs, members, ranks, number) for number in numbers]

    def _child(self, archs: np.ndarray, members: np.ndarray, ranks: np.ndarray, number: int) -> np.ndarray:
        """The child whose birth has this number, which alone with the seed decides the draws."""
        rng = np.random.default_rng([self.task.seed, number])
        entrants = rng.choice(members, self.tournament, replace=False)
        parent = entrants[ranks[entrants].argmin()]
        return self.task.space.mutate(jax.random.key(int(rng.integers(2**31))), archs[parent])


def make(task: Task, options: EvolveOptions) -> Method:
    """Return the method for `task`, or raise a `UserError` about the first number that is not possible."""
    few = min(TOURNAMENT_ARCHS, options.population)
    numbers = {name: few if number is None else number for name, number in asdict(options).items()}
    most = {
        "population": (task.space.size, f"the size of {task.space.name}"),
        "tournament": (options.population, "the --evolve.population"),
        "brood": (options.population, "the --evolve.population"),
    }
    for name, (limit, what) in most.items():
        if not 1 <= numbers[name] <= limit:
            raise UserError(f"--evolve.{name} is {numbers[name]}; it must lie between 1 and {limit}, {what}")
    if task.budget <= options.population:
        raise UserError(
            f"--budget is {task.budget}; it must be more than {options.population}, the --evolve.population"
        )
    return Evolve(task, **numbers)


def _bear(
    space: Space, archs: np.ndarray, births: tuple[int, ...], brood: Iterable[np.ndarray]
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return `archs` `[M, A]` with what is new in `brood`, and the births with those of the brood."""
    everyone = np.concatenate([archs, np.stack([*brood])]).astype(archs.dtype)
    rows: dict[bytes, int] = {}
    born = [rows.setdefault(key, len(rows)) for key in keys(space, everyone)]
    _, first = np.unique(born, return_index=True)
    return everyone[first], (*births, *born[len(archs) :])
