"""Convolution and what stands around it, as Flax NNX modules: what blocks are made of.

Scorers run convolutions in loops and branches, where XLA's CPU compiler runs what automatic differentiation makes of
`nnx.Conv` about ten times slower (jax 0.10.2), so these have a gradient of their own, a first one in reverse. With
`plain`, which `Space.build` sets, they are operations of `lax`: they have all derivatives, and can be exported.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxnas.kernels.conv import conv2d, lax_conv2d
from jaxnas.kernels.depthwise import depthwise
from jaxnas.kernels.layout import NHWC
from jaxnas.network.op import EPSILON

LECUN = nnx.initializers.lecun_normal()


class Conv2d(nnx.Module):
    """Convolution without bias on `[B, H, W, C]`, with odd kernels; the padding keeps the image.

    Args:
      inputs, outputs: channels.
      size: height and width of the kernel.
      strides: down and across.
      kernel_init: draws the kernel, where the network does not.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: tuple[int, int],
        *,
        strides: tuple[int, int] = (1, 1),
        kernel_init: nnx.Initializer = LECUN,
        rngs: nnx.Rngs,
    ):
        self.strides, self.plain = strides, False
        self.kernel = nnx.Param(kernel_init(rngs.params(), (*size, inputs, outputs)))

    def __call__(self, x: jax.Array) -> jax.Array:
        x, kernel = _alike(x, self.kernel[...])
        if self.plain or kernel.shape[2] < x.shape[3]:  # or in groups
            return lax_conv2d(x, kernel, self.strides)
        return conv2d(x, kernel, self.strides, NHWC)


class Depthwise(nnx.Module):
    """Convolution without bias with one filter per channel on `[B, H, W, C]`; the padding keeps the image.

    Args:
      channels: in and out.
      size: height and width of the kernel.
      strides: down and across.
      dilation: pixels between the kernel's taps.
      kernel_init: draws the kernel, where the network does not.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        strides: tuple[int, int] = (1, 1),
        dilation: int = 1,
        kernel_init: nnx.Initializer = LECUN,
        rngs: nnx.Rngs,
    ):
        self.strides, self.dilation, self.plain = strides, dilation, False
        self.kernel = nnx.Param(kernel_init(rngs.params(), (*size, 1, channels)))

    def __call__(self, x: jax.Array) -> jax.Array:
        x, kernel = _alike(x, self.kernel[...])
        return (lax_conv2d if self.plain else depthwise)(x, kernel, self.strides, self.dilation)


class ConvBatchNorm(nnx.Module):
    """[ReLU,] convolution [, batch normalisation] [, ReLU] on `[B, H, W, C]`."""

    def __init__(
        self,
        conv: Conv2d | Depthwise,
        norm: nnx.BatchNorm | None,
        *,
        relu_before: bool = False,
        relu_after: bool = False,
    ):
        self.conv, self.norm, self.relu_before, self.relu_after = conv, norm, relu_before, relu_after

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv(jax.nn.relu(x) if self.relu_before else x)
        y = y if self.norm is None else self.norm(y)
        return jax.nn.relu(y) if self.relu_after else y


def batch_norm(features: int, rngs: nnx.Rngs, **how: Any) -> nnx.BatchNorm:
    """A batch normalisation as all networks here have it; `how` as for `nnx.BatchNorm`."""
    return nnx.BatchNorm(features, momentum=0.9, epsilon=EPSILON, rngs=rngs, **how)


def _alike(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return both as the type that holds both: images may be bytes."""
    kind = jnp.promote_types(x.dtype, kernel.dtype)
    return x.astype(kind), kernel.astype(kind)
