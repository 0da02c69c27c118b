"""What else than training-free scores can say how good an architecture is: a table of measurements, or a function.

Both answer as the scorers do, one repeat. An architecture for which there is no answer gets the status `failed`, and
the search goes on.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from jaxnas.errors import UserError, unknown
from jaxnas.search.base import Scores
from jaxnas.spaces import Space
from jaxnas.spaces.subspace import Subspace
from jaxnas.tables import read_architectures, read_table
from jaxnas.types import Finished, Status
from jaxnas.user_file import fingerprint, load_variable

ROW = "_row"  # of the first table; no column is called like that


class Table:
    """The rows of tables of measurements.

    Attributes:
      space: the architectures of the rows; others cannot be asked for.
      fingerprint: 16 hexadecimal digits that change when the files do.

    Args:
      space: of the architectures.
      paths: CSV or Parquet files; those after the first are joined with it on the columns that they share.
      names: the numeric columns to answer with.

    Raises:
      UserError: a file or a column cannot be used, or an architecture is malformed.
    """

    def __init__(self, space: Space, paths: Sequence[Path], names: Sequence[str]):
        table, archs = read_architectures(paths[0], space)
        table = _joined(table.with_row_index(ROW), paths)
        self.fingerprint = fingerprint(*paths)
        numeric = [name for name, kind in table.schema.items() if kind.is_numeric()]
        for name in names:
            if name not in numeric:
                raise unknown(f"numeric column of {', '.join(map(str, paths))}", name, numeric)
        self.space = Subspace(space, archs[table[ROW].to_numpy()])
        self._columns = {name: table[name].cast(pl.Float64).fill_null(math.nan).to_numpy() for name in names}

    def __call__(self, archs: np.ndarray) -> Scores:
        """Return the values `[1, N]` of architectures `[N, A]`."""
        rows = self.space.rows(archs)
        return {name: _finished(np.where(rows < 0, np.nan, column[rows])) for name, column in self._columns.items()}


class Function:
    """A function of the user, from the string of an architecture to a number, or to several by name.

    Args:
      space: of the architectures.
      spec: `path/to/file.py:function`.
      names: the numbers to answer with; a function that returns a single one is asked for a single name.
    """

    def __init__(self, space: Space, spec: str, names: Sequence[str]):
        self.space, self._names = space, tuple(names)
        self._function: Callable[[str], Any] = load_variable(spec, "--oracle", "function", callable)
        self.fingerprint = fingerprint(spec.rpartition(":")[0])

    def __call__(self, archs: np.ndarray) -> Scores:
        """Return the values `[1, N]` of architectures `[N, A]`, one after the other."""
        answers = [self._ask(self.space.decode(arch)) for arch in archs]
        return {name: _finished(np.array([answer[name] for answer in answers], float)) for name in self._names}

    def _ask(self, arch: str) -> Mapping[str, float]:
        """Return the numbers for one architecture; none of them if the function raises an exception."""
        try:
            answer = self._function(arch)
            found = {str(k): float(v) for k, v in answer.items()} if isinstance(answer, Mapping) else float(answer)
        except Exception as error:
            print(f"note: the oracle failed for {arch}: {type(error).__name__}: {error}", file=sys.stderr)
            return dict.fromkeys(self._names, math.nan)
        if isinstance(found, float):
            if len(self._names) > 1:
                raise UserError(
                    f"--oracle returns a single number, and {', '.join(self._names)} are asked for; name one"
                )
            return {self._names[0]: found}
        for name in self._names:
            if name not in found:
                raise unknown("number of --oracle", name, found)
        return found


def _finished(values: np.ndarray) -> Finished:
    return Finished(values[None], np.where(np.isfinite(values), Status.ok, Status.failed)[None], {})


def _joined(table: pl.DataFrame, paths: Sequence[Path]) -> pl.DataFrame:
    """Return the table from the first path joined with those from the others, in its order."""
    for path in paths[1:]:
        more = read_table(path)
        shared = [name for name in table.columns if name in more.columns]
        if not shared:
            raise UserError(
                f"{path} shares no column with {paths[0]} to join them on; give tables that do, such as idx"
            )
        table = table.join(more, on=shared, how="inner", maintain_order="left")
        if table.is_empty():
            raise UserError(f"{path} and {paths[0]} have no row in common: same values of {', '.join(shared)}")
    return table
