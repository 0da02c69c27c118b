"""The forward pass that several scores read, so that one compiled program serves them all.

Every network here divides by batch statistics, so the scale of a convolution that a normalisation follows changes no
sign and no normalised feature: one draw of weights, N(0, 1) before normalisations, serves all of these scores.
"""

import functools
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.data import Source
from jaxnas.errors import UserError
from jaxnas.kernels.patterns import agreement
from jaxnas.kernels.spectrum import channel_covariance, participation, spectral_entropy
from jaxnas.network.network import Network, Observation
from jaxnas.network.op import Observed
from jaxnas.network.recipe import Recipe
from jaxnas.scorers.protocol import Pass, Scorer

NOISE = 0.01  # deviation
Preset = Literal["fast", "shared", "paper"]


class Sizes(NamedTuple):
    """Channels of the first stage, None for those of the space's networks with `taps`, and images in the batch."""

    width: int | None
    images: int


class Seen:
    """What a forward pass gives; traced when a score first reads it.

    Args:
      network: with weights `params`.
      arch: the architecture `[A]`.
      images: `[B, H, W, C]`.
      key: of the noise.
    """

    def __init__(self, network: Network, params: Any, arch: jax.Array, images: jax.Array, key: jax.Array):
        self._network, self._images, self._key = network, images, key
        self._params, self._arch = network.rescale_to_fan_in(params, arch), arch

    @property
    def agreement(self) -> jax.Array:
        """On how many units of all ReLUs two images have the same sign `[B, B]`."""
        return self._seen.total[0]

    @property
    def log_sigma(self) -> jax.Array:
        """The sum over batch normalisations of log sqrt(mean over channels of the batch's variance) `[]`."""
        return self._seen.total[1]

    @property
    def entropy(self) -> jax.Array:
        """Of the spectrum of each block's channel covariance `[L]`."""
        return self._seen.blocks[0]

    @property
    def participation(self) -> jax.Array:
        """The participation ratio of each block's channel covariance `[L]`."""
        return self._seen.blocks[1]

    @property
    def present(self) -> jax.Array:
        """Whether the architecture has that block `[L]`."""
        return self._seen.present

    @functools.cached_property
    def moved(self) -> jax.Array:
        """How far noise on the images moves the last feature map: the sum of absolute values, mean over images `[]`."""
        noisy = self._images + NOISE * jax.random.normal(self._key, self._images.shape)
        features, _ = self._network.taps(self._params, self._arch, noisy)
        return jnp.abs(features[-1] - self._seen.last).sum() / len(noisy)

    @functools.cached_property
    def _seen(self) -> Observation:
        def op(observed: Observed) -> tuple[jax.Array, jax.Array]:
            return agreement(observed.read), observed.log_sigma

        def block(x: jax.Array) -> tuple[jax.Array, jax.Array]:
            covariance = channel_covariance(x, self._network.config.layout)
            return spectral_entropy(jnp.linalg.eigvalsh(covariance)), participation(covariance)

        return self._network.observe(self._params, self._arch, self._images, op, block)


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
        """What the scores read of one architecture."""
        return Seen(network, params, arch, inputs, key)

    def floats(self, network: Network) -> int:
        """About how many floats the measurement of one architecture holds at once."""
        return network.activations(self.images)


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
    cost: ClassVar[str] = "one forward pass of a thin network of full depth"
    published: ClassVar[Sizes] = Sizes(None, 64)

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
