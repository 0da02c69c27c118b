"""What the search methods have in common: one interface, and the comparison of architectures by their scores.

    state = method.init()
    while not method.done(state):
        state = method.step(state, evaluate(method.ask(state)))
    found = method.result(state)

A method holds options only and its functions are pure, so a stored round can be replayed instead of evaluated.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxnas.errors import UserError
from jaxnas.scorers.counts import mean_ranks
from jaxnas.spaces import Space
from jaxnas.types import Finished

Scores = Mapping[str, Finished]
"""Per scorer, the values and statuses `[R, N]` of R repeats."""


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
        """What its result depends on beside the space, the scorers and the seed."""

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


class Task(NamedTuple):
    """What a search method may need to know.

    Attributes:
      space: where to search.
      signs: the scorers that decide, with +1 where higher is better and -1 where lower is.
      seed: of the method's own draws.
      batch: a good number of architectures to score at a time.
      samples: the number of architectures that random search tries.
      population: the number of architectures that evolution starts from and keeps.
      children: the number of architectures that evolution adds.
      tournament: members of the population of which the best becomes a parent.
      brood: children between two looks at the scores.
      preset: of pruning, see `Supernet.presets`.
    """

    space: Space
    signs: Mapping[str, int]
    seed: int
    batch: int
    samples: int
    population: int
    children: int
    tournament: int
    brood: int
    preset: str | None = None


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


def best_of(archs: np.ndarray, scores: Scores, signs: Mapping[str, int], more: str) -> Found:
    """Return of architectures `[N, A]` the one with the lowest rank sum, of equals the first.

    Raises:
      UserError: every one lacks a score; the message suggests `more`.
    """
    ranks = rank_sum(scores, signs)
    if not np.isfinite(ranks).any():
        raise UserError(f"none of the {len(archs)} architectures has all the scores; ask for more {more}")
    best = int(np.nanargmin(ranks))
    alone = {name: Finished(s.value[:, [best]], s.status[:, [best]], {}) for name, s in scores.items()}
    return Found(archs[best], alone, {"rank_sum": float(ranks[best])})


def best_value(values: np.ndarray, sign: int) -> float | None:
    """Return the best of `values` `[N]`, or None if there is none."""
    return float(sign * (sign * values).max()) if len(values) else None


def join(rounds: Sequence[Scores]) -> Scores:
    """Return the scores `[R, N]` of several rounds as those of one."""
    return {name: _join([scores[name] for scores in rounds]) for name in rounds[0]}


def _join(parts: list[Finished]) -> Finished:
    return Finished(np.concatenate([p.value for p in parts], 1), np.concatenate([p.status for p in parts], 1), {})


def as_text(records: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return numbered rows of text for the numbers in `records`, which may be None."""
    numbered = [{"round": number, **record} for number, record in enumerate(records, start=1)]
    return [{k: "-" if v is None else f"{v:.5g}" for k, v in record.items()} for record in numbered]
