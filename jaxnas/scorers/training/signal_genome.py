"""The genome of GenNAS's proxy-task search: random tasks, and their mutation (`utils/config_generator.py`). Pure.

A genome is a `Task` of three taps. Its genes: the noise (kind and level together), the number of channels of each tap,
and per tap and kind of signal either nothing or a signal with all its fields.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from jaxnas.scorers.training.targets import KINDS, MAP_SIZE, NOISES, Signal, Task

TAPS = 3
CHANNELS = (16, 32, 48, 64, 80, 96)
LEVELS = tuple(tenth / 10 for tenth in range(5, 30))  # of a signal
NOISE_LEVELS = tuple(tenth / 10 for tenth in range(10))
FREQUENCIES = 10  # of a sinusoid
NYQUIST = 0.5  # cycles per pixel
ON = 0.5  # probability of a signal
KEEP = 0.8  # probability that a gene passes to the child

Gene = TypeVar("Gene")


def random_task(rng: np.random.Generator) -> Task:
    """Draw every gene."""
    taps = tuple(_present([_signal(kind, rng) for kind in KINDS]) for _ in range(TAPS))
    return Task(*_noise(rng), tuple(_channels(rng) for _ in range(TAPS)), taps)


def mutate(task: Task, rng: np.random.Generator, keep: float = KEEP) -> Task:
    """A child of `task`: each gene stays with probability `keep` and is drawn anew otherwise."""

    def gene(old: Gene, draw: Callable[[np.random.Generator], Gene]) -> Gene:
        return old if rng.random() < keep else draw(rng)

    def signal(kind: str, tap: tuple[Signal, ...]) -> Signal | None:
        return gene(next((own for own in tap if own.kind == kind), None), lambda rng: _signal(kind, rng))

    noise = gene((task.noise, task.noise_level), _noise)
    channels = tuple(gene(count, _channels) for count in task.channels)
    return Task(*noise, channels, tuple(_present([signal(kind, tap) for kind in KINDS]) for tap in task.taps))


def is_undefined(task: Task) -> bool:
    """Whether a target is 0/0: that of blurred dots without any dot."""
    return any(s.kind == "dot_gaussian" and int(s.partial * MAP_SIZE**2) < 1 for tap in task.taps for s in tap)


def _noise(rng: np.random.Generator) -> tuple[str, float]:
    return str(rng.choice(list(NOISES))), float(rng.choice(NOISE_LEVELS))


def _channels(rng: np.random.Generator) -> int:
    return int(rng.choice(CHANNELS))


def _signal(kind: str, rng: np.random.Generator) -> Signal | None:
    if rng.random() >= ON:
        return None
    level = float(rng.choice(LEVELS))
    if kind == "resize":
        return Signal(kind, level)
    local = bool(rng.random() < 0.5)
    if kind.startswith("dot"):
        return Signal(kind, level, partial=float(rng.random()), local=local)
    low, high = sorted(rng.uniform(0, NYQUIST, 2).tolist())
    return Signal(kind, level, betas=tuple(rng.uniform(low, high, FREQUENCIES).tolist()), local=local)


def _present(signals: list[Signal | None]) -> tuple[Signal, ...]:
    return tuple(signal for signal in signals if signal is not None)
