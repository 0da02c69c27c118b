"""What the network of an architecture consists of: operations, and the shapes that enter them."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from jaxnas.digest import digest
from jaxnas.network.module_op import ModuleOp
from jaxnas.network.network import Network
from jaxnas.network.op import Op
from jaxnas.network.walks import each_op

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class Piece(NamedTuple):
    """An operation, and the shape `(height, width, channels)` that enters it."""

    op: Op
    shape: tuple[int, int, int]

    @property
    def key(self) -> str:
        """16 hexadecimal digits that tell this piece from those that compute something else, in any process."""
        op = self.op.written(self.shape) if isinstance(self.op, ModuleOp) else repr(self.op)
        return digest(ADDRESS.sub("", op), self.shape)

    def __str__(self) -> str:
        height, width, channels = self.shape
        size = f" {self.op.size}x{self.op.size}" if hasattr(self.op, "size") else ""
        out = getattr(self.op, "out_channels", channels)
        strided = f" /{self.op.stride}" if self.op.stride > 1 else ""
        return f"{type(self.op).__name__}{size}{strided} {height}x{width}x{channels}->{out}"


def pieces(network: Network, arch: np.ndarray) -> Iterator[Piece]:
    """Yield those of an architecture `[A]`, on the channels that it uses."""
    own = network.specialised(arch)
    inputs = own.flow.inputs
    for path, ops in own.ops().items():
        if path in inputs:
            op = ops if isinstance(ops, Op) else list(ops.values())[own.chosen(path, arch)]
            yield Piece(op, inputs[path])


def every(network: Network, archs: np.ndarray) -> Iterator[Piece]:
    """Yield the pieces of architectures `[N, A]` of the network; of all others, too, if all use the same channels."""
    if network.specialised(archs[0]) is not network:
        for arch in archs:
            yield from pieces(network, arch)
        return
    for path, shape in network.flow.inputs.items():
        yield from (Piece(op, shape) for op in each_op(network.ops()[path]))


def total(network: Network, archs: np.ndarray, price: Callable[[Piece], float]) -> np.ndarray:
    """Return `[N]` the sum of the prices of the pieces of architectures `[N, A]` of the network.

    It is a few additions for each where all architectures use the same channels, and a walk through the network (10 to
    60 ms) elsewhere.
    """
    if not len(archs):
        return np.zeros(0)
    if network.specialised(archs[0]) is not network:
        return np.array([sum(map(price, pieces(network, arch))) for arch in archs])
    inputs = network.flow.inputs
    cost = network.cost(lambda path, op: price(Piece(op, inputs[path])) if path in inputs else 0, float)
    return cost.total(archs) if cost.per_choice.size else np.full(len(archs), cost.fixed)
