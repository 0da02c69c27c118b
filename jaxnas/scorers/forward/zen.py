"""Zen-score (Lin et al., ICCV 2021): how much noise on the images moves the last feature map.

Weights are N(0, 1). D is the sum of the absolute differences between the last feature maps, before the head, of images
and of the same images with noise of deviation 0.01, mean over images. The score is log D plus, for each batch
normalisation, log of the deviation that it divides by, sqrt(mean over channels of the batch's variance): as if nothing
were normalised. Skip connections stay, as in published tables of benchmarks; the paper's search leaves them out.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxnas.scorers.forward.forward_pass import ForwardScore, Seen


@dataclass(frozen=True)
class Zen(ForwardScore):
    """Zen-score."""

    name: ClassVar[str] = "zen"
    paper: ClassVar[str] = "Zen-NAS (Lin et al., ICCV 2021)"
    cost: ClassVar[str] = "two forward passes of a thin network of full depth"

    def read(self, seen: Seen) -> jax.Array:
        """The raw score of one architecture."""
        return jnp.log(seen.moved) + seen.log_sigma
