"""Numbers of any unit as a model reads them."""

from typing import NamedTuple

import numpy as np


class Scale(NamedTuple):
    """Centre and width `[T]` of numbers, by which each column is brought to a common unit."""

    centre: np.ndarray
    width: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray) -> "Scale":
        """Return median and distance of the quartiles of the columns of `[N, T]`, failures left out."""
        known = [column[np.isfinite(column)] if np.isfinite(column).any() else np.zeros(1) for column in numbers.T]
        low, centre, high = np.array([np.quantile(column, (0.25, 0.5, 0.75)) for column in known]).T
        return cls(centre, np.where(high > low, high - low, 1.0))

    def to_units(self, numbers: np.ndarray) -> np.ndarray:
        """Return `[N, T]` the numbers `[N, T]` less the centre, over the width."""
        return (numbers - self.centre[None]) / self.width[None]

    def from_units(self, numbers: np.ndarray) -> np.ndarray:
        """Return `[N, T]` what `to_units` was given."""
        return numbers * self.width[None] + self.centre[None]


def padded(rows: np.ndarray, length: int) -> np.ndarray:
    """Return float32 rows `[length, ...]`, zeros behind those given."""
    return np.pad(rows.astype(np.float32), [(0, length - len(rows)), *[(0, 0)] * (rows.ndim - 1)])
