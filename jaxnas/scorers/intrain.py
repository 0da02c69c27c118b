"""InTrain's score (CVPR 2026): how many dimensions the features fill, and how even the gradients are.

capacity (1 + health) / log(L + 1), with the number L of weight tensors on a path from input to output. Neither the
layers of capacity nor the tensors of health are stated; here they are blocks and all parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jaxnas.scorers.protocol import Combined
from jaxnas.types import Finished, Status


@dataclass(frozen=True)
class InTrain(Combined):
    """Capacity times evenness of the gradients, over the logarithm of the number of layers."""

    name: ClassVar[str] = "intrain"
    paper: ClassVar[str] = "InTrain (CVPR 2026)"
    cost: ClassVar[str] = "that of intrain_capacity and intrain_health"
    needs: ClassVar[tuple[str, ...]] = ("intrain_capacity", "intrain_health", "live_layers")
    relative: ClassVar[bool] = False

    def combine(self, scores: Mapping[str, Finished]) -> Finished:
        """The scores `[N]` of the architectures that have both parts."""
        capacity, health, layers = (scores[name] for name in self.needs)
        value = capacity.value * (1 + health.value) / np.log1p(layers.value)
        status = np.where(np.isfinite(value), Status.ok, np.maximum(capacity.status, health.status))
        return Finished(value, status, {})
