"""Scores without a network: exact counts, the baselines of every comparison, and TE-NAS's combination of ranks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jaxnas.types import Finished, Status


@dataclass(frozen=True)
class Count:
    """A property that the space computes from the architecture alone: `params` or `flops`."""

    name: str
    sign: ClassVar[int] = 1
    paper: ClassVar[str] = "baseline"
    cost: ClassVar[str] = "none"

    def finish(self, counts: np.ndarray) -> Finished:
        """Turn the counts `[N]` into values and statuses."""
        return Finished(counts.astype(np.float64), np.full(len(counts), Status.ok), {})


@dataclass(frozen=True)
class TeNas:
    """Rank of `ntk` (ascending) plus rank of `regions` (descending) over the scored set, from 0; ties share their mean.

    Relative to the set: adding architectures changes it. An architecture without one of the two has no value.
    """

    name: ClassVar[str] = "te_nas"
    sign: ClassVar[int] = -1
    paper: ClassVar[str] = "TE-NAS (Chen et al., ICLR 2021)"
    cost: ClassVar[str] = "that of ntk and regions"
    needs: ClassVar[tuple[str, ...]] = ("ntk", "regions")

    def combine(self, scores: Mapping[str, Finished]) -> Finished:
        """Return the rank sums of `scores["ntk"]` and `scores["regions"]`, over the architectures that have both."""
        kappa, count = scores["ntk"], scores["regions"]
        both = np.isfinite(kappa.value) & np.isfinite(count.value)
        value = np.full(len(both), np.nan)
        value[both] = mean_ranks(kappa.value[both]) + mean_ranks(-count.value[both])
        status = np.where(both, Status.ok, np.maximum(kappa.status, count.status))
        return Finished(value, status, {})


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Return ascending ranks `[N]` from 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2)[inverse]
