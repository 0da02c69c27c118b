"""Exact counts, the baselines of every comparison."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jaxnas.scorers.protocol import Count


@dataclass(frozen=True)
class Params(Count):
    """Number of parameters."""

    name: ClassVar[str] = "params"

    def of(self, space: Any, archs: np.ndarray) -> np.ndarray:
        counts: np.ndarray = space.params(archs)
        return counts


@dataclass(frozen=True)
class Flops(Count):
    """Operations on one image, as the space counts them."""

    name: ClassVar[str] = "flops"

    def of(self, space: Any, archs: np.ndarray) -> np.ndarray:
        counts: np.ndarray = space.flops(archs)
        return counts
