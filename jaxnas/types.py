"""The records that travel between the layers of jaxnas."""

import enum
from typing import Any, NamedTuple

import jax
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
    failed = 5  # a search's oracle has no answer
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


class Finished(NamedTuple):
    """The scores of one batch of architectures on the host: `value` and `status` `[N]`, `info` with leading axis N."""

    value: np.ndarray
    status: np.ndarray
    info: dict[str, np.ndarray]
