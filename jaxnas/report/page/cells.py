"""Architectures as drawings: what the page needs to draw the cell of each, in a few characters.

A space with operations on the edges of a cell gives one digit for each edge; one with a code of graphs gives for each
cell the classes of its nodes and, in hexadecimal, its edges.
"""

import string
from typing import Any, NamedTuple

import numpy as np

from jaxnas.spaces import CellSpace, Space
from jaxnas.spaces.graphs import OUTPUT

DIGITS = string.digits + string.ascii_lowercase + string.ascii_uppercase


class Drawing(NamedTuple):
    """How cells are drawn, and those of N architectures; None where there is nothing to draw.

    Attributes:
      key: what the characters mean: `edges` `[E, 2]` (from, to), or `nodes` of a cell; and the names of `ops`.
      cells: one text for each architecture.
    """

    key: dict[str, Any] | None
    cells: list[str | None]


def drawing(space: Space, archs: np.ndarray) -> Drawing:
    """The cells of architectures `[N, A]`."""
    if isinstance(space, CellSpace):
        zero = space.zero if space.zero >= 0 else None
        key = {"edges": [[source, target] for target, source in space.edges], "ops": list(space.ops), "zero": zero}
        return Drawing(key, ["".join(DIGITS[op] for op in arch) for arch in archs])
    code = space.graph_code
    if code is None or len(code.classes) > len(DIGITS) or not len(archs):
        return Drawing(None, [None] * len(archs))
    fits = code.fits(archs)
    graphs = code.encode(archs[fits])
    texts = iter(_graph(ops, edges) for ops, edges in zip(graphs.ops, graphs.edges, strict=True))
    return Drawing(
        {"nodes": code.nodes, "ops": list(code.classes)}, [next(texts) if there else None for there in fits.tolist()]
    )


def _graph(ops: np.ndarray, edges: np.ndarray) -> str:
    """The text of one architecture: its C cells, with nodes `[C, V]` and edges `[C, V (V - 1) / 2]`."""
    bits = (np.packbits(of.astype(bool)).tobytes().hex() for of in edges)
    return "|".join(f"{_nodes(own)}:{of}" for own, of in zip(ops, bits, strict=True))


def _nodes(ops: np.ndarray) -> str:
    """One digit for each node up to the output; behind it is padding."""
    ends = np.flatnonzero(ops == OUTPUT)
    return "".join(DIGITS[op] for op in ops[: ends[0] + 1 if len(ends) else len(ops)].tolist())
