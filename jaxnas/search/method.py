"""What the search methods have in common: one interface, a task, and the comparison of architectures by their scores.

    state = method.init()
    while not method.done(state):
        state = method.step(state, evaluate(method.ask(state)))
    found = method.result(state)

A method holds options only and its functions are pure, so a stored round can be replayed instead of evaluated. It
does not know what evaluates: training-free scores, a table of measurements, or the user's own function.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxnas.errors import UserError
from jaxnas.ranks import mean_ranks
from jaxnas.search.goal import Found, Goal, Scores, join
from jaxnas.spaces import Space

Evaluate = Callable[..., Scores]
"""From architectures `[N, A]`, or op masks `[N, E, O]`, to their scores.

What scores without training also takes the names and the draw of a `Question`.
"""
Prior = Callable[[np.ndarray], np.ndarray]
"""From architectures `[N, A]` to cheap scores `[N, F]`, higher is better, NaN where there is none."""


class Question(NamedTuple):
    """Some scores of architectures.

    Attributes:
      archs: `[N, A]`.
      names: of the scores; the others are not measured.
      draw: number of the draw of weights and inputs, the usual one being 0.
    """

    archs: np.ndarray
    names: tuple[str, ...]
    draw: int = 0


class Method(Protocol):
    """A search method; its state is whatever `init` and `step` return."""

    @property
    def rounds(self) -> int:
        """How often, at most, `ask` and `step` are called until the search is done."""

    @property
    def batch(self) -> int:
        """The largest number of architectures that `ask` returns, but for a first round that is larger."""

    @property
    def options(self) -> dict[str, Any]:
        """What its result depends on beside the space, the objectives and the seed."""

    def init(self) -> Any:
        """The state before the first round."""

    def ask(self, state: Any) -> np.ndarray | Question:
        """What to score: architectures `[N, A]`, or op masks `[N, E, O]` of a cell space.

        A `Question` where not every score is wanted, or another draw is.
        """

    def step(self, state: Any, scores: Scores) -> Any:
        """The state after a round in which `ask(state)` got these scores."""

    def done(self, state: Any) -> bool:
        """Whether the search is over."""

    def result(self, state: Any) -> Found:
        """What a finished search found."""

    def report(self, state: Any) -> list[dict[str, Any]]:
        """A JSON record of each round."""

    def table(self, state: Any) -> list[dict[str, str]]:
        """A row of text for each round, by column name."""


@dataclass(frozen=True)
class Task:
    """What a search method needs to know.

    Attributes:
      space: where to search: what can be evaluated.
      goal: which architectures are better.
      seed: of the method's own draws.
      batch: a good number of architectures to score at a time.
      budget: architectures to score in all.
      prior: cheap scores that a method may look at before it asks, if there are any.
      pool: architectures of which the prior chooses the first ones; 0 to draw these alone.
      by_cost: the names of the scores that can be asked for: those that need no network, then those that do, the cheap
        ones first, those of about one cost together.
      last: the signs of what decides among the last few architectures, where that is not the goal.
    """

    space: Space
    goal: Goal
    seed: int
    batch: int
    budget: int
    prior: Prior | None = None
    pool: int = 0
    by_cost: tuple[tuple[str, ...], ...] = ((),)
    last: Mapping[str, int] = field(default_factory=dict)

    def first(self, n: int) -> np.ndarray:
        """The architectures `[n, A]` to begin with: random ones, or the prior's best of `pool` random ones."""
        drawn = self.space.sample(jax.random.key(self.seed), max(n, min(self.pool, self.space.size)))
        if self.prior is None or not self.pool:
            return drawn
        cheap = np.nan_to_num(self.prior(drawn), nan=-np.inf)
        return drawn[np.argsort(sum(mean_ranks(-column) for column in cheap.T), kind="stable")[:n]]


class ToBudget(Protocol):
    """The state of a method that scores as many architectures as the budget says, and keeps them all.

    Attributes:
      archs: `[M, A]`; the last ones await their scores.
      scored: how many have them.
      scores: of the rounds so far.
    """

    @property
    def archs(self) -> np.ndarray: ...
    @property
    def scored(self) -> int: ...
    @property
    def scores(self) -> Scores: ...


