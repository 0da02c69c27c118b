"""What a search is after: which scores decide, in which direction, under which limits."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jaxnas.errors import UserError, spelt
from jaxnas.ranks import front, mean_ranks
from jaxnas.types import Finished

Scores = Mapping[str, Finished]
"""Per objective, the values and statuses `[R, N]` of R repeats."""


class NothingFoundError(UserError):
    """No architecture has all the scores."""


class Found(NamedTuple):
    """The chosen architecture `[A]`, its scores `[R, 1]`, and other numbers about it."""

    arch: np.ndarray
    scores: Scores
    extra: dict[str, float]


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
        size = next(iter(scores.values())).value.shape[1]
        return np.array([sign * scores[name].value.mean(0) for name, sign in self.signs.items()]).reshape(-1, size)

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
        total[complete] = sum((mean_ranks(-row[complete]) for row in means), np.zeros(complete.sum()))
        return np.where(self.feasible(scores), total, total + means.size)

    def best_values(self, values: np.ndarray) -> dict[str, float | None]:
        """The best of each objective's `values` `[K, N]`, as `self.values` gives them, by the report's names."""
        signed = zip(self.signs.items(), values, strict=True)
        return {f"best {name}": best_value(sign * mean[np.isfinite(mean)], sign) for (name, sign), mean in signed}

    def front(self, scores: Scores) -> np.ndarray:
        """Return `[N]`: within the limits, and no other such one is better by an objective and worse by none."""
        means = self.values(scores).T
        known = np.flatnonzero(np.isfinite(means).all(1) & self.feasible(scores))
        found = np.zeros(len(means), bool)
        found[known[front(means[known])]] = True
        return found

    def of_first(self, number: int) -> "Goal":
        """The first objectives alone, under the same limits."""
        return Goal(dict([*self.signs.items()][:number]), self.at_most, self.at_least)

    def improvements(self, scores: Scores) -> list[int]:
        """The rows at which, in this order, the best so far changed."""
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


def limits(at_most: str | None, at_least: str | None, known: Collection[str]) -> list[dict[str, float]]:
    """The limits from above and those from below, by name, of the options: `flops=1e8,latency=5`.

    Args:
      at_most: the one option.
      at_least: the other.
      known: names, of which `live-flops` is `live_flops`.
    """
    return [
        dict(_limit(part.strip(), option, known) for part in (given or "").split(",") if part.strip())
        for given, option in ((at_most, "--at-most"), (at_least, "--at-least"))
    ]


def missed(
    at_most: str | None, at_least: str | None, number: str, arch: str, numbers: Mapping[str, float | None]
) -> str:
    """That none of so many architectures keeps the limits of the options, and which comes nearest, in words."""
    given = " ".join(f"{name} {limit}" for name, limit in (("--at-most", at_most), ("--at-least", at_least)) if limit)
    known = ", ".join(f"{name} {'unknown' if n is None else f'{n:.5g}'}" for name, n in numbers.items())
    return f"none of {number} architectures keeps {given}; the nearest miss is {arch} with {known}"


def _limit(part: str, option: str, known: Collection[str]) -> tuple[str, float]:
    name, _, text = part.partition("=")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not name or not math.isfinite(value):
        raise UserError(f"{option} {part}: give NAME=NUMBER, several separated by commas")
    return spelt(name.strip(), known), value


def complete(archs: np.ndarray, scores: Scores, goal: Goal) -> tuple[np.ndarray, dict[str, Finished]]:
    """The different architectures `[M, A]` of `archs` `[N, A]` that have all objectives and what is limited.

    Their scores are the means over the rows that have all of them, as one repeat.
    """
    names = [*goal.signs, *sorted(goal.limited - goal.signs.keys())]
    values = np.array([scores[name].value.mean(0) for name in names])
    known = np.isfinite(values).all(0)
    _, first, owner = np.unique(archs[known], axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    counts = np.bincount(owner.ravel(), minlength=len(first))
    means = [(np.bincount(owner.ravel(), row, len(first)) / counts)[order] for row in values[:, known]]
    ok = np.zeros((1, len(first)), int)
    return archs[known][first[order]], {n: Finished(m[None], ok, {}) for n, m in zip(names, means, strict=True)}


def best_value(values: np.ndarray, sign: int) -> float | None:
    """The best of `values` `[N]`, or None if there is none."""
    return float(sign * (sign * values).max()) if len(values) else None


def take(scores: Scores, rows: slice | list[int]) -> Scores:
    """The scores of some rows."""
    return {name: Finished(s.value[:, rows], s.status[:, rows], {}) for name, s in scores.items()}


def join(rounds: Sequence[Scores]) -> Scores:
    """The scores `[R, N]` of several rounds as those of one; a round with one repeat has it in place of all R."""
    return {name: _join([scores[name] for scores in rounds]) for name in rounds[0]}


def _join(parts: list[Finished]) -> Finished:
    repeats = max(len(part.value) for part in parts)

    def joined(arrays: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.broadcast_to(array, (repeats, array.shape[1])) for array in arrays], 1)

    return Finished(joined([part.value for part in parts]), joined([part.status for part in parts]), {})
