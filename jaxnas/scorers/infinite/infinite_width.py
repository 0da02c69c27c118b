"""Scores of a network of infinite width, in closed form: no weights are drawn, so nothing depends on their seed.

K is a kernel between B images: NNGP, the covariance of the logits of all networks with random weights, or NTK, the
limit of the tangent kernel of one. The score of the NNGP is the mean correlation K[i, j] / sqrt(K[i, i] K[j, j]) of
different images, that of the NTK its condition number lambda_max / lambda_min or, less dependent on the images,
tr K / (B lambda_min): B times that is the square of the scaled condition number of the gradients (J. Demmel, Numerische
Mathematik 51, 1987).
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.data import Source
from jaxnas.data.images import SIDE, shrunk
from jaxnas.errors import UserError
from jaxnas.kernels.spectrum import DOUBLE
from jaxnas.network.network import HEAD, Network
from jaxnas.network.recipe import Recipe
from jaxnas.scorers.gradient.ntk import condition_numbers
from jaxnas.scorers.infinite import neural_tangents
from jaxnas.scorers.infinite.kernel_walk import Field, Kernels, KernelWalk, Norm, refusal
from jaxnas.scorers.protocol import Pass, Scorer
from jaxnas.types import Finished


@dataclass(frozen=True)
class InfiniteWidth(Pass):
    """Both kernels of one network between the same images."""

    images: int
    resolution: int
    norm: Norm
    cells: int

    name: ClassVar[str] = "infinite"
    float64: ClassVar[bool] = True
    archs_per_call: ClassVar[int] = 32

    @property
    def recipe(self) -> Recipe:
        return Recipe(channels=1, cells=self.cells, others=(("image", (self.resolution, self.resolution, 3)),))

    def check_network(self, network: Network) -> None:
        """Raise a `UserError` if it has no kernels, or the package is not there."""
        if (why := refusal(network)) is not None:
            raise UserError(
                f"no network of infinite width: {why}; nasbench201, transnas101_micro and own spaces have it"
            )
        neural_tangents.load()

    def draw(self, source: Source, rng: np.random.Generator) -> np.ndarray:
        """One repeat's images `[B, H, W, C]`, at the resolution."""
        return shrunk(source.images(rng, self.images), self.resolution)

    def measure(self, network: Network, params: Any, arch: jax.Array, inputs: jax.Array, key: jax.Array) -> Kernels:
        """Both kernels `[B, B]` of one architecture."""
        self.check_network(network)
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            walk = KernelWalk(network.ops(), self.norm)
            images: Any = Field.drawn(Kernels.of(inputs.astype(jnp.float64)))
            kernels: Any = walk(HEAD, network.wire(walk, arch, images)[-1])
            return kernels

    def floats(self, network: Network) -> int:
        """About how many floats the measurement of one architecture holds at once."""
        return 32 * self.images**2 * self.resolution**4


@dataclass(frozen=True)
class InfiniteScore(Scorer):
    """A score of a network of infinite width."""

    images: int = 8
    """Images in the batch."""
    resolution: int = 8
    """Pixels of an image's side; they are means over squares of the images."""
    norm: Norm = "none"
    """What is in place of batch normalisation: `none`, or division by the deviation of a `pixel`, an image (`layer`) or
    the whole `batch`."""
    cells: int = 1
    """Cells per stage."""

    cost: ClassVar[str] = "closed form: covariances between the pixels of small images"
    paper: ClassVar[str] = "Neural Tangents (Novak et al., ICLR 2020)"

    @property
    def reads(self) -> InfiniteWidth:
        return InfiniteWidth(self.images, self.resolution, self.norm, self.cells)

    def check(self) -> None:
        """Raise a `UserError` if the options make no sense together."""
        if self.images < 2 or self.cells < 1:
            raise UserError(f"{self.name}: {self.images} images, {self.cells} cells; give at least 2 images and 1 cell")
        if self.resolution < 4 or SIDE % self.resolution:
            raise UserError(f"{self.name}: resolution {self.resolution}; give one of 4, 8, 16, 32")

    def fits(self, space: Any) -> bool:
        """Say whether the networks of a `Space` have kernels."""
        if not super().fits(space):
            return False
        (group,) = space.groups(space.encode(space.example)[None], self.recipe.form)
        return refusal(space.network_for(self.recipe, group)) is None

    def check_data(self, source: Source) -> None:
        """Raise a `UserError` if `source` has too few images."""
        source.check(images=self.images, option=f"--{self.name}.images")


@dataclass(frozen=True)
class InfiniteNNGP(InfiniteScore):
    """Mean correlation of different images in the NNGP kernel of a network of infinite width."""

    name: ClassVar[str] = "infinite_nngp"

    def read(self, seen: Kernels) -> jax.Array:
        """The NNGP `[B, B]` of one architecture."""
        return seen.nngp

    def finish(self, kernels: np.ndarray) -> Finished:
        """Turn the kernels `[N, B, B]` of a batch into values and statuses `[N]`, on the host."""
        deviation = np.sqrt(np.diagonal(kernels, axis1=1, axis2=2))
        correlation = kernels / (deviation[:, :, None] * deviation[:, None])
        return super().finish(correlation[:, ~np.eye(self.images, dtype=bool)].mean(1))


@dataclass(frozen=True)
class InfiniteNTK(InfiniteScore):
    """Condition number of the neural tangent kernel of a network of infinite width."""

    images: int = 32
    """Images in the batch."""
    resolution: int = 4
    """Pixels of an image's side; they are means over squares of the images."""
    over: Literal["mean", "largest"] = "mean"
    """Which eigenvalue stands over the smallest one: the `mean`, or the `largest`, which depends more on what images
    are drawn."""

    name: ClassVar[str] = "infinite_ntk"
    sign: ClassVar[int] = -1

    def read(self, seen: Kernels) -> jax.Array:
        """The NTK `[B, B]` of one architecture."""
        return seen.ntk

    def finish(self, kernels: np.ndarray) -> Finished:
        """Turn the kernels `[N, B, B]` of a batch into values and statuses `[N]` and spectra `[N, B]`, on the host."""
        found = condition_numbers(kernels, DOUBLE)
        spectrum = found.info["spectrum"]
        share = spectrum.mean(-1) / spectrum[:, -1] if self.over == "mean" else 1.0
        return found._replace(value=found.value * share)
