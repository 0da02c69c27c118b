"""`jaxnas tables build`: finished runs of `jaxnas score` as one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from jaxnas.errors import UserError, unknown
from jaxnas.scorers.registry import COUNTS
from jaxnas.tables import release
from jaxnas.tables.store import read_scores
from jaxnas.types import Status

KEYS = ("arch_id", "arch", "scored_as", release.SEED)
LAST = ("params", "flops")
STATUS = pl.Enum([status.name for status in Status])
OWN = ("seed", "archs", "dedup", "scorers")  # settings in which the runs of a table may differ
MAKER = ("device", "arithmetic", "versions", "created", "seconds")


@dataclass(frozen=True)
class Run:
    """A finished run of `jaxnas score`.

    Attributes:
      path: its directory.
      frame: its rows.
      manifest: of the directory.
    """

    path: Path
    frame: pl.DataFrame
    manifest: Mapping[str, Any]

    @property
    def seed(self) -> int:
        return int(self.manifest["settings"]["seed"])


class Combined(NamedTuple):
    """What several runs are together.

    Attributes:
      table: a row for each architecture and seed.
      spectra: of those scores that have one: a row for each architecture that was run, and seed.
      manifest: of both.
    """

    table: pl.DataFrame
    spectra: pl.DataFrame
    manifest: dict[str, Any]


def combined(paths: Sequence[Path], scores: Sequence[str] | None, name: str | None) -> Combined:
    """Several runs as one table: runs of other seeds add rows, runs of other scores add columns.

    Args:
      paths: directories of `jaxnas score`.
      scores: which to take; None for all.
      name: of the table; None for the name of the space.

    Raises:
      UserError: a run is unfinished, or they do not go together.
    """
    runs = [_finished(path) for path in paths]
    _check_alike(runs)
    about = {name: entry for run in runs for name, entry in run.manifest["scorers"].items()}
    for score in scores or ():
        if score not in about:
            raise unknown("score of these runs", score, about)
    chosen = [score for score in about if scores is None or score in scores or score in LAST]
    seeds = sorted({run.seed for run in runs})
    joined = [_joined([run for run in runs if run.seed == seed]) for seed in seeds]
    parts = [_of_seed(frame, chosen) for frame in joined]
    if len({tuple(part.columns) for part in parts}) > 1:
        raise UserError("the seeds have different scores; give runs of the same --scorers for each, or say --scores")
    table, spectra = pl.concat(parts), pl.concat([_spectra(frame, chosen) for frame in joined])
    order = ["arch_id"] if table["arch_id"].null_count() == 0 else []
    first = runs[0].manifest
    options = {score: run.manifest["settings"]["scorers"][score] for run in runs for score in run.manifest["scorers"]}
    manifest = {
        "name": name or str(first["settings"]["space"]).replace(":", "-"),
        "settings": {key: value for key, value in first["settings"].items() if key not in OWN}
        | {"scorers": {score: options[score] for score in chosen}},
        "seeds": seeds,
        "rows": len(table),
        "scorers": {score: about[score] for score in chosen},
        "counted": first["counted"],
        "data": first["data"],
        "runs": [{"seed": run.seed} | {key: run.manifest[key] for key in MAKER} for run in runs],
    }
    return Combined(table.sort(*order, release.SEED, maintain_order=True), spectra, manifest)


def _finished(path: Path) -> Run:
    frame, manifest = read_scores(path)
    rows = manifest.get("rows")
    if not ({"scorers", "counted"} <= manifest.keys() and isinstance(rows, dict) and "architectures" in rows):
        raise UserError(f"{path} is no directory of jaxnas score; give one that it wrote")
    missing = [name for name in manifest["scorers"] if name not in frame.columns]
    if missing or frame.height < rows["architectures"]:
        raise UserError(f"{path} is not finished; run the command that made it again, which resumes")
    return Run(path, frame, manifest)


def _check_alike(runs: Sequence[Run]) -> None:
    """Refuse runs of other settings than the first, and one score with different options."""
    first, *others = runs
    for other in others:
        ours, theirs = first.manifest["settings"], other.manifest["settings"]
        for key in [key for key in {**ours, **theirs} if key not in OWN]:
            if ours.get(key) != theirs.get(key):
                raise UserError(
                    f"{first.path} has {key}={ours.get(key)}, {other.path} has {theirs.get(key)}; give runs that "
                    "differ in --seed or --scorers alone"
                )
        for score, options in theirs["scorers"].items():
            if ours["scorers"].get(score, options) != options:
                raise UserError(f"{first.path} and {other.path} have {score} with other options; give one of them")


def _joined(runs: Sequence[Run]) -> pl.DataFrame:
    """The rows of one seed, with the columns of all its runs."""
    known = set(runs[0].frame["arch"])
    for run in runs:
        if set(run.frame["arch"]) != known:
            raise UserError(f"{runs[0].path} and {run.path} have other architectures; give runs of the same --archs")

    def joined(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
        new = [column for column in right.columns if column not in left.columns]
        return left.join(right.select("arch", *new), on="arch", maintain_order="left")

    frame = reduce(joined, [run.frame for run in runs])
    return frame.with_columns(pl.lit(runs[0].seed, pl.Int64).alias(release.SEED))


def _of_seed(frame: pl.DataFrame, chosen: Sequence[str]) -> pl.DataFrame:
    """The rows of one seed, with the scores that were chosen."""
    values = [
        column for score in chosen if score in frame.columns and score not in LAST for column in _of(frame, score)
    ]
    return frame.select(*KEYS, *values, *(_whole(frame, name) for name in LAST))


def _spectra(frame: pl.DataFrame, chosen: Sequence[str]) -> pl.DataFrame:
    """The spectra of one seed, `[B]` or, of repeats, `[R, B]`: one row for all architectures that have one's scores."""
    names = [
        name for score in chosen if (name := f"{score}{release.SPECTRUM}") in frame.columns and frame[name].count()
    ]
    once = frame.select(pl.coalesce("scored_as", "arch").alias("arch"), release.SEED, *names)
    once = once.filter(pl.any_horizontal(pl.col(names).is_not_null())).unique("arch", keep="first", maintain_order=True)
    return once.select("arch", release.SEED, *(_array(once[name]) for name in names))


def _array(lists: pl.Series) -> pl.Series:
    """Lists of lists as arrays, without the outer ones where each has one inner list."""
    shape = np.shape(lists.drop_nulls().head(1).to_list())[1:]
    arrays = lists.cast(pl.Array(pl.Float32, shape))
    return arrays.arr.first() if shape[:1] == (1,) else arrays


def _of(frame: pl.DataFrame, score: str) -> list[pl.Series]:
    """The columns of a score; a spread is there where repeats were, and a count that all have needs no status."""
    values = _whole(frame, score) if score in COUNTS else frame[score].cast(pl.Float64)
    std = f"{score}_std"
    spread = [frame[std]] if std in frame.columns and frame[std].count() else []
    certain = score in COUNTS and not values.null_count()
    return [values, *spread, *([] if certain else [frame[f"{score}_status"].cast(STATUS)])]


def _whole(frame: pl.DataFrame, name: str) -> pl.Series:
    """A count, as integers where it is whole."""
    values = frame[name].cast(pl.Float64)
    return values.cast(pl.Int64) if (values.drop_nulls() % 1 == 0).all() else values
