"""The network of a cell-based space: stem, stages of cells with a stride-2 residual block between them, head.

A cell is a DAG: node 0 is its input, a node is the sum of its incoming edges, the last node is its output.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax

from jaxnas.network.network import HEAD, Config, Network, Ops, Path, Walk
from jaxnas.network.op import Op
from jaxnas.network.ops import ConvNorm, Head


class Cell(NamedTuple):
    """The edges `(target node, source node)` of a cell and the ops that each of them chooses from."""

    edges: tuple[tuple[int, int], ...]
    ops: Callable[[int, Config], tuple[Op, ...]]  # (channels, config) -> ops in the space's order
    names: tuple[str, ...]


@dataclass(frozen=True)
class CellNetwork(Network):
    """A network of equal cells; an architecture is an op index `[E]` or an op mask `[E, O]` for each edge.

    Attributes:
      cell: the space's cell.
      config: sizes and modes.
    """

    cell: Cell
    config: Config
    adds_only: ClassVar[bool] = True

    @property
    def length(self) -> int:
        return len(self.cell.edges)

    def ops(self) -> dict[Path, Ops]:
        config, edges = self.config, range(len(self.cell.edges))
        places: dict[Path, Ops] = {("stem",): stem_op(config)} if config.stem else {}
        for stage in range(config.stages):
            ops = dict(zip(self.cell.names, self.cell.ops(config.width(stage), config), strict=True))
            for cell, edge in itertools.product(range(config.cells), edges):
                places["stages", stage, cell, edge] = ops
        for stage in range(1, config.stages):
            for name, op in reduction_ops(config, stage).items():
                places["reductions", stage - 1, name] = op
        return {**places, HEAD: head_op(config)}

    def wire(self, apply: Walk, arch: jax.Array, x: jax.Array) -> list[jax.Array]:
        """The stages' outputs."""
        if self.config.stem:
            x = apply.block(apply(("stem",), x))
        features = []
        for stage in range(self.config.stages):
            if stage:
                main = apply(("reductions", stage - 1, "conv_b"), apply(("reductions", stage - 1, "conv_a"), x))
                shortcut = apply(("reductions", stage - 1, "shortcut"), apply.halved(x, self.config.layout))
                x = apply.block(main + shortcut)
            for cell in range(self.config.cells):
                x = apply.block(self._cell(apply, arch, x, stage, cell))
            features.append(x)
        return features

    def _cell(self, apply: Walk, arch: jax.Array, x: jax.Array, stage: int, cell: int) -> jax.Array:
        nodes: list[Any] = [x]
        for edge, (target, source) in enumerate(self.cell.edges):
            y = apply(("stages", stage, cell, edge), nodes[source], arch[edge])
            if target == len(nodes):
                nodes.append(y)
            else:
                nodes[target] = nodes[target] + y
        return nodes[-1]


def stem_op(config: Config) -> ConvNorm:
    """The 3x3 convolution from the image's channels."""
    return ConvNorm(config.image[2], config.channels, 3, config.layout, relu=False, bn=config.bn)


def reduction_ops(config: Config, stage: int) -> dict[str, ConvNorm]:
    """The residual block at stride 2 that leads into `stage`; its shortcut follows a 2x2 average pooling."""
    before, after = config.width(stage - 1), config.width(stage)
    return {
        "conv_a": ConvNorm(before, after, 3, config.layout, stride=2, bn=config.bn),
        "conv_b": ConvNorm(after, after, 3, config.layout, bn=config.bn),
        "shortcut": ConvNorm(before, after, 1, config.layout, relu=False, norm=False),
    }


def head_op(config: Config) -> Head:
    """What follows the last stage."""
    return Head(config.width(config.stages - 1), config.classes, config.layout, config.bn)
