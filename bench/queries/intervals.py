"""Means over seeds with their intervals, and differences of methods that share the seeds."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95


class Mean(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def interval(values: np.ndarray) -> Mean:
    """The mean of `values` `[S]`, one for each seed, with Student's interval; without width for a single one."""
    mean, count = float(np.mean(values)), len(values)
    half = 0.0
    if count > 1:
        half = float(stats.t.ppf((1 + LEVEL) / 2, count - 1) * np.std(values, ddof=1) / count**0.5)
    return Mean(mean, mean - half, mean + half)


def compared(numbers: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Compare the first method with each of the others, in the mean over the tables and table by table.

    Args:
      numbers: by method, `[tables, S]`, lower is better; seed s draws the same first architectures for all.

    Returns:
      By the other's name, the mean of `first - other` over tables and seeds, its interval over the seeds, and on how
      many tables the interval is below 0 and above 0: significantly better, and worse.
    """
    (_, first), *others = numbers.items()
    found = {}
    for name, other in others:
        alone = [interval(row) for row in first - other]
        better, worse = sum(each.high < 0 for each in alone), sum(each.low > 0 for each in alone)
        found[name] = {**interval((first - other).mean(0))._asdict(), "better": better, "worse": worse}
    return found
