"""Compare a directory of scores with a table of measured accuracies: `python -m jaxnas.correlate DIR TABLE`.

Every correlation is oriented so that positive means "the score agrees with the target", and an architecture whose
score failed counts as ranked last, tied with the other failures.
"""

import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import tyro
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jaxnas import cli
from jaxnas.errors import UserError, unknown
from jaxnas.ranks import Agreement, Floats, Interval, Ints, compare, ordering

BASELINES = {"params": "#params", "flops": "FLOPs"}
TARGET = "_target"  # the target's column after the join; no score is called like that
PLOT_SUFFIXES = (".png", ".pdf", ".svg")
PIPED_WIDTH = 130  # columns of the table where standard output is no terminal


@dataclass(frozen=True)
class Correlate:
    """Compare scores with measured accuracies: rank correlations with 95 % bootstrap intervals."""

    scores: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DIR")]]
    """Directory of scores, written by `python -m jaxnas.score`."""
    table: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="TABLE")]]
    """CSV or Parquet file with a column `arch` or `arch_str` and measured columns."""
    target: str
    """Column of TABLE to compare with, for example `c10_test_200`; higher is better."""
    bootstrap: int = 1000
    """Bootstrap resamples behind each interval."""
    seed: int = 0
    """Seed of the resamples."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""
    plot: Path | None = None
    """Draw rank against target for each score, and the taus with their intervals, into this .png, .pdf or .svg."""


def read_target(path: Path, target: str) -> pl.DataFrame:
    """Return the columns `arch` and `TARGET` of a CSV or Parquet table, without the rows that have no target.

    Raises:
      UserError: the file is missing, unreadable or of another kind, lacks a column, or lists an architecture twice.
    """
    readers = {
        ".csv": lambda: pl.read_csv(path, infer_schema_length=None, glob=False),
        ".parquet": lambda: pl.read_parquet(path, glob=False),
    }
    if path.suffix not in readers:
        raise UserError(f"{path} is neither a .csv nor a .parquet file; give the table of accuracies as one of these")
    if not path.is_file():
        raise UserError(f"no file {path}; give a CSV or Parquet table of accuracies")
    try:
        table = readers[path.suffix]()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise UserError(f"cannot read {path} ({str(error).splitlines()[0]}); is it truncated?") from error
    key = next((name for name in ("arch", "arch_str") if name in table.columns), None)
    if key is None:
        raise UserError(f"{path} has no column 'arch' or 'arch_str'; its columns are: {', '.join(table.columns)}")
    numeric = [name for name, dtype in table.schema.items() if dtype.is_numeric()]
    if target not in numeric:
        raise unknown("target column", target, numeric)
    if table[key].null_count():
        raise UserError(f"{path} has rows without an architecture in column {key!r}; is it truncated?")
    table = table.select(arch=pl.col(key).cast(pl.String), **{TARGET: pl.col(target).cast(pl.Float64)})
    _refuse_duplicates(table, str(path))
    return table.filter(pl.col(TARGET).is_finite())


def join(scores: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of `scores` whose `arch` is in `table`, with its column `TARGET`.

    Raises:
      UserError: no architecture is in both, or `scores` lists one twice.
    """
    _refuse_duplicates(scores, "the directory of scores")
    joined = scores.join(table, on="arch", how="inner", maintain_order="left")
    if joined.is_empty():
        example = f"{scores['arch'][0]!r} is scored" if len(scores) else "nothing is scored"
        raise UserError(f"the scores and the table have no architecture in common ({example}); is it the same space?")
    return joined


def _refuse_duplicates(table: pl.DataFrame, where: str) -> None:
    twice = table["arch"].filter(table["arch"].is_duplicated())
    if len(twice):
        raise UserError(f"{where} lists {twice.n_unique()} architectures more than once, first {twice[0]!r}; keep one")


def signs(manifest: Mapping[str, Any], columns: Collection[str]) -> dict[str, int]:
    """Return the sign of each score to compare: those of the manifest that have a column, then the baselines.

    A score that needs the whole table, such as `te_nas`, has no column while its run is unfinished.

    Raises:
      UserError: the manifest lists no scores, or a baseline has no column.
    """
    missing = [name for name in BASELINES if name not in columns]
    if missing or "scorers" not in manifest:
        lacks = f"column {missing[0]!r}" if missing else "list of scorers in its manifest"
        raise UserError(f"the directory of scores has no {lacks}; give one that jaxnas.score wrote")
    scorers = {name: int(entry["sign"]) for name, entry in manifest["scorers"].items()}
    return {name: sign for name, sign in scorers.items() if name in columns} | dict.fromkeys(BASELINES, 1)


