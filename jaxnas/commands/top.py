"""`jaxnas top`: the best architectures of a run of `jaxnas score`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl
import tyro

from jaxnas.cli import frame
from jaxnas.errors import UserError, check_least, spelt, unknown
from jaxnas.report.sheet import Format, Sheet
from jaxnas.scorers.consensus import Consensus
from jaxnas.scorers.protocol import Combined
from jaxnas.scorers.registry import ALWAYS, DEFAULTS
from jaxnas.search.goal import Goal, Scores, limits, missed
from jaxnas.tables.store import read_scores
from jaxnas.types import Finished

MILLIONS = {"params": "#params [M]", "flops": "FLOPs [M]"}


@dataclass(frozen=True)
class Top:
    """Show the best architectures of a directory of scores."""

    scores: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DIR")]]
    """Directory that `jaxnas score` wrote."""
    by: str | None = None
    """Score to go by; by default consensus or else the only one that was asked for."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 20
    """Architectures to show."""
    at_most: str | None = None
    """Limits from above, such as flops=1e8,params=1e6: whoever breaks one is left out."""
    at_least: str | None = None
    """Limits from below."""
    format: Format = "table"
    """How to print it; all but `table`, `markdown` and `latex` have every score."""


class Ranking(NamedTuple):
    """The rows of a table in the order that was asked for.

    Attributes:
      table: all rows.
      manifest: of the run.
      names: of its scores.
      by: the score that decides.
      kept: `[N]`, whether a row has that score.
      best: rows, the best first, of those that keep the limits.
      miss: in words, that none of the rows with the score keeps them; None where one does.
    """

    table: pl.DataFrame
    manifest: dict[str, Any]
    names: list[str]
    by: str
    kept: np.ndarray
    best: np.ndarray
    miss: str | None


def ranking(config: Top) -> Ranking:
    """The rows by the score and within the limits of `config`."""
    table, manifest = read_scores(config.scores)
    scorers = manifest.get("scorers", {})
    names = [name for name in scorers if name in table.columns]
    if not names:
        raise UserError(f"{config.scores} has no scores; give a directory that jaxnas score wrote")
    by = _by(config, scorers, names)
    goal = Goal({by: scorers[by]["sign"]}, *limits(config.at_most, config.at_least, names))
    for name in sorted(goal.limited):
        if name not in names:
            raise unknown("score with a limit", name, names)
    values = _values(table, {by, *goal.limited})
    kept = np.isfinite(goal.values(values)[0])
    within = kept & goal.feasible(values)
    miss = _nothing(config, table, goal, values) if kept.any() and not within.any() else None
    best = np.flatnonzero(within)[np.argsort(-goal.values(values)[0][within], kind="stable")]
    return Ranking(table, manifest, names, by, kept, best, miss)


def top(config: Top) -> str | None:
    """Run the command; return what is not as asked."""
    check_least(config, {"n": 1})
    found = ranking(config)
    if found.miss is not None:
        return found.miss
    table, by, kept = found.table, found.by, found.kept
    about = {
        "directory": str(config.scores),
        "by": by,
        "better": "higher" if found.manifest["scorers"][by]["sign"] > 0 else "lower",
        "architectures": len(table),
        "asked": found.manifest["settings"].get("archs", {}).get("number", len(table)),
        "without_value": int((~kept).sum()),
        "limits_broken": int(kept.sum()) - len(found.best),
    }
    chosen = table[found.best[: config.n].tolist()]
    records = [{"place": place, **row} for place, row in enumerate(_plain(chosen, found.names), 1)]
    shown = [_shown(row, by, with_ids=row.get("arch_id") is not None) for row in records]
    right = [column for column in (shown[0] if shown else ()) if column != "architecture"]
    notes = _notes(about, table, records)
    Sheet(shown, records, right, "architecture", notes, {**about, "rows": records}).print(config.format)
    return None if records else f"no architecture of {config.scores} has a {by}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Top, top, argv, prog="jaxnas top")


def _by(config: Top, scorers: Mapping[str, Any], names: Sequence[str]) -> str:
    """The score to go by: the one that is asked for, or else the one that there is no doubt about."""
    if config.by is not None:
        name = spelt(config.by, scorers)
        if name in scorers and name not in names:
            raise UserError(f"--by {name} has no column until the run is finished; see jaxnas status {config.scores}")
        if name not in names:
            raise unknown("score", name, names)
        return name
    if Consensus.name in names:
        return Consensus.name
    asked = [name for name in names if name not in ALWAYS]
    parts = {part for name in asked if isinstance(one := DEFAULTS.get(name), Combined) for part in one.needs}
    whole = [name for name in asked if name not in parts]
    if len(whole) != 1:
        raise UserError(f"{config.scores} has several scores; say --by, one of {', '.join(whole or names)}")
    return whole[0]


def _values(table: pl.DataFrame, names: set[str]) -> Scores:
    """The scores as those of one repeat `[1, N]`, NaN where there is none."""
    columns = {name: table[name].cast(pl.Float64).fill_null(np.nan).to_numpy()[None] for name in names}
    return {name: Finished(values, np.zeros(values.shape, int), {}) for name, values in columns.items()}


def _plain(table: pl.DataFrame, names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows: where an architecture stands, its scores with their deviations where there are any, its string."""
    known = {column for column in table.columns if not column.endswith("_std") or table[column].count()}
    ordered = [column for name in names for column in (name, f"{name}_std")]
    return table.select(column for column in ("row", "arch_id", *ordered, "arch") if column in known).to_dicts()


def _shown(row: Mapping[str, Any], by: str, *, with_ids: bool) -> dict[str, str]:
    numbers = {by: _number(row[by])}
    if f"{by}_std" in row:
        numbers["std"] = _number(row[f"{by}_std"])
    sizes = {title: f"{row[name] / 1e6:,.3f}" for name, title in MILLIONS.items() if name != by}
    ids = {"arch_id": str(row["arch_id"])} if with_ids else {}
    return {"#": str(row["place"]), **numbers, **sizes, **ids, "architecture": row["arch"]}


def _number(value: float | int | None) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value is None else f"{value:.5g}"


def _notes(about: Mapping[str, Any], table: pl.DataFrame, records: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = [f"by {about['by']}, {about['better']} is better, of {about['architectures']:,} architectures"]
    if about["limits_broken"]:
        notes[0] += f", of which {about['limits_broken']:,} break a limit"
    if about["without_value"]:
        failed = table.filter(pl.col(about["by"]).is_null())[f"{about['by']}_status"].value_counts(sort=True)
        notes.append(f"no {about['by']}: " + ", ".join(f"{count:,} {status}" for status, count in failed.iter_rows()))
    if about["architectures"] < about["asked"]:
        notes.append(f"the run is not finished: {about['asked'] - about['architectures']:,} architectures are missing")
    return notes + [f"best: {record['arch']}" for record in records[:1]]


def _nothing(config: Top, table: pl.DataFrame, goal: Goal, values: Scores) -> str:
    """That no architecture keeps the limits, in words."""
    row = int(goal.excess(values).argmin())
    numbers = {name: float(values[name].value[0, row]) for name in sorted(goal.limited)}
    return missed(config.at_most, config.at_least, f"{len(table):,}", table["arch"][row], numbers)
