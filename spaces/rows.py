"""Spaces whose architectures are rows of independent choices, the same ones at every place."""

import jax
import numpy as np

from jaxnas.spaces.base import LISTABLE, Space
from jaxnas.spaces.draws import check_number, generator


class RowSpace(Space):
    """All rows `[places]` of numbers from 0 to `choices` - 1.

    Attributes:
      places: numbers in an architecture.
      choices: what each of them can be.
    """

    places: int
    choices: int

    @property
    def size(self) -> int:
        """Number of architectures."""
        return self.choices**self.places

    def enumerate(self) -> np.ndarray:
        """Return all architectures `[size, places]`, the last number varying fastest."""
        if self.size > LISTABLE:
            return super().enumerate()
        return self._at(np.arange(self.size))

    def index(self, archs: np.ndarray) -> np.ndarray:
        """Return the positions `[N]` of `archs` `[N, places]` in `enumerate()`."""
        return np.ravel_multi_index(tuple(np.asarray(archs).T), self._radix)

    def sample(self, key: jax.Array, n: int) -> np.ndarray:
        """Draw `n` different architectures `[n, places]` uniformly."""
        check_number(self.name, n, self.size)
        return self._at(generator(key).choice(self.size, n, replace=False))

    def mutate(self, key: jax.Array, arch: np.ndarray) -> np.ndarray:
        """Return `arch` `[places]` with one number replaced by another one, both uniform."""
        rng, child = generator(key), np.array(arch, np.int32)
        place = rng.integers(self.places)
        child[place] = rng.choice([choice for choice in range(self.choices) if choice != child[place]])
        return child

    def _at(self, positions: np.ndarray) -> np.ndarray:
        """Return the architectures `[N, places]` at these positions `[N]` in `enumerate()`."""
        return np.stack(np.unravel_index(positions, self._radix), -1).astype(np.int32)

    @property
    def _radix(self) -> tuple[int, ...]:
        return (self.choices,) * self.places
