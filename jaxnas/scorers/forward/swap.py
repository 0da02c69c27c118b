"""Distinct patterns of units (SWAP; Peng et al., ICLR 2024).

A unit is a ReLU at one channel and one pixel; its pattern is on which images of a batch it is on. The score is the
number of different patterns over all units of the network, higher is better: where `regions` compares the images by
what all units say, this compares the units by what all images say. Units that are on for no image, as those of an
operation that an architecture does not have, are not counted (one pattern at most). The mean over batches is taken.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.data import Source
from jaxnas.errors import UserError
from jaxnas.kernels.patterns import WORD, count_distinct_on_host, pack_bits
from jaxnas.network.network import Network
from jaxnas.network.recipe import Recipe
from jaxnas.scorers.protocol import Scorer
from jaxnas.types import Finished


class Patterns(NamedTuple):
    """What is measured.

    Attributes:
      words: the packed pattern of each unit `[batches, U + 1]`; the first one is of no unit, all off.
      finite: whether the network is, `[batches]`.
    """

    words: Any
    finite: Any


@dataclass(frozen=True)
class Swap(Scorer):
    """Distinct patterns of units."""

    images: int = 16
    """Images in a batch, at most 32 (published: 16 to 32): there are no more than 2^images patterns."""
    batches: int = 3
    """Batches of images, the mean of which is the score (published: 32 initial weights: `--repeats`)."""

    name: ClassVar[str] = "swap"
    sign: ClassVar[int] = 1
    paper: ClassVar[str] = "SWAP (Peng et al., ICLR 2024)"
    cost: ClassVar[str] = "three forward passes of a thin, short network"
    archs_per_call: ClassVar[int] = 256

    def check(self) -> None:
        """Raise a `UserError` if the options make no sense together."""
        if not 2 <= self.images <= WORD or self.batches < 1:
            raise UserError(
                f"swap: {self.batches} batches of {self.images} images; give at least 1 batch of 2 to {WORD} images"
            )

    def check_data(self, source: Source) -> None:
        """Raise a `UserError` if `source` has too few images."""
        source.check(images=self.batches * self.images, option="--swap.batches times --swap.images")

    @property
    def recipe(self) -> Recipe:
        return Recipe("thin", init="unit")

    def draw(self, source: Source, rng: np.random.Generator) -> np.ndarray:
        """One repeat's inputs `[batches, images, H, W, C]`."""
        images = source.images(rng, self.batches * self.images)
        return images.reshape(self.batches, self.images, *images.shape[1:])

    def measure(self, network: Network, params: Any, arch: jax.Array, inputs: jax.Array, key: jax.Array) -> Patterns:
        """The patterns of one architecture."""
        params = network.rescale_to_fan_in(params, arch)

        def of_batch(x: jax.Array) -> Patterns:
            signs, finite = network.patterns(params, arch, x)
            off = jnp.zeros(1, jnp.uint32)
            return Patterns(jnp.concatenate([off, *(pack_bits(units.T)[0] for units in signs)]), finite)

        patterns: Patterns = jax.lax.map(of_batch, inputs)
        return patterns

    def floats(self, network: Network) -> int:
        """About how many floats the measurement of one architecture holds at once."""
        return network.activations(self.images)

    def finish(self, patterns: Patterns) -> Finished:
        """Turn the patterns of a batch, with leading axis N, into values and statuses `[N]`, on the host."""
        counts = count_distinct_on_host(patterns.words[..., None, :]) - 1
        return super().finish(np.where(patterns.finite.all(-1), counts.mean(-1), np.nan))
