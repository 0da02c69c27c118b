"""`python -m jaxnas.report`: one page about runs, to look at and to pass on."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from jaxnas.cli import frame, process
from jaxnas.correlate.pairs import OF_SCORES
from jaxnas.errors import UserError, check_least, check_seed

if TYPE_CHECKING:
    from jaxnas.report.page.scores import Measured
    from jaxnas.tables.runs import Run

PAGES = (".html", ".htm")
Column = Annotated[str | None, tyro.conf.arg(metavar="COLUMN")]
Directories = Annotated[tuple[str, ...], tyro.conf.arg(metavar="DIR|table:NAME...")]


@dataclass(frozen=True)
class Report:
    """Make a page about runs, one HTML file, or draw one figure, for a paper.

    Charts of a page answer each other: what is marked in one is so in all.
    """

    runs: tyro.conf.Positional[Directories] = ()
    """Directories of `jaxnas score`, `search`, `predict` or `supernet`, or table:NAME. Runs on one space that differ in
    their seeds become intervals; each space has a tab, and so have its searches."""
    table: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Table of measured values (.csv, .parquet, ..., or table:NAME) to compare the scores with."""
    target: Column = None
    """Column of --table to compare with; or score:NAME, one of the scores, without --table."""
    key: Column = None
    """Column of --table with the architectures; by default `arch`, `arch_str` or what the space's benchmark has."""
    lower_is_better: bool = False
    """The target is an error, a loss or a perplexity."""
    bootstrap: int = 1000
    """Bootstrap resamples behind each interval."""
    seed: int = 0
    """Seed of the resamples."""
    out: Path = Path("report.html")
    """File to write: an .html with all there is; or a .pdf, .svg or .png with one figure of runs on one space: scores
    against --target, the best so far and the front of searches, held-out predictions, losses of a supernet."""


def report(config: Report) -> None:
    """Run the command."""
    _check(config)
    from jaxnas.report.page import scores
    from jaxnas.tables.runs import by_space, read_run

    groups = by_space([read_run(path) for path in dict.fromkeys(config.runs)])
    scored = [group for group in groups if group[0].kind == "scores"]
    if config.target is not None and len(scored) != 1:
        found = ", ".join(group[0].settings["space"] for group in scored) or "searches alone"
        raise UserError(f"--target goes with scores of one space; here are {found}: make a page for each")
    measured = None
    if config.target is not None:
        own = config.bootstrap, config.seed
        measured = scores.Measured(config.table, config.target, config.key, config.lower_is_better, *own)
    try:
        (_page if config.out.suffix.lower() in PAGES else _figure)(config, groups, measured)
    except OSError as error:
        raise UserError(f"--out {config.out}: cannot write it ({error.strerror})") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Report, report, argv, prog="jaxnas report")


def _page(config: Report, groups: "Sequence[list[Run]]", measured: "Measured | None") -> None:
    from jaxnas.report.page import javascript, scores, search
    from jaxnas.report.page.document import document

    tabs = [scores.tab(group, measured) if group[0].kind == "scores" else search.tab(group) for group in groups]
    text = document(tabs, command=_command(config), bundle=javascript.bundle())
    config.out.write_text(text, encoding="utf-8")
    rows = sum(len(tab.data["rows"]["arch"]) for tab in tabs)
    process.tell(
        f"{config.out}: {', '.join(tab.name for tab in tabs)}; {rows:,} rows, {len(text.encode()) / 1e6:.1f} MB"
    )


def _figure(config: Report, groups: "Sequence[list[Run]]", measured: "Measured | None") -> None:
    from jaxnas.report.page import static

    if len(groups) != 1:
        found = ", ".join(f"{group[0].command} on {group[0].settings['space']}" for group in groups)
        raise UserError(f"--out {config.out}: a figure is of runs of one kind on one space; here are {found}")
    process.tell(f"{config.out}: {static.draw(groups[0], measured, config.out)}")


def _check(config: Report) -> None:
    if not config.runs:
        raise UserError("missing: DIR; give one or several directories of jaxnas score, search, predict or supernet")
    own = config.target is not None and config.target.startswith(OF_SCORES)
    if (config.table is None) != (config.target is None or own):
        raise UserError("--table and --target go together: a file, and its column of measured values")
    check_least(config, {"bootstrap": 1})
    check_seed(config.seed)
    if not config.out.parent.is_dir():
        raise UserError(f"--out {config.out}: there is no directory {config.out.parent}; create it first")
    if config.out.suffix.lower() in PAGES:
        from jaxnas.report.page import javascript

        javascript.version()  # before the long work
    elif config.out.suffix in frame.PLOT_SUFFIXES:
        frame.check_plot(config.out, "--out")
    else:
        raise UserError(f"--out {config.out}: give a file that ends in .html, {', '.join(frame.PLOT_SUFFIXES)}")


def _command(config: Report) -> str:
    """The command that makes the page again."""
    words = ["jaxnas", "report", *config.runs]
    for name in ("table", "target", "key"):
        if getattr(config, name) is not None:
            words += [f"--{name}", str(getattr(config, name))]
    words += ["--lower-is-better"] if config.lower_is_better else []
    usual = {"bootstrap": Report.bootstrap, "seed": Report.seed, "out": Report.out}
    for name, value in usual.items():
        if getattr(config, name) != value:
            words += [f"--{name}", str(getattr(config, name))]
    return shlex.join(words)
