"""What changes where a score is measured again with other seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from jaxnas.ranks import Floats, Ints, KendallTau, ordering, spearman_rho


class Range(NamedTuple):
    """Mean, smallest and largest of a figure over the seeds."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class OverSeeds:
    """How a score agrees with the target with each of its seeds; None where a figure is undefined.

    Attributes:
      seeds: of the scores.
      spearman, kendall: rho and tau-b with the target.
      stability: rho between the scores of two seeds, over all pairs of them.
    """

    seeds: tuple[int, ...]
    spearman: Range | None
    kendall: Range | None
    stability: Range | None


def over_seeds(values: Mapping[int, Floats], target: Floats, *, sign: int, target_sign: int) -> OverSeeds:
    """The figures of one score; its values are `[n]` by seed, the target is `[n]`, the signs are those of `compare`."""
    wanted = ordering(target, target_sign)
    ranks: list[Ints] = [ordering(of, sign) for of in values.values()]
    return OverSeeds(
        seeds=tuple(values),
        spearman=_range([spearman_rho(own, wanted) for own in ranks]),
        kendall=_range([KendallTau(own, wanted)() for own in ranks]),
        stability=_range([spearman_rho(one, other) for one, other in combinations(ranks, 2)]),
    )


def _range(figures: Sequence[float]) -> Range | None:
    """Return None where the figure of a seed is undefined."""
    if not np.isfinite(figures).all():
        return None
    return Range(float(np.mean(figures)), min(figures), max(figures))
