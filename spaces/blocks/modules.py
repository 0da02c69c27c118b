"""The operations of NDS's cells as Flax NNX modules, made from the table in `parts`, and as ops of a network."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from jaxnas.kernels.layout import Layout
from jaxnas.kernels.pool import avg_pool, lax_avg_pool, max_pool
from jaxnas.network.module_op import ModuleOp
from jaxnas.network.network import Config
from jaxnas.network.op import Op
from jaxnas.network.ops import AvgPool, Identity, Zero
from jaxnas.spaces.blocks.conv_norm import Conv2d, ConvBatchNorm, Depthwise, batch_norm
from jaxnas.spaces.blocks.parts import OPS, Conv, Factorized, Part, Pool, Skip


class FactorizedReduction(nnx.Module):
    """`parts.Factorized`; where a side is odd, the second convolution sees a row or column of zeros."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        halves = (outputs - outputs // 2, outputs // 2)
        self.convs = nnx.List(Conv2d(inputs, half, (1, 1), strides=(2, 2), rngs=rngs) for half in halves)
        self.norm = batch_norm(outputs, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jax.nn.relu(x)
        moved = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))[:, 1:, 1:]
        return self.norm(jnp.concatenate([self.convs[0](x), self.convs[1](moved)], -1))


def plain_max_pool(x: jax.Array, size: int, stride: int) -> jax.Array:
    """`max_pool` as operations that have all derivatives; exporters to ONNX know pooling without padding only."""
    margin = (size // 2, size // 2)
    padded = jnp.pad(x, ((0, 0), margin, margin, (0, 0)), constant_values=-jnp.inf)
    return nnx.max_pool(padded, window_shape=(size, size), strides=(stride, stride), padding="VALID")


@jax.jit
def stem_max_pool(x: jax.Array) -> jax.Array:
    """3x3 maximum pooling at stride 2 on `[B, H, W, C]`."""
    return plain_max_pool(x, 3, 2)


class Pooling(nnx.Module):
    """`parts.Pool`."""

    def __init__(self, part: Pool, stride: int):
        self.kind, self.size, self.stride, self.plain = part.kind, part.size, stride, False

    def __call__(self, x: jax.Array) -> jax.Array:
        maximum, average = (plain_max_pool, lax_avg_pool) if self.plain else (max_pool, avg_pool)
        return (maximum if self.kind == "max" else average)(x, self.size, self.stride)


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
                return [self._conv(part, inputs, rngs)]
            case Pool():
                return [Pooling(part, self.stride)]
            case Skip() if self.stride == 1:
                return []
            case Factorized() | Skip():
                return [FactorizedReduction(inputs, self.outputs, rngs)]
        raise TypeError(f"no module for {part}")

    def _conv(self, part: Conv, inputs: int, rngs: nnx.Rngs) -> ConvBatchNorm:
        down, across = (self.stride if taken else 1 for taken in part.strided)
        conv: Conv2d | Depthwise
        if part.depthwise:
            conv = Depthwise(self.outputs, part.size, strides=(down, across), dilation=part.dilation, rngs=rngs)
        else:
            conv = Conv2d(inputs, self.outputs, part.size, strides=(down, across), rngs=rngs)
        norm = batch_norm(self.outputs, rngs) if part.norm else None
        return ConvBatchNorm(conv, norm, relu_before=part.relu)


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
    make = Make(OPS[name], channels, channels, 1, cropped=True)
    return ModuleOp(make, channels, channels, config.layout, 2, config.bn, own_init=False)


def module_op(parts: tuple[Part, ...], inputs: int, outputs: int, config: Config, stride: int) -> ModuleOp:
    """A chain of parts as an op of a network; its normalisations always use the moments of the batch."""
    make = Make(parts, inputs, outputs, stride)
    return ModuleOp(make, inputs, outputs, config.layout, stride, config.bn, own_init=False)


SIMPLE: dict[str, Callable[[int, Layout], Op]] = {"skip_connect": Identity, "avg_pool_3x3": AvgPool}
