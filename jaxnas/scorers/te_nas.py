"""TE-NAS's combination of ranks (Chen, Gong and Wang, ICLR 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jaxnas.ranks import mean_ranks
from jaxnas.scorers.protocol import Combined
from jaxnas.types import Finished, Status


@dataclass(frozen=True)
class TeNas(Combined):
    """Rank of `ntk` (ascending) plus rank of `regions` (descending) over the scored set, from 0; ties share their mean.

    Relative to the set: adding architectures changes it. An architecture without one of the two has no value.
    """

    name: ClassVar[str] = "te_nas"
    sign: ClassVar[int] = -1
    paper: ClassVar[str] = "TE-NAS (Chen et al., ICLR 2021)"
    cost: ClassVar[str] = "that of ntk and regions"
    needs: ClassVar[tuple[str, ...]] = ("ntk", "regions")

    def combine(self, scores: Mapping[str, Finished]) -> Finished:
        """The rank sums of `scores["ntk"]` and `scores["regions"]`, over the architectures that have both."""
        kappa, count = scores["ntk"], scores["regions"]
        both = np.isfinite(kappa.value) & np.isfinite(count.value)
        value = np.full(len(both), np.nan)
        value[both] = mean_ranks(kappa.value[both]) + mean_ranks(-count.value[both])
        status = np.where(both, Status.ok, np.maximum(kappa.status, count.status))
        return Finished(value, status, {})
