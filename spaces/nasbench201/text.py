"""The ways of writing a cell of NAS-Bench-201: the benchmark's string, AutoDL's and NNI's forms, NASLib's tuples."""

import functools
import random
import re
from typing import Any

import numpy as np

from jaxnas.errors import UserError
from jaxnas.spaces import literals

EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NODES = 4
ALL = len(OPS) ** len(EDGES)
SEED = 88  # of the benchmark's shuffle

NASLIB = "naslib:"
NASLIB_EDGES = ((1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (3, 2))
NASLIB_OPS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
NNI_KEYS = [f"{source}_{target}" for target, source in EDGES]
NNI_OPS = {"conv_1x1": "nor_conv_1x1", "conv_3x3": "nor_conv_3x3"}

FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
STRUCTURE = re.compile(r"\w*Structure\(\d+ nodes with (\|.*\|)\)")


@functools.cache
def order() -> np.ndarray:
    """The position of each of the benchmark's indices `[15625]` where the last edge's op varies fastest.

    Source: the benchmark lists its cells in that order and shuffles them with Python's generator.
    """
    positions = list(range(ALL))
    random.Random(SEED).shuffle(positions)
    return np.array(positions)


def op_names(string: str) -> list[str]:
    """The names of the ops on the edges, in the order of `EDGES`, that a string says; not all need exist."""
    text = string.strip()
    if found := STRUCTURE.fullmatch(text):
        text = found[1]
    if text.startswith(NASLIB):
        return _naslib(string, _value(string, text.removeprefix(NASLIB)))
    if text[:1] not in ("{", "[", "("):
        return _official(string, text)
    match _value(string, text):
        case dict() as ops:
            return _nni(string, ops)
        case tuple() as numbers if all(type(number) is int for number in numbers):
            raise _ambiguous(string, numbers)
        case list() | tuple() as nodes:
            return _nodes(string, nodes)
    raise _malformed(string, "it is neither a list nor a dictionary")


def _official(string: str, text: str) -> list[str]:
    """The ops of `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`."""
    if not text:
        raise _malformed(string, "it is empty")
    nodes = text.split("+")
    if len(nodes) != NODES - 1:
        raise _malformed(string, f"{len(nodes)} nodes instead of {NODES - 1}")
    names: list[str] = []
    for target, node in enumerate(nodes, start=1):
        terms = node.strip("|").split("|")
        if len(terms) != target or not (node.startswith("|") and node.endswith("|")):
            raise _malformed(string, f"node {target} needs {target} edges")
        for source, term in enumerate(terms):
            match = re.fullmatch(r"(\w+)~(\d)", term)
            if match is None or int(match[2]) != source:
                raise UserError(
                    f"malformed architecture {string!r}: edge {len(names)} ({target}<-{source}) is {term!r}, "
                    f"expected OP~{source} with OP one of {', '.join(OPS)}"
                )
            names.append(match[1])
    return names


def _naslib(string: str, numbers: Any) -> list[str]:
    """The ops of NASLib's six integers."""
    fits = isinstance(numbers, list | tuple) and len(numbers) == len(EDGES)
    if not fits or any(type(number) is not int or not 0 <= number < len(OPS) for number in numbers):
        known = ", ".join(f"{number} {op}" for number, op in enumerate(NASLIB_OPS))
        edges = ", ".join(f"{target}<-{source}" for target, source in NASLIB_EDGES)
        raise UserError(
            f"malformed architecture {string!r}: give naslib:(...) the numbers ({known}) of the ops on edges {edges}"
        )
    chosen = dict(zip(NASLIB_EDGES, numbers, strict=True))
    return [NASLIB_OPS[chosen[edge]] for edge in EDGES]


def _nni(string: str, ops: dict[Any, Any]) -> list[str]:
    """The ops of a dictionary such as NNI's queries; its names of ops or the benchmark's."""
    if sorted(map(str, ops)) != sorted(NNI_KEYS):
        raise UserError(
            f"malformed architecture {string!r}: its keys are {', '.join(map(str, ops)) or 'none'}; expected those of "
            f"the edges (source_target), {', '.join(NNI_KEYS)}"
        )
    return [NNI_OPS.get(str(ops[key]), str(ops[key])) for key in NNI_KEYS]


def _nodes(string: str, nodes: list[Any] | tuple[Any, ...]) -> list[str]:
    """The ops of AutoDL's list of nodes, tuples of (op, source)."""
    chosen: dict[tuple[int, Any], str] = {}
    for target, node in enumerate(nodes, start=1):
        for term in node if isinstance(node, list | tuple) else [node]:
            match term:
                case [str(op), int(source)] if (target, source) in EDGES and (target, source) not in chosen:
                    chosen[target, source] = op
                case _:
                    raise _malformed(string, f"node {target} has {term!r} where (OP, SOURCE) belongs")
    if len(chosen) != len(EDGES):
        raise _malformed(string, f"{len(chosen)} edges instead of {len(EDGES)}")
    return [chosen[edge] for edge in EDGES]


def _value(string: str, text: str) -> Any:
    try:
        return literals.read(text)
    except ValueError as error:
        raise _malformed(string, str(error)) from None


def _ambiguous(string: str, numbers: tuple[int, ...]) -> UserError:
    edges = ", ".join(f"{target}<-{source}" for target, source in EDGES)
    return UserError(
        f"{string!r} can be read in two ways: if it numbers the ops {', '.join(OPS)} on the edges {edges}, write "
        f"{list(numbers)}; if it is NASLib's, whose order is another one, write {NASLIB}{numbers}"
    )


def _malformed(string: str, reason: str) -> UserError:
    return UserError(f"malformed architecture {string!r}: {reason}; expected {FORM}")
