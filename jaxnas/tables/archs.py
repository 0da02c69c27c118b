"""Tables that users give: their architectures and their numbers."""

import json
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from jaxnas.errors import UserError, unknown
from jaxnas.spaces import Space
from jaxnas.spaces.strings import RowError
from jaxnas.tables.read import LIST, Rows, read_rows
from jaxnas.tables.read import is_table as is_table

MISSING = ("", "nan", "na", "n/a", "#n/a", "<na>", "null", "none", "-")  # in any case; what else is no number is text
THOUSANDS = r"^[+-]?[1-9]\d{0,2}(,\d{3})+$"  # or, with one comma, decimals
TRUTH = {"true", "false"}


class Table(NamedTuple):
    """A table, and the architectures `[N, A]` of its rows."""

    path: Path
    frame: pl.DataFrame
    archs: np.ndarray

    def numbers(self, column: str) -> np.ndarray:
        """A column of numbers `[N]`, NaN where there is none; see `numbers`."""
        return numbers(self.path, self.frame, column)


def read_table(path: Path, *, text: Collection[str] = ()) -> pl.DataFrame:
    """A table.

    Args:
      path: a file of one of the kinds that `read` knows, or `-` for standard input.
      text: columns of a text file that stay text where they look like numbers: the architecture `0012` is not 12.

    Raises:
      UserError: the file is missing, unreadable or of another kind.
    """
    return _typed(read_rows(path, lambda line: False), text)


def read_architectures(path: Path, space: Space, key: str | None = None) -> Table:
    """A table with the architectures of its rows, strings or as the space's benchmark has them.

    Args:
      path: as `read_table`'s; a text file may also be a mere list of architectures, one a line.
      key: column of strings; None for what the space itself finds.

    Raises:
      UserError: the file cannot be read, has no architectures, or one is malformed.
    """

    def is_architecture(text: str) -> bool:
        try:
            return bool(space.encode(text).size)
        except UserError:
            return False

    rows = read_rows(path, is_architecture)
    found = named(rows.frame.columns, (key,) if key else space.string_columns)
    if key and found is None:
        raise UserError(f"{path}: no column {key!r}; the columns are {', '.join(rows.frame.columns)}")
    table = _typed(rows, space.string_columns if found is None else (found,))
    columns = dict(zip(table.columns, table.get_columns(), strict=True))
    if found is not None:
        columns = {space.string_columns[0]: architectures(path, table, found)}
    try:
        return Table(path, table, space.from_table(columns))
    except RowError as error:
        where = f"row {error.row}" if rows.lines is None else f"line {rows.lines[error.row]}"
        raise UserError(f"{path}: {where}: {error.problem}") from None
    except UserError as error:
        hint = ""
        if found is None and len(table):
            index = named(table.columns, ("arch_id",))
            hint = f"; try --key {index}" if index else f"; call the one of architectures {LIST!r}, or try --key"
        raise UserError(f"{path}: {error}{hint}") from None


def named(columns: Iterable[str], wanted: Iterable[str]) -> str | None:
    """The first of the `wanted` columns that is there: spelt so, or else with other capitals or blanks."""
    exact, alike = set(columns), {_plain(name): name for name in columns}
    names = [name for name in wanted if name in exact] or [alike[_plain(n)] for n in wanted if _plain(n) in alike]
    return names[0] if names else None


def architectures(path: Path, table: pl.DataFrame, column: str) -> pl.Series:
    """A column of architectures, as text, of the table read from `path`.

    Raises:
      UserError: it holds something else.
    """
    values = table[column]
    if isinstance(values.dtype, pl.List | pl.Array) and values.dtype.inner.is_integer():
        return pl.Series(column, [None if row is None else json.dumps(row) for row in values.to_list()], pl.String)
    if values.dtype not in (pl.String, pl.Categorical, pl.Enum) and not values.dtype.is_integer():
        raise UserError(f"{path}: the column {column!r} holds {values.dtype}; give architecture strings")
    return values.cast(pl.String)


def numbers(path: Path, table: pl.DataFrame, column: str) -> np.ndarray:
    """A column of numbers `[N]` of the table read from `path`, NaN where it has none.

    Text is read, too: `94.2%` is 94.2, and `nan`, `N/A`, `null`, `-` and the like say that there is no number.

    Raises:
      UserError: there is no such column, or it holds something else; the message shows what.
    """
    if (found := named(table.columns, (column,))) is None:
        numeric = [name for name in table.columns if _as_numbers(table[name])[0] is not None]
        if not numeric:
            raise UserError(f"{path}: no column {column!r}, and none of {', '.join(table.columns)} holds numbers")
        raise UserError(f"{path}: {unknown('column', column, numeric)}")
    values, first = _as_numbers(table[found])
    if values is None:
        if re.match(THOUSANDS, str(first).strip()):
            remedy = "write thousands without commas, decimals with a point"
            raise UserError(f"{path}: the column {found!r} holds {first!r}, thousands or decimals; {remedy}")
        kind = "true and false" if str(first).lower() in TRUTH else "text"
        raise UserError(f"{path}: the column {found!r} holds {kind}, no numbers; the first is {first!r}")
    return values.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip()).casefold()


def _typed(rows: Rows, text: Collection[str]) -> pl.DataFrame:
    """The columns; those of a text file with nothing but numbers, and not to stay `text`, as numbers."""
    if rows.lines is None:
        return rows.frame
    stay = {_plain(name) for name in text}

    def of(column: pl.Series) -> pl.Series:
        values = None if _plain(column.name) in stay else _as_numbers(column, separator=rows.separator)[0]
        return column if values is None else values

    return pl.DataFrame([of(column) for column in rows.frame.get_columns()])


def _as_numbers(column: pl.Series, *, separator: str = "") -> tuple[pl.Series | None, object]:
    """A column as numbers, or else None and the first of its values that is no number.

    Args:
      separator: of the columns of a text file. Where no value has a point, commas are decimal beside semicolons, and
        beside tabs if one of them cannot separate thousands: `1,234` alone is either.
    """
    if column.dtype.is_numeric() or column.dtype == pl.Null:
        return column, None
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return None, next(iter(column.drop_nulls().head(1).to_list()), None)
    text = column.cast(pl.String).str.strip_chars()
    text = text.set(text.str.to_lowercase().is_in(MISSING), None)
    known = text.drop_nulls()
    if known.str.ends_with("%").all():
        text = text.str.strip_suffix("%").str.strip_chars()
    commas = text.drop_nulls().filter(text.drop_nulls().str.contains(",", literal=True))
    decimal = separator == ";" or (separator == "\t" and not commas.str.contains(THOUSANDS).all())
    if decimal and not known.str.contains(".", literal=True).any():
        text = text.str.replace(r"^([+-]?\d+),(\d+)", "${1}.${2}")
    whole = text.str.contains(r"^[+-]?\d{1,18}$").all()
    values = text.cast(pl.Int64 if whole else pl.Float64, strict=False)
    wrong = column.filter(values.is_null() & text.is_not_null())
    return (None, wrong[0]) if len(wrong) else (values.alias(column.name), None)
