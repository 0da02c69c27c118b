"""The operations of NDS's cells as sequences of elementary layers, and what these cost.

This table is the only description of the operations: costs are computed from it, networks are built from it. A layer
keeps the channels unless its caller says otherwise, pads to keep the image, and halves it where the operation does.

NDS's tables count (found from the tables, and equal on all of their rows): a convolution's multiply-adds, one operation
per input element of a ReLU, a pooling's window per output element, nothing for a normalisation. The image of a dilated
convolution is taken to be as large as its padding would make it without the dilation.
"""

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jaxnas.kernels.capacity import log_determinant

Image = tuple[int, int]  # height, width
Channels = Any  # an int, or an int array [N] for N architectures at once

BOTH = (True, True)


class Part(ABC):
    """One elementary layer."""

    def after(self, image: Image, stride: int) -> Image:
        """The size of the output for an input of size `image`."""
        return _halved(image, stride)

    def layers(self, stride: int) -> int:
        """The number of weight tensors of convolutions."""
        return 0

    def capacity(self, inputs: Channels, outputs: Channels, stride: int) -> Any:
        """The expected log det(I + W W') of the convolutions' matrices."""
        return 0.0

    @abstractmethod
    def count(self, inputs: Channels, outputs: Channels, image: Image, stride: int) -> tuple[Channels, Channels]:
        """The number of parameters and of operations on one input of size `image`."""


@dataclass(frozen=True)
class Conv(Part):
    """[ReLU,] convolution without bias [, batch normalisation].

    Attributes:
      size: height and width of the kernel.
      strided: whether (down, across) the operation's stride is taken here; otherwise it is 1.
      depthwise: each channel has its own filter.
      dilation: distance of the kernel's taps.
      relu: applied to the input.
      norm: with scale and bias.
    """

    size: tuple[int, int]
    strided: tuple[bool, bool] = (False, False)
    depthwise: bool = False
    dilation: int = 1
    relu: bool = False
    norm: bool = False

    def after(self, image: Image, stride: int) -> Image:
        return _halved(image, stride, self.strided)

    def layers(self, stride: int) -> int:
        return 1

    def capacity(self, inputs: Channels, outputs: Channels, stride: int) -> Any:
        area = math.prod(self.size)
        return outputs * log_determinant(1, area) if self.depthwise else log_determinant(outputs, inputs * area)

    def count(self, inputs: Channels, outputs: Channels, image: Image, stride: int) -> tuple[Channels, Channels]:
        weights = math.prod(self.size) * outputs * (1 if self.depthwise else inputs)
        down, across = (
            side + 2 * (size // 2) * (self.dilation - 1) for side, size in zip(image, self.size, strict=True)
        )
        pixels = math.prod(self.after((down, across), stride))
        return weights + 2 * outputs * self.norm, weights * pixels + inputs * math.prod(image) * self.relu


@dataclass(frozen=True)
class Pool(Part):
    """Square pooling; an average does not count the padding."""

    kind: Literal["max", "avg"]
    size: int

    def count(self, inputs: Channels, outputs: Channels, image: Image, stride: int) -> tuple[Channels, Channels]:
        return 0, self.size**2 * outputs * math.prod(self.after(image, stride))


@dataclass(frozen=True)
class Factorized(Part):
    """ReLU, two 1x1 convolutions at stride 2 of half the outputs each, batch normalisation.

    The second one starts one pixel further down and right, so that together they see every other diagonal.
    """

    def layers(self, stride: int) -> int:
        return 2

    def capacity(self, inputs: Channels, outputs: Channels, stride: int) -> Any:
        return log_determinant(outputs // 2, inputs) + log_determinant(outputs - outputs // 2, inputs)

    def count(self, inputs: Channels, outputs: Channels, image: Image, stride: int) -> tuple[Channels, Channels]:
        return POINTWISE.count(inputs, outputs, image, stride)  # as much as one convolution of all the outputs


@dataclass(frozen=True)
class Skip(Part):
    """Identity; `FACTORIZED` at stride 2."""

    def layers(self, stride: int) -> int:
        return 0 if stride == 1 else FACTORIZED.layers(stride)

    def capacity(self, inputs: Channels, outputs: Channels, stride: int) -> Any:
        return 0.0 if stride == 1 else FACTORIZED.capacity(inputs, outputs, stride)

    def count(self, inputs: Channels, outputs: Channels, image: Image, stride: int) -> tuple[Channels, Channels]:
        return (0, 0) if stride == 1 else FACTORIZED.count(inputs, outputs, image, stride)


@dataclass(frozen=True)
class Zeros(Part):
    """Zeros."""

    def count(self, inputs: Channels, outputs: Channels, image: Image, stride: int) -> tuple[Channels, Channels]:
        return 0, 0


def conv(size: int) -> tuple[Part, ...]:
    """A plain convolution."""
    return (Conv((size, size), BOTH, relu=True, norm=True),)


def separated(size: int) -> tuple[Part, ...]:
    """A convolution across, then one down."""
    return (Conv((1, size), (False, True), relu=True), Conv((size, 1), (True, False), norm=True))


def depthwise(size: int, dilation: int = 1, times: int = 1) -> tuple[Part, ...]:
    """So many depthwise-separable convolutions; the first one takes the stride."""
    strides = [BOTH] + [(False, False)] * (times - 1)
    pointwise = Conv((1, 1), norm=True)
    return tuple(
        part
        for stride in strides
        for part in (Conv((size, size), stride, depthwise=True, dilation=dilation, relu=True), pointwise)
    )


FACTORIZED = Factorized()
POINTWISE = Conv((1, 1), BOTH, relu=True, norm=True)  # brings a cell's input to the cell's channels

OPS: Mapping[str, tuple[Part, ...]] = {
    "none": (Zeros(),),
    "skip_connect": (Skip(),),
    "avg_pool_3x3": (Pool("avg", 3),),
    "max_pool_3x3": (Pool("max", 3),),
    "max_pool_5x5": (Pool("max", 5),),
    "max_pool_7x7": (Pool("max", 7),),
    "conv_1x1": conv(1),
    "conv_3x3": conv(3),
    "conv_3x1_1x3": separated(3),
    "conv_7x1_1x7": separated(7),
    "sep_conv_3x3": depthwise(3, times=2),
    "sep_conv_5x5": depthwise(5, times=2),
    "sep_conv_7x7": depthwise(7, times=2),
    "dil_conv_3x3": depthwise(3, dilation=2),
    "dil_conv_5x5": depthwise(5, dilation=2),
    "dil_sep_conv_3x3": depthwise(3, dilation=2, times=2),
}


@functools.cache
def table(names: tuple[str, ...], channels: int, image: Image, stride: int) -> np.ndarray:
    """Return `[O, 2]` the parameters and operations of each op on `channels` channels."""
    counts = np.zeros((len(names), 2), np.int64)
    for row, name in zip(counts, names, strict=True):
        size = image
        for part in OPS[name]:
            row += part.count(channels, channels, size, stride)
            size = part.after(size, stride)
    return counts


def _halved(image: Image, stride: int, strided: tuple[bool, bool] = BOTH) -> Image:
    down, across = (-(-side // stride) if taken else side for side, taken in zip(image, strided, strict=True))
    return down, across
