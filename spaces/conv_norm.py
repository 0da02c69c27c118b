"""Convolution and what follows it, as Flax NNX modules: what blocks are made of.

Networks draw the weights of `ConvNormReLU` (`ModuleOp.own_init` is false).
"""

import functools
import itertools
import operator

import jax
import jax.numpy as jnp
from flax import nnx

from jaxnas.kernels.layout import NHWC, shifted
from jaxnas.layers import EPSILON


class Depthwise(nnx.Module):
    """Convolution without bias with one filter per channel on `[B, H, W, C]`; the padding keeps the image.

    A sum of shifted products: on a CPU `lax.conv` with as many groups as channels takes several times as long.

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
        strides: tuple[int, int],
        dilation: int = 1,
        kernel_init: nnx.Initializer = nnx.initializers.lecun_normal(),  # noqa: B008
        rngs: nnx.Rngs,
    ):
        self.strides, self.dilation = strides, dilation
        self.kernel = nnx.Param(kernel_init(rngs.params(), (*size, 1, channels)))

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, step = self.kernel[...], self.dilation
        taps = kernel.shape[:2]
        padded = jnp.pad(x, ((0, 0), *((step * (size // 2),) * 2 for size in taps), (0, 0)))
        space = tuple(-(-side // stride) for side, stride in zip(x.shape[1:3], self.strides, strict=True))
        terms = (
            shifted(padded, (step * down, step * across), space, self.strides, NHWC) * kernel[down, across][None, None]
            for down, across in itertools.product(*map(range, taps))
        )
        return functools.reduce(operator.add, terms)


class ConvNormReLU(nnx.Module):
    """Convolution without bias, batch normalisation [, ReLU] on `[B, H, W, C]`; the padding keeps the image.

    Args:
      inputs, outputs: channels.
      size: height and width of the kernel.
      stride: of the convolution.
      groups: of channels that do not see each other.
      relu: at the end.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        relu: bool = True,
        rngs: nnx.Rngs,
    ):
        self.relu = relu
        self.conv = (
            Depthwise(inputs, (size, size), strides=(stride, stride), rngs=rngs)
            if groups == inputs == outputs
            else nnx.Conv(
                inputs,
                outputs,
                (size, size),
                strides=stride,
                padding=size // 2,
                feature_group_count=groups,
                use_bias=False,
                rngs=rngs,
            )
        )
        self.norm = nnx.BatchNorm(outputs, momentum=0.9, epsilon=EPSILON, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.norm(self.conv(x))
        return jax.nn.relu(y) if self.relu else y
