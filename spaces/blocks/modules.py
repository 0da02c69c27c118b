"""The operations of NDS's cells as Flax NNX modules, made from the table in `parts`, and as ops of a network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxnas.kernels.gram import gram
from jaxnas.kernels.layout import Layout
from jaxnas.kernels.pool import avg_pool, max_pool
from jaxnas.network.module_op import ModuleOp
from jaxnas.network.network import Config, Init
from jaxnas.network.op import EPSILON, Op, Params
from jaxnas.network.ops import AvgPool, Identity, Zero
from jaxnas.spaces.blocks.conv_norm import Conv2d, Depthwise
from jaxnas.spaces.blocks.parts import OPS, Conv, Factorized, Part, Pool, Skip

INITS: dict[Init, nnx.Initializer] = {
    "kaiming": nnx.initializers.variance_scaling(2, "fan_in", "normal"),
    "unit": nnx.initializers.normal(1),
    "pytorch": nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
}


class Convolution(nnx.Module):
    """[ReLU,] convolution [, batch normalisation]."""

    def __init__(self, part: Conv, inputs: int, outputs: int, stride: int, init: Init, *, rngs: nnx.Rngs):
        strides = (stride if part.strided[0] else 1, stride if part.strided[1] else 1)
        rest: dict[str, Any] = {"strides": strides, "kernel_init": INITS[init], "rngs": rngs}
        self.relu = part.relu
        self.conv: Conv2d | Depthwise
        if part.depthwise:
            self.conv = Depthwise(outputs, part.size, dilation=part.dilation, **rest)
        else:
            self.conv = Conv2d(inputs, outputs, part.size, **rest)
        self.norm = norm(outputs, rngs) if part.norm else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv(jax.nn.relu(x) if self.relu else x)
        return y if self.norm is None else self.norm(y)


class FactorizedReduction(nnx.Module):
    """`parts.Factorized`; where a side is odd, the second convolution sees a row or column of zeros."""

    def __init__(self, inputs: int, outputs: int, init: Init, *, rngs: nnx.Rngs):
        halves = (outputs - outputs // 2, outputs // 2)
        self.convs = nnx.List(
            Conv2d(inputs, half, (1, 1), strides=(2, 2), kernel_init=INITS[init], rngs=rngs) for half in halves
        )
        self.norm = norm(outputs, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jax.nn.relu(x)
        moved = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))[:, 1:, 1:]
        return self.norm(jnp.concatenate([self.convs[0](x), self.convs[1](moved)], -1))


class Pooling(nnx.Module):
    """`parts.Pool`."""

    def __init__(self, part: Pool, stride: int):
        self.kind, self.size, self.stride = part.kind, part.size, stride

    def __call__(self, x: jax.Array) -> jax.Array:
        return (max_pool if self.kind == "max" else avg_pool)(x, self.size, self.stride)


class Chain(nnx.Module):
    """Parts one after another on images `[B, H, W, C]`.

    Attributes:
      cropped: only the top left quarter of the image is an input; the rest is padding.
    """

    def __init__(self, parts: list[nnx.Module], *, cropped: bool):
        self.parts, self.cropped = nnx.List(parts), cropped

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.cropped:
            x = x[:, : -(-x.shape[1] // 2), : -(-x.shape[2] // 2)]
        for part in self.parts:
            x = part(x)
        return x


@dataclass(frozen=True)
class Make:
    """Makes the module of an operation, `rngs -> module`; equal for equal modules."""

    parts: tuple[Part, ...]
    inputs: int
    outputs: int
    stride: int
    init: Init
    cropped: bool = False

    def __call__(self, rngs: nnx.Rngs) -> Chain:
        inputs, modules = self.inputs, []
        for part in self.parts:
            modules += self._part(part, inputs, rngs)
            inputs = self.outputs
        return Chain(modules, cropped=self.cropped)

    def _part(self, part: Part, inputs: int, rngs: nnx.Rngs) -> list[nnx.Module]:
        match part:
            case Conv():
                return [Convolution(part, inputs, self.outputs, self.stride, self.init, rngs=rngs)]
            case Pool():
                return [Pooling(part, self.stride)]
            case Skip() if self.stride == 1:
                return []
            case Factorized() | Skip():
                return [FactorizedReduction(inputs, self.outputs, self.init, rngs=rngs)]
        raise TypeError(f"no module for {part}")


def cell_op(name: str, channels: int, config: Config, stride: int) -> Op:
    """An operation of `parts.OPS` on `channels` channels."""
    if name == "none":
        return Zero(channels, config.layout, stride)
    if stride == 1 and name in SIMPLE:
        return SIMPLE[name](channels, config.layout)
    return module_op(OPS[name], channels, channels, config, stride)


def cropped_op(name: str, channels: int, config: Config) -> Op:
    """The operation at stride 1 on the top left quarter of its input, the size of which is then its output's."""
    if name == "none":
        return Zero(channels, config.layout, 2)
    make = Make(OPS[name], channels, channels, 1, config.init, cropped=True)
    return ModuleOp(make, channels, channels, config.layout, 2, config.bn, own_init=False)


def module_op(parts: tuple[Part, ...], inputs: int, outputs: int, config: Config, stride: int) -> ModuleOp:
    """A chain of parts as an op of a network; its normalisations always use the moments of the batch."""
    make = Make(parts, inputs, outputs, stride, config.init)
    return ModuleOp(make, inputs, outputs, config.layout, stride, config.bn, own_init=False)


SIMPLE: dict[str, Callable[[int, Layout], Op]] = {"skip_connect": Identity, "avg_pool_3x3": AvgPool}


@dataclass(frozen=True)
class Classifier(Op):
    """Global average pooling and a linear classifier: `[B, classes]` logits."""

    in_channels: int
    out_channels: int
    layout: Layout
    separable = False

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"kernel": (self.in_channels, self.out_channels), "offset": (self.out_channels,)}

    def flops(self, pixels: int) -> int:
        return self.in_channels * self.out_channels

    def output(self, params: Params, x: jax.Array) -> jax.Array:
        return self._pooled(x) @ params["kernel"] + params["offset"][None]

    def pull(self, params: Params, x: jax.Array, g: jax.Array) -> tuple[jax.Array, Params]:
        dparams, dx = jax.vjp(self.output, params, x)[1](g)
        return dx, dparams

    def pull_gram(self, params: Params, x: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        return self.pull(params, x, g)[0], gram(self._pooled(x)) * gram(g)

    def _pooled(self, x: jax.Array) -> jax.Array:
        pooled = x.mean((self.layout.height, self.layout.width))
        return pooled if self.layout.batch == 0 else pooled.T


def norm(features: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """A batch normalisation with scale and bias."""
    return nnx.BatchNorm(features, momentum=0.9, epsilon=EPSILON, rngs=rngs)
