"""Recurrent cells as graphs of slots: the order of their nodes, what a node depends on, which cells are valid."""

from collections.abc import Iterable

import numpy as np

from jaxnas.errors import UserError
from jaxnas.spaces.nasbench_nlp.network import (
    BLEND,
    COLUMNS,
    LEAKY,
    LINEAR,
    MAX_NODES,
    NEW,
    NODE,
    PAD,
    PREV,
    PROD,
    SIGM,
    SLOT_NAMES,
    SUM,
    TANH,
    X,
)

Graph = dict[int, tuple[int, tuple[int, ...]]]
"""For each node's slot its op and the slots of its inputs."""

ACTIVATIONS = (TANH, SIGM, LEAKY)
ARITY = {LINEAR: (2, 3), BLEND: (3,), PROD: (2,), SUM: (2,), **dict.fromkeys(ACTIVATIONS, (1,))}


def rows(archs: np.ndarray) -> np.ndarray:
    """The rows `[N, 25, 5]` of architectures `[N, 125]`."""
    return np.asarray(archs).reshape(-1, MAX_NODES, COLUMNS)


def to_graph(arch: np.ndarray) -> Graph:
    """The graph of an architecture `[125]`, its nodes in the order of the rows."""
    present = (row.tolist() for row in rows(arch)[0] if row[0] != PAD)
    return {slot: (op, tuple(source for source in inputs if source != PAD)) for slot, op, *inputs in present}


def to_arch(graph: Graph) -> np.ndarray:
    """The architecture `[125]` of a graph; `UserError` if it has a cycle."""
    program = np.full((MAX_NODES, COLUMNS), PAD, np.int32)
    for row, slot in zip(program, order(graph), strict=False):
        op, inputs = graph[slot]
        row[:2], row[2 : 2 + len(inputs)] = (slot, op), inputs
    return program.ravel()


def order(graph: Graph) -> list[int]:
    """The slots in an order in which they can be computed: always the lowest that is ready."""
    found, known, waiting = list[int](), set(range(NODE)), sorted(graph)
    while waiting:
        ready = next((slot for slot in waiting if known.issuperset(graph[slot][1])), None)
        if ready is None:
            raise UserError(f"recipe with a cycle among {', '.join(SLOT_NAMES[slot] for slot in waiting)}; take it out")
        found.append(ready)
        known.add(ready)
        waiting.remove(ready)
    return found


def needed(graph: Graph, slots: Iterable[int], through_time: bool = False) -> set[int]:
    """The slots that the values in `slots` depend on, `through_time`: at any earlier time."""
    found, queue = set(slots), list(slots)
    while queue:
        slot = queue.pop()
        _, inputs = graph.get(slot, (None, ()))
        if through_time and PREV <= slot < NODE:
            inputs = (NEW + slot - PREV,)
        queue += [source for source in inputs if source not in found]
        found |= set(inputs)
    return found


def pruned(graph: Graph) -> Graph:
    """The graph without the nodes that lead to no new hidden state."""
    used = needed(graph, [slot for slot in graph if slot >= NEW])
    return {slot: node for slot, node in graph.items() if slot in used}


def is_valid(graph: Graph) -> bool:
    """Say whether every input is used, none of the old hidden states for a new one directly, and there is no cycle."""
    new = [slot for slot in graph if slot >= NEW]
    previous = set(range(PREV, PREV + len(new)))
    if not needed(graph, new) >= {X} | previous or any(previous & set(graph[slot][1]) for slot in new):
        return False
    try:
        order(graph)
    except UserError:
        return False
    return True
