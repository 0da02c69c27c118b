"""The ways of writing a cell of NAS-Bench-101: matrix and operations in JSON, Python or NumPy's prints."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jaxnas.errors import UserError, unknown
from jaxnas.spaces import literals
from jaxnas.spaces.nasbench101.dag import VERTICES
from jaxnas.spaces.nasbench101.network import OPS

FORM = '{"matrix": [[0, 1], [0, 0]], "ops": ["input", "output"]}'
KEYS = {"matrix": ("matrix", "module_adjacency"), "ops": ("ops", "module_operations")}
NAMES = {op.partition("-")[0]: op for op in OPS}  # of the benchmark's constants, in lower case


def parse(string: str) -> tuple[list[list[int]], list[str]]:
    """Return matrix and operations, or raise a `UserError` unless it is a DAG of up to seven known operations."""
    try:
        matrix, ops = _parts(string)
        ops = _ops(ops)
        return _matrix(matrix, len(ops)), ops
    except ValueError as error:
        raise UserError(f"malformed architecture {string!r}: {error}; expected the form {FORM}") from None


def together(columns: Mapping[str, Any]) -> list[str] | None:
    """The cells of a table whose matrices and operations are in columns of their own; None if they are not."""
    names = [next((key for key in keys if key in columns), None) for keys in KEYS.values()]
    if None in names:
        return None
    texts = [map(_text, columns[name]) for name in names if name is not None]
    return [f'{{"matrix": {matrix}, "ops": {ops}}}' for matrix, ops in zip(*texts, strict=True)]


def _text(cell: Any) -> str:
    return cell if isinstance(cell, str) else json.dumps(None if cell is None else list(cell), default=list)


def _parts(string: str) -> tuple[Any, Any]:
    """The values of the two parts."""
    call = literals.arguments(string, "ModelSpec", [*KEYS])
    entries = _entries(string) if call is None else call
    found = []
    for part, keys in KEYS.items():
        present = [key for key in keys if key in entries]
        if len(present) != 1:
            raise ValueError(f"it is no object of matrix and ops: it has {' and '.join(present) or f'no {part}'}")
        found.append(entries[present[0]])
    return found[0], found[1]


def _entries(string: str) -> dict[str, Any]:
    try:
        entries = literals.read(string)
    except ValueError as error:
        raise ValueError(f"not JSON nor a Python literal ({error})") from None
    if not isinstance(entries, dict):
        raise ValueError("it is no object of matrix and ops")
    return entries


def _ops(ops: Any) -> list[str]:
    if not isinstance(ops, Sequence) or isinstance(ops, str) or not 2 <= len(ops) <= VERTICES:
        raise ValueError(f"ops must be a list of 2 to {VERTICES} names")
    names = [str(op).strip().lower() for op in ops]
    if names[0] != "input" or names[-1] != "output":
        raise ValueError('the first of ops must be "input" and the last "output"')
    inner = [NAMES.get(name, name) for name in names[1:-1]]
    for vertex, op in enumerate(inner, start=1):
        if op not in OPS:
            raise ValueError(f"vertex {vertex}: {unknown('operation', str(ops[vertex]), OPS)}")
    return ["input", *inner, "output"]


def _matrix(matrix: Any, size: int) -> list[list[int]]:
    rows = matrix if isinstance(matrix, list | tuple) else []
    if [len(row) if isinstance(row, list | tuple) else 0 for row in rows] != [size] * size:
        raise ValueError(f"matrix must be {size} x {size}, as there are {size} ops")
    for x, row in enumerate(rows):
        for y, entry in enumerate(row):
            if not isinstance(entry, int | float) or entry not in (0, 1):
                raise ValueError(f"matrix[{x}][{y}] is {entry!r} instead of 0 or 1")
            if entry and x >= y:
                raise ValueError(f"matrix[{x}][{y}] is 1: edges must lead to later vertices (upper triangular)")
    return [[int(entry) for entry in row] for row in rows]
