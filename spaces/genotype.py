"""Genotypes as text: the JSON of NDS's `net` entries and the `Genotype(...)` of DARTS's code."""

import ast
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from jaxnas.errors import UserError

CELLS = ("normal", "reduce")
COLUMNS = ("genotype", "net")  # of tables, with either form
FORMS = 'expected {"genotype":{"normal":[["OP",0],...],...},"width":48,...} or Genotype(normal=[("OP", 0), ...], ...)'
TRAINING = {"aux": False, "drop_prob": 0.0}  # settings of NDS's training that stand in the same entry

Pair = tuple[str, int]


class Genotype(NamedTuple):
    """Two cells, and the size of the network made of them.

    Attributes:
      normal: op and source node of each of a cell's inputs, two per node; nodes 0 and 1 are the cell's own inputs.
      normal_concat: the nodes that make the cell's output, or None where the text leaves them out.
      reduce: as `normal`, of the cell that halves the image.
      reduce_concat: as `normal_concat`.
      width: channels of the first cells; -1 where the text gives none.
      depth: number of cells; -1 where the text gives none.
    """

    normal: list[Pair]
    normal_concat: list[int] | None
    reduce: list[Pair]
    reduce_concat: list[int] | None
    width: int = -1
    depth: int = -1


def parse(text: str) -> Genotype:
    """Return the genotype of either form; `UserError` says what is malformed."""
    fields = _json_fields(text) if text.lstrip().startswith("{") else _call_fields(text)
    for name in fields.keys() - set(Genotype._fields):
        raise _malformed(f"unknown entry {name!r}")
    for cell in CELLS:
        if cell not in fields:
            raise _malformed(f"no entry {cell!r}")
        fields[cell] = [_pair(cell, entry) for entry in _items(cell, fields[cell])]
        concat = f"{cell}_concat"
        if fields.setdefault(concat, None) is not None:
            fields[concat] = [_integer(concat, node) for node in _items(concat, fields[concat])]
    for name in fields.keys() & {"width", "depth"}:
        _integer(name, fields[name])
    return Genotype(**fields)


def to_json(genotype: Genotype) -> str:
    """Return NDS's form; a width or depth of -1 is left out."""
    cells = {name: getattr(genotype, name) for name in ("normal", "normal_concat", "reduce", "reduce_concat")}
    size = {name: getattr(genotype, name) for name in ("width", "depth") if getattr(genotype, name) != -1}
    return json.dumps({**TRAINING, **size, "genotype": cells}, sort_keys=True, separators=(",", ":"))


def to_call(genotype: Genotype) -> str:
    """Return the form of DARTS's code, which has no width and depth."""
    parts = []
    for cell in CELLS:
        concat = getattr(genotype, f"{cell}_concat")
        span = range(concat[0], concat[-1] + 1)
        parts += [f"{cell}={getattr(genotype, cell)!r}", f"{cell}_concat={span if list(span) == concat else concat!r}"]
    return f"Genotype({', '.join(parts)})"


def _json_fields(text: str) -> dict[str, Any]:
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"not JSON ({error})") from None
    cells = entry.pop("genotype", None)
    if not isinstance(cells, dict):
        raise _malformed("no entry 'genotype'")
    return {**cells, **{name: value for name, value in entry.items() if name not in TRAINING}}


def _call_fields(text: str) -> dict[str, Any]:
    """Return the arguments of a call `Genotype(...)`, which is read, never run."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Genotype"):
            raise ValueError("it is neither JSON nor a call of Genotype")
        named = [(word.arg or "**", word.value) for word in call.keywords]
        return {name: _literal(node) for name, node in [*zip(Genotype._fields, call.args, strict=False), *named]}
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise _malformed(str(error) or type(error).__name__) from None


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        return range(*[ast.literal_eval(argument) for argument in node.args])
    return ast.literal_eval(node)


def _items(name: str, value: Any) -> Iterable[Any]:
    if not isinstance(value, list | tuple | range):
        raise _malformed(f"{name} is {value!r}, not a list")
    return value[:100]  # more than any cell has, and less than range(10**9)


def _pair(cell: str, entry: Any) -> Pair:
    match entry:
        case [str(op), int(source)]:
            return op, source
    raise _malformed(f"{cell} has {entry!r} where an op and its source node, like ('skip_connect', 0), belong")


def _integer(name: str, value: Any) -> int:
    if type(value) is not int:
        raise _malformed(f"{name} has {value!r} where an integer belongs")
    return value


def _malformed(reason: str) -> UserError:
    return UserError(f"{reason}; {FORMS}")
