"""Architectures as graphs whose nodes carry an op: what generative models and graph networks read and write."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

OUTPUT, INPUT = 0, 1
"""Classes of the nodes that carry no op; padding behind the output has the output's class."""


class Graphs(NamedTuple):
    """N architectures of C cells, each a DAG of V nodes in topological order.

    Attributes:
      ops: class of each node `[N, C, V]`.
      edges: 0 or 1 `[N, C, V (V - 1) / 2]`: those into node 1, then into node 2 (from 0, from 1), and so on.
    """

    ops: np.ndarray
    edges: np.ndarray


def all_fit(archs: np.ndarray) -> np.ndarray:
    """Return `[N]`: every architecture has a graph."""
    return np.ones(len(archs), bool)


@dataclass(frozen=True)
class GraphCode:
    """How a space's architectures become graphs, and back.

    Attributes:
      classes: what a node can be; the first two are `output` and `input`.
      nodes: V, of a cell, with padding.
      cells: C, graphs that make an architecture.
      encode: from architectures `[N, A]` to their graphs.
      decode: from graphs to architectures `[N, A]` and which of them are valid `[N]`; rows that are not mean nothing.
      fits: which of the architectures `[N, A]` have a graph of V nodes `[N]`; by default all.
      edge_sets: from a node and its class to the sets of edges `[K, node]` of which one leads into it, for spaces
        where most sets make no architecture; by default any set may.
    """

    classes: tuple[str, ...]
    nodes: int
    cells: int
    encode: Callable[[np.ndarray], Graphs]
    decode: Callable[[Graphs], tuple[np.ndarray, np.ndarray]]
    fits: Callable[[np.ndarray], np.ndarray] = all_fit
    edge_sets: Callable[[int, int], np.ndarray] | None = None

    @property
    def pairs(self) -> int:
        """Number of possible edges of a cell."""
        return self.nodes * (self.nodes - 1) // 2

    @property
    def size(self) -> int:
        """Length of a cell's vector: ops one-hot, then edges."""
        return self.nodes * len(self.classes) + self.pairs

    def vectors(self, graphs: Graphs) -> np.ndarray:
        """The graphs as float32 vectors `[N, C, size]`."""
        one_hot = np.eye(len(self.classes), dtype=np.float32)[graphs.ops]
        return np.concatenate(
            [one_hot.reshape(*graphs.ops.shape[:2], self.size - self.pairs), graphs.edges.astype(np.float32)], -1
        )


def adjacency(graphs: Graphs) -> np.ndarray:
    """Return 1 at `[..., v, u]` for the edge u -> v: `[N, C, V, V]`."""
    nodes = graphs.ops.shape[-1]
    matrix = np.zeros((*graphs.ops.shape, nodes), np.float32)
    matrix[..., *np.tril_indices(nodes, -1)] = graphs.edges
    return matrix


def edges_of(matrix: np.ndarray) -> np.ndarray:
    """The edges `[..., V (V - 1) / 2]` of adjacency matrices `[..., V, V]`: the inverse of `adjacency`."""
    return matrix[..., *np.tril_indices(matrix.shape[-1], -1)].astype(int)


def chain(choices: Sequence[str], places: int) -> GraphCode:
    """The code of rows of independent choices: one node for each place, one behind the other."""
    return ops_on_edges(choices, [(place + 1, place) for place in range(places)])


def ops_on_edges(ops: Sequence[str], edges: Sequence[tuple[int, int]]) -> GraphCode:
    """The code of a cell with ops on its edges `(target, source)`, sorted by target: a node for each edge.

    An op's node reads those of the ops that end where it starts; `none` is an op like the others. So the graph is
    always the same, and any other one is invalid.
    """
    last = max(target for target, _ in edges)
    starts = [-1, *(source for _, source in edges), last]  # the tensor that a node reads; the input reads none
    ends = [0, *(target for target, _ in edges), -1]  # the tensor that a node adds to
    nodes = len(starts)
    fixed = np.array([int(ends[u] == starts[v]) for v in range(nodes) for u in range(v)])

    def encode(archs: np.ndarray) -> Graphs:
        archs = np.asarray(archs)
        sides = (np.full((len(archs), 1), INPUT), archs + 2, np.full((len(archs), 1), OUTPUT))
        return Graphs(np.concatenate(sides, 1)[:, None], np.tile(fixed, (len(archs), 1, 1)))

    def decode(graphs: Graphs) -> tuple[np.ndarray, np.ndarray]:
        found, inner = graphs.ops[:, 0], graphs.ops[:, 0, 1:-1]
        ended = (found[:, 0] == INPUT) & (found[:, -1] == OUTPUT) & (inner >= 2).all(-1)
        return (inner - 2).astype(np.int32), ended & (graphs.edges[:, 0] == fixed).all(-1)

    return GraphCode(("output", "input", *ops), nodes, 1, encode, decode)
