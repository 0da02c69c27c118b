"""The forward pass that several scores read, so that one compiled program serves them all.

Every network here divides by batch statistics, so the scale of a convolution that a normalisation follows changes no
sign and no normalised feature: one draw of weights, N(0, 1) before normalisations, serves all of these scores.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.data import Source
from jaxnas.errors import UserError
from jaxnas.kernels.patterns import agreement
from jaxnas.kernels.spectrum import channel_covariance, participation, spectral_entropy
from jaxnas.network.network import Network
from jaxnas.network.op import Observed
from jaxnas.network.recipe import Recipe
from jaxnas.scorers.protocol import Pass, Scorer

NOISE = 0.01
Preset = Literal["fast", "shared", "paper"]


class Sizes(NamedTuple):
    """Channels of the first stage, None for those of the space's networks with `taps`, and images in the batch."""

    width: int | None
    images: int


class Seen(NamedTuple):
    """What a forward pass gives.

    Attributes:
      agreement: on how many units of all ReLUs two images have the same sign `[B, B]`.
      log_sigma: the sum over batch normalisations of log sqrt(mean over channels of the variance) `[]`.
      difference: what noise of deviation `NOISE` on the images changes in the last feature map: the sum of absolute
        values of an image, mean over images `[]`.
      entropy: of the spectrum of each block's channel covariance `[L]`.
      participation: participation ratio of that covariance `[L]`.
      present: whether the architecture has that block `[L]`.
    """

    agreement: jax.Array
    log_sigma: jax.Array
    difference: jax.Array
    entropy: jax.Array
    participation: jax.Array
    present: jax.Array


@dataclass(frozen=True)
class ForwardPass(Pass):
    """One forward pass of a network of full depth."""

    width: int | None
    images: int

    name: ClassVar[str] = "forward"

    @property
    def archs_per_call(self) -> int:
        """Architectures that are about ten seconds of a CPU core's work."""
        return 16 if self.width is None else 64

    @property
    def recipe(self) -> Recipe:
        return Recipe("taps", channels=self.width, init="unit")

    def draw(self, source: Source, rng: np.random.Generator) -> np.ndarray:
        """One repeat's images `[B, H, W, C]`."""
        return source.images(rng, self.images)

    def measure(self, network: Network, params: Any, arch: jax.Array, inputs: jax.Array, key: jax.Array) -> Seen:
        """What the scores read of one architecture; XLA leaves out what none of them does."""
        params = network.rescale_to_fan_in(params, arch)

        def block(x: jax.Array) -> tuple[jax.Array, jax.Array]:
            covariance = channel_covariance(x, network.config.layout)
            return spectral_entropy(jnp.linalg.eigvalsh(covariance)), participation(covariance)

        found = network.observe(params, arch, inputs, _of_op, block)
        noisy = inputs + NOISE * jax.random.normal(key, inputs.shape)
        other = network.observe(params, arch, noisy, lambda _: (), lambda _: ())
        difference = jnp.abs(found.last - other.last).sum() / len(inputs)
        agree, sigma = found.total
        entropy, dimensions = found.blocks
        return Seen(agree, sigma, difference, entropy, dimensions, found.present)

    def floats(self, network: Network) -> int:
        """About how many floats the measurement of one architecture holds at once."""
        return network.activations(self.images)


def _of_op(observed: Observed) -> tuple[jax.Array, jax.Array]:
    return agreement(observed.read), observed.log_sigma


@dataclass(frozen=True)
class ForwardScore(Scorer):
    """A score that reads the forward pass.

    Attributes:
      published: the sizes of the score's paper.
    """

    preset: Preset = "fast"
    """Sizes. `fast`: 4 channels in the first stage, full depth, 64 images. `shared`: the channels of the networks that
    `regression` trains (16 on most spaces), 64 images. `paper`: these channels and as many images as published. Scores
    with the same sizes are measured together."""
    width: int | None = None
    """Channels of the first stage in place of the preset's, or as few as networks of the space can have."""
    images: int | None = None
    """Images in the batch in place of the preset's."""

    sign: ClassVar[int] = 1
    published: ClassVar[Sizes]

    @property
    def sizes(self) -> Sizes:
        """Width and images."""
        preset = {"fast": Sizes(4, 64), "shared": Sizes(None, 64), "paper": self.published}[self.preset]
        return Sizes(preset.width if self.width is None else self.width, self.images or preset.images)

    @property
    def reads(self) -> ForwardPass:
        return ForwardPass(*self.sizes)

    def check(self) -> None:
        """Raise a `UserError` if the options make no sense together."""
        if (self.images is not None and self.images < 2) or (self.width is not None and self.width < 1):
            raise UserError(
                f"{self.name}: {self.images} images, width {self.width}; give at least 2 images and width 1"
            )

    def check_data(self, source: Source) -> None:
        """Raise a `UserError` if `source` has too few images."""
        source.check(images=self.sizes.images, option=f"--{self.name}.images")
