"""Convolution and what follows it, as Flax NNX modules: what blocks are made of.

Networks draw the weights (`ModuleOp.own_init` is false).
"""

import functools
import operator

import jax
from flax import nnx

from jaxnas.kernels.layout import NHWC, pad_space, shifted
from jaxnas.layers import EPSILON


class Depthwise(nnx.Module):
    """Convolution without bias with one filter per channel on `[B, H, W, C]`; the padding keeps the image.

    A sum of shifted products: on a CPU `lax.conv` with as many groups as channels takes several times as long.
    """

    def __init__(self, channels: int, size: int, *, stride: int = 1, rngs: nnx.Rngs):
        self.size, self.stride = size, stride
        self.kernel = nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), (size, size, 1, channels)))

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, padded = self.kernel[...], pad_space(x, self.size // 2, NHWC)
        space = tuple(-(-side // self.stride) for side in x.shape[1:3])
        offsets = [(down, across) for down in range(self.size) for across in range(self.size)]
        terms = (shifted(padded, at, space, self.stride, NHWC) * kernel[at][None, None] for at in offsets)
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
            Depthwise(inputs, size, stride=stride, rngs=rngs)
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