def correlate(config: Correlate) -> None:
    """Print (and plot) how each score of `config.scores` agrees with the target of `config.table`."""
    from jaxnas.store import read_scores

    _check(config)
    scores, manifest = read_scores(config.scores)
    chosen = signs(manifest, scores.columns)
    for name in sorted(manifest["scorers"].keys() - chosen.keys()):
        print(f"note: {name} is left out: it has no column until the run is finished", file=sys.stderr)
    joined = join(scores, read_target(config.table, config.target))
    columns = {name: joined[name].cast(pl.Float64).to_numpy() for name in (*chosen, TARGET)}
    agreements = {
        name: compare(
            columns[name],
            columns[TARGET],
            columns["flops"],
            sign=sign,
            label=BASELINES.get(name, name),
            resamples=config.bootstrap,
            seed=config.seed,
        )
        for name, sign in chosen.items()
    }
    if config.plot is not None:
        orderings = {name: ordering(columns[name], sign) for name, sign in chosen.items()}
        _draw(config.plot, agreements, orderings, columns[TARGET], config.target)
    if config.json:
        print(json.dumps(as_json(config, agreements, scored=len(scores)), allow_nan=False))
    else:
        wide = Console()
        (wide if wide.is_terminal else Console(width=PIPED_WIDTH)).print(as_table(config, agreements))


def _check(config: Correlate) -> None:
    if config.bootstrap < 1:
        raise UserError(f"--bootstrap {config.bootstrap}: give 1 or more resamples")
    if config.seed < 0:
        raise UserError(f"--seed {config.seed}: give 0 or more")
    if config.plot is None:
        return
    if config.plot.suffix not in PLOT_SUFFIXES:
        raise UserError(f"--plot {config.plot}: give a file that ends in one of {', '.join(PLOT_SUFFIXES)}")
    if not config.plot.parent.is_dir():
        raise UserError(f"--plot {config.plot}: there is no directory {config.plot.parent}; create it first")


def _draw(
    path: Path, agreements: Mapping[str, Agreement], orderings: Mapping[str, Ints], target: Floats, name: str
) -> None:
    from jaxnas.plots import draw_agreements

    try:
        draw_agreements(agreements, orderings, target, target_name=name, path=path)
    except OSError as error:
        raise UserError(f"--plot {path}: cannot write it ({error.strerror})") from error


def as_json(config: Correlate, agreements: Mapping[str, Agreement], *, scored: int) -> dict[str, Any]:
    """Return what `--json` prints; undefined figures are null. `scored` counts the architectures before the join."""
    return {
        "target": config.target,
        "table": str(config.table),
        "bootstrap": config.bootstrap,
        "seed": config.seed,
        "scored": scored,
        "compared": next(iter(agreements.values())).n,
        "scores": {name: asdict(agreement) for name, agreement in agreements.items()},
    }


def as_table(config: Correlate, agreements: Mapping[str, Agreement]) -> Table:
    """Return the table for people: a row per score."""
    caption = (
        f"{config.bootstrap} bootstrap resamples, seed {config.seed}; positive = agrees with the target; failed "
        "architectures rank last; top 10 % = Spearman within the best tenth by target; best pick = target of the "
        "architecture with the best score (mean over ties)"
    )
    table = Table(title=f"Agreement with {config.target}", caption=caption, box=box.SIMPLE_HEAD)
    table.add_column("score")
    for heading in ("Spearman [95 %]", "Kendall tau [95 %]", "top 10 %", "given FLOPs", "best pick", "n", "failed"):
        table.add_column(escape(heading), justify="right")
    for row in agreements.values():
        table.add_row(*(escape(cell) for cell in _cells(row)))
    return table


def _cells(row: Agreement) -> tuple[str, ...]:
    ties = f" ({row.top_ties} tied)" if row.top_ties > 1 else ""
    return (
        row.label,
        _with_interval(row.spearman, row.spearman_interval),
        _with_interval(row.kendall, row.kendall_interval),
        _number(row.spearman_top),
        _number(row.partial_given_flops),
        "-" if row.top_target is None else f"{row.top_target:.2f}{ties}",
        str(row.n),
        str(row.failures),
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _with_interval(value: float | None, interval: Interval | None) -> str:
    if value is None or interval is None:
        return _number(value)
    return f"{value:+.3f} [{interval[0]:+.2f}, {interval[1]:+.2f}]"


def main(argv: list[str] | None = None) -> int:
    """Run `python -m jaxnas.correlate` and return its exit code."""
    return cli.run(Correlate, correlate, argv, prog="jaxnas correlate")


if __name__ == "__main__":
    raise SystemExit(main())
