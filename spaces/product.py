"""Spaces whose architectures are rows of independent choices, the same ones at every place."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from jaxnas.errors import UserError
from jaxnas.spaces import literals
from jaxnas.spaces.base import LISTABLE, Space
from jaxnas.spaces.sampling import check_number, generator


class RowSpace(Space):
    """All rows `[places]` of numbers from 0 to `choices` - 1.

    Attributes:
      places: numbers in an architecture.
      choices: what each of them can be.
      order: the positions in `enumerate()` of the benchmark's own indices `[size]`; None where it has no indices.
    """

    places: int  # type: ignore[assignment]
    choices: int
    order: Callable[[], np.ndarray] | None = None

    @property
    def size(self) -> int:
        """Number of architectures."""
        return self.choices**self.places

    def enumerate(self) -> np.ndarray:
        """All architectures `[size, places]`, the last number varying fastest."""
        if self.size > LISTABLE:
            return super().enumerate()
        return self._at(np.arange(self.size))

    def index(self, archs: np.ndarray) -> np.ndarray:
        """The positions `[N]` of `archs` `[N, places]` in `enumerate()`."""
        return np.ravel_multi_index(tuple(np.asarray(archs).T), self._radix)

    def arch_ids(self, archs: np.ndarray) -> np.ndarray | None:
        return None if self.order is None else np.argsort(self.order())[self.index(archs)]

    def from_ids(self, ids: np.ndarray) -> np.ndarray:
        return super().from_ids(ids) if self.order is None else self._at(self.order()[self.checked_ids(ids)])

    def from_numbers(self, string: str) -> np.ndarray | None:
        """The architecture `[places]` of an index of the benchmark or of `[3, 0, 1, ...]`; None for other texts.

        Raises:
          UserError: there is no such index, or it is a row of other numbers than architectures have.
        """
        index = None if self.order is None else literals.index(string)
        if index is not None:
            return self.from_ids(np.array([index]))[0]
        numbers = literals.row(string)
        if numbers is None:
            return None
        expected = f"expected {self.places} numbers from 0 to {self.choices - 1}"
        if len(numbers) != self.places:
            raise UserError(f"malformed architecture {string!r}: it has {len(numbers)} numbers; {expected}")
        for place, number in enumerate(numbers):
            if not 0 <= number < self.choices:
                raise UserError(f"malformed architecture {string!r}: number {place} is {number}; {expected}")
        return np.array(numbers, np.int32)

    def arrays(self, archs: str | Sequence[str] | np.ndarray) -> np.ndarray:
        found = super().arrays(archs)
        if ((found < 0) | (found >= self.choices)).any():
            wrong = found[(found < 0) | (found >= self.choices)][0]
            raise UserError(f"{self.name} has no choice {wrong}; give whole numbers from 0 to {self.choices - 1}")
        return found

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
        """The architectures `[N, places]` at these positions `[N]` in `enumerate()`."""
        return np.stack(np.unravel_index(positions, self._radix), -1).astype(np.int32)

    @property
    def _radix(self) -> tuple[int, ...]:
        return (self.choices,) * self.places
