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
from jaxnas.evaluate.evaluator import Evaluator
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
    dry_run: bool = False
    """Say what would be scored, on which devices and with how many programs to compile; score and write nothing."""
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
        "parts": work.parts(work.part_size),
        "shards": shards,
        "rows": listed.counts(),
        "scorers": table.describe(chosen),
        "counted": space.counted,
        **provenance(source),
        "seconds": 0.0,
    }
    if config.dry_run:
        store = Store.peek(config.out, manifest, mixed=config.mixed)
        _plan(config, store, work, evaluators, config.reference_archs(space, chosen, evaluators, source))
        return
    store = Store.open(config.out, manifest, mixed=config.mixed)
    chosen = config.calibrated(space, chosen, evaluators, source)
    table.put_reference(store, chosen)
    everything = range(work.parts(store.part_size))
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


def _plan(config: Score, store: Store | None, work: table.Work, evaluators: list[Evaluator], reference: int) -> None:
    """Say what the command would do.

    Args:
      config: the options.
      store: what it would resume.
      work: what there is to score.
      evaluators: which measure.
      reference: measurements for the reference of the consensus.
    """
    shard, shards = _shard(config.shard)
    size, present = (work.part_size, set()) if store is None else (store.part_size, store.parts())
    mine = range(work.parts(size))[shard::shards]
    todo = [part for part in mine if part not in present]
    run = work.representatives[np.isin(np.arange(len(work.representatives)) // size, todo)]
    programs = [f"{'/'.join(one.name for one in of.scorers)} {len(of.programs(run)):,}" for of in evaluators]
    print(f"architectures: {len(work.archs):,}, in {len(work.representatives):,} classes that are scored once")
    print(f"parts: {work.parts(size):,}, of which {len(todo):,} are to do here, with {len(run):,} classes")
    if programs:
        print(f"programs to compile, or to find in the cache: {', '.join(programs)}")
    if reference:
        print(f"reference of the consensus: {reference:,} measurements before")
    print(f"devices: {devices.named(devices.available(config.devices))}")
    print("nothing was scored or written")


def _report(store: Store, chosen: dict[str, scorers.AnyScore], complete: bool, seconds: float) -> None:
    if not complete:
        print(
            "other shards are still missing; scores that rank the whole set come when all are there: see jaxnas status "
            f"{store.path}"
        )
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
