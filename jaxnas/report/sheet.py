"""A table on standard output: for people, for a paper, or for programs."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Format = Literal["table", "csv", "markdown", "latex", "json"]
GAP, LEAST = 2, 12  # between two columns; of a column that is cut
ENDLESS = 10_000  # columns where standard output is no terminal: nothing is cut there
LATEX = {char: rf"\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


@dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes:
      shown: for people, each row's text by column; all rows have the same columns, the first is its name.
      records: the same for programs, each row's values by name; None is no value.
      right: the columns of `shown` that stand to the right, as numbers do.
      cut: the column of `shown` that gives way where a terminal is too narrow for it.
      notes: lines below it, for people.
      json: what JSON has in place of `{"rows": records}`.
    """

    shown: Sequence[Mapping[str, str]]
    records: Sequence[Mapping[str, Any]]
    right: Sequence[str] = ()
    cut: str | None = None
    notes: Sequence[str] = ()
    json: Mapping[str, Any] | None = None

    def print(self, form: Format) -> None:
        """Print it in one of the forms."""
        if form == "table":
            self._print_table()
        else:
            print(_FORMS[form](self))

    def _print_table(self) -> None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=ENDLESS)
        if self.shown:
            table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
            for number, column in enumerate(self.shown[0]):
                right = column in self.right
                table.add_column(
                    escape(column), justify="right" if right else "left", no_wrap=right or not number, overflow="fold"
                )
            for row in self._fitting(console.width):
                table.add_row(*map(escape, row.values()))
            console.print(table)
        for note in self.notes:
            console.print(note, markup=False, highlight=False, soft_wrap=not console.is_terminal)

    def _fitting(self, width: int) -> Sequence[Mapping[str, str]]:
        """The rows with the column `cut` as long as the others leave room for."""
        if self.cut is None:
            return self.shown
        others = [column for column in self.shown[0] if column != self.cut]
        used = [max(len(column), *(len(row[column]) for row in self.shown)) + GAP for column in others]
        room = max(LEAST, width - sum(used) - GAP)
        return [{**row, self.cut: _shortened(row[self.cut], room)} for row in self.shown]


def card(title: str, lines: Mapping[str, str], record: Mapping[str, Any]) -> Sheet:
    """The table of one thing: for people a line for each of its sides, for programs one record."""
    return Sheet([{"": name, title: text} for name, text in lines.items()], [record], json=record)


def _shortened(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _csv(sheet: Sheet) -> str:
    if not sheet.records:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, sheet.records[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in sheet.records)
    return text.getvalue().rstrip("\n")


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else value


def _json(sheet: Sheet) -> str:
    return json.dumps({"rows": sheet.records} if sheet.json is None else sheet.json, allow_nan=False)


def _markdown(sheet: Sheet) -> str:
    if not sheet.shown:
        return ""
    names = list(sheet.shown[0])
    ruler = ["---:" if name in sheet.right else "---" for name in names]
    rows = [[text.replace("|", r"\|").replace("\n", " ") for text in row.values()] for row in sheet.shown]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [names, ruler, *rows])


def _latex(sheet: Sheet) -> str:
    """A `tabular` in the rules of the package booktabs."""
    if not sheet.shown:
        return ""
    names = list(sheet.shown[0])
    layout = "".join("r" if name in sheet.right else "l" for name in names)
    head, *rows = [" & ".join(map(_escaped, cells)) + r" \\" for cells in [names, *(r.values() for r in sheet.shown)]]
    lines = [rf"\begin{{tabular}}{{{layout}}}", r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return re.sub(r"[&%$#_{}\\~^|<>]", lambda found: LATEX[found[0]], text)


_FORMS: dict[Format, Callable[[Sheet], str]] = {"csv": _csv, "json": _json, "markdown": _markdown, "latex": _latex}
