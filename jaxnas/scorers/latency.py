"""How long a network takes on this device: the sum of what its operations take, each timed once.

The timings are made by `jaxnas latency` (`jaxnas.evaluate.timing`) and kept in the user's cache.
"""

import contextlib
import functools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from jaxnas.digest import digest
from jaxnas.errors import UserError
from jaxnas.network.pieces import Piece, total
from jaxnas.network.recipe import Recipe
from jaxnas.processor import processor
from jaxnas.scorers.protocol import Count
from jaxnas.types import Finished, Status
from jaxnas.user_cache import PLACE, keep, user_cache

DType = Literal["float32", "bfloat16", "float16"]
PACKAGES = ("jax", "jaxlib")  # whose versions decide how long a program takes


@dataclass(frozen=True)
class Timings:
    """What the operations of a space take on this device.

    Attributes:
      space: its name.
      batch: images at a time.
      dtype: of images and weights.
      device: the kind of processor.
      versions: of what compiled the programs.
      created: when the first of them was timed.
      ms: milliseconds of a batch by `Piece.key`.
      what: the pieces in words.
    """

    space: str
    batch: int
    dtype: str
    device: str
    versions: Mapping[str, str]
    created: str = ""
    ms: Mapping[str, float] = field(default_factory=dict)
    what: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, space: Any, batch: int, dtype: str) -> "Timings":
        """Those of a `Space` that are kept; without any timing where there are none."""
        new = cls(space.name, batch, dtype, processor(), {name: version(name) for name in PACKAGES})
        path = new.path
        with contextlib.suppress(OSError, ValueError, TypeError):
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        return new

    @property
    def path(self) -> Path:
        """Where they are kept; `UserError` where nothing can be."""
        folder = user_cache("latencies")
        if folder is None:
            raise UserError(f"there is no folder to keep timings in; name one by {PLACE}")
        about = (self.space, self.batch, self.dtype, self.device, sorted(self.versions.items()))
        return folder / f"{digest(*about)}.json"

    def keep(self) -> None:
        """Write them for later runs."""
        keep(self.path, json.dumps(asdict(self)))

    def total(self, space: Any, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the milliseconds of architectures `[N, A]`.

        NaN where an operation was not timed, infinity where no path leads from input to output.
        """
        archs = space.without_dead_ends(np.asarray(archs))  # what XLA leaves out; it computes with zeros
        found = np.full(len(archs), np.nan)
        for network, rows in space.networks(archs, Recipe("benchmark")):
            found[rows] = total(network, archs[rows], self.price)
        return np.where(space.is_disconnected(archs), np.inf, found)

    @functools.cached_property
    def price(self) -> Callable[[Piece], float]:
        """The milliseconds of a piece, NaN where it was not timed."""
        return functools.cache(lambda piece: self.ms.get(piece.key, math.nan))


@dataclass(frozen=True)
class Latency(Count):
    """Milliseconds of a batch of images on this device, summed over the operations that `jaxnas latency` timed."""

    batch: int = 1
    """Images at a time."""
    dtype: DType = "float32"
    """Type of images and weights."""

    name: ClassVar[str] = "latency"
    sign: ClassVar[int] = -1
    cost: ClassVar[str] = "none, once jaxnas latency has timed the operations of the space"

    def on(self, space: Any) -> "Timed":
        """The score with what tells the space's timings from others; `UserError` where there are none."""
        space.check_form("benchmark")
        timings = Timings.read(space, self.batch, self.dtype)
        if not timings.ms:
            raise self.missing(space)
        return Timed(self.batch, self.dtype, device=timings.device, fingerprint=digest(sorted(timings.ms.items())))

    def of(self, space: Any, archs: np.ndarray) -> np.ndarray:
        """The milliseconds `[N]`, as `Timings.total` gives them; a `UserError` where no operation was timed."""
        found = Timings.read(space, self.batch, self.dtype).total(space, archs)
        if len(found) and np.isnan(found).all():
            raise self.missing(space)
        return found

    def finish(self, counts: np.ndarray) -> Finished:
        failed = np.where(np.isnan(counts), Status.failed, Status.disconnected)
        known = np.isfinite(counts)
        return Finished(np.where(known, counts, np.nan), np.where(known, Status.ok, failed), {})

    def oriented(self, values: np.ndarray) -> np.ndarray:
        return -np.log(np.maximum(values, 1e-9))

    def missing(self, space: Any) -> UserError:
        """The error that names the command which times the operations of a `Space`."""
        given = f" --batch {self.batch}" * (self.batch != 1) + f" --dtype {self.dtype}" * (self.dtype != "float32")
        return UserError(
            f"latency: the operations of {space.name} were not timed on this device ({processor()}; batch "
            f"{self.batch}, {self.dtype}); run jaxnas latency{given} with the same --space first"
        )


@dataclass(frozen=True)
class Timed(Latency):
    """A latency that is known for a space.

    Attributes:
      device: the kind of processor.
      fingerprint: 16 hexadecimal digits that change when a timing does.
    """

    device: str = field(kw_only=True)
    fingerprint: str = field(kw_only=True)
