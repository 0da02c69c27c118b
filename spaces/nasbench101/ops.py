"""Operations of the NAS-Bench-101 network that no other network here has."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxnas.kernels.layout import Layout
from jaxnas.kernels.pool import max_pool3x3
from jaxnas.network.op import Moments, Op, Params, Saved


@dataclass(frozen=True)
class MaxPool(Op):
    """3x3 maximum pooling at stride 1; not linear, but without parameters, as `Op` asks."""

    out_channels: int
    layout: Layout

    def linear(self, params: Params, x: jax.Array) -> jax.Array:
        return max_pool3x3(x, self.layout)

    def adjoint(self, x: jax.Array, g: jax.Array) -> jax.Array:
        return jax.vjp(lambda x: max_pool3x3(x, self.layout), x)[1](g)[0]


@dataclass(frozen=True)
class Rectifier(Op):
    """ReLU of any tensor as a place of its own, so that the network's patterns know of it."""

    layout: Layout
    relu: ClassVar[bool] = True

    def out_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def forward(self, params: Params, x: jax.Array, by: Moments | None = None) -> tuple[jax.Array, Saved]:
        nothing = jnp.zeros(0, x.dtype)
        return jax.nn.relu(x), Saved(nothing, Moments(nothing, nothing))

    def adjoint(self, x: jax.Array, g: jax.Array) -> jax.Array:
        return jnp.where(x > 0, g, 0.0)
