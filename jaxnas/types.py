"""The records that travel between the layers of jaxnas."""

import enum
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Status(enum.IntEnum):
    """How a score came about, in order of severity: of several repeats the largest one counts.

    Only `ok` and `saturated` come with a value.
    """

    ok = 0
    saturated = 1  # a count reached its upper end: all samples distinct
    rank_deficient = 2  # smallest NTK eigenvalue lost in rounding: no condition number
    nonfinite = 3  # NaN or infinity
    disconnected = 4  # no path from input to output; not run
    failed = 5  # a search's oracle has no answer, or an operation was not timed
    skipped = 6  # a search did not ask for it


class Score(NamedTuple):
    """One score of one architecture.

    Attributes:
      value: the score, `[]` float32; NaN unless `status` is `ok` or `saturated`.
      status: a `Status`, `[]` int32.
      info: what else the scorer knows, such as the NTK's `spectrum` `[B]`.
    """

    value: jax.Array
    status: jax.Array
    info: dict[str, Any]


def if_finite(value: jax.Array, info: dict[str, Any] | None = None) -> Score:
    """The score with this value `[]`, or the status `nonfinite` and none."""
    finite = jnp.isfinite(value)
    status = jnp.where(finite, Status.ok, Status.nonfinite).astype(jnp.int32)
    return Score(jnp.where(finite, value, jnp.nan), status, info or {})


def nullable(values: np.ndarray) -> list[float | None]:
    """The values `[N]` for JSON: of what is not finite None."""
    return [value if math.isfinite(value) else None for value in np.asarray(values, np.float64).tolist()]


class Finished(NamedTuple):
    """The scores of one batch of architectures on the host: `value` and `status` `[N]`, `info` with leading axis N."""

    value: np.ndarray
    status: np.ndarray
    info: dict[str, np.ndarray]

    @classmethod
    def without_value(cls, status: Status, *shape: int) -> "Finished":
        """Scores of this shape that all have the same status and no value."""
        return cls(np.full(shape, np.nan), np.full(shape, int(status)), {})
