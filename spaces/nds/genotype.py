"""Genotypes as text: the JSON of NDS's `net` entries and the `Genotype(...)` of DARTS's code.

Read as well are assignments (`DARTS_V2 = Genotype(...)`), lines of a log with one call, Python dictionaries, cells
whose pairs are grouped by node, and the names of `famous` genotypes.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from jaxnas.errors import UserError
from jaxnas.spaces import literals
from jaxnas.spaces.nds import famous

CELLS = ("normal", "reduce")
COLUMNS = ("genotype", "net")  # of tables, with either form
UNUSED = ("connectN", "connects")  # of AutoDL's genotypes
NAME = re.compile(r"[A-Za-z][\w-]*")
FORMS = (
    'expected {"genotype":{"normal":[["OP",0],...],...},"width":48,...}, Genotype(normal=[("OP", 0), ...], ...) '
    "or a name such as DARTS_V2"
)
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
    """The genotype of any of the forms; `UserError` says what is malformed."""
    fields = _fields(text.strip())
    for name in fields.keys() - set(Genotype._fields):
        raise _malformed(f"unknown entry {name!r}")
    for cell in CELLS:
        if cell not in fields:
            raise _malformed(f"no entry {cell!r}")
        fields[cell] = [_pair(cell, entry) for entry in _flat(_items(cell, fields[cell]))]
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
    """The form of DARTS's code, which has no width and depth."""
    parts = []
    for cell in CELLS:
        concat = getattr(genotype, f"{cell}_concat")
        span = range(concat[0], concat[-1] + 1)
        parts += [f"{cell}={getattr(genotype, cell)!r}", f"{cell}_concat={span if list(span) == concat else concat!r}"]
    return f"Genotype({', '.join(parts)})"


def _fields(text: str) -> dict[str, Any]:
    if text.startswith("{"):
        return _entry_fields(text)
    if NAME.fullmatch(text):
        return dict(zip(CELLS, famous.cells(text), strict=True))
    if literals.index(text) is not None:
        raise _malformed("it is a number, and NDS's networks have none")
    if (found := _call_fields(text)) is None:
        raise _malformed("it is neither JSON nor a call of Genotype")
    return found


def _entry_fields(text: str) -> dict[str, Any]:
    """The entries of a dictionary: the cells and sizes, or the sizes beside a genotype."""
    try:
        entry = literals.read(text)
    except ValueError as error:
        raise _malformed(f"not JSON ({error})") from None
    cells = entry.pop("genotype", {}) if isinstance(entry, dict) else None
    if isinstance(cells, str):
        cells = _call_fields(cells)
    if not isinstance(cells, dict) or not (cells or entry.keys() >= set(CELLS)):
        raise _malformed("no entry 'genotype'")
    return _known({**cells, **{name: value for name, value in entry.items() if name not in TRAINING}})


def _call_fields(text: str) -> dict[str, Any] | None:
    """The arguments of the call `Genotype(...)` in a text, None where there is none."""
    try:
        found = literals.arguments(text, "Genotype", Genotype._fields)
    except ValueError as error:
        raise _malformed(str(error)) from None
    return None if found is None else _known(found)


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields without AutoDL's that say nothing."""
    return {name: value for name, value in fields.items() if not (name in UNUSED and value is None)}


def _flat(entries: Iterable[Any]) -> list[Any]:
    """The pairs of a cell, which may be grouped by node."""
    grouped = [entry if _is_node(entry) else [entry] for entry in entries]
    return [pair for node in grouped for pair in node]


def _is_node(entry: Any) -> bool:
    return isinstance(entry, list | tuple) and bool(entry) and all(isinstance(pair, list | tuple) for pair in entry)


def _items(name: str, value: Any) -> Iterable[Any]:
    if not isinstance(value, list | tuple | range):
        raise _malformed(f"{name} is {value!r}, not a list")
    return value[:100]  # more than any cell has, and less than range(10**9)


def _pair(cell: str, entry: Any) -> Pair:
    match entry:
        case [str(op), int(source)] | [str(op), int(source), float()]:  # GDAS gives weights, too
            return op, source
    raise _malformed(f"{cell} has {entry!r} where an op and its source node, like ('skip_connect', 0), belong")


def _integer(name: str, value: Any) -> int:
    if type(value) is not int:
        raise _malformed(f"{name} has {value!r} where an integer belongs")
    return value


def _malformed(reason: str) -> UserError:
    return UserError(f"{reason}; {FORMS}")
