"""TransNAS-Bench-101: a tree of search spaces, tasks, architectures and metrics."""

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from jaxnas.errors import UserError
from jaxnas.spaces import Space
from jaxnas.tables.official.pickles import read_pickle

INSTEAD = "give its content as JSON: json.dump(torch.load(FILE), open('transnas.json', 'w'), default=str)"
PARTS = ("micro", "macro")  # search spaces of the benchmark


def read(space: Space, path: Path) -> pl.DataFrame:
    """A row for each architecture of the space, with columns such as `class_object_valid_top1`: task, metric.

    A metric with a value for each epoch counts by its last. On whichever level of the tree the architectures are, the
    names of the other levels, but for the search space, make up the column.

    Raises:
      UserError: the file cannot be read, or has no architecture of the space.
    """
    tree = _json(path) if path.suffix == ".json" else read_pickle(path, INSTEAD)
    other = next(part for part in PARTS if part not in space.name)
    is_arch = functools.cache(lambda name: _is_arch(space, name))
    rows: dict[str, dict[str, Any]] = {}
    for names, value in _leaves(tree, ()):
        places = [place for place, name in enumerate(names) if is_arch(name)]
        if len(places) != 1 or other in names:
            continue
        arch = names[places[0]]
        rest = [name for name in names if name != arch and name not in PARTS]
        rows.setdefault(arch, {"arch": arch})["_".join(rest)] = value
    if not rows:
        raise UserError(f"{path} has no architecture of {space.name}, such as {space.example}; {INSTEAD}")
    return pl.DataFrame(list(rows.values()), infer_schema_length=None)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); is it complete?") from None


def _leaves(tree: Any, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield the names of the branches to each number, and the number; of a list of numbers the last."""
    if isinstance(tree, Mapping):
        for name, branch in tree.items():
            yield from _leaves(branch, (*names, str(name)))
    elif isinstance(tree, list | tuple) and tree:
        if all(_is_number(value) for value in tree):
            yield names, float(tree[-1])
    elif _is_number(tree):
        yield names, float(tree)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_arch(space: Space, name: str) -> bool:
    try:
        return space.decode(space.encode(name)) == name
    except UserError:
        return False