@dataclass(frozen=True)
class Budgeted:
    """What methods have in common whose states are a `ToBudget`."""

    task: Task

    def ask(self, state: ToBudget) -> np.ndarray:
        return state.archs[state.scored :]

    def done(self, state: ToBudget) -> bool:
        return state.scored == self.task.budget

    def result(self, state: ToBudget) -> Found:
        return self.task.goal.best(state.archs, state.scores, more="--budget")

    def table(self, state: Any) -> list[dict[str, str]]:
        return as_text(self.report(state))

    def report(self, state: Any) -> list[dict[str, Any]]:
        raise NotImplementedError


class Rounds(NamedTuple):
    """Everything asked so far `[M, A]`, how many have their scores, and the scores of the rounds so far."""

    archs: np.ndarray
    scored: int
    scores: Scores


@dataclass(frozen=True)
class InRounds(Budgeted):
    """A method that proposes `batch` architectures at a time until the budget is spent: all it needs is `propose`."""

    @property
    def batch(self) -> int:
        raise NotImplementedError

    def propose(self, archs: np.ndarray, scores: Scores, count: int) -> np.ndarray:
        """The next `count` architectures, fewer where the space has no others.

        They follow from those scored so far `[M, A]` (at first none) and their scores.

        Draws must follow from the task's seed and the arguments alone: a search that was stopped replays its rounds.
        """
        raise NotImplementedError

    @property
    def rounds(self) -> int:
        return -(-self.task.budget // self.batch)

    @property
    def options(self) -> dict[str, Any]:
        return {"budget": self.task.budget}

    def init(self) -> Rounds:
        none = np.empty((0, *self.task.space.encode(self.task.space.example).shape), np.int32)
        return Rounds(np.asarray(self.propose(none, {}, min(self.batch, self.task.budget)), np.int32), 0, {})

    def step(self, state: Rounds, scores: Scores) -> Rounds:
        scores = join([state.scores, scores]) if state.scored else scores
        count = min(self.batch, self.task.budget - len(state.archs))
        more = self.propose(state.archs, scores, count) if count else state.archs[:0]
        return Rounds(np.concatenate([state.archs, more]), len(state.archs), scores)

    def done(self, state: Rounds) -> bool:  # type: ignore[override]
        return state.scored == len(state.archs)

    def report(self, state: Rounds) -> list[dict[str, Any]]:
        """Return of each round the best value so far of each objective, among those that have all of them."""
        goal, ends = self.task.goal, [*range(self.batch, state.scored, self.batch), state.scored]
        values = goal.values(state.scores)
        values[:, ~np.isfinite(values).all(0)] = np.nan
        return [{"scored": end, **goal.best_values(values[:, :end])} for end in ends]


def keys(space: Space, archs: np.ndarray) -> list[bytes]:
    """What tells architectures `[N, A]` of the space apart; those that it lists as one have the same."""
    return [arch.tobytes() for arch in np.asarray(space.as_listed(archs), np.int32)]


def is_new(space: Space, archs: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return `[N]`: this one of `archs` `[N, A]` is neither in `known` `[M, A]` nor an earlier one's copy."""
    seen = {*keys(space, known)}
    new = np.zeros(len(archs), bool)
    for row, key in enumerate(keys(space, archs)):
        new[row] = key not in seen
        seen.add(key)
    return new


def check_budget(task: Task, least: int, because: str) -> None:
    """Refuse a budget that the space or the method cannot have."""
    if not least <= task.budget <= task.space.size:
        raise UserError(
            f"--budget is {task.budget}; it must lie between {least}, {because}, and {task.space.size}, the number of "
            f"architectures of {task.space.name}"
        )


def as_text(records: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return numbered rows of text for the numbers in `records`, which may be None."""
    numbered = [{"round": number, **record} for number, record in enumerate(records, start=1)]
    return [{k: "-" if v is None else f"{v:.5g}" for k, v in record.items()} for record in numbered]
