"""Synthetic regression targets and input noise of GenNAS (Li et al., NeurIPS 2021; `utils/tricks.py`, `configs.py`)."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.errors import UserError, unknown

PHASES = 32  # maps per frequency and orientation in the pool that channels are chosen from
KINDS = ("sin1d", "sin2d", "resize", "dot", "dot_gaussian")
MAP_SIZE = 8  # pixels, of a side of a target map
_TASKS = Path(__file__).with_name("tasks.json")  # each task with the spaces that it is for
TASK = "nb101"  # GenNAS's for NAS-Bench-101 and NAS-Bench-201

Shape = tuple[int, int]
"""Rows and columns of a map."""


def _uniform(key: jax.Array, shape: tuple[int, ...], level: Any) -> jax.Array:
    return jax.random.uniform(key, shape, jnp.float32, -level, level)


def _gaussian(key: jax.Array, shape: tuple[int, ...], level: Any) -> jax.Array:
    return level * jax.random.normal(key, shape, jnp.float32)


NOISES = {"uniform": _uniform, "gaussian": _gaussian}
"""Kinds of noise: from a key, a shape and a level, which may be traced, to noise."""


@dataclass(frozen=True)
class Signal:
    """One component of a target.

    Attributes:
      kind: one of `KINDS`.
      level: factor on the component.
      betas: frequencies in cycles per pixel, at most 0.5 (`sin1d`, `sin2d`).
      partial: fraction of the cells that carry a spike (`dot`, `dot_gaussian`).
      local: draw anew for every sample of the batch; otherwise the batch shares its maps. No effect on `resize`.
    """

    kind: str
    level: float
    betas: tuple[float, ...] = ()
    partial: float = 0.0
    local: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("signal", self.kind, KINDS)
        if not np.isfinite([self.level, *self.betas]).all():
            raise UserError(f"signal {self.kind}: level and betas must be finite numbers")
        if self.kind.startswith("sin") and not self.betas:
            raise UserError(f"signal {self.kind}: needs betas, a list of frequencies in cycles per pixel (0 to 0.5)")
        if not 0 <= self.partial <= 1:
            raise UserError(f"signal {self.kind}: partial is {self.partial:g}; it must lie in 0 to 1")


@dataclass(frozen=True)
class Task:
    """A regression task: what the taps of a network are to learn, and how noisy its inputs are. Hashable.

    Attributes:
      noise: one of `NOISES`.
      noise_level: amplitude of the noise, in standard deviations of the images.
      channels: number of target channels `C_l` per tap.
      taps: signals of each tap, shallow to deep; a target is their sum.
    """

    noise: str
    noise_level: float
    channels: tuple[int, ...]
    taps: tuple[tuple[Signal, ...], ...]

    def __post_init__(self) -> None:
        if self.noise not in NOISES:
            raise unknown("noise", self.noise, NOISES)
        if not 0 <= self.noise_level < np.inf:
            raise UserError(f"noise_level is {self.noise_level:g}; it must be 0 or a positive number")
        if not self.taps or len(self.channels) != len(self.taps) or min(self.channels) < 1:
            raise UserError("a task needs at least one tap, and each tap a positive number of channels")


def load_task(name: str) -> Task:
    """The stored task `name` (nb101; nlp, of sequences; ...), or that in the file `name` if it ends in .json.

    Raises:
      UserError: no such task, no such file, or a file that does not hold a task.
    """
    if name.endswith(".json"):
        return _parse(_read_json(name), name)
    stored = json.loads(_TASKS.read_text())
    if name not in stored:
        raise unknown("task", name, stored)
    return _parse(stored[name], name)


def task_for(space: str) -> str:
    """The name of GenNAS's stored task for a space; without one of its own that for NAS-Bench-101 and 201."""
    base = space.partition(":")[0]
    stored = json.loads(_TASKS.read_text())
    return next((name for name, task in stored.items() if base in task.get("spaces", ())), TASK)


