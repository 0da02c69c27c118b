"""What both spaces count, and how they read strings."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from jaxnas.errors import UserError
from jaxnas.kernels.capacity import log_determinant
from jaxnas.kernels.layout import NHWC
from jaxnas.network.op import Op
from jaxnas.network.ops import ConvNorm
from jaxnas.spaces import literals
from jaxnas.spaces.base import Space
from jaxnas.spaces.transnas101.network import (
    CELLS_PER_MODULE,
    CHANNELS,
    IMAGE,
    doubles,
    halves,
)

CONVENTION = (
    "multiply-adds of the convolutions and the classifier, jaxnas's own count, checked layer by layer: the benchmark's "
    "table of sizes is not at hand"
)


Shape = tuple[int, int]
"""Channels, and pixels of a side."""


def refuse_index(string: str, expected: str) -> None:
    """Raise a `UserError` if `string` is a bare index."""
    if literals.index(string) is not None:
        raise UserError(
            f"malformed architecture {string!r}: an index of TransNAS-Bench-101 is a place in its file, whose order is "
            f"not known here; {expected}"
        )


def classes_of(space: Space, form: str) -> dict[str, Any]:
    """The change to the `Config` of the network for `form` that the space's data set makes."""
    return {"classes": space.datasets[space.dataset].classes} if form == "benchmark" else {}


def counts_of(*ops: tuple[Op, int]) -> np.ndarray:
    """Parameters, multiply-adds, layers and capacity `[4]` of ops with inputs of so many pixels a side."""
    return np.sum([(op.num_params, op.flops(side**2), op.num_layers, op.capacity) for op, side in ops], 0)


def conv(before: Shape, after: Shape, size: int, relu: bool = True) -> tuple[Op, int]:
    """A convolution between two shapes, and the pixels of a side of its input."""
    op = ConvNorm(before[0], after[0], size, layout=NHWC, stride=before[1] // after[1], relu=relu)
    return op, before[1]


def shapes(skeleton: Iterable[str]) -> list[tuple[Shape, Shape]]:
    """The shapes before and after every cell."""
    channels, side, cells = CHANNELS, IMAGE // 4, []
    for module in skeleton:
        before = channels, side
        channels, side = channels << doubles(module), side >> halves(module)
        cells += [(before, (channels, side))] + [((channels, side),) * 2] * (CELLS_PER_MODULE - 1)
    return cells


def frame_counts(last: Shape, classes: int) -> np.ndarray:
    """The counts of the stem (two 3x3 convolutions at stride 2) and the classifier."""
    half, first = (CHANNELS // 2, IMAGE // 2), (CHANNELS, IMAGE // 4)
    channels, _ = last
    head = [(channels + 1) * classes, channels * classes, 1, float(log_determinant(classes, channels))]
    return counts_of(conv((3, IMAGE), half, 3, relu=False), conv(half, first, 3)) + head
