"""Tables that users give: CSV or Parquet files."""

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import polars as pl

from jaxnas.errors import UserError
from jaxnas.spaces import Space


def read_table(path: Path, *, text: Collection[str] = ()) -> pl.DataFrame:
    """Return a CSV or Parquet table.

    Args:
      path: a file that ends in .csv or .parquet.
      text: columns of a CSV file that stay text where they look like numbers: the architecture `0012` is not 12.

    Raises:
      UserError: the file is missing, unreadable or of another kind.
    """
    readers: dict[str, Callable[[], pl.DataFrame]] = {
        ".csv": lambda: pl.read_csv(
            path, infer_schema_length=None, glob=False, schema_overrides=dict.fromkeys(text, pl.String)
        ),
        ".parquet": lambda: pl.read_parquet(path, glob=False),
    }
    if path.suffix not in readers:
        raise UserError(f"{path}: neither a .csv nor a .parquet file; give the table as one of these")
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a CSV or Parquet table")
    try:
        return readers[path.suffix]()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: cannot be read ({reason}); is it truncated? Give a complete file") from None


def read_architectures(path: Path, space: Space, key: str | None = None) -> tuple[pl.DataFrame, np.ndarray]:
    """Return a table and the architectures `[N, A]` of its rows, strings or as the space's benchmark has them.

    Args:
      path: a file that ends in .csv or .parquet.
      key: column of strings; None for what the space itself finds.

    Raises:
      UserError: the file cannot be read, has no architectures or one twice, or one is malformed.
    """
    table = read_table(path, text=(key,) if key else space.string_columns)
    columns = dict(zip(table.columns, table.get_columns(), strict=True))
    if key := key or next((name for name in space.string_columns if name in columns), None):
        columns = {space.string_columns[0]: architectures(path, table, key)}
    try:
        return table, space.from_table(columns)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def architectures(path: Path, table: pl.DataFrame, column: str) -> pl.Series:
    """Return a column of architectures, as text, of the table read from `path`.

    Raises:
      UserError: there is no such column, or it holds something else than text, whole numbers or lists of these.
    """
    if column not in table.columns:
        raise UserError(f"{path}: no column {column!r}; the columns are {', '.join(table.columns)}")
    kind = table[column].dtype
    if isinstance(kind, pl.List | pl.Array) and kind.inner.is_integer():
        return pl.Series(column, [None if row is None else str(row) for row in table[column].to_list()], pl.String)
    if not kind.is_integer() and kind not in (pl.String, pl.Categorical, pl.Enum):
        raise UserError(f"{path}: the column {column!r} holds {kind}; give architecture strings")
    return table[column].cast(pl.String)
