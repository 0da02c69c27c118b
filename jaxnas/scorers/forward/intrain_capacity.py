"""Capacity (InTrain, CVPR 2026): how many dimensions feature maps fill.

The sum over blocks (the stem, cells and residual units) of the logarithm of the participation ratio of their channel
covariance C over images and positions, (tr C)^2 / tr C^2. The paper does not say which layers it takes.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxnas.scorers.forward.forward_pass import ForwardScore, Seen


@dataclass(frozen=True)
class InTrainCapacity(ForwardScore):
    """Capacity of InTrain."""

    name: ClassVar[str] = "intrain_capacity"
    paper: ClassVar[str] = "InTrain (CVPR 2026)"

    def read(self, seen: Seen) -> jax.Array:
        """The raw score of one architecture."""
        return jnp.where(seen.present, jnp.log(seen.participation), 0).sum()
