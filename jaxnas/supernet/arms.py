"""What a step trains on: the sub-nets that it draws, and the objective as a function of their losses.

A step of K sub-nets runs K times the same compiled forward and backward pass; the gradient of the objective with
respect to the K losses then says how much of each sub-net's gradient goes into the update (the chain rule).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol

import jax
import numpy as np

from jaxnas.supernet.schedules import SCHEDULES

Split = Literal["train", "hinge"]
Sample = Callable[[jax.Array, int], np.ndarray]
"""`(key, n) -> [n, A]` architectures, uniform over the space."""


class Draw(NamedTuple):
    """The sub-nets of S steps.

    Attributes:
      archs: `[S, K, A]`.
      sign: `[S]`, +1 where the last one should have the lower loss, -1 where the higher, 0 where neither.
    """

    archs: np.ndarray
    sign: np.ndarray


class Arm(Protocol):
    """A way to train; frozen, so that it can be compiled in.

    Attributes:
      splits: the data that each of the K sub-nets is shown; those of one split share a batch.
      always: whether each sub-net is run where the rank loss has no strength.
    """

    splits: ClassVar[tuple[Split, ...]]
    always: ClassVar[tuple[bool, ...]]

    def strength(self, epoch: int) -> float:
        """Return lambda of an epoch, counted from 0."""
        ...

    def draw(self, key: jax.Array, steps: int, sample: Sample) -> Draw:
        """The sub-nets of `steps` steps."""
        ...

    def objective(self, losses: jax.Array, strength: jax.Array, sign: jax.Array) -> jax.Array:
        """What a step lowers, `[]`, from the cross-entropies `[K]`; 0 for one that was not run."""
        ...


@dataclass(frozen=True)
class Plain:
    """Single-path one-shot: a uniform sub-net a step."""

    splits: ClassVar[tuple[Split, ...]] = ("train",)
    always: ClassVar[tuple[bool, ...]] = (True,)

    def strength(self, epoch: int) -> float:
        return 0.0

    def draw(self, key: jax.Array, steps: int, sample: Sample) -> Draw:
        return Draw(sample(key, steps)[:, None], np.zeros(steps, np.float32))

    def objective(self, losses: jax.Array, strength: jax.Array, sign: jax.Array) -> jax.Array:
        return losses[0]


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Beside it a random pair of M architectures of known accuracy, a worse than b, on data that is not trained on:

    lambda(t) max(0, L(b) - L(a)), which pushes both losses (Yu et al. 2021).

    Attributes:
      archs: `[M, A]`, ascending in accuracy.
      greatest: lambda_max.
      schedule: name of `schedules.SCHEDULES`.
      epochs: of the whole training.
      warmup: epochs without the rank loss.
    """

    archs: np.ndarray
    greatest: float
    schedule: str
    epochs: int
    warmup: int

    splits: ClassVar[tuple[Split, ...]] = ("train", "hinge", "hinge")
    always: ClassVar[tuple[bool, ...]] = (True, False, False)

    def strength(self, epoch: int) -> float:
        return self.greatest * SCHEDULES[self.schedule](epoch, epochs=self.epochs, warmup=self.warmup)

    def draw(self, key: jax.Array, steps: int, sample: Sample) -> Draw:
        own, key = jax.random.split(key)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        worse = rng.integers(0, len(self.archs) - 1, steps)
        better = rng.integers(worse + 1, len(self.archs))
        pair = self.archs[np.stack([worse, better], 1)]
        return Draw(np.concatenate([sample(own, steps)[:, None], pair], 1), np.ones(steps, np.float32))

    def objective(self, losses: jax.Array, strength: jax.Array, sign: jax.Array) -> jax.Array:
        train, worse, better = losses
        return train + strength * jax.nn.relu(better - worse)


class Pool(Protocol):
    """Where a teacher's sub-nets come from, with what it thinks of them."""

    def __call__(self, key: jax.Array, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return architectures `[n, A]` and their scores `[n]`, higher is better."""
        ...


@dataclass(frozen=True, eq=False)
class Teacher:
    """Two sub-nets a step, ranked by a training-free score: no trained architectures (RD-NAS).

    Both have their cross-entropy; on the second alone acts lambda max(0, L2 - L1) if the teacher prefers it, else
    lambda max(0, L1 - L2), with lambda = min(2, epoch / 10).

    Attributes:
      pool: draws sub-nets with their scores.
      margin: places in which a pair should differ; it is drawn again up to ten times.
    """

    pool: Pool
    margin: int

    greatest: ClassVar[float] = 2.0
    draws: ClassVar[int] = 10
    splits: ClassVar[tuple[Split, ...]] = ("train", "train")
    always: ClassVar[tuple[bool, ...]] = (True, True)

    def strength(self, epoch: int) -> float:
        return min(self.greatest, epoch / 10)

    def draw(self, key: jax.Array, steps: int, sample: Sample) -> Draw:
        keys = jax.random.split(key, self.draws)
        archs, scores = self._pairs(keys[0], steps)
        for again in keys[1:]:
            close = np.flatnonzero((archs[:, 0] != archs[:, 1]).sum(-1) < self.margin)
            if not close.size:
                break
            archs[close], scores[close] = self._pairs(again, len(close))
        return Draw(archs, np.sign(scores[:, 1] - scores[:, 0]).astype(np.float32))

    def objective(self, losses: jax.Array, strength: jax.Array, sign: jax.Array) -> jax.Array:
        first, second = losses
        return first + second + strength * jax.nn.relu(sign * (second - jax.lax.stop_gradient(first)))

    def _pairs(self, key: jax.Array, n: int) -> tuple[np.ndarray, np.ndarray]:
        (one, first), (two, second) = (self.pool(own, n) for own in jax.random.split(key))
        return np.stack([one, two], 1), np.stack([first, second], 1)
