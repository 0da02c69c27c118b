"""Successive halving without labels: cheap scores choose among many, dear ones among the few that are left.

What needs no network (the counts) is computed for the whole space, or for a large sample. The best `budget` of these
are measured by the cheapest scores, one in `keep` of them by the next dearer ones as well, and so on; the last few are
measured several times, with new weights and inputs. In each stage what the search goes by decides, as far as it is
known by then: a consensus is the sum over those of its members that were measured. Among the last few its dearest
members alone decide: a sum of logarithms says which architectures are bad in nothing, not which of these is best.

Of a space that is larger than the sample, the first stage looks further: after a quarter of its budget, it goes on with
mutations of the best. It does so, too, where limits are on what is measured: the best by counts would all break them,
so that quarter is taken from all ranks, evenly.

After Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, AISTATS 2016,
with scores in place of training times.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnas.errors import UserError
from jaxnas.search.goal import Found, Goal, Scores, join, take
from jaxnas.search.method import Method, Question, Task, as_text, is_new
from jaxnas.types import Finished

ARCHS_AT_ONCE = 32  # a round: what a stopped search measures again at most
GENERATIONS = 4  # of the first measured stage where the space is larger than the sample
PARENTS = 8  # of a generation
TRIES = 50  # mutations of each parent, at most, for something new


@dataclass(frozen=True)
class SiftOptions:
    """Options of the method `sift`."""

    pool: int = 20_000
    """Architectures whose counts are compared: the whole space if it has no more, otherwise random ones."""
    keep: int = 4
    """One in so many goes on from a stage to the next."""
    draws: int = 3
    """Measurements of the architectures of the last stage, each with new weights and inputs."""


class Stage(NamedTuple):
    """Which scores a stage needs, the number of the draw of weights and inputs, and of how many architectures."""

    names: tuple[str, ...]
    draw: int
    size: int


class Sieve(NamedTuple):
    """Where a search is.

    Attributes:
      stage: number in the method's plan.
      archs: of this stage `[M, A]`.
      scores: of the first ones of them, in this stage.
      before: scores of all of them by earlier draws.
      history: what each finished stage found.
    """

    stage: int
    archs: np.ndarray
    scores: Scores
    before: Scores
    history: tuple[dict[str, Any], ...] = ()

    @property
    def scored(self) -> int:
        return next(iter(self.scores.values())).value.shape[1] if self.scores else 0


@dataclass(frozen=True)
class Sift:
    """Cheap scores choose among many, dear ones among the few that are left."""

    task: Task
    pool: int
    keep: int
    draws: int

    @property
    def plan(self) -> list[Stage]:
        """The stages."""
        names, *measured = self.task.by_cost
        size = self.task.budget
        stages = [Stage(names, 0, min(self.pool, self.task.space.size))] if names else []
        for more in measured:
            names += more
            stages.append(Stage(names, 0, size))
            size = max(1, size // self.keep)
        return stages + [Stage(names, draw, size) for draw in range(1, self.draws) if measured]

    @property
    def rounds(self) -> int:
        return sum(-(-stage.size // self._at_once(stage)) for stage in self.plan) + self._generations

    @property
    def batch(self) -> int:
        return ARCHS_AT_ONCE

    @property
    def options(self) -> dict[str, Any]:
        return {"budget": self.task.budget, "sift": {n: getattr(self, n) for n in ("pool", "keep", "draws")}}

    def init(self) -> Sieve:
        space = self.task.space
        drawn = space.enumerate() if self._all else space.sample(jax.random.key(self.task.seed), self.pool)
        drawn = drawn[~space.is_disconnected(drawn)]
        drawn = drawn[is_new(space, space.canonical(drawn), drawn[:0])]
        return Sieve(0, drawn[: self.plan[0].size], {}, {})

    def ask(self, state: Sieve) -> Question:
        stage = self.plan[state.stage]
        rows = slice(state.scored, state.scored + self._at_once(stage))
        return Question(state.archs[rows], stage.names, stage.draw)

    def step(self, state: Sieve, scores: Scores) -> Sieve:
        state = state._replace(scores=join([state.scores, scores]) if state.scores else scores)
        if state.scored < len(state.archs):
            return state
        if state.stage == self._first and (more := self._children(state)) is not None:
            return state._replace(archs=np.concatenate([state.archs, more]))
        return self._next(state)

    def done(self, state: Sieve) -> bool:
        return state.stage == len(self.plan)

    def result(self, state: Sieve) -> Found:
        return self._goal(state.before, last=True).best(state.archs, state.before, more="--budget")

    def report(self, state: Sieve) -> list[dict[str, Any]]:
        return [*state.history]

    def table(self, state: Sieve) -> list[dict[str, str]]:
        numbers = as_text([{k: v for k, v in record.items() if k != "scores"} for record in state.history])
        return [{**row, "scores": r["scores"]} for row, r in zip(numbers, state.history, strict=True)]

    def _next(self, state: Sieve) -> Sieve:
        """The state at the beginning of the next stage, with the best of this one."""
        plan, known = self.plan, _together(state.before, state.scores)
        goal = self._goal(known, last=state.stage + 1 == len(plan))
        following = plan[state.stage + 1] if state.stage + 1 < len(plan) else plan[state.stage]
        count = min(len(state.archs), following.size)
        if state.stage + 1 == self._first and self._generations:
            count = min(count, -(-following.size // GENERATIONS))
        best = _best_first(goal.ranks(known))
        if self._blind and state.stage + 1 == self._first:
            best = best[np.linspace(0, len(best) - 1, count).astype(int)]
        best = best[:count]
        record = {
            "scored": len(state.archs),
            "scores": ", ".join(plan[state.stage].names),
            **goal.best_values(goal.values(known)),
        }
        # what was measured in an earlier stage with the same draw is measured again: only whole draws are averaged
        full = plan[state.stage].names == plan[-1].names
        before = take(known, best.tolist()) if full else {}
        return Sieve(state.stage + 1, state.archs[best], {}, before, (*state.history, record))

    def _children(self, state: Sieve) -> np.ndarray | None:
        """Mutations `[M, A]` of the best so far, none of which came up before; None at the end of the stage."""
        size = self.plan[self._first].size
        left = size - len(state.archs)
        if not self._generations or left <= 0:
            return None
        space, count = self.task.space, min(left, -(-size // GENERATIONS))
        parents = state.archs[_best_first(self._goal(state.scores).ranks(state.scores))[:PARENTS]]
        root = jax.random.fold_in(jax.random.key(self.task.seed), len(state.archs))
        found = state.archs[:0]
        for turn in range(TRIES):
            if len(found) >= count:
                break
            keys = jax.random.split(jax.random.fold_in(root, turn), len(parents))
            born = np.stack([space.mutate(key, parent) for key, parent in zip(keys, parents, strict=True)])
            born = space.canonical(born[~space.is_disconnected(born)])
            new = is_new(space, born, np.concatenate([state.archs, found]))
            found = np.concatenate([found, born[new]])
        return found[:count] if len(found) else None

    def _goal(self, known: Scores, *, last: bool = False) -> Goal:
        """The goal by what is known of its scores; if nothing is, whoever comes first is best."""
        signs = (last and self.task.last) or self.task.goal.signs
        known_signs = {name: sign for name, sign in signs.items() if np.isfinite(known[name].value).any()}
        return replace(self.task.goal, signs=known_signs)

    def _at_once(self, stage: Stage) -> int:
        """Architectures of a round: what needs no network is counted at once."""
        return stage.size if stage.names == self.task.by_cost[0] else ARCHS_AT_ONCE

    @property
    def _first(self) -> int:
        """The first measured stage."""
        return int(bool(self.task.by_cost[0]))

    @property
    def _all(self) -> bool:
        return self.task.space.size <= self.pool

    @property
    def _blind(self) -> bool:
        """The counts do not say who keeps the limits: a function of the user's does."""
        return not self.task.goal.limited <= {*self.task.by_cost[0]}

    @property
    def _generations(self) -> int:
        """Rounds with mutations of the best."""
        return 0 if self._all and not self._blind else GENERATIONS - 1


def make(task: Task, options: SiftOptions) -> Method:
    """Return the method for `task`, or raise a `UserError` if its sizes make no sense."""
    for name, number, least in (*((n, v, 1) for n, v in asdict(options).items()), ("keep", options.keep, 2)):
        if number < least:
            raise UserError(f"--sift.{name} is {number}; it must be at least {least}")
    most = min(options.pool, task.space.size)
    if not 1 <= task.budget <= most:
        raise UserError(f"--budget is {task.budget}; it must lie between 1 and {most}, the architectures looked at")
    return Sift(task, **asdict(options))


def _best_first(ranks: np.ndarray) -> np.ndarray:
    """The rows of `ranks` `[N]`, the lowest first; those without one last."""
    return np.argsort(np.nan_to_num(ranks, nan=np.inf), kind="stable")


def _together(before: Scores, scores: Scores) -> Scores:
    """The repeats of earlier draws and of the last one."""
    if not before:
        return scores
    return {name: _stacked([before[name], found]) for name, found in scores.items()}


def _stacked(parts: Sequence[Finished]) -> Finished:
    return Finished(np.concatenate([p.value for p in parts]), np.concatenate([p.status for p in parts]), {})
