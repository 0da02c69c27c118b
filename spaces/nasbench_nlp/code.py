"""The recurrent cells of NAS-Bench-NLP as graphs of 26 nodes, and back.

The first four nodes are x and the three old hidden states; then come the recipe's nodes in the order of the
architecture's rows, then for each new hidden state a node of class `output` that reads it. As AG-Net's code does, it
holds recipes of fewer than 14 nodes. A graph has neither names nor an order of inputs: decoded, nodes are numbered
through and inputs sorted, which matters to `blend` alone.
"""

import functools
import itertools

import numpy as np

from jaxnas.spaces.graphs import INPUT, OUTPUT, GraphCode, Graphs, adjacency, edges_of
from jaxnas.spaces.nasbench_nlp import slots
from jaxnas.spaces.nasbench_nlp.network import COLUMNS, LINEAR, MAX_HIDDEN, MAX_NODES, NEW, NODE, OPS, PAD, PREV, X
from jaxnas.spaces.nasbench_nlp.slots import ARITY, Graph

NODES = 26
MOST = 13  # nodes of a recipe
FIRST_OP = 2  # class of the first op


def graph_code() -> GraphCode:
    """The code of the space."""
    return GraphCode(("output", "input", *OPS), NODES, 1, encode, decode, fits, edge_sets)


def fits(archs: np.ndarray) -> np.ndarray:
    """Return `[N]`: the recipe has fewer than 14 nodes."""
    return (slots.rows(archs)[..., 0] != PAD).sum(1) <= MOST


def encode(archs: np.ndarray) -> Graphs:
    """The graphs of architectures `[N, 125]` that fit."""
    ops = np.full((len(archs), 1, NODES), OUTPUT)
    ops[..., :NODE] = INPUT
    matrix = np.zeros((len(archs), 1, NODES, NODES), int)
    for cell_ops, reads, arch in zip(ops[:, 0], matrix[:, 0], archs, strict=True):
        graph = slots.to_graph(arch)
        place = {slot: slot for slot in range(NODE)} | {slot: NODE + i for i, slot in enumerate(graph)}
        for slot, (op, inputs) in graph.items():
            cell_ops[place[slot]] = FIRST_OP + op
            reads[place[slot], [place[source] for source in inputs]] = 1
        for output, slot in enumerate(sorted(slot for slot in graph if slot >= NEW), start=len(place)):
            reads[output, place[slot]] = 1
    return Graphs(ops, edges_of(matrix))


def decode(graphs: Graphs) -> tuple[np.ndarray, np.ndarray]:
    """The architectures `[N, 125]`, without nodes that lead nowhere, and which of them are cells `[N]`."""
    archs = np.full((len(graphs.ops), MAX_NODES * COLUMNS), PAD, np.int32)
    valid = np.zeros(len(graphs.ops), bool)
    for i, (ops, reads) in enumerate(zip(graphs.ops[:, 0], adjacency(graphs)[:, 0], strict=True)):
        graph = slots.pruned(_read(ops, reads > 0))
        if _is_cell(graph):
            archs[i], valid[i] = slots.to_arch(graph), True
    return archs, valid


@functools.cache
def edge_sets(node: int, of_class: int) -> np.ndarray:
    """The sets of edges `[K, node]` into a node: as many as its op takes; into an output one or none."""
    sizes = {OUTPUT: (0, 1), INPUT: (0,)}.get(of_class) or ARITY[of_class - FIRST_OP]
    chosen = [places for size in sizes for places in itertools.combinations(range(node), size)]
    sets = np.zeros((len(chosen), node), int)
    for row, places in zip(sets, chosen, strict=True):
        row[list(places)] = 1
    return sets


def _read(ops: np.ndarray, reads: np.ndarray) -> Graph:
    """The graph of node classes `[26]` and edges `[26 targets, 26 sources]`; empty if it has no new state."""
    outputs = np.flatnonzero(ops == OUTPUT)
    end = int(outputs[0]) if len(outputs) else NODES
    if (ops[:NODE] != INPUT).any() or (ops[NODE:end] < FIRST_OP).any():
        return {}
    slots = {place: place for place in range(end)} | _new_states(reads[end : end + MAX_HIDDEN, :end])
    return {
        slots[place]: (
            int(ops[place]) - FIRST_OP,
            tuple(sorted(slots[source] for source in np.flatnonzero(reads[place]).tolist())),
        )
        for place in range(NODE, end)
    }


def _new_states(reads: np.ndarray) -> dict[int, int]:
    """The slots of the nodes that the outputs read, one each, up to the first output that does not."""
    new: dict[int, int] = {}
    for state, row in enumerate(reads):
        sources = np.flatnonzero(row)
        if len(sources) != 1 or sources[0] < NODE or int(sources[0]) in new:
            break
        new[int(sources[0])] = NEW + state
    return new


def _is_cell(graph: Graph) -> bool:
    """Say whether the graph is a cell that the space draws and that fits."""
    hidden = sum(slot >= NEW for slot in graph)
    unknown = set(range(PREV + hidden, NODE))  # old hidden states without a new one
    if not 0 < len(graph) <= MOST:
        return False
    for op, inputs in graph.values():
        if len(inputs) not in ARITY[op] or unknown & set(inputs) or (op != LINEAR and X in inputs):
            return False
    return slots.is_valid(graph)
