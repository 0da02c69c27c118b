"""The search methods on one interface: what to score next, what to make of the scores, what was found.

    state = method.init()
    while not method.done(state):
        state = method.step(state, evaluate(method.ask(state)))
    found = method.result(state)

A method holds options only and its functions are pure, so a stored round can be replayed instead of evaluated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxnas.errors import UserError
from jaxnas.runner import summarise
from jaxnas.scorers.counts import mean_ranks
from jaxnas.search import prune
from jaxnas.spaces import CellSpace
from jaxnas.types import Finished

Scores = Mapping[str, Finished]
"""Per scorer, the values and statuses `[R, N]` of R repeats."""


class Found(NamedTuple):
    """The chosen architecture `[E]`, its scores `[R, 1]`, and other numbers about it."""

    arch: np.ndarray
    scores: Scores
    extra: dict[str, float]


class Method(Protocol):
    """A search method; its state is whatever `init` and `step` return."""

    @property
    def rounds(self) -> int:
        """How often `ask` and `step` are called until the search is done."""

    @property
    def batch(self) -> int:
        """The largest number of architectures that `ask` returns."""

    @property
    def options(self) -> dict[str, Any]:
        """What its result depends on beside the space, the scorers and the seed."""

    def init(self) -> Any:
        """Return the state before the first round."""

    def ask(self, state: Any) -> np.ndarray:
        """Return what to score: op indices `[N, E]` or op masks `[N, E, O]`."""

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


class Pruning(NamedTuple):
    """The supernet, and the scores of the rounds so far; the last one scores what is left of it."""

    supernet: prune.State
    scores: tuple[Scores, ...] = ()


@dataclass(frozen=True)
class Prune:
    """TE-NAS: prune the supernet (`jaxnas.search.prune`) by `ntk` and `regions`.

    Where one of the two is missing the other decides alone: the paper's ablation.
    """

    space: CellSpace

    @property
    def rounds(self) -> int:
        return len(self.space.ops) - 1

    @property
    def batch(self) -> int:
        return len(self.ask(self.init()))

    @property
    def options(self) -> dict[str, Any]:
        return {}

    def init(self) -> Pruning:
        return Pruning(prune.init(len(self.space.edges), len(self.space.ops), banned=(self.space.zero,)))

    def ask(self, state: Pruning) -> np.ndarray:
        """Return the masks of the origin and of its candidates; at the end that of the only architecture left."""
        masks, _ = prune.candidates(state.supernet)
        return np.concatenate([state.supernet.mask[None], masks])

    def step(self, state: Pruning, scores: Scores) -> Pruning:
        after = state.supernet
        if not prune.done(after):
            tied = np.zeros(len(prune.candidates(after)[1]))
            after = prune.step(after, *(prune.deltas(scores[s].value) if s in scores else tied for s in TE_NAS))
        return Pruning(after, (*state.scores, scores))

    def done(self, state: Pruning) -> bool:
        return len(state.scores) == self.rounds

    def result(self, state: Pruning) -> Found:
        return Found(prune.chosen(state.supernet), state.scores[-1], {})

    def report(self, state: Pruning) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = prune.to_json(state.supernet)["rounds"]
        return records

    def table(self, state: Pruning) -> list[dict[str, str]]:
        return [
            {
                "round": str(number),
                "candidates": str(len(record.candidates)),
                **{f"{name} before": f"{found.value[:, 0].mean():.4g}" for name, found in scores.items()},
                "pruned": ", ".join(self._name(*pair) for pair in sorted(record.pruned.tolist())),
            }
            for number, (record, scores) in enumerate(zip(state.supernet.history, state.scores, strict=False), start=1)
        ]

    def _name(self, edge: int, op: int) -> str:
        target, source = self.space.edges[edge]
        return f"{target}<-{source}:{self.space.ops[op]}"


class Sampled(NamedTuple):
    """The architectures to score, `[N, E]`, and the scores of the batches so far."""

    archs: np.ndarray
    scores: tuple[Scores, ...] = ()


@dataclass(frozen=True)
class Random:
    """The best of `samples` different architectures, drawn uniformly: those of `jaxnas.score --archs random:N`.

    The best has the lowest sum of ranks over the scorers, each by its sign (for ntk and regions the score te_nas); of
    equals the one drawn first. An architecture without one of the scores takes no part.
    """

    space: CellSpace
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
        scores = {name: _join([batch[name] for batch in state.scores]) for name in self.signs}
        ranks = rank_sum(scores, self.signs)
        if not np.isfinite(ranks).any():
            raise UserError(f"none of the {self.samples} architectures has all the scores; ask for more --samples")
        best = int(np.nanargmin(ranks))
        alone = {name: Finished(s.value[:, [best]], s.status[:, [best]], {}) for name, s in scores.items()}
        return Found(state.archs[best], alone, {"rank_sum": float(ranks[best])})

    def report(self, state: Sampled) -> list[dict[str, Any]]:
        return [self._record(scores) for scores in state.scores]

    def table(self, state: Sampled) -> list[dict[str, str]]:
        records = [{"round": number, **record} for number, record in enumerate(self.report(state), start=1)]
        return [{k: "-" if v is None else f"{v:.5g}" for k, v in record.items()} for record in records]

    def _record(self, scores: Scores) -> dict[str, float | None]:
        """Return how many architectures of a batch have all the scores, and the best value of each score."""
        means = {name: summarise(scores[name])[0] for name in self.signs}
        complete = np.isfinite(np.stack([*means.values()])).all(0)
        best = {n: _best(mean[complete], self.signs[n]) for n, mean in means.items()}
        return {"samples": len(complete), "complete": int(complete.sum()), **{f"best {n}": v for n, v in best.items()}}


def _best(values: np.ndarray, sign: int) -> float | None:
    return float(sign * (sign * values).max()) if len(values) else None


def rank_sum(scores: Scores, signs: Mapping[str, int]) -> np.ndarray:
    """Return `[N]` the sum over the scorers of the rank by the mean over the repeats, 0 = best; ties share their mean.

    Args:
      scores: values `[R, N]`; an architecture that lacks one is not ranked and gets NaN.
      signs: the scorers that count, with +1 where higher is better and -1 where lower is.
    """
    means = np.array([sign * scores[name].value.mean(0) for name, sign in signs.items()])
    complete = np.isfinite(means).all(0)
    total = np.full(len(complete), np.nan)
    total[complete] = sum(mean_ranks(-row[complete]) for row in means)
    return total


def _join(batches: list[Finished]) -> Finished:
    return Finished(np.concatenate([b.value for b in batches], 1), np.concatenate([b.status for b in batches], 1), {})


class Task(NamedTuple):
    """What a search method may need to know.

    Attributes:
      space: where to search.
      signs: the scorers that decide, with +1 where higher is better and -1 where lower is.
      samples: the number of architectures to try.
      seed: of the method's own draws.
      batch: a good number of architectures to score at a time.
    """

    space: CellSpace
    signs: Mapping[str, int]
    samples: int
    seed: int
    batch: int


TE_NAS = ("ntk", "regions")


def _prune(task: Task) -> Method:
    if set(task.signs) - set(TE_NAS):
        raise UserError(
            f"--method prune ranks by ntk and regions, or by one of them, not by {', '.join(task.signs)}: "
            "say --scorers ntk,regions, or --method random"
        )
    return Prune(task.space)


def _random(task: Task) -> Method:
    if not 1 <= task.samples <= task.space.size:
        raise UserError(f"--samples is {task.samples}; {task.space.name} has 1 to {task.space.size} different ones")
    return Random(task.space, task.signs, task.samples, task.seed, min(task.batch, task.samples))


METHODS: dict[str, Callable[[Task], Method]] = {"prune": _prune, "random": _random}
