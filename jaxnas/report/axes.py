"""What is shown of the values of a score or a target: the same on the page and in figures of files."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxnas.ranks import Floats

DECADES = 100  # of largest to smallest value: from there an axis is logarithmic
CLIP = 10  # percentile from which values are shown
MARGIN = 0.04  # of an axis beyond the best value


class View(NamedTuple):
    """An axis: the range that it shows, and whether it is logarithmic."""

    domain: tuple[float, float]
    log: bool


class Course(NamedTuple):
    """What a search evaluated, in its order.

    Attributes:
      label: of its curves: those of one label differ in their seeds.
      signs: the objectives, with +1 where higher is better and -1 where lower is.
      values: `[N]` by name of the objective; NaN is a failure.
      feasible: `[N]`, within the limits.
      front: `[N]`, on the Pareto front of the first two objectives.
    """

    label: str
    signs: Mapping[str, int]
    values: Mapping[str, np.ndarray]
    feasible: np.ndarray
    front: np.ndarray

    def best(self, name: str) -> np.ndarray:
        """The best so far `[N]` of an objective among those that keep the limits; NaN before the first."""
        sign = self.signs[name]
        best: np.ndarray = sign * np.fmax.accumulate(np.where(self.feasible, sign * self.values[name], np.nan))
        return best


def of_target(values: Floats, *, lower_is_better: bool) -> tuple[float, float]:
    """The range of measured values `[N]` that is shown: without the worst, with some room beyond the best."""
    clip = float(np.percentile(values, 100 - CLIP if lower_is_better else CLIP))
    best = float(values.min() if lower_is_better else values.max())
    end = best + MARGIN * (best - clip)
    return (end, clip) if lower_is_better else (clip, end)


def of_objective(courses: Sequence[Course], name: str, limits: Collection[float]) -> View:
    """How an objective of searches is shown: with its limits and all that is on a front, but without the worst."""
    own = [course for course in courses if name in course.signs]
    values = np.concatenate([course.values[name] for course in own])
    known, higher_is_better = values[np.isfinite(values)], own[0].signs[name] > 0
    clip = np.percentile(known, CLIP if higher_is_better else 100 - CLIP) if len(known) else 0.0
    ends = [clip, *limits, *(value for course in own for value in course.values[name][course.front])]
    ends += [known.max() if higher_is_better else known.min()] if len(known) else []
    log = spans_decades(np.array([*known, *limits]))
    room = 0.0 if log else MARGIN * (max(ends) - min(ends))
    low, high = (0.0, room) if higher_is_better else (room, 0.0)
    return View((float(min(ends) - low), float(max(ends) + high)), log)


def spans_decades(values: np.ndarray) -> bool:
    """Say whether values `[N]` are positive and so far apart that their axis should be logarithmic."""
    known = values[np.isfinite(values)]
    return bool(len(known) and known.min() > 0 and known.max() >= DECADES * known.min())
