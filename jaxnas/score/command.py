"""`python -m jaxnas.score`: score a list of architectures, or a whole space, into a directory of Parquet parts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxnas import scorers, spaces
from jaxnas.cli import frame
from jaxnas.cli.options import Options, provenance
from jaxnas.cli.progress import Progress
from jaxnas.errors import UserError
from jaxnas.evaluate import devices
from jaxnas.score import table
from jaxnas.scorers.consensus import Calibrated
from jaxnas.tables.store import Store


@dataclass(frozen=True, kw_only=True)
class Score(Options):
    """Score architectures without training them; the same command again resumes."""

    out: str
    """Directory for the table (Parquet parts) and manifest.json."""
    archs: str = "all"
    """`all`, `random:N`, one architecture (a string, the benchmark's index, or another form that the space reads), or a
    table: a .csv, .tsv, .txt (one architecture a line), .json, .jsonl, .parquet, .arrow or .feather file,
    table:NAME, or - for standard input."""
    key: str | None = None
    """Column of that table with the architectures; by default `arch`, `arch_str`, `architecture` or what the space's
    benchmark has."""
    shard: str = "0/1"
    """`i/N`: score every N-th part from the i-th (0 <= i < N); all shards may share one directory."""
    no_dedup: bool = False
    """Score isomorphic architectures one by one. By default one of each class is scored and the others get a copy of
    the result (column `scored_as`); of a table of NAS-Bench-101, the first of each class counts alone."""


def score(config: Score) -> None:
    """Run the command."""
    started = time.time()
    shard, shards = _shard(config.shard)
    devices.start()
    space = spaces.get(config.space)
    chosen = config.select(space)
    source = config.source()
    evaluators = config.evaluators(space, chosen, source)
    listed = table.read_archs(space, config.archs, config.seed, config.key, dedup=not config.no_dedup)
    work = table.Work.plan(space, listed.archs, evaluators, dedup=not config.no_dedup)
    manifest = {
        "settings": config.settings(chosen, source) | work.settings(),
        "part_size": work.part_size,
        "rows": listed.counts(),
        "scorers": table.describe(chosen),
        "counted": space.counted,
        **provenance(source),
        "seconds": 0.0,
    }
    store = Store.open(config.out, manifest, mixed=config.mixed)
    chosen = config.calibrated(space, chosen, evaluators, source)
    table.put_reference(store, chosen)
    everything = range(-(-len(work.representatives) // store.part_size))
    mine, present = everything[shard::shards], store.parts()
    todo = [part for part in mine if part not in present]
    per_part = np.bincount(work.owner // store.part_size)
    total = int(per_part[mine].sum())
    with Progress("scoring", "architectures", total, total - int(per_part[todo].sum())) as progress:
        for rows in table.score_parts(store, work, evaluators, todo, space, chosen):
            progress.advance(rows)
    if todo:
        store.update_manifest(seconds=store.manifest.get("seconds", 0.0) + time.time() - started)
    complete = store.finish(everything, lambda frame: table.derive(frame, chosen, relative=True))
    _report(store, chosen, complete, time.time() - started)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Score, score, argv, prog="jaxnas score", kept="finished parts are kept")


def _shard(text: str) -> tuple[int, int]:
    first, _, second = text.partition("/")
    if not (table.is_number(first) and table.is_number(second) and int(first) < int(second)):
        raise UserError(f"--shard {text[:30]!r} is not i/N with 0 <= i < N; say for instance 0/4, 1/4, 2/4 and 3/4")
    return int(first), int(second)


def _report(store: Store, chosen: dict[str, scorers.AnyScore], complete: bool, seconds: float) -> None:
    if not complete:
        print("other shards are still missing; scores that rank the whole set come when all are there")
    if not store.parts():
        return
    frame = store.read()
    print(f"{len(frame)} architectures are in {store.path}; this run took {seconds:.1f} s")
    for name in chosen:
        if f"{name}_status" in frame.columns:
            found = frame[f"{name}_status"].value_counts().sort("count", descending=True)
            text = ", ".join(f"{count} {status}" for status, count in found.iter_rows())
            values = frame[name].drop_nulls().to_numpy()
            span = f"{values.min():.5g} to {values.max():.5g}" if len(values) else "no value"
            print(f"  {name}: {span} ({text})")
    consensus = chosen.get(scorers.Consensus.name)
    if isinstance(consensus, Calibrated):
        print(f"  {consensus.said}")
    print(f"  params and flops are counts {store.manifest['counted']}")
