"""Expressivity and progressivity (AZ-NAS; Lee and Ham, CVPR 2024): how evenly feature maps use their channels.

Of every block, the stem, cells and residual units, the entropy of its channel covariance's eigenvalues as shares of
their sum; the covariance is over images and positions. Expressivity is the sum over the blocks, progressivity the least
that a block adds to what the one before it has.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxnas.scorers.forward.forward_pass import ForwardScore, Seen

PAPER = "AZ-NAS (Lee and Ham, CVPR 2024)"


@dataclass(frozen=True)
class AZExpressivity(ForwardScore):
    """Expressivity of AZ-NAS."""

    name: ClassVar[str] = "az_expressivity"
    paper: ClassVar[str] = PAPER

    def read(self, seen: Seen) -> jax.Array:
        """The raw score of one architecture."""
        return jnp.where(seen.present, seen.entropy, 0).sum()


@dataclass(frozen=True)
class AZProgressivity(ForwardScore):
    """Progressivity of AZ-NAS."""

    name: ClassVar[str] = "az_progressivity"
    paper: ClassVar[str] = PAPER

    def read(self, seen: Seen) -> jax.Array:
        """The raw score of one architecture."""
        steps = jnp.diff(seen.entropy)  # of blocks that follow each other: one that is absent adds nothing
        return jnp.where(seen.present[1:], steps, jnp.inf).min()
