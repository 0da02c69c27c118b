"""What the search methods have in common: one interface, a task, and the comparison of architectures by their scores.

    state = method.init()
    while not method.done(state):
        state = method.step(state, evaluate(method.ask(state)))
    found = method.result(state)

A method holds options only and its functions are pure, so a stored round can be replayed instead of evaluated. It
does not know what evaluates: training-free scores, a table of measurements, or the user's own function.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxnas.errors import UserError
from jaxnas.scorers.counts import mean_ranks
from jaxnas.spaces import Space
from jaxnas.types import Finished

Scores = Mapping[str, Finished]
"""Per objective, the values and statuses `[R, N]` of R repeats."""
Evaluate = Callable[[np.ndarray], Scores]
"""From architectures `[N, A]`, or op masks `[N, E, O]`, to their scores."""
Prior = Callable[[np.ndarray], np.ndarray]
"""From architectures `[N, A]` to cheap scores `[N, F]`, higher is better, NaN where there is none."""


class NothingFoundError(UserError):
    """No architecture has all the scores."""


class Found(NamedTuple):
    """The chosen architecture `[A]`, its scores `[R, 1]`, and other numbers about it."""

    arch: np.ndarray
    scores: Scores
    extra: dict[str, float]


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
        """Return the state before the first round."""

    def ask(self, state: Any) -> np.ndarray:
        """Return what to score: architectures `[N, A]`, or op masks `[N, E, O]` of a cell space."""

    def step(self, state: Any, scores: Scores) -> Any:
        """Return the state after a round in which `ask(state)` got these scores."""

    def done(self, state: Any) -> bool:
        """Return whether the search is over."""

    def result(self, state: Any) -> Found:
        """Return what a finished search found."""

    def report(self, state: Any) -> list[dict[str, Any]]:
        """Return a JSON record of each round."""

    def table(self, state: Any) -> list[dict[str, str]]:
        """Return a row of text for each round, by column name."""


@dataclass(frozen=True)
class Goal:
    """Which architectures are better than others.

    Attributes:
      signs: the objectives, with +1 where higher is better and -1 where lower is.
      at_most: limits from above, on objectives or on other scores; whoever breaks one comes after all who do not.
      at_least: limits from below.
    """

    signs: Mapping[str, int]
    at_most: Mapping[str, float] = field(default_factory=dict)
    at_least: Mapping[str, float] = field(default_factory=dict)

    @property
    def limited(self) -> set[str]:
        """Names of the scores that have a limit."""
        return {*self.at_most, *self.at_least}

    def values(self, scores: Scores) -> np.ndarray:
        """Return `[K, N]` the mean of each objective over the repeats, higher being better; NaN if missing."""
        return np.array([sign * scores[name].value.mean(0) for name, sign in self.signs.items()])

    def feasible(self, scores: Scores) -> np.ndarray:
        """Return `[N]`: no limit is broken, and everything that is limited is known."""
        kept = np.ones(next(iter(scores.values())).value.shape[1], bool)
        for name, most in self.at_most.items():
            kept &= scores[name].value.mean(0) <= most
        for name, least in self.at_least.items():
            kept &= scores[name].value.mean(0) >= least
        return kept

    def excess(self, scores: Scores) -> np.ndarray:
        """Return `[N]` how far beyond a limit each is, as a share of that limit, of several the worst.

        It is 0 where all limits are kept, and infinite where something that is limited is not known.
        """
        limits = [(1, *limit) for limit in self.at_most.items()] + [(-1, *limit) for limit in self.at_least.items()]
        beyond = [sign * (scores[name].value.mean(0) - limit) / (abs(limit) or 1) for sign, name, limit in limits]
        return np.nan_to_num(np.maximum(beyond, 0), nan=np.inf).max(0)

    def ranks(self, scores: Scores) -> np.ndarray:
        """Return `[N]` the sum over the objectives of the rank, 0 = best; ties share the mean of their ranks.

        Whoever breaks a limit comes after everyone who does not: AG-Net's joint ranks under a constraint (Lukasik et
        al., ECCV 2022). An architecture that lacks an objective is not ranked and gets NaN.
        """
        means = self.values(scores)
        complete = np.isfinite(means).all(0)
        total = np.full(len(complete), np.nan)
        total[complete] = sum(mean_ranks(-row[complete]) for row in means)
        return np.where(self.feasible(scores), total, total + means.size)

    def best_values(self, values: np.ndarray) -> dict[str, float | None]:
        """Return the best of each objective's `values` `[K, N]`, as `self.values` gives them, by the report's names."""
        signed = zip(self.signs.items(), values, strict=True)
        return {f"best {name}": best_value(sign * mean[np.isfinite(mean)], sign) for (name, sign), mean in signed}

    def front(self, scores: Scores) -> np.ndarray:
        """Return `[N]`: within the limits, and no other such one is better by an objective and worse by none."""
        means = self.values(scores)
        known = np.isfinite(means).all(0) & self.feasible(scores)
        means = np.where(known, means, -np.inf)
        atleast = (means[:, :, None] >= means[:, None, :]).all(0)
        better = (means[:, :, None] > means[:, None, :]).any(0)
        return known & ~(atleast & better).any(0)

    def improvements(self, scores: Scores) -> list[int]:
        """Return the rows at which, in this order, the best so far changed."""
        ranks = np.nan_to_num(self._deciding.ranks(scores), nan=np.inf)
        lowest = np.minimum.accumulate(ranks)
        return np.flatnonzero(
            (ranks == lowest) & np.concatenate([ranks[:1] < np.inf, lowest[1:] < lowest[:-1]])
        ).tolist()

    @property
    def _deciding(self) -> "Goal":
        """The goal without the objectives that have a limit, unless all have one."""
        free = {name: sign for name, sign in self.signs.items() if name not in self.limited} or self.signs
        return Goal(free, self.at_most, self.at_least)

    def best(self, archs: np.ndarray, scores: Scores, more: str) -> Found:
        """Return of architectures `[N, A]` the one with the lowest rank sum, of equals the first.

        Objectives that have a limit do not decide, unless all have: under a limit on the latency it is the most
        accurate one that keeps it.

        Raises:
          NothingFoundError: every one lacks a score; the message suggests `more`.
        """
        ranks = self._deciding.ranks(scores)
        if not np.isfinite(ranks).any():
            raise NothingFoundError(f"none of the {len(archs)} architectures has all the scores; ask for more {more}")
        best = int(np.nanargmin(ranks))
        extra = {"rank_sum": float(ranks[best])}
        if self.limited:
            extra["feasible"] = bool(self.feasible(scores)[best])
        return Found(archs[best], take(scores, [best]), extra)


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
    """

    space: Space
    goal: Goal
    seed: int
    batch: int
    budget: int
    prior: Prior | None = None
    pool: int = 0

    def first(self, n: int) -> np.ndarray:
        """Return the architectures `[n, A]` to begin with: random ones, or the prior's best of `pool` random ones."""
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


def keys(space: Space, archs: np.ndarray) -> list[bytes]:
    """Return what tells architectures `[N, A]` of the space apart; those that it lists as one have the same."""
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


def best_value(values: np.ndarray, sign: int) -> float | None:
    """Return the best of `values` `[N]`, or None if there is none."""
    return float(sign * (sign * values).max()) if len(values) else None


def take(scores: Scores, rows: slice | list[int]) -> Scores:
    """Return the scores of some rows."""
    return {name: Finished(s.value[:, rows], s.status[:, rows], {}) for name, s in scores.items()}


def join(rounds: Sequence[Scores]) -> Scores:
    """Return the scores `[R, N]` of several rounds as those of one."""
    return {name: _join([scores[name] for scores in rounds]) for name in rounds[0]}


def _join(parts: list[Finished]) -> Finished:
    return Finished(np.concatenate([p.value for p in parts], 1), np.concatenate([p.status for p in parts], 1), {})


def as_text(records: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return numbered rows of text for the numbers in `records`, which may be None."""
    numbered = [{"round": number, **record} for number, record in enumerate(records, start=1)]
    return [{k: "-" if v is None else f"{v:.5g}" for k, v in record.items()} for record in numbered]
