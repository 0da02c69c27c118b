"""The cells of NAS-Bench-101 as graphs of 7 nodes, and back: the output comes right after the vertices that exist."""

import numpy as np

from jaxnas.spaces.graphs import INPUT, OUTPUT, GraphCode, Graphs, adjacency, edges_of
from jaxnas.spaces.nasbench101 import dag
from jaxnas.spaces.nasbench101.dag import EDGES, VERTICES

FIRST_OP = 2  # class of the first op
LAST = VERTICES - 1


def graph_code(ops: tuple[str, ...], max_edges: int) -> GraphCode:
    """The code of cells of these operations and at most so many edges."""

    def decode(graphs: Graphs) -> tuple[np.ndarray, np.ndarray]:
        found, valid = _cells(graphs)
        valid &= (found != 0) & (dag.edge_count(found) <= max_edges)
        edges, labels = dag.unpack(dag.canonical(found))
        return np.concatenate([edges, labels], 1).astype(np.int32), valid

    return GraphCode(("output", "input", *ops), VERTICES, 1, encode, decode)


def encode(archs: np.ndarray) -> Graphs:
    """The graphs of architectures `[N, 26]`."""
    archs = np.asarray(archs)
    edges, labels = archs[:, : len(EDGES)], archs[:, len(EDGES) :]
    rows, output = np.arange(len(archs)), 1 + (labels >= 0).sum(1)
    ops = np.full((len(archs), VERTICES), OUTPUT)
    ops[:, 0], ops[:, 1:-1] = INPUT, np.where(labels >= 0, labels + FIRST_OP, OUTPUT)
    matrix = adjacency(Graphs(ops, edges))
    into_output = matrix[:, LAST].copy()
    matrix[:, LAST] = 0
    matrix[rows, output] = into_output
    return Graphs(ops[:, None], edges_of(matrix)[:, None])


def _cells(graphs: Graphs) -> tuple[np.ndarray, np.ndarray]:
    """The pruned cells `[N]` as `dag` packs them, and whether the nodes' classes are those of a cell `[N]`."""
    ops, matrix = graphs.ops[:, 0], adjacency(graphs)[:, 0]
    rows, ends = np.arange(len(ops)), ops[:, 1:] == OUTPUT
    output = np.where(ends.any(1), 1 + ends.argmax(1), LAST)
    inside = np.arange(1, LAST) < output[:, None]
    into_output = matrix[rows, output]
    matrix[np.arange(VERTICES) >= output[:, None]] = 0
    matrix[:, LAST] = into_output
    known = ops[:, 1:LAST] >= FIRST_OP
    labels = np.where(inside & known, ops[:, 1:LAST] - FIRST_OP, -1)
    valid = (ops[:, 0] == INPUT) & ends.any(1) & (known | ~inside).all(1)
    return dag.prune(dag.pack(edges_of(matrix), labels)), valid
