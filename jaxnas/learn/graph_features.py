"""Features of an architecture's graph that need no network: numbers of ops, lengths of paths, degrees.

They follow GRAF (Kadlecova et al., "Surprisingly Strong Performance Prediction with Neural Graph Features", ICML 2024):
for sets of ops, the shortest path that uses only these, and the most of them that lie on one path.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np

from jaxnas.spaces.graphs import OUTPUT, GraphCode, Graphs, adjacency

ALL_SETS = 5  # ops up to which every set of them counts; with more, each one and all but each one
ABSENT = ("none", "zero")  # names of the op that is no connection


def graph_features(code: GraphCode, graphs: Graphs) -> np.ndarray:
    """The features `[N, G]` of graphs, cell by cell.

    For each op its number; for each set of ops the number of nodes on the shortest path from input to output through
    these ops alone (0 if there is none) and the most of them on one path; degrees of input and output.
    """
    matrix = adjacency(graphs) > 0
    return np.concatenate([_cell(code, graphs.ops[:, c], matrix[:, c]) for c in range(code.cells)], 1)


def is_input(name: str) -> bool:
    """Whether a class is that of an input; a cell with several may have `input_1` and so on, too."""
    return name.partition("_")[0] == "input"


def op_sets(code: GraphCode) -> list[tuple[int, ...]]:
    """The sets of classes whose paths are measured."""
    ops = [k for k, name in enumerate(code.classes) if _is_op(k, name) and name not in ABSENT]
    small = len(ops) <= ALL_SETS
    sizes = range(1, len(ops) + 1) if small else sorted({1, len(ops) - 1, len(ops)})
    return [chosen for size in sizes for chosen in combinations(ops, size)]


def _is_op(place: int, name: str) -> bool:
    return place != OUTPUT and not is_input(name)


class _Cells(NamedTuple):
    """Classes `[N, V]`, edges between the nodes that are there `[N, V, V]`, and which nodes are inputs `[N, V]`."""

    ops: np.ndarray
    linked: np.ndarray
    starts: np.ndarray


def _cell(code: GraphCode, ops: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The features `[N, G]` of a cell with classes `[N, V]` and edges `[N, V, V]`."""
    present = ~np.isin(ops, [k for k, name in enumerate(code.classes) if name in ABSENT])
    starts = np.isin(ops, [k for k, name in enumerate(code.classes) if is_input(name)])
    cells = _Cells(ops, matrix & present[:, None] & present[:, :, None], starts)
    counts = [(ops == k).sum(1) for k, name in enumerate(code.classes) if _is_op(k, name)]
    degrees = [(cells.linked & starts[:, None]).sum((1, 2)), (cells.linked & (ops == OUTPUT)[:, :, None]).sum((1, 2))]
    paths = [measure(cells, chosen) for chosen in op_sets(code) for measure in (_shortest, _most)]
    return np.stack([*counts, *degrees, *paths], 1).astype(np.float64)


def _shortest(cells: _Cells, chosen: tuple[int, ...]) -> np.ndarray:
    """Return `[N]` the number of nodes after the input on the shortest path through `chosen` alone, 0 for none."""
    ops, linked, starts = cells
    passable = starts | np.isin(ops, [OUTPUT, *chosen])
    length = np.where(starts, 0, np.inf)
    for v in range(1, ops.shape[1]):
        through = np.where(linked[:, v, :v], length[:, :v], np.inf).min(1) + 1
        length[:, v] = np.where(passable[:, v], np.minimum(length[:, v], through), np.inf)
    found = np.where(ops == OUTPUT, length, np.inf).min(1)
    return np.where(np.isfinite(found), found, 0)


def _most(cells: _Cells, chosen: tuple[int, ...]) -> np.ndarray:
    """Return `[N]` the largest number of nodes with an op of `chosen` on a path from input to output, 0 for none."""
    ops, linked, starts = cells
    inside = np.isin(ops, chosen)
    count = np.where(starts, 0, -np.inf)
    for v in range(1, ops.shape[1]):
        through = np.where(linked[:, v, :v], count[:, :v], -np.inf).max(1) + inside[:, v]
        count[:, v] = np.maximum(count[:, v], through)
    found = np.where(ops == OUTPUT, count, -np.inf).max(1)
    return np.where(np.isfinite(found), found, 0)
