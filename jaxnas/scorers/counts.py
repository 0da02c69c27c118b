"""Exact counts, the baselines of every comparison."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jaxnas.scorers.protocol import Count


class SpaceCount(Count):
    """A count that the space computes, of all operations or of those on a path from input to output alone."""

    what: ClassVar[str]  # a method of `Space`
    live: ClassVar[bool] = False

    def of(self, space: Any, archs: np.ndarray) -> np.ndarray:
        counts: np.ndarray = getattr(space, self.what)(space.live(archs) if self.live else archs)
        return counts

    def oriented(self, values: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(values, 1))


@dataclass(frozen=True)
class Params(SpaceCount):
    """Number of parameters."""

    name: ClassVar[str] = "params"
    what: ClassVar[str] = "params"


@dataclass(frozen=True)
class Flops(SpaceCount):
    """Operations on one image, as the space counts them."""

    name: ClassVar[str] = "flops"
    what: ClassVar[str] = "flops"


@dataclass(frozen=True)
class LiveParams(SpaceCount):
    """Parameters of the operations on a path from input to output."""

    name: ClassVar[str] = "live_params"
    what: ClassVar[str] = "params"
    live: ClassVar[bool] = True


@dataclass(frozen=True)
class LiveFlops(SpaceCount):
    """Operations on one image, of what is on a path from input to output."""

    name: ClassVar[str] = "live_flops"
    what: ClassVar[str] = "flops"
    live: ClassVar[bool] = True


@dataclass(frozen=True)
class SpectralCapacity(SpaceCount):
    """Expected log det(I + W W') of random weights, of what is on a path from input to output."""

    name: ClassVar[str] = "spectral_capacity"
    paper: ClassVar[str] = "Neural spectral capacity (arXiv 2609.23087)"
    what: ClassVar[str] = "spectral_capacity"
    live: ClassVar[bool] = True


@dataclass(frozen=True)
class LiveLayers(SpaceCount):
    """Weight tensors of the convolutions and matrix products on a path from input to output (VKDNW, CVPR 2025)."""

    name: ClassVar[str] = "live_layers"
    what: ClassVar[str] = "layers"
    live: ClassVar[bool] = True
