"""The blocks and stems of NDS's AnyNets as data, and what networks of them cost.

NDS counts these networks unlike its cells (found from the tables, and equal on all of their rows): a convolution's
multiply-adds and five operations per element of its normalisation, nothing for a ReLU or a pooling.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jaxnas.kernels.capacity import log_determinant

NORM_FLOPS = 5  # per element

BlockWidth = Literal["in", "mid", "out"]
Width = Any  # an int, or an int array [N] for N architectures at once


@dataclass(frozen=True)
class BlockConv:
    """Convolution without bias, batch normalisation, and a ReLU unless a residual sum comes first.

    Attributes:
      size: of the square kernel.
      inputs: the block's input width, its middle (bottleneck) width or its output width.
      outputs: likewise.
      strided: the block's stride is taken here.
      grouped: in the stage's number of groups.
    """

    size: int
    inputs: BlockWidth
    outputs: BlockWidth
    strided: bool = False
    grouped: bool = False


@dataclass(frozen=True)
class Block:
    """Convolutions in a row.

    Attributes:
      convs: from the block's input.
      residual: the input is added, through a normalised 1x1 convolution where width or image change; then a ReLU.
      bottleneck: has a middle width and groups.
    """

    convs: tuple[BlockConv, ...]
    residual: bool
    bottleneck: bool = False


@dataclass(frozen=True)
class Stem:
    """Convolutions, each normalised and followed by a ReLU.

    Attributes:
      convs: kernel, outputs in halves of the stem's width, stride.
      pool: 3x3 maximum pooling at stride 2 at the end.
    """

    convs: tuple[tuple[int, int, int], ...]
    pool: bool = False


@dataclass(frozen=True)
class Frame:
    """What is around the stages.

    Attributes:
      image: height and width of the input.
      classes: number of logits.
      stems: by stride.
    """

    image: int
    classes: int
    stems: Mapping[int, Stem]


PLAIN = (BlockConv(3, "in", "out", strided=True), BlockConv(3, "out", "out"))
BOTTLENECK = (
    BlockConv(1, "in", "mid"),
    BlockConv(3, "mid", "mid", strided=True, grouped=True),
    BlockConv(1, "mid", "out"),
)
BLOCKS: Mapping[str, Block] = {
    "double_plain_block": Block(PLAIN, residual=False),
    "res_basic_block": Block(PLAIN, residual=True),
    "res_bottleneck_block": Block(BOTTLENECK, residual=True, bottleneck=True),
}

IMAGENET_STEMS = {4: Stem(((7, 2, 2),), pool=True), 8: Stem(((3, 1, 2), (3, 2, 2), (3, 2, 2)))}
CIFAR_STEM = Stem(((3, 2, 1),))
FRAMES: Mapping[str, Frame] = {  # by data set
    "imagenet": Frame(224, 1000, IMAGENET_STEMS),
    "cifar10": Frame(32, 10, {1: CIFAR_STEM}),
}


@dataclass(frozen=True)
class Stage:
    """One stage of N architectures, in arrays `[N]`.

    Attributes:
      depth: number of blocks; -1 where an architecture does not have this stage.
      width: of the blocks' output.
      middle: bottleneck's width.
      groups: of the grouped convolution.
      stride: of the first block, the same number for all.
    """

    depth: np.ndarray
    width: np.ndarray
    middle: np.ndarray
    groups: np.ndarray
    stride: int


def count(block: Block, stem: Stem, width: np.ndarray, stages: list[Stage], frame: Frame) -> np.ndarray:
    """The parameters and operations `[N, 2]` of networks whose stems have the widths `[N]`."""
    total, width = _over_convs(block, stem, width, stages, frame, _cost)
    return (total + (width + 1) * frame.classes).T


def layers(block: Block, stem: Stem, width: np.ndarray, stages: list[Stage], frame: Frame) -> np.ndarray:
    """The number of weight tensors `[N]` of the same."""
    return 1 + _over_convs(block, stem, width, stages, frame, lambda size, inputs, *_: np.ones(inputs.shape, int))[0]


def capacity(block: Block, stem: Stem, width: np.ndarray, stages: list[Stage], frame: Frame) -> np.ndarray:
    """The expected log det(I + W W') of all matrices of weights `[N]` of the same."""
    total, width = _over_convs(block, stem, width, stages, frame, _capacity)
    return total + log_determinant(frame.classes, width)


def _over_convs(
    block: Block, stem: Stem, width: np.ndarray, stages: list[Stage], frame: Frame, of: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The sum `[..., N]` of `of(size, inputs, outputs, side, groups)` over the convolutions, and their last width."""
    total, inputs, side = np.zeros(width.shape, np.int64), np.full(width.shape, 3), frame.image
    for size, halves, stride in stem.convs:
        outputs, side = width * halves // 2, side // stride
        total, inputs = total + of(size, inputs, outputs, side, 1), outputs
    image = np.full(width.shape, side // 2 if stem.pool else side)
    for stage in stages:
        after = image // stage.stride
        own = _block(block, width, stage, image, stage.stride, of)
        own = own + (stage.depth - 1) * _block(block, stage.width, stage, after, 1, of)
        exists = stage.depth > 0
        total = total + np.where(exists, own, 0)
        width, image = np.where(exists, stage.width, width), np.where(exists, after, image)
    return total, width


def _block(block: Block, inputs: np.ndarray, stage: Stage, image: np.ndarray, stride: int, of: Any) -> np.ndarray:
    """The sum `[..., N]` over the convolutions of one block."""
    widths = {"in": inputs, "mid": stage.middle, "out": stage.width}
    total = np.zeros(inputs.shape, np.int64)
    if block.residual:
        changes = (inputs != stage.width) | (stride != 1)
        total = total + np.where(changes, of(1, inputs, stage.width, image // stride, 1), 0)
    for conv in block.convs:
        image = image // stride if conv.strided else image
        groups = stage.groups if conv.grouped else 1
        total = total + of(conv.size, widths[conv.inputs], widths[conv.outputs], image, groups)
    return total


def _cost(size: int, inputs: Width, outputs: Width, image: Width, groups: Width) -> np.ndarray:
    """Return `[2, N]` the cost of a convolution and its normalisation, given its output's height and width."""
    weights = size**2 * inputs * outputs // groups
    return np.stack([weights + 2 * outputs, (weights + NORM_FLOPS * outputs) * image**2])


def _capacity(size: int, inputs: Width, outputs: Width, image: Width, groups: Width) -> np.ndarray:
    """Return `[N]` the capacity of a convolution."""
    return groups * log_determinant(outputs // groups, size**2 * inputs // groups)
