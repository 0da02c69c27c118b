"""The network of DARTS's supernet: every edge between the nodes of a cell, with several ops on each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.network.network import Ops, Path, Walk
from jaxnas.spaces.blocks.modules import cell_op
from jaxnas.spaces.nds.network import INPUTS, CellShape, TwoCellNetwork, halved


@dataclass(frozen=True)
class SupernetNetwork(TwoCellNetwork):
    """All edges `(node, source)` of both cells, in order; an architecture is an op mask `[2 E, O]`, of which an edge
    outputs the mean, and zeros where its row is empty.
    """

    @property
    def edges(self) -> list[tuple[int, int]]:
        return [(node, source) for node in range(INPUTS, INPUTS + self.nodes) for source in range(node)]

    @property
    def length(self) -> int:
        return 2 * len(self.edges)

    def cell_places(self, shape: CellShape) -> Mapping[int, Ops]:
        first, rest = self._halving(shape.reduction)
        ops = [{name: cell_op(name, shape.channels, self.config, stride) for name in self.names} for stride in (1, 2)]
        return {**dict.fromkeys(first, ops[1]), **dict.fromkeys(rest, ops[0])}

    def cell(self, apply: Walk, cell: int, reduction: bool, arch: jax.Array, entries: list[jax.Array]) -> jax.Array:
        masks = arch.reshape(2, len(self.edges), *arch.shape[1:])[int(reduction)]
        first, rest = self._halving(reduction)
        inputs, shape = jnp.stack(entries), entries[0].shape
        if reduction:
            shape = halved(shape, self.config.layout)
        nodes = jnp.zeros((INPUTS + self.nodes, *shape), inputs.dtype)

        def along(edges: list[int], sources: jax.Array | None, nodes: jax.Array) -> jax.Array:
            def turn(run: Any, nodes: jax.Array, x: tuple[jax.Array, ...]) -> jax.Array:
                target, source, mask = x
                return nodes.at[target].add(run((nodes if sources is None else sources)[source], mask))

            wiring = np.array([self.edges[e] for e in edges])
            paths: list[Path] = [("cells", cell, e) for e in edges]
            return apply.each(paths, turn, nodes, (wiring[:, 0], wiring[:, 1], masks[np.array(edges)]))

        nodes = along(first, inputs, nodes) if reduction else nodes.at[:INPUTS].set(inputs)
        return self.concat(along(rest, None, nodes)[INPUTS:])

    def op_costs(self, archs: np.ndarray, flops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        masks = np.asarray(archs).reshape(len(archs), 2, len(self.edges), -1)
        normal, reduction = (masks * flops).sum((-2, -1)).T
        return normal, reduction

    def _halving(self, reduction: bool) -> tuple[list[int], list[int]]:
        """The edges of a cell that halve the image, and the others."""
        first = [e for e, (_, source) in enumerate(self.edges) if reduction and source < INPUTS]
        return first, [e for e in range(len(self.edges)) if e not in first]
