"""The regression score with its task as data: one compiled program for all tasks.

Targets and heads have `most` channels, and from a tap's own number on they are zero. There the error is zero, so no
gradient reaches the head's weights and they stay zero: the padding changes the mean over the channels, which a factor
on the tap's error undoes, and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.data import Source
from jaxnas.network.op import Params
from jaxnas.scorers.training.regression import Problem, Regression, init_heads
from jaxnas.scorers.training.targets import NOISES, Task, targets


class TaskData(NamedTuple):
    """What the program gets to know of a task: for all tasks the same shapes.

    Attributes:
      images: `[B, H, W, 3]`.
      targets: one `[B, S, S, most]` per tap; zeros behind the tap's channels.
      channels: number of channels of each tap, `[L]`.
      noise: position in `NOISES`, `[]`.
      level: of the noise, `[]`.
    """

    images: Any
    targets: tuple[Any, ...]
    channels: Any
    noise: Any
    level: Any


@dataclass(frozen=True, kw_only=True)
class AnyTask(Regression):
    """The score of `Regression` for the task `drawn`, which takes the place of the option `task`.

    Scorers that differ in `drawn` alone trace to the same program. With the same seed the images, the targets, the
    heads and the noise are those of `Regression`, so the two scores agree up to rounding.
    """

    drawn: Task
    most: int

    option: ClassVar[str] = "--images"

    def draw(self, source: Source, rng: np.random.Generator) -> TaskData:
        """The task's images, targets and other data."""
        images = self.draw_images(source, rng)
        return TaskData(
            images,
            tuple(_padded(target, self.most) for target in targets(self.drawn, images, rng)),
            np.array(self.drawn.channels, np.int32),
            np.int32(list(NOISES).index(self.drawn.noise)),
            np.float32(self.drawn.noise_level),
        )

    def for_all(self, inputs: TaskData, key: jax.Array) -> TaskData:
        """The task's data, with the noisy images `[steps + 1, B, H, W, C]` of each step in place of the images."""

        def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            kinds = [lambda key, draw=draw: draw(key, shape, inputs.level) for draw in NOISES.values()]
            drawn: jax.Array = jax.lax.switch(inputs.noise, kinds, key)
            return drawn

        return inputs._replace(images=self._noisy(inputs.images, key, draw))

    def _heads(self, inputs: TaskData, key: jax.Array, widths: Sequence[int]) -> list[Params]:
        heads = init_heads(key, widths, [self.most] * len(widths))
        return [_narrowed(head, count) for head, count in zip(heads, inputs.channels, strict=True)]

    def _problem(self, inputs: TaskData) -> Problem:
        return Problem(inputs.images, inputs.targets, scale=tuple(self.most / inputs.channels))


def _padded(target: np.ndarray, channels: int) -> np.ndarray:
    return np.pad(target, ((0, 0), (0, 0), (0, 0), (0, channels - target.shape[-1])))


def _narrowed(head: Params, count: jax.Array) -> Params:
    """The head of `count` channels, with zeros behind.

    JAX numbers the elements of a draw in their flat order, whatever its shape. So the first `(C_in + 1) * count`
    numbers of the wide head are those that `init_heads` draws from the same key for `count` channels.
    """
    wide = jnp.concatenate([head["kernel"], head["offset"][None]])
    row, column = np.indices(wide.shape)
    own = jnp.where(column < count, wide.ravel()[row * count + column], 0)
    return {**head, "kernel": own[:-1], "offset": own[-1]}
