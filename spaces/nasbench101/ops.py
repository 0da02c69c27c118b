"""Operations of the NAS-Bench-101 network that no other network here has."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxnas.kernels.gram import gram
from jaxnas.kernels.layout import Layout
from jaxnas.kernels.pool import max_pool3x3
from jaxnas.network.op import Moments, Observed, Op, Params, Saved
from jaxnas.network.ops import Head


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


@dataclass(frozen=True)
class PoolHead(Head):
    """ReLU, global average pooling and a linear classifier.

    On a cell's output, which is never negative, the ReLU does nothing.
    """

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"kernel": (self.in_channels, self.out_channels), "offset": (self.out_channels,)}

    def activations(self, params: Params, x: jax.Array, by: Moments) -> tuple[jax.Array, jax.Array]:
        return x, jax.nn.relu(x)

    def forward(self, params: Params, x: jax.Array, by: Moments | None = None) -> tuple[jax.Array, Saved]:
        zeros = jnp.zeros(self.in_channels, x.dtype)
        logits = self._pool(jax.nn.relu(x)) @ params["kernel"] + params["offset"][None]
        return logits, Saved(x, Moments(zeros, zeros))

    def observe(self, params: Params, x: jax.Array) -> Observed:
        return Observed(self.forward(params, x)[0], self.units(x), jnp.zeros(()))

    def backward(self, params: Params, x: jax.Array, saved: Saved, g: jax.Array) -> tuple[jax.Array, Params]:
        active = jax.nn.relu(x)
        return self._unpool(params, active, g), {"kernel": self._pool(active).T @ g, "offset": g.sum(0)}

    def backward_gram(self, params: Params, x: jax.Array, saved: Saved, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        active = jax.nn.relu(x)
        return self._unpool(params, active, g), gram(self._pool(active)) * gram(g)
