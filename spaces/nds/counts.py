"""What is around and between the cells of an NDS network, and what the network costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxnas.kernels.capacity import log_determinant
from jaxnas.spaces.blocks.parts import FACTORIZED, OPS, POINTWISE, Channels, Image, Part, table
from jaxnas.spaces.blocks.stem import Frame

FRAMES: Mapping[str, Frame] = {  # by data set
    "imagenet": Frame(image=224, classes=1000, stem=(1, 2, 2), stride=2),
    "cifar10": Frame(image=32, classes=10, stem=(6,), stride=1),
}


def reductions(depth: int) -> list[bool]:
    """Return for each of `depth` cells whether it is a reduction cell, which also doubles the channels."""
    return [cell in (depth // 3, 2 * depth // 3) for cell in range(depth)]


@dataclass(frozen=True)
class Cells:
    """The cells of N architectures, and what their ops are called.

    Attributes:
      names: the ops.
      ops: positions in `names` `[N, 2, 2 n]`, the reduction cell's second.
      sources: nodes that they are applied to `[N, 2, 2 n]`.
      multiples: how many nodes make a cell's output `[N, 2]`.
    """

    names: tuple[str, ...]
    ops: np.ndarray
    sources: np.ndarray
    multiples: np.ndarray


def count(cells: Cells, width: int, depth: int, frame: Frame) -> np.ndarray:
    """The parameters and operations `[N, 2]` of networks of one width and depth."""
    total = np.zeros((2, len(cells.ops)), np.int64)
    *_, before, last = _stem(total, width, frame)
    channels = width
    for reduction in reductions(depth):
        channels <<= reduction
        image = last[1]
        for inputs, size in (before, last):
            bring = POINTWISE if size == image else FACTORIZED
            _add(total, bring.count(inputs, channels, size, size[0] // image[0]))
        if reduction:
            image = POINTWISE.after(image, 2)
        total += _ops(cells, channels, image, reduction).T
        before, last = last, (cells.multiples[:, int(reduction)] * channels, image)
    features, image = last
    pixels, classes = image[0] * image[1], frame.classes
    _add(total, (features * classes + classes, features * classes + classes + features * pixels))  # with the pooling
    return total.T


def layers(cells: Cells, width: int, depth: int, frame: Frame) -> np.ndarray:
    """The number of weight tensors `[N]` of networks of one width and depth."""
    return 1 + _over_weights(cells, width, depth, frame, lambda part, inputs, outputs, stride: part.layers(stride))[0]


def capacity(cells: Cells, width: int, depth: int, frame: Frame) -> np.ndarray:
    """The expected log det(I + W W') of all matrices of weights `[N]` of networks of one width and depth."""
    total, features = _over_weights(cells, width, depth, frame, lambda part, *sizes: part.capacity(*sizes))
    return total + log_determinant(frame.classes, features)


def _over_weights(
    cells: Cells, width: int, depth: int, frame: Frame, of: Callable[[Part, Channels, Channels, int], Any]
) -> tuple[np.ndarray, np.ndarray]:
    """The sum of `of(part, inputs, outputs, stride)` `[N]` over stem and cells, and the classifier's inputs `[N]`."""
    number = len(cells.ops)
    total = np.zeros(number)
    stem: list[tuple[Channels, int]] = [(3, 0)]  # channels, and how often the image was halved
    for part, halves in zip(frame.parts, frame.stem, strict=True):
        stem.append((width * halves // 2, stem[-1][1] + frame.stride - 1))
        total += of(part, stem[-2][0], stem[-1][0], frame.stride)
    before, last = (stem[-2] if len(frame.stem) > 1 else stem[-1]), stem[-1]
    for reduction in reductions(depth):
        width <<= reduction
        for channels, halvings in (before, last):
            entry = POINTWISE if halvings == last[1] else FACTORIZED
            total += of(entry, channels, width, 1 + last[1] - halvings)
        kept, halved = (
            np.array([sum(of(part, width, width, stride) for part in OPS[name]) for name in cells.names])
            for stride in (1, 2)
        )
        ops, on_inputs = cells.ops[:, int(reduction)], cells.sources[:, int(reduction)] < 2
        total += np.where(reduction & on_inputs, halved[ops], kept[ops]).sum(1)
        before, last = last, (cells.multiples[:, int(reduction)] * width, last[1] + reduction)
    return total, np.broadcast_to(last[0], number)


def _stem(total: np.ndarray, width: int, frame: Frame) -> list[tuple[Channels, Image]]:
    """Add the stem's cost; return the channels and size of the image and of the stem's outputs."""
    outputs: list[tuple[Channels, Image]] = [(3, (frame.image, frame.image))]
    for part, halves in zip(frame.parts, frame.stem, strict=True):
        inputs, image = outputs[-1]
        _add(total, part.count(inputs, width * halves // 2, image, frame.stride))
        outputs.append((width * halves // 2, part.after(image, frame.stride)))
    return outputs if len(frame.parts) > 1 else [*outputs, outputs[-1]]


def _ops(cells: Cells, channels: int, image: Image, reduction: bool) -> np.ndarray:
    """Return `[N, 2]` the cost of the ops of one cell whose output has the size `image`.

    In a reduction cell, those that are applied to the cell's inputs halve the image.
    """
    ops, halve = cells.ops[:, int(reduction)], reduction & (cells.sources[:, int(reduction)] < 2)
    kept = table(cells.names, channels, image, 1)
    halved = table(cells.names, channels, (2 * image[0], 2 * image[1]), 2)
    return np.where(halve[..., None], halved[ops], kept[ops]).sum(1)


def _add(total: np.ndarray, cost: tuple[Channels, Channels]) -> None:
    """Add parameters and operations, each a number or `[N]`, to `[2, N]`."""
    for row, value in zip(total, cost, strict=True):
        row += value
