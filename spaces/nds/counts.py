"""What is around and between the cells of an NDS network, and what the network costs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jaxnas.spaces.blocks.parts import FACTORIZED, OPS, POINTWISE, Channels, Image, table
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


def layers(cells: Cells, depth: int, frame: Frame) -> np.ndarray:
    """The number of weight tensors `[N]` of networks of one depth."""
    total = np.full(len(cells.ops), len(frame.stem) + 1, np.int64)  # with the classifier
    halvings = [i * (frame.stride - 1) for i in range(len(frame.stem) + 1)]
    before, last = halvings[-2:] if len(frame.stem) > 1 else halvings[-1:] * 2
    kept, halved = (np.array([sum(part.layers(stride) for part in OPS[n]) for n in cells.names]) for stride in (1, 2))
    for reduction in reductions(depth):
        entry = POINTWISE if before == last else FACTORIZED
        ops, on_inputs = cells.ops[:, int(reduction)], cells.sources[:, int(reduction)] < 2
        total += POINTWISE.layers(1) + entry.layers(1 + last - before)
        total += np.where(reduction & on_inputs, halved[ops], kept[ops]).sum(1)
        before, last = last, last + reduction
    return total


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
