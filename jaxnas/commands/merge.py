"""`jaxnas merge`: one table from the shards of a run that were scored into directories of their own."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import polars as pl
import tyro

from jaxnas.cli import frame
from jaxnas.commands.status import lacking, recorded, scored
from jaxnas.errors import UserError
from jaxnas.score import table
from jaxnas.tables.store import WRITTEN, Store

VERIFIED = 0.001  # share of the architectures


@dataclass(frozen=True)
class Merge:
    """Join the directories of shards that ran apart; the same command again goes on.

    All must be of one run: the same jaxnas score but for --shard and --out.
    """

    scores: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR [DIR ...]")]]
    """Directories that `jaxnas score --shard i/N` wrote."""
    out: Path
    """Directory for the whole table."""
    mixed: bool = False
    """Join parts that several kinds of processors, or versions, made; makers.jsonl in OUT tells which part was made by
    what."""
    verify: bool = False
    """Score one architecture in a thousand again, at random, and compare."""


def merge(config: Merge) -> str | None:
    """Run the command; return what is missing."""
    if not config.scores:
        raise UserError("missing: DIR; give the directories of the shards, and --out for the whole table")
    runs = [scored(path) for path in dict.fromkeys(config.scores)]
    if any(run.path.resolve() == config.out.resolve() for run in runs):
        raise UserError(f"--out {config.out} is one of the directories; give another one, new or of the same merge")
    first, *others = runs
    for run in others:
        first.check_joins(run, mixed=config.mixed)
    relative = table.relative(first.manifest["settings"])
    _check_alike(runs, relative, mixed=config.mixed)
    store = Store.open(config.out, first.manifest, mixed=config.mixed)
    first.check_joins(store, mixed=config.mixed)
    for run in runs:
        makers, new = run.makers(), run.parts() - store.parts()
        for part in sorted(new):
            store.take(part, run, makers[part])
        for line in run.records(WRITTEN):
            if line["part"] in new:
                store.append(WRITTEN, line)
    _take_reference(store, runs)
    store.update_manifest(seconds=sum(run.manifest["seconds"] for run in runs))
    ranked = (lambda frame: table.derive(frame, relative, relative=True)) if relative else None
    store.finish(range(store.manifest["parts"]), ranked)
    record = recorded(store)
    print(f"{record['rows']:,} of {record['asked']:,} architectures are in {store.path}")
    return lacking(record) or (_verified(config.out) if config.verify else None)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Merge, merge, argv, prog="jaxnas merge", kept="parts that were joined are kept")


def _verified(path: Path) -> str | None:
    """Return how scores that were made again differ, if they do."""
    from jaxnas.tables.verbs import verify

    return verify.said(path, verify.check_scores(path, VERIFIED, seed=0))


def _check_alike(runs: Sequence[Store], relative: Collection[str], *, mixed: bool) -> None:
    """Raise a `UserError` if two directories, made by the same, disagree on a part that both have."""
    first: dict[int, Store] = {}
    for run in [] if mixed else runs:
        for part in sorted(run.parts()):
            other = first.setdefault(part, run)
            if other is not run and not _own(other.part(part), relative).equals(_own(run.part(part), relative)):
                raise UserError(
                    f"part {part} of {run.path} is not that of {other.path}, though both were made alike; delete the "
                    "one that is wrong and score it again"
                )


def _own(part: pl.DataFrame, relative: Collection[str]) -> pl.DataFrame:
    """The columns that do not depend on the other parts, in the order of their names."""
    derived = {f"{name}{kind}" for name in relative for kind in ("", "_std", "_status")}
    return part.select(sorted(column for column in part.columns if column not in derived))


def _take_reference(store: Store, runs: Sequence[Store]) -> None:
    """Write what the consensus compares with, if the shards have it."""
    kept = [path for run in runs if (path := run.path / table.REFERENCE).exists()]
    if kept:
        store.put(table.REFERENCE, kept[0].read_bytes())
