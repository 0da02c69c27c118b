"""The figures of one space or several, as JSON and as tables for people."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jaxnas.correlate.comparison import Comparison
from jaxnas.correlate.seeds import OverSeeds, Range
from jaxnas.correlate.sources import BASELINES
from jaxnas.ranks import Agreement, Floats, Interval
from jaxnas.report.sheet import Sheet
from jaxnas.tables.measured import of_join, of_rows

PIPED_WIDTH = 130  # columns of the table of one space where standard output is no terminal
ENDLESS = 10_000  # the same for several spaces: their table is as wide as it has to be
LABEL_WIDTH, CELL_WIDTH, GAP = 24, 21, 3  # columns of the table of several spaces; a figure and its interval is a cell
LOWER = "lower is better"
COLUMNS = ("score", "Spearman [95 %]", "Kendall tau [95 %]", "top 10 %", "given FLOPs", "best pick", "n", "failed")


def as_json(comparison: Comparison) -> dict[str, Any]:
    """What `--json` prints of a space; undefined figures are null."""
    measured = comparison.measured
    pair = measured.pair
    return {
        "name": measured.name,
        "directory": " ".join(pair.scores),
        "table": str(pair.table),
        "target": pair.target,
        "lower_is_better": pair.lower_is_better,
        "scored": measured.joined["scored"],
        "compared": len(measured.target),
        "join": dict(measured.joined),
        "rows": dict(measured.table),
        "scores": {name: asdict(agreement) for name, agreement in comparison.agreements.items()},
        "over_seeds": {
            name: {"seeds": over.seeds} | {key: value and value._asdict() for key, value in _figures(over).items()}
            for name, over in comparison.over_seeds.items()
        },
    }


def labels(found: Sequence[Comparison]) -> dict[str, str]:
    """The label of each score of any space by its name, the baselines last."""
    names = {name: row.label for comparison in found for name, row in comparison.agreements.items()}
    return {name: label for name, label in names.items() if name not in BASELINES} | BASELINES


def heading(comparison: Comparison) -> list[str]:
    """The lines above a space: its name, the target, how many architectures."""
    pair = comparison.measured.pair
    lines = [comparison.measured.name, pair.target, *([LOWER] if pair.lower_is_better else [])]
    return [*lines, f"n = {len(comparison.measured.target)}"]


def sheet(found: Sequence[Comparison], as_json: Mapping[str, Any], *, several: bool) -> Sheet:
    """The figures for papers and programs: of one space a row per score, of several a row per figure and score."""
    records = [
        {"space": c.measured.name, "target": c.measured.pair.target, "score": name, **flat(agreement)}
        for c in found
        for name, agreement in c.agreements.items()
    ]
    if not several:
        digits = decimals(found[0].measured.target)
        rows = [dict(zip(COLUMNS, _cells(row, digits), strict=True)) for row in found[0].agreements.values()]
        return Sheet(rows, records, COLUMNS[1:], json=as_json)
    columns = {", ".join(heading(comparison)): comparison for comparison in found}
    rows = [
        {"figure": figure, "score": label}
        | {title: cell(c.agreements[name]) if name in c.agreements else "" for title, c in columns.items()}
        for figure, cell in SECTIONS.items()
        for name, label in labels(found).items()
    ]
    return Sheet(rows, records, [*columns], json=as_json)


def flat(agreement: Agreement) -> dict[str, Any]:
    """The figures of a score, each end of an interval by a name of its own."""
    found: dict[str, Any] = {}
    for name, value in asdict(agreement).items():
        if name.endswith("_interval"):
            low, high = value or (None, None)
            found |= {name.replace("interval", "low"): low, name.replace("interval", "high"): high}
        else:
            found[name] = value
    return found


def print_one(comparison: Comparison, *, bootstrap: int, seed: int) -> None:
    """Print the table of one space: a row per score."""
    caption = (
        f"{bootstrap} bootstrap resamples, seed {seed}; positive = agrees with the target; failed architectures rank "
        "last; top 10 % = Spearman within the best tenth by target; best pick = target of the architecture with the "
        "best score (mean over ties)"
    )
    pair = comparison.measured.pair
    title = f"Agreement with {pair.target}" + f" ({LOWER})" * pair.lower_is_better
    table = Table(title=escape(title), caption=caption, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    console = Console()
    table.add_column(COLUMNS[0])
    narrow = console.is_terminal and console.width < PIPED_WIDTH
    for column in COLUMNS[1:]:
        table.add_column(escape(_split(column, narrow)), justify="right", no_wrap=narrow and "[" in column)
    digits = decimals(comparison.measured.target)
    for row in comparison.agreements.values():
        table.add_row(*(escape(_split(cell, narrow)) for cell in _cells(row, digits)))
    (console if console.is_terminal else Console(width=PIPED_WIDTH)).print(table)
    if comparison.over_seeds:
        (console if console.is_terminal else Console(width=PIPED_WIDTH)).print(_seeds(comparison))
    for line in left_out(comparison):
        console.print(escape(line), highlight=False, soft_wrap=not console.is_terminal)


def _split(text: str, narrow: bool) -> str:
    """The text, in a narrow column with its interval in a line of its own."""
    return text.replace(" [", "\n[") if narrow else text


def _seeds(comparison: Comparison) -> Table:
    """The table of the scores with several seeds."""
    caption = "mean [smallest, largest] over the seeds; stability = Spearman between two seeds; above: the first seed"
    table = Table(title="Over seeds", caption=caption, box=box.SIMPLE_HEAD)
    for column in ("score", "seeds", "Spearman", "Kendall tau", "stability"):
        table.add_column(column, justify="left" if column == "score" else "right")
    for name, over in comparison.over_seeds.items():
        ranges = [of and (of.mean, (of.low, of.high)) for of in _figures(over).values()]
        cells = [with_interval(*(of or (None, None))) for of in ranges]
        table.add_row(escape(name), str(len(over.seeds)), *map(escape, cells))
    return table


def _figures(over: OverSeeds) -> dict[str, Range | None]:
    return {"spearman": over.spearman, "kendall": over.kendall, "stability": over.stability}


def left_out(comparison: Comparison) -> list[str]:
    """Return in words what the comparison does not see of either side, and what of the table are means."""
    measured = comparison.measured
    of_table = of_rows(measured.table)
    return [of_join(measured.joined), *([f"{measured.pair.table}: {of_table}"] if of_table else [])]


def decimals(values: Floats) -> int:
    """How many decimals tell the values `[n]` apart: a hundredth of the distance of their quartiles."""
    low, high = np.quantile(values, (0.25, 0.75))
    width = high - low or np.ptp(values)
    return max(0, 2 - math.floor(math.log10(width))) if width else 2


def _cells(row: Agreement, digits: int) -> tuple[str, ...]:
    ties = f" ({row.top_ties} tied)" if row.top_ties > 1 else ""
    return (
        row.label,
        _spearman(row),
        _kendall(row),
        number(row.spearman_top),
        number(row.partial_given_flops),
        "-" if row.top_target is None else f"{row.top_target:.{digits}f}{ties}",
        str(row.n),
        str(row.failures),
    )


def print_several(found: Sequence[Comparison], *, bootstrap: int, seed: int) -> None:
    """Print one table of all spaces: rows = scores, columns = spaces; on a narrow terminal a table for every few."""
    console = Console()
    fit = len(found)
    if console.is_terminal:
        fit = max(1, (console.width - LABEL_WIDTH) // (CELL_WIDTH + GAP))
    else:
        console = Console(width=ENDLESS)
    for first in range(0, len(found), fit):
        console.print(_several(found[first : first + fit], labels(found)))
    console.print(
        f"{bootstrap} bootstrap resamples, seed {seed}; positive = agrees with the target; failed architectures rank "
        "last; - = undefined; empty = not scored"
    )
    for comparison in found:
        for line in left_out(comparison):
            where = " ".join(heading(comparison)[:2])
            console.print(escape(f"{where}: {line}"), highlight=False, soft_wrap=not console.is_terminal)


def _several(found: Sequence[Comparison], rows: Mapping[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("score")
    for comparison in found:
        table.add_column(escape("\n".join(heading(comparison))), justify="right", width=CELL_WIDTH, overflow="fold")
    for title, cell in SECTIONS.items():
        table.add_row(escape(title), style="bold")
        for name, label in rows.items():
            cells = (cell(c.agreements[name]) if name in c.agreements else "" for c in found)
            table.add_row(escape(f"  {label}"), *map(escape, cells))
        table.add_section()
    return table


def _spearman(row: Agreement) -> str:
    return with_interval(row.spearman, row.spearman_interval)


def _kendall(row: Agreement) -> str:
    return with_interval(row.kendall, row.kendall_interval)


SECTIONS: dict[str, Callable[[Agreement], str]] = {
    COLUMNS[1]: _spearman,
    COLUMNS[2]: _kendall,
    COLUMNS[-1]: lambda row: str(row.failures),
}


def number(value: float | None) -> str:
    """A correlation for a table."""
    return "-" if value is None else f"{value:+.3f}"


def with_interval(value: float | None, interval: Interval | None) -> str:
    """A correlation and its interval for a table."""
    if value is None or interval is None:
        return number(value)
    return f"{value:+.3f} [{interval[0]:+.2f}, {interval[1]:+.2f}]"
