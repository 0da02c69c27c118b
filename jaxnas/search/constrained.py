"""AG-Net's ranks under limits (Lukasik et al., ECCV 2022, equations 4 and 5)."""

import numpy as np

from jaxnas.scorers.counts import mean_ranks
from jaxnas.search.base import Goal, Scores

PENALTY = 1000  # factor on the rank of an architecture that breaks a limit


def targets(goal: Goal) -> list[str]:
    """Return the names of all scores that the goal looks at: the objectives, then those with a limit alone."""
    return [*goal.signs, *sorted(goal.limited - {*goal.signs})]


def constrained_ranks(goal: Goal, scores: Scores, *, joint: bool) -> np.ndarray:
    """Return the ranks `[N]` from 0 = best by the sum of ranks from 1, times 1000 where a limit is broken.

    NaN where a score is missing.

    Args:
      goal: objectives and limits.
      scores: of N architectures.
      joint: whether what is limited counts in the sum; otherwise objectives alone that have no limit.
    """
    signs = {name: -1 if name in goal.at_most else 1 for name in goal.limited} | dict(goal.signs)
    free = [name for name in goal.signs if name not in goal.limited]
    means = {name: scores[name].value.mean(0) for name in targets(goal)}
    complete = np.isfinite([*means.values()]).all(0)
    counted = targets(goal) if joint or not free else free
    total = sum(mean_ranks(-signs[name] * means[name][complete]) + 1 for name in counted)
    ranks = np.full(len(complete), np.nan)
    ranks[complete] = mean_ranks(total * np.where(goal.feasible(scores)[complete], 1, PENALTY))
    return ranks
