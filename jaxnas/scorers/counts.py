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


@dataclass(frozen=True)
class LiveParams(Count):
    """Parameters of the operations on a path from input to output."""

    name: ClassVar[str] = "live_params"

    def of(self, space: Any, archs: np.ndarray) -> np.ndarray:
        counts: np.ndarray = space.params(space.live(archs))
        return counts


@dataclass(frozen=True)
class LiveFlops(Count):
    """Operations on one image, of what is on a path from input to output."""

    name: ClassVar[str] = "live_flops"

    def of(self, space: Any, archs: np.ndarray) -> np.ndarray:
        counts: np.ndarray = space.flops(space.live(archs))
        return counts


@dataclass(frozen=True)
class LiveLayers(Count):
    """Weight tensors of the convolutions and matrix products on a path from input to output (VKDNW, CVPR 2025)."""

    name: ClassVar[str] = "live_layers"

    def of(self, space: Any, archs: np.ndarray) -> np.ndarray:
        counts: np.ndarray = space.layers(space.live(archs))
        return counts
