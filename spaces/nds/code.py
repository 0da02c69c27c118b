"""The two cells of DARTS and its siblings as graphs whose nodes are the ops, and back.

Nodes 0 and 1 are the cell's inputs, each of a class of its own; then come the two ops of each own node, then the
output. An op reads one input, or both ops of an own node, whose sum it is.
"""

from collections.abc import Callable, Sequence

import numpy as np

from jaxnas.spaces.graphs import INPUT, OUTPUT, GraphCode, Graphs, adjacency, edges_of
from jaxnas.spaces.nds.network import INPUTS

SECOND = 2  # class of the second input
FIRST_OP = 3


Split = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
Join = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def graph_code(ops: Sequence[str], own: int, *, split: Split, join: Join) -> GraphCode:
    """The code of cells with so many own nodes; a graph knows no width and depth: decoded, these are -1.

    `split` and `join` are those of the space.
    """
    nodes = INPUTS + 2 * own + 1
    makes = _makers(own, nodes)

    def encode(archs: np.ndarray) -> Graphs:
        chosen, sources, outputs = split(archs)
        classes = np.full((*chosen.shape[:2], nodes), OUTPUT)
        classes[..., :INPUTS], classes[..., INPUTS:-1] = (INPUT, SECOND), chosen + FIRST_OP
        matrix = np.zeros((*classes.shape, nodes), int)
        matrix[..., INPUTS:-1, :] = makes[sources]
        matrix[..., -1, :] = outputs.astype(int) @ makes[INPUTS:]
        return Graphs(classes, edges_of(matrix))

    def decode(graphs: Graphs) -> tuple[np.ndarray, np.ndarray]:
        reads = adjacency(graphs)[..., INPUTS:-1, :]
        same = (reads[..., None, :] == makes).all(-1)
        ends, chosen = graphs.ops[..., [0, 1, -1]], graphs.ops[..., INPUTS:-1]
        valid = (ends == (INPUT, SECOND, OUTPUT)).all((1, 2)) & (chosen >= FIRST_OP).all((1, 2))
        sizes = np.full((len(chosen), 2), -1)
        return join(sizes, np.maximum(chosen - FIRST_OP, 0), same.argmax(-1)), valid & same.any(-1).all((1, 2))

    def edge_sets(node: int, of_class: int) -> np.ndarray:
        if node < INPUTS:
            return np.zeros((1, node), int)
        if node == nodes - 1:  # the output's edges follow from the others
            return makes[INPUTS:, :node].sum(0, keepdims=True)
        return makes[: INPUTS + (node - INPUTS) // 2, :node]

    return GraphCode(("output", "input", "input_1", *ops), nodes, 2, encode, decode, edge_sets=edge_sets)


def _makers(own: int, nodes: int) -> np.ndarray:
    """Return 1 where a cell's input or own node is made of a graph's node `[INPUTS + own, nodes]`."""
    makes = np.zeros((INPUTS + own, nodes), int)
    makes[range(INPUTS), range(INPUTS)] = 1
    for node in range(own):
        makes[INPUTS + node, INPUTS + 2 * node : INPUTS + 2 * node + 2] = 1
    return makes
