"""What scores of a thin network of full depth have in common: how thin it is, and the images that it sees."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from jaxnas.data import Source
from jaxnas.errors import UserError
from jaxnas.network.network import Network
from jaxnas.scorers.protocol import Scorer


@dataclass(frozen=True)
class ThinScorer(Scorer):
    """A score of a thin network of full depth."""

    width: int | None = 4
    """Channels of the first stage (published: 16), or as few as networks of the space can have; of nats_size 8, of
    AnyNets as many as the architecture says."""

    def check(self) -> None:
        """Raise a `UserError` if the options make no sense together."""
        if self.width is not None and self.width < 1:
            raise UserError(f"{self.name}: width {self.width}; give at least 1")

    def on(self, space: Any) -> Self:
        """The score with a width that networks of the space can have."""
        return replace(self, width=None if self.width is None else space.shrunk(self.width))


@dataclass(frozen=True)
class ImageScorer(ThinScorer):
    """A score of a thin network of full depth, on images.

    Attributes:
      least_images: with fewer the score makes no sense.
    """

    images: int = 64
    """Images in the batch."""

    least_images: ClassVar[int] = 2

    def check(self) -> None:
        """Raise a `UserError` if the options make no sense together."""
        super().check()
        if self.images < self.least_images:
            few = f"{self.least_images} image{'s' * (self.least_images > 1)}"
            raise UserError(f"{self.name}: {self.images} images; give at least {few}")

    def check_data(self, source: Source) -> None:
        """Raise a `UserError` if `source` has too few images."""
        source.check(images=self.images, option=f"--{self.name}.images")

    def draw(self, source: Source, rng: np.random.Generator) -> np.ndarray:
        """One repeat's images `[B, H, W, C]`."""
        return source.images(rng, self.images)

    def floats(self, network: Network) -> int:
        """About how many floats the measurement of one architecture holds at once."""
        return network.activations(self.images)
