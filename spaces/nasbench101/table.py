"""NAS-Bench-101's cells as rows of numbers: vertices, edges as bits, operations."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxnas.errors import UserError
from jaxnas.spaces.nasbench101 import dag
from jaxnas.spaces.nasbench101.dag import EDGES, INTERIOR, VERTICES
from jaxnas.spaces.nasbench101.network import OPS
from jaxnas.spaces.strings import RowError, nothing

COLUMNS = ("n_vertices", "adj_bits", *(f"op{vertex}" for vertex in range(1, INTERIOR + 1)))


def from_table(n_vertices: np.ndarray, adj_bits: np.ndarray, ops: np.ndarray) -> np.ndarray:
    """The architectures `[N, 26]` of rows of a table.

    Args:
      n_vertices: `[N]`, 2 to 7.
      adj_bits: `[N]`, bit `x + y (y - 1) / 2` for the edge x -> y; the output is vertex `n_vertices - 1`.
      ops: `[N, 5]`, positions in `OPS`, -1 for absent vertices.
    """
    n_vertices, adj_bits = n_vertices.astype(np.int64), adj_bits.astype(np.int64)
    inside = (n_vertices - 1) * (n_vertices - 2) // 2  # edges that do not lead to the output
    bits = adj_bits & ((1 << inside) - 1) | adj_bits >> inside << len(EDGES) - (VERTICES - 1)
    return np.concatenate([bits[:, None] // dag.PLACES % 2, ops], 1).astype(np.int32)


def numbers_of(columns: Mapping[str, Any]) -> np.ndarray:
    """Return the numbers `[N, 7]` of a table's rows, or raise a `UserError` if they do not describe cells."""
    if not len(columns[COLUMNS[0]]):
        raise nothing()
    for name in COLUMNS:
        if str(columns[name].dtype) == "Int128":  # of polars; NumPy has none
            raise UserError(f"the column {name!r} has numbers of more than 64 bits; give those of the benchmark")
    stored = [np.asarray(columns[name]) for name in COLUMNS]
    for name, values in zip(COLUMNS, stored, strict=True):
        if not np.issubdtype(values.dtype, np.integer):
            raise UserError(f"the column {name!r} holds {values.dtype}; give whole numbers in every row")
    numbers = np.stack(stored, 1).astype(np.int64)
    vertices, bits, ops = numbers[:, 0], numbers[:, 1], numbers[:, 2:]
    fits = (vertices >= 2) & (vertices <= VERTICES) & (bits >= 0) & (bits < 1 << vertices * (vertices - 1) // 2)
    absent = np.arange(INTERIOR) >= vertices[:, None] - 2
    fits &= np.where(absent, ops == -1, (ops >= 0) & (ops < len(OPS))).all(1)
    if not fits.all():
        raise RowError(
            int(fits.argmin()),
            f"n_vertices is 2 to {VERTICES}, adj_bits has a bit for each pair of them, op1 to "
            f"op{INTERIOR} are 0 to {len(OPS) - 1}, or -1 where there is no vertex",
        )
    return numbers
