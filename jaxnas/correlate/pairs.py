"""What is compared: directories of scores, each with a table of measured values, given in options or in a file."""

from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import polars as pl

from jaxnas.errors import UserError, unknown
from jaxnas.spaces import Space
from jaxnas.spaces.table_rows import STRINGS
from jaxnas.tables import architectures, read_architectures, read_table
from jaxnas.user_file import local

TARGET = "_target"  # the target's column after the join; no score is called like that
TRUTH = {"true": True, "false": False, "": False}


@dataclass(frozen=True)
class Pair:
    """A directory of scores and the measured values to compare them with.

    Attributes:
      scores: directory written by `jaxnas.score`.
      table: CSV or Parquet file.
      target: its column of measured values.
      key: its column of architectures; None for what the space finds.
      lower_is_better: the target is an error or a loss.
      name: how to call it; None for the name of its space.
    """

    scores: Path
    table: Path
    target: str
    key: str | None = None
    lower_is_better: bool = False
    name: str | None = None


COLUMNS = [field.name for field in fields(Pair)]
REQUIRED = [field.name for field in fields(Pair) if field.default is MISSING]


def read_pairs(path: Path) -> list[Pair]:
    """Return the pairs of a CSV or Parquet file: a row each, the columns called like the attributes of `Pair`.

    Raises:
      UserError: the file cannot be read, has no rows, lacks a column or has one too many, or a cell is wrong.
    """
    table = read_table(path, text=COLUMNS)
    for column in table.columns:
        if column not in COLUMNS:
            raise UserError(f"{path}: {unknown('column', column, COLUMNS)}")
    missing = [column for column in REQUIRED if column not in table.columns]
    if missing:
        raise UserError(f"{path}: no column {missing[0]!r}; give {', '.join(REQUIRED)} in each row")
    if table.is_empty():
        raise UserError(f"{path}: no rows; give one for each space")
    cells = table.select(pl.all().cast(pl.String).fill_null("").str.strip_chars())
    return [_pair(cell, f"{path}, row {row}") for row, cell in enumerate(cells.iter_rows(named=True))]


def _pair(cell: dict[str, str], where: str) -> Pair:
    for column in REQUIRED:
        if not cell[column]:
            raise UserError(f"{where}: {column} is empty; give {', '.join(REQUIRED)} in each row")
    lower = cell.get("lower_is_better", "").lower()
    if lower not in TRUTH:
        raise UserError(f"{where}: lower_is_better is {lower!r}; say true, or false, or leave it empty")
    return Pair(
        scores=Path(local(cell["scores"], where)),
        table=Path(local(cell["table"], where)),
        target=cell["target"],
        key=cell.get("key") or None,
        lower_is_better=TRUTH[lower],
        name=cell.get("name") or None,
    )


def read_target(pair: Pair, space: Space | None) -> pl.DataFrame:
    """Return the columns `arch` and `TARGET` of a pair's table, without the rows that have no target.

    An architecture that the table has in several wordings has the mean of its rows.

    Args:
      space: whose strings `arch` holds; without one those of the table as they are.

    Raises:
      UserError: the file is missing, unreadable or of another kind, lacks a column or numbers in it, or lists an
        architecture twice.
    """
    if space is None:
        table, names = _strings(pair)
    else:
        table, archs = read_architectures(pair.table, space, pair.key)
        names = pl.Series([space.decode(arch) for arch in archs], dtype=pl.String)
    numeric = [name for name, dtype in table.schema.items() if dtype.is_numeric()]
    if pair.target not in numeric:
        raise unknown("target column", pair.target, numeric)
    table = table.select(names.alias("arch"), pl.col(pair.target).cast(pl.Float64).alias(TARGET))
    known = table.filter(pl.col(TARGET).is_finite())
    if len(table) and known.is_empty():
        raise UserError(f"{pair.table}: the column {pair.target!r} has no finite number; name another one")
    return known.group_by("arch", maintain_order=True).mean()


def _strings(pair: Pair) -> tuple[pl.DataFrame, pl.Series]:
    """Return a pair's table and its column of architectures."""
    path, keys = pair.table, (pair.key,) if pair.key else STRINGS
    table = read_table(path, text=keys)
    key = pair.key or next((name for name in keys if name in table.columns), None)
    if key is None:
        raise UserError(
            f"{path}: no column {' or '.join(map(repr, keys))}; name the column of architectures with --key (in a file "
            f"of pairs: in its column `key`); the columns are {', '.join(table.columns)}"
        )
    archs = architectures(path, table, key)
    if archs.null_count():
        raise UserError(f"{path}: rows without an architecture in column {key!r}; is it truncated?")
    _refuse_duplicates(archs, str(path))
    return table, archs


def join(scores: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of `scores` whose `arch` is in `table`, with its column `TARGET`.

    Raises:
      UserError: no architecture is in both, or `scores` lists one twice.
    """
    _refuse_duplicates(scores["arch"], "the directory of scores")
    joined = scores.join(table, on="arch", how="inner", maintain_order="left")
    if joined.is_empty():
        example = f"{scores['arch'][0]!r} is scored" if len(scores) else "nothing is scored"
        raise UserError(f"the scores and the table have no architecture in common ({example}); is it the same space?")
    return joined


def _refuse_duplicates(archs: pl.Series, where: str) -> None:
    twice = archs.filter(archs.is_duplicated())
    if len(twice):
        raise UserError(f"{where} lists {twice.n_unique()} architectures more than once, first {twice[0]!r}; keep one")
