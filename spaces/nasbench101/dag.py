"""Labelled DAGs of up to seven vertices as integers: pruning, isomorphism, enumeration (the cells of NAS-Bench-101).

Vertex 0 is the input, vertex 6 the output; the vertices between them that exist come first and carry a label. A graph
is one integer: 21 edge bits, bit `x + y (y - 1) / 2` for the edge x -> y, above five base-4 digits, the first vertex's
most significant: label + 1, or 0 for an absent vertex. Of two graphs of the same number of vertices, the benchmark
generates the one with the smaller integer first.
"""

import itertools

import numpy as np

VERTICES = 7
INTERIOR = VERTICES - 2
LABELS = 3
EDGES = tuple((y, x) for y in range(VERTICES) for x in range(y))  # (target, source), as in the other spaces
PLACES = 2 ** np.arange(len(EDGES))
DIGITS = 4 ** np.arange(INTERIOR)[::-1]
LABEL_BITS = 2 * INTERIOR
ANY_LABELS = (1 << LABEL_BITS) - 1
HALF = 11  # edge bits in the lower lookup table

_ORDERS = np.array(list(itertools.permutations(range(INTERIOR))))  # new place of each interior vertex, from 0


def pack(edges: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The graphs `[N]` with edges `[N, 21]` of 0 and 1 and labels `[N, 5]`, -1 for absent vertices."""
    return (edges.astype(np.int64) @ PLACES << LABEL_BITS) | (labels.astype(np.int64) + 1) @ DIGITS


def unpack(graphs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The edges `[N, 21]` and labels `[N, 5]` of graphs `[N]`."""
    edges = (graphs[:, None] >> LABEL_BITS) // PLACES % 2
    return edges, (graphs[:, None] & ANY_LABELS) // DIGITS % 4 - 1


def edge_count(graphs: np.ndarray) -> np.ndarray:
    """Return `[N]` the number of edges of graphs `[N]`."""
    return np.bitwise_count(graphs >> LABEL_BITS)


def sources(graphs: np.ndarray, vertex: int) -> np.ndarray:
    """Return `[N]` the vertices from which edges lead to `vertex`, as bit masks."""
    return graphs >> (LABEL_BITS + vertex * (vertex - 1) // 2) & ((1 << vertex) - 1)


def prune(graphs: np.ndarray) -> np.ndarray:
    """Return graphs `[N]` without the vertices off all paths from input to output; 0 where there is no such path."""
    reached = np.ones_like(graphs)
    for y in range(1, VERTICES):
        reached |= ((sources(graphs, y) & reached) != 0).astype(graphs.dtype) << y
    used = reached & 1 << (VERTICES - 1)
    for y in reversed(range(1, VERTICES)):
        used |= np.where(used >> y & 1, sources(graphs, y) & reached, 0)
    present = used >> 1 & ((1 << INTERIOR) - 1)
    pruned = graphs & _LABELS_OF[present]
    for y in range(1, VERTICES):
        rows = np.where(used >> y & 1, sources(graphs, y) & used, 0)
        pruned |= rows << (LABEL_BITS + y * (y - 1) // 2)
    return _relabel(pruned, _COMPACT[present])


def canonical(graphs: np.ndarray) -> np.ndarray:
    """Return `[N]` the smallest of the graphs isomorphic to each one, pruned."""
    graphs = prune(graphs)
    best = graphs.copy()
    for order in range(1, len(_ORDERS)):
        np.minimum(best, _relabel(graphs, order), out=best)
    return best


def enumerate_classes(max_edges: int) -> tuple[np.ndarray, np.ndarray]:
    """The canonical graphs `[C]` of at most so many edges, ascending, and how often each one is drawn.

    The second array `[C]` counts the seven-vertex graphs, with all labels, that prune to the class: their sum is the
    number of graphs that a rejection sampler accepts.
    """
    shapes, counts = np.unique(prune(np.arange(1 << len(EDGES)) << LABEL_BITS), return_counts=True)
    allowed = (shapes > 0) & (edge_count(shapes) <= max_edges)
    shapes, which = np.unique(canonical(shapes[allowed]), return_inverse=True)
    counts = np.bincount(which, counts[allowed]).astype(np.int64)
    interior = np.sum([sources(shapes, y) != 0 for y in range(1, VERTICES - 1)], 0)
    classes, draws = [], []
    for vertices in range(INTERIOR + 1):
        labels = np.array(list(itertools.product(range(1, LABELS + 1), repeat=vertices)), np.int64)
        labelled = shapes[interior == vertices, None] | labels @ DIGITS[:vertices]
        found, orbit = np.unique(canonical(labelled.ravel()), return_counts=True)
        shape = np.searchsorted(shapes, found & ~ANY_LABELS)
        classes.append(found)
        draws.append(counts[shape] * orbit * LABELS ** (INTERIOR - vertices))
    together = np.concatenate(classes)
    ascending = np.argsort(together)
    return together[ascending], np.concatenate(draws)[ascending]


def _relabel(graphs: np.ndarray, order: np.ndarray | int) -> np.ndarray:
    """Return graphs `[N]` with interior vertices in another order; too large to be one if an edge would lead back."""
    low, high, labels = _TABLES
    edges = graphs >> LABEL_BITS
    edges = low[order, edges & ((1 << HALF) - 1)] | high[order, edges >> HALF]
    return edges << LABEL_BITS | labels[order, graphs & ANY_LABELS]


def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the lower and upper edge bits and the labels become in each order, `[120, 2**bits]` each."""
    first, last = np.zeros((len(_ORDERS), 1), int), np.full((len(_ORDERS), 1), VERTICES - 1)
    place = np.concatenate([first, _ORDERS + 1, last], 1)
    y, x = np.array(EDGES).T
    y, x = place[:, y], place[:, x]
    edges = np.where(x < y, 1 << (x + y * (y - 1) // 2), 1 << len(EDGES))
    digits = np.repeat(DIGITS[_ORDERS[:, ::-1]], 2, 1) * np.tile([1, 2], INTERIOR)
    return _unions(edges[:, :HALF]), _unions(edges[:, HALF:]), _unions(digits)


def _unions(bits: np.ndarray) -> np.ndarray:
    """Return `[R, 2**K]` the union of the chosen ones of `bits` `[R, K]`, for every choice."""
    unions = np.zeros((len(bits), 1), np.int64)
    for column in bits.T:
        unions = np.concatenate([unions, unions | column[:, None]], 1)
    return unions


def _compact() -> tuple[np.ndarray, np.ndarray]:
    """Return, by which interior vertices are present, the order that puts these first and the mask of their labels."""
    present = np.arange(1 << INTERIOR)[:, None] >> np.arange(INTERIOR) & 1
    place = np.argsort(np.argsort(1 - present, 1, kind="stable"), 1)
    order = (place[:, None] == _ORDERS).all(-1).argmax(1)
    return order, present @ (3 * DIGITS)


_TABLES = _tables()
_COMPACT, _LABELS_OF = _compact()
