"""Convolution and what follows it, as Flax NNX modules: what blocks are made of.

Networks draw the weights of `ConvNormReLU` (`ModuleOp.own_init` is false).
"""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxnas.kernels.conv import conv2d
from jaxnas.kernels.depthwise import depthwise
from jaxnas.kernels.layout import NHWC
from jaxnas.network.op import EPSILON

LECUN = nnx.initializers.lecun_normal()


class Conv2d(nnx.Module):
    """Convolution without bias on `[B, H, W, C]`, with odd kernels; the padding keeps the image.

    Outputs and first derivatives, in reverse, are those of `nnx.Conv`. In a loop or a branch, where scorers run it,
    XLA's CPU compiler runs what automatic differentiation makes of `nnx.Conv` about ten times slower (jax 0.10.2).

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
        self.strides = strides
        self.kernel = nnx.Param(kernel_init(rngs.params(), (*size, inputs, outputs)))

    def __call__(self, x: jax.Array) -> jax.Array:
        return conv2d(*_alike(x, self.kernel[...]), self.strides, NHWC)


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
        self.strides, self.dilation = strides, dilation
        self.kernel = nnx.Param(kernel_init(rngs.params(), (*size, 1, channels)))

    def __call__(self, x: jax.Array) -> jax.Array:
        return depthwise(*_alike(x, self.kernel[...]), self.strides, self.dilation)


class ConvNormReLU(nnx.Module):
    """Convolution without bias, batch normalisation [, ReLU] on `[B, H, W, C]`; the padding keeps the image.

    Args:
      inputs, outputs: channels.
      size: height and width of the kernel.
      stride: of the convolution.
      depthwise: with one filter per channel; there are as many outputs as inputs.
      relu: at the end.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        stride: int = 1,
        depthwise: bool = False,
        relu: bool = True,
        rngs: nnx.Rngs,
    ):
        self.relu = relu
        self.conv: Conv2d | Depthwise
        if depthwise:
            self.conv = Depthwise(inputs, (size, size), strides=(stride, stride), rngs=rngs)
        else:
            self.conv = Conv2d(inputs, outputs, (size, size), strides=(stride, stride), rngs=rngs)
        self.norm = nnx.BatchNorm(outputs, momentum=0.9, epsilon=EPSILON, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.norm(self.conv(x))
        return jax.nn.relu(y) if self.relu else y


def _alike(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return both as the type that holds both: images may be bytes."""
    kind = jnp.promote_types(x.dtype, kernel.dtype)
    return x.astype(kind), kernel.astype(kind)
