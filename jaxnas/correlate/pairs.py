"""What is compared: directories of scores, each with a table of measured values, given in options or in a file."""

from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import polars as pl

from jaxnas.errors import UserError, unknown
from jaxnas.tables.archs import read_table
from jaxnas.tables.measured import Target
from jaxnas.user_file import local

TRUTH = {"true": True, "false": False, "": False}
OF_SCORES, OF_TABLE = "score:", "table:"  # before a target: whether it is one of the scores, or a column of the table


@dataclass(frozen=True)
class Pair:
    """Scores and the measured values to compare them with.

    Attributes:
      scores: where they are: directories written by `jaxnas.score`, built tables, tables of a user's.
      table: file.
      target: its column of measured values; `table:COLUMN` says so where a score has that name, `score:NAME` means the
        score.
      key: its column of architectures; None for what the space finds.
      lower_is_better: the target is an error or a loss.
      name: how to call it; None for the name of its space.
      space: of the architectures, where the scores do not say it.
    """

    scores: tuple[str, ...]
    table: Path
    target: str
    key: str | None = None
    lower_is_better: bool = False
    name: str | None = None
    space: str | None = None

    def measured(self) -> Target:
        """What was measured."""
        return Target(self.table, self.target.removeprefix(OF_TABLE), self.key, self.lower_is_better)


COLUMNS = [field.name for field in fields(Pair)]
REQUIRED = [field.name for field in fields(Pair) if field.default is MISSING]


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a table: a row each, the columns called like the attributes of `Pair`.

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
        scores=(local(cell["scores"], where),),
        table=Path(local(cell["table"], where)),
        target=cell["target"],
        key=cell.get("key") or None,
        lower_is_better=TRUTH[lower],
        name=cell.get("name") or None,
        space=cell.get("space") or None,
    )
