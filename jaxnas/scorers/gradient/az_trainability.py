"""Trainability (AZ-NAS; Lee and Ham, CVPR 2024): how well each block keeps the size of what passes back through it.

A block is a stem, a cell or a residual unit. At the output of each, R is a cotangent of random signs and Q what it
becomes at the block's input, both `[B H W, channels]`; where the block halves the image, each square of pixels of Q is
one row. With s the largest singular value of Q'R / rows, the block has t = 2 - s - 1 / (s + 1e-6), which is highest, 0,
for s = 1; the score is the mean over the blocks but the first. A block that changes nothing is left out.

Where a cell reads the outputs of two cells before it, what arrives at an output comes from both cells that read it.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxnas.network.network import Network
from jaxnas.network.recipe import Recipe
from jaxnas.scorers.thin import ImageScorer

EPSILON = 1e-6


def largest_singular_value(q: jax.Array, r: jax.Array) -> jax.Array:
    """Return that of Q'R / rows `[]` for cotangents `[B, H, W, C]` at a block's input and output."""
    (batch, height, width, channels), stride = r.shape, q.shape[1] // r.shape[1]
    squares = q.reshape(batch, height, stride, width, stride, -1).transpose(0, 1, 3, 2, 4, 5)
    rows = batch * height * width
    with jax.default_matmul_precision("highest"):
        matrix = squares.reshape(rows, -1).T @ r.reshape(rows, channels) / rows
        return jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(matrix.T @ matrix)[-1], 0))


@dataclass(frozen=True)
class AZTrainability(ImageScorer):
    """Trainability of AZ-NAS."""

    name: ClassVar[str] = "az_trainability"
    sign: ClassVar[int] = 1
    least_images: ClassVar[int] = 1
    paper: ClassVar[str] = "AZ-NAS (Lee and Ham, CVPR 2024)"
    cost: ClassVar[str] = "one backward pass, block by block, of a thin network of full depth"
    archs_per_call: ClassVar[int] = 32

    @property
    def recipe(self) -> Recipe:
        return Recipe("taps", channels=self.width, bn="batch", init="kaiming")

    def measure(self, network: Network, params: Any, arch: jax.Array, inputs: jax.Array, key: jax.Array) -> jax.Array:
        """The score of one architecture."""
        params, shapes = network.rescale_to_fan_in(params, arch), network.flow.blocks
        keys = jax.random.split(key, len(shapes))
        begin = [
            jax.random.rademacher(key, (self.images, *shape), jnp.float32)
            for key, shape in zip(keys, shapes, strict=True)
        ]
        arrive, present = network.block_cotangents(params, arch, inputs, begin)
        s = jnp.stack([largest_singular_value(q, r) for q, r in zip(arrive, begin[1:], strict=False)])
        same = [q.shape == r.shape and (q == r).all() for q, r in zip(arrive, begin[1:], strict=False)]
        counts = jnp.stack(present[1:]) & ~jnp.stack(list(map(jnp.asarray, same)))
        return jnp.where(counts, 2 - s - 1 / (s + EPSILON), 0).sum() / counts.sum()

    def floats(self, network: Network) -> int:
        """About how many floats the measurement of one architecture holds at once."""
        return 2 * network.activations(self.images)