def _read_json(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise UserError(f"cannot read task file {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"task file {path} is not JSON: {error}") from error


def _parse(record: Any, name: str) -> Task:
    try:
        taps = tuple(tuple(_signal(**signal) for signal in tap["signals"]) for tap in record["taps"])
        channels = tuple(int(tap["channels"]) for tap in record["taps"])
        return Task(str(record["noise"]), float(record["noise_level"]), channels, taps)
    except UserError as error:
        raise UserError(f"task {name}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"task {name} is malformed ({error!r}): it needs noise, noise_level and taps, each tap channels and"
            " signals, each signal kind, level and what its kind takes (betas, partial, local)"
        ) from error


def to_record(task: Task) -> dict[str, Any]:
    """The JSON form of a task: that of a stored task and of a task file, which `load_task` reads."""
    taps = [
        {"channels": channels, "signals": [_signal_record(signal) for signal in signals]}
        for channels, signals in zip(task.channels, task.taps, strict=True)
    ]
    return {"noise": task.noise, "noise_level": task.noise_level, "taps": taps}


def _signal_record(signal: Signal) -> dict[str, Any]:
    """The fields that the signal's kind takes."""
    record: dict[str, Any] = {"kind": signal.kind, "level": signal.level}
    if signal.kind == "resize":
        return record
    own = {"betas": list(signal.betas)} if signal.kind.startswith("sin") else {"partial": signal.partial}
    return {**record, **own, "local": signal.local}


def _signal(kind: str, level: float, betas: Any = (), partial: float = 0.0, local: bool = True) -> Signal:
    return Signal(kind, float(level), tuple(float(beta) for beta in betas), float(partial), bool(local))


def targets(task: Task, images: np.ndarray, rng: np.random.Generator, size: int = MAP_SIZE) -> tuple[np.ndarray, ...]:
    """Draw the target of every tap, `sum_k level_k * component_k`; not normalised.

    Args:
      task: the task.
      images: noise-free inputs `[B, H, W, 3]`, side a multiple of `size`.
      rng: generator that all draws come from.
      size: side of the target maps in pixels.

    Returns:
      One float32 array `[B, size, size, C_l]` per tap.

    Raises:
      UserError: a signal cannot be drawn: too few maps to choose from, or blurred dots without any dot.
    """
    small = _subsample(images, size)
    return tuple(_target(tap, small, channels, rng) for tap, channels in zip(task.taps, task.channels, strict=True))


def sequences(
    task: Task, batch: int, rng: np.random.Generator, length: int = MAP_SIZE
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the input and the target of a recurrent network: the task's two taps as maps of `length` rows.

    Every sample is one map with the task's number of channels as columns.

    Returns:
      Two float32 arrays `[length, batch, D]`.

    Raises:
      UserError: the task has not two taps of equal numbers of channels, or one with `resize`, which needs images.
    """
    kinds = {signal.kind for tap in task.taps for signal in tap}
    if len(task.taps) != 2 or len(set(task.channels)) != 1 or "resize" in kinds:
        raise UserError(
            "a task of sequences needs two taps, input and target, with the same number of channels and without resize"
        )
    shape = length, task.channels[0]
    first, second = (_sequence(tap, batch, shape, rng) for tap in task.taps)
    return first, second


def _sequence(tap: tuple[Signal, ...], batch: int, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    total = np.zeros((batch, *shape))
    for signal in tap:
        total += signal.level * _maps(signal, batch, shape, 1, rng)[..., 0]
    return total.swapaxes(0, 1).astype(np.float32)


def noise(task: Task, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw float32 input noise: `U(-a, a)` or `a * N(0, 1)`, where `a` is the task's noise level."""
    if task.noise_level == 0:
        return jnp.zeros(shape, jnp.float32)
    return NOISES[task.noise](key, shape, task.noise_level)


def _target(tap: tuple[Signal, ...], images: np.ndarray, channels: int, rng: np.random.Generator) -> np.ndarray:
    total = np.zeros((*images.shape[:3], channels))
    for signal in tap:
        total += signal.level * _component(signal, images, channels, rng)
    return total.astype(np.float32)


def _component(signal: Signal, images: np.ndarray, channels: int, rng: np.random.Generator) -> np.ndarray:
    """Return `[B, size, size, channels]`, or `[1, ...]` where the batch shares its maps."""
    if signal.kind == "resize":
        return _resize(images, channels, rng)
    return _maps(signal, len(images), images.shape[1:3], channels, rng)


def _maps(signal: Signal, batch: int, shape: Shape, channels: int, rng: np.random.Generator) -> np.ndarray:
    draw = _DRAWS[signal.kind]
    return np.stack([draw(signal, shape, channels, rng) for _ in range(batch if signal.local else 1)])


def _resize(images: np.ndarray, channels: int, rng: np.random.Generator) -> np.ndarray:
    """The sub-sampled batch scaled to [-1, 1] by its own minimum and maximum; each channel is one of R, G, B."""
    low, high = images.min(), images.max()
    if not low < high:
        raise UserError("signal resize: the images are constant or not finite, so they have no range to scale by")
    return (2 * (images - low) / (high - low) - 1)[..., rng.permutation(1000)[:channels] % 3]


def _sin1d(signal: Signal, shape: Shape, channels: int, rng: np.random.Generator) -> np.ndarray:
    """`g(2 pi beta p + phi_j)` along rows or along columns, g = sin for even j and cos for odd j."""
    betas = np.array(signal.betas)
    phases = rng.uniform(0, 2 * np.pi, (len(betas), PHASES))
    i, j, across = _choose(signal, (len(betas), PHASES, 2), channels, rng)
    y, x = _positions(shape)
    return _wave(2 * np.pi * betas[i] * np.where(across, x, y) + phases[i, j], j)


def _sin2d(signal: Signal, shape: Shape, channels: int, rng: np.random.Generator) -> np.ndarray:
    """`g(2 pi (beta_1 y + beta_2 x) + 2 phi_j)` for an ordered pair of frequencies, or that map upside down."""
    betas = np.array(signal.betas)
    phases = rng.uniform(0, 2 * np.pi, (len(betas), len(betas), PHASES))
    a, b, j, flip = _choose(signal, (len(betas), len(betas), PHASES, 2), channels, rng)
    y, x = _positions(shape)
    y = np.where(flip, max(shape) + 1 - y, y)
    return _wave(2 * np.pi * (betas[a] * y + betas[b] * x) + 2 * phases[a, b, j], j)


def _choose(signal: Signal, pool: tuple[int, ...], channels: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Choose maps of a pool without replacement; return their coordinates in it, each `[channels]`."""
    count = int(np.prod(pool))
    if channels > count:
        raise UserError(f"signal {signal.kind}: {channels} channels, but its betas give {count} maps; add betas")
    return tuple(np.unravel_index(rng.choice(count, channels, replace=False), pool))


def _positions(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Return `y` `[rows, 1, 1]` and `x` `[1, columns, 1]`, which count from one as in the original."""
    y, x = (np.arange(1, side + 1) for side in shape)
    return y[:, None, None], x[None, :, None]


def _wave(angle: np.ndarray, phase: np.ndarray) -> np.ndarray:
    return np.where(phase % 2 == 0, np.sin(angle), np.cos(angle))


def _dot(signal: Signal, shape: Shape, channels: int, rng: np.random.Generator) -> np.ndarray:
    """`int(partial * area)` distinct cells per map at +1 or -1 (fair coin), the rest 0."""
    area = shape[0] * shape[1]
    cells = np.arange(area) < int(signal.partial * area)
    spikes = rng.permuted(np.tile(cells, (channels, 1)), axis=1) * rng.choice([-1.0, 1.0], (channels, area))
    return spikes.T.reshape(*shape, channels)


def _dot_gaussian(signal: Signal, shape: Shape, channels: int, rng: np.random.Generator) -> np.ndarray:
    """`_dot` blurred with a standard deviation of one pixel, each map divided by its own largest absolute value."""
    rows, columns = shape
    if int(signal.partial * rows * columns) < 1:  # the original divides 0 by 0 here, and its whole task is NaN
        raise UserError(
            f"signal dot_gaussian: partial is {signal.partial:g}, which is no dot on a {rows}x{columns} map (0/0);"
            f" it must be at least 1/{rows * columns}"
        )
    down, across = _blur_matrix(rows), _blur_matrix(columns)
    maps = np.einsum("yi,ijc,xj->yxc", down, _dot(signal, shape, channels, rng), across, optimize=True)
    return maps / np.abs(maps).max((0, 1))


@functools.cache
def _blur_matrix(size: int, radius: int = 4) -> np.ndarray:
    """The `[size, size]` matrix of `scipy.ndimage.gaussian_filter1d(sigma=1)`: radius 4, mirrored borders."""
    weights = np.exp(-0.5 * np.arange(-radius, radius + 1) ** 2)
    mirrored = np.pad(np.eye(size), ((radius, radius), (0, 0)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, 2 * radius + 1, axis=0)
    return windows @ (weights / weights.sum())


def _subsample(images: np.ndarray, size: int) -> np.ndarray:
    """Reduce `[B, H, W, 3]` to `[B, size, size, 3]` float64, nearest neighbour."""
    rows, columns = (np.arange(size) * side // size for side in images.shape[1:3])
    return np.asarray(images, np.float64)[:, rows[:, None], columns]


_DRAWS: dict[str, Callable[[Signal, Shape, int, np.random.Generator], np.ndarray]] = {
    "sin1d": _sin1d,
    "sin2d": _sin2d,
    "dot": _dot,
    "dot_gaussian": _dot_gaussian,
}
