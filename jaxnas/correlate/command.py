"""The command line `python -m jaxnas.correlate`: one space from its options, or several from a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxnas.cli import frame
from jaxnas.correlate import figure, report
from jaxnas.correlate.comparison import Compared, Comparison, read
from jaxnas.correlate.pairs import OF_SCORES, Pair, read_pairs
from jaxnas.errors import UserError, check_seed
from jaxnas.report.sheet import Format

Column = Annotated[str | None, tyro.conf.arg(metavar="COLUMN")]
File = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]


@dataclass(frozen=True)
class Correlate:
    """Compare scores with measured accuracies: rank correlations, with intervals.

    One space: DIR TABLE --target COLUMN. Several spaces side by side: --pairs FILE.
    """

    files: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="[DIR... TABLE]")]] = ()
    """Scores, and last a table of measured values. Scores are directories of `jaxnas score`, `table:NAME`, or tables of
    your own; runs that differ in --seed alone are seeds of one score; DIR:NAME,NAME takes these scores alone. Of a
    table of yours every column of numbers is a score. More is better, unless a minus stands before the name
    (FILE:NAME,-NAME) or jaxnas itself has a score of that name. TABLE (.csv, .parquet, ..., or table:NAME) has a column
    of architectures and measured columns; several rows of an architecture, such as seeds, count as their mean."""
    target: Column = None
    """Column of TABLE to compare with, for example `c10_test_200`; table:COLUMN where a score is called like it.
    score:NAME compares with a score, without TABLE."""
    lower_is_better: bool = False
    """The target is an error, a loss or a perplexity."""
    key: Column = None
    """Column of TABLE with the architectures; by default `arch`, `arch_str` or what the space's benchmark has."""
    space: str | None = None
    """Space of the architectures, where all scores are tables of yours."""
    pairs: File = None
    """Table with a row for each space: columns `scores` (a DIR), `table`, `target` and, where needed, `key`,
    `lower_is_better` (true or false), `space` and `name` (by default that of the space). Paths are as on the command
    line."""
    bootstrap: int = 1000
    """Bootstrap resamples behind each interval."""
    seed: int = 0
    """Seed of the resamples."""
    format: Format = "table"
    """How to print the figures; all but `table` are alone on standard output."""
    json: bool = False
    """The same as --format json."""
    plot: File = None
    """Draw into this .png, .pdf or .svg: rank against target for each score, and the taus with their intervals; of
    several spaces, a map of Spearman's rho."""


def correlate(config: Correlate) -> None:
    """Print (and plot) how each score agrees with the target, in one space or several."""
    _check(config)
    measured = [read(_pair(config))] if config.pairs is None else _read_all(config.pairs)
    draws = {"resamples": config.bootstrap, "seed": config.seed}
    found = [Comparison(m, m.agreements(**draws), m.over_seeds()) for m in measured]
    if config.plot is not None:
        _draw(config.plot, found, several=config.pairs is not None)
    settings = {"bootstrap": config.bootstrap, "seed": config.seed}
    form, several = "json" if config.json else config.format, config.pairs is not None
    if form != "table":
        entries = [report.as_json(comparison) for comparison in found]
        known = settings | ({"spaces": entries} if several else entries[0])
        report.sheet(found, known, several=several).print(form)
    elif not several:
        report.print_one(found[0], **settings)
    else:
        report.print_several(found, **settings)


def main(argv: list[str] | None = None) -> int:
    """Run `python -m jaxnas.correlate` and return its exit code."""
    return frame.run(Correlate, correlate, argv, prog="jaxnas correlate")


def _check(config: Correlate) -> None:
    if config.bootstrap < 1:
        raise UserError(f"--bootstrap {config.bootstrap}: give 1 or more resamples")
    check_seed(config.seed)
    files = config.files or None
    given = {"DIR": files, "--target": config.target, "--key": config.key, "--space": config.space}
    extra = [option for option, value in given.items() if value is not None]
    extra += ["--lower-is-better"] if config.lower_is_better else []
    if config.pairs is not None and extra:
        raise UserError(f"--pairs {config.pairs}: leave out {', '.join(extra)}; each row says its own")
    if config.plot is not None:
        frame.check_plot(config.plot)


def _pair(config: Correlate) -> Pair:
    """The pair that the options name."""
    own = config.target is not None and config.target.startswith(OF_SCORES)
    given = {"DIR": len(config.files) > 0, "TABLE": len(config.files) > 1 or own, "--target": config.target is not None}
    if config.target is None or not all(given.values()):
        missing = ", ".join(option for option, there in given.items() if not there)
        raise UserError(f"missing: {missing}; give DIR TABLE --target COLUMN, or --pairs FILE for several spaces")
    scores = config.files if own else config.files[:-1]
    table = Path(config.files[-1])
    return Pair(scores, table, config.target, config.key, config.lower_is_better, space=config.space)


def _read_all(path: Path) -> list[Compared]:
    """What the rows of a file of pairs name; two of them may not look the same in a table."""
    measured: list[Compared] = []
    rows: dict[tuple[str, str], int] = {}
    for row, pair in enumerate(read_pairs(path)):
        try:
            measured.append(read(pair))
        except UserError as error:
            raise UserError(f"{path}, row {row}: {error}") from None
        heading = (measured[-1].name, pair.target)
        if heading in rows:
            raise UserError(
                f"{path}: rows {rows[heading]} and {row} are both headed {' '.join(heading)!r}; "
                "tell them apart in a column `name`"
            )
        rows[heading] = row
    return measured


def _draw(path: Path, found: Sequence[Comparison], *, several: bool) -> None:
    from jaxnas.report import plots

    try:
        if several:
            headings = [report.heading(comparison) for comparison in found]
            plots.draw_map([c.agreements for c in found], headings, report.labels(found), path=path)
        else:
            figure.draw(found[0], path)
    except OSError as error:
        raise UserError(f"--plot {path}: cannot write it ({error.strerror})") from error
