"""`python -m jaxnas.score`: score a list of architectures, or a whole space, into a directory of Parquet parts."""

import contextlib
import functools
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from jaxnas import scorers
from jaxnas.cli import frame, process
from jaxnas.cli.options import Options, against, place
from jaxnas.cli.progress import Progress
from jaxnas.cli.session import Session
from jaxnas.digest import digest
from jaxnas.engine import Crew, Here, Task, named
from jaxnas.errors import UserError
from jaxnas.score import pace, table
from jaxnas.score.claims import Claims
from jaxnas.score.spans import Made, Scoring, lost, planned, prospect, start
from jaxnas.score.work import Planned, Span
from jaxnas.scorers.consensus import Calibrated
from jaxnas.scorers.protocol import Combined
from jaxnas.tables.store import WRITTEN, Store, fitting

AUTO = "auto"
DIGITS = 8  # of a directory's name


@dataclass(frozen=True, kw_only=True)
class Score(Options):
    """Score architectures without training them; the same command again resumes."""

    out: str | None = None
    """Directory for the table (Parquet parts) and manifest.json; by default runs/score-SPACE-DIGITS, with digits that
    follow from all that decides the scores: the same command, or another shard of it, finds its run again."""
    archs: str = "all"
    """`all`, `random:N`, `stream:N` (random ones that are never all in memory: they differ within each 1,024), one
    architecture (a string, the benchmark's index, or another form that the space reads), or a table: a .csv, .tsv, .txt
    (one architecture a line), .json, .jsonl, .parquet, .arrow or .feather file, the directory of another run,
    table:NAME, or - for standard input."""
    key: str | None = None
    """Column of that table with the architectures; by default `arch`, `arch_str`, `architecture` or what the space's
    benchmark has."""
    shard: str = "0/1"
    """`i/N`: score every N-th part from the i-th (0 <= i < N); all shards may share one directory. `auto`: score
    what no other process on the directory does; any number of them may run, begin later or stop."""
    dry_run: bool = False
    """Say what would be scored, on which devices and with how many programs to compile; score and write nothing."""
    no_dedup: bool = False
    """Score isomorphic architectures one by one. By default one of each class is scored and the others get a copy of
    the result (column `scored_as`); of a table of NAS-Bench-101, the first of each class counts alone."""


def score(config: Score) -> str | None:
    """Run the command; return what is not as asked."""
    started = time.time()
    shard, shards = _shard(config.shard)
    fits = fitting(config.out, mixed=config.mixed)
    crew = Crew(functools.partial(Session, config), config.devices, Session.about, fits)
    with named(config.on) as hire:
        engine: Here[Session] = hire(crew)
        session, dedup = engine.state, not config.no_dedup
        if drawn := _streamed(config.archs):
            _refuse_relative(session.chosen)
            counts = {"rows": drawn, "architectures": drawn}
            work, made = engine.ask(planned, drawn, dedup)
        else:
            listed = table.read_archs(session.space, config.archs, config.seed, config.key, dedup=dedup)
            counts = listed.counts()
            work, made = engine.ask(planned, listed.archs, dedup)
        manifest = {
            **made,
            "command": process.command(),
            "part_size": work.part_size,
            "parts": work.parts(work.part_size),
            "shards": shards,
            "rows": counts,
            "scorers": table.describe(session.chosen),
            "counted": session.space.counted,
            "seconds": 0.0,
        }
        known = digest(json.dumps(made["settings"], sort_keys=True, default=str))[:DIGITS]
        out = config.out or place("score", config.space, known)
        if config.dry_run:
            print(f"directory: {out}")
            _plan(config, Store.peek(out, manifest, mixed=config.mixed), work, engine)
            return None
        store = Store.open(out, manifest, mixed=config.mixed)
        scoring = Scoring(work, store.part_size, engine.ask(Session.reference))
        chosen = against(session.chosen, scoring.reference)
        table.put_reference(store, chosen)
        everything = range(work.parts(store.part_size))
        mine, present = everything[shard::shards], store.parts()
        todo = [part for part in mine if part not in present]
        _score_parts(engine, store, scoring, mine, todo, claim=config.shard == AUTO)
    if todo:
        store.update_manifest(seconds=store.manifest.get("seconds", 0.0) + time.time() - started)
    relative = any(isinstance(one, Combined) and one.relative for one in chosen.values())
    complete = store.finish(
        everything, (lambda frame: table.derive(frame, chosen, relative=True)) if relative else None
    )
    return _report(store, chosen, complete, time.time() - started)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Score, score, argv, prog="jaxnas score", kept="finished parts are kept")


def _score_parts(
    engine: Here[Session], store: Store, scoring: Scoring, mine: Sequence[int], todo: Sequence[int], *, claim: bool
) -> None:
    """Score the parts of `todo`, or those that no other process claims, and write each once all of it is there."""
    total = scoring.work.rows(mine, scoring.size)
    if not todo:
        return
    left = functools.partial(lost, engine.state, scoring)
    task = Task[Session, Span, Made](start, scoring, left, Span.halves)
    done, claims = total - scoring.work.rows(todo, scoring.size), Claims(store.path, todo, store.has)
    with Progress("scoring", "architectures", total, done) as progress, contextlib.ExitStack() as stack:
        parts = stack.enter_context(claims) if claim else todo
        spans = (scoring.work.span(part, scoring.size) for part in parts)
        for part, whole in _whole_parts(scoring, engine.each(task, spans)):
            store.write(part, rows := _joined(whole), next((one.maker for one in whole if one.maker), None))
            store.append(WRITTEN, _written(part, whole))
            if claim:
                claims.release(part)
            progress.advance(len(rows))
            pace.note(engine.state)


def _whole_parts(scoring: Scoring, made: Iterable[tuple[Span, Made]]) -> Iterator[tuple[int, list[Made]]]:
    """Yield each part with what it was made of, as soon as all of it is there."""
    found: dict[int, dict[Span, Made]] = {}
    for span, one in made:
        own = found.setdefault(span.part, {})
        own[span] = one
        if sum(some.last - some.first for some in own) == scoring.work.span(span.part, scoring.size).last:
            yield span.part, [*found.pop(span.part).values()]


def _joined(whole: Sequence[Made]) -> pl.DataFrame:
    if len(whole) == 1:
        return whole[0].rows
    return pl.concat([one.rows for one in whole], how="diagonal_relaxed").sort("row")


def _written(part: int, whole: Sequence[Made]) -> dict[str, Any]:
    """What `status` says of a part."""
    lost_rows = {arch: one.lost for one in whole if one.lost for arch in one.rows["arch"]}
    return {
        "part": part,
        "rows": sum(len(one.rows) for one in whole),
        "host": whole[-1].host,
        "pid": whole[-1].pid,
        "seconds": round(sum(one.seconds for one in whole), 3),
        "ended": time.time(),
        **({"lost": lost_rows} if lost_rows else {}),
    }


def _shard(text: str) -> tuple[int, int]:
    if text == AUTO:
        return 0, 1
    first, _, second = text.partition("/")
    if not (table.is_number(first) and table.is_number(second) and int(first) < int(second)):
        raise UserError(
            f"--shard {text[:30]!r} is not i/N with 0 <= i < N; say for instance 0/4, 1/4, 2/4 and 3/4, or auto"
        )
    return int(first), int(second)


def _streamed(archs: str) -> int:
    """The number of architectures in `stream:N`; 0 if `archs` names no stream."""
    kind, _, number = archs.partition(":")
    if kind != "stream":
        return 0
    if not table.is_number(number) or not int(number):
        raise UserError(
            f"--archs {archs[:30]}: {number[:30]!r} is not a number from 1; say for instance stream:1000000"
        )
    return int(number)


def _refuse_relative(chosen: Mapping[str, scorers.AnyScore]) -> None:
    for name, one in chosen.items():
        if isinstance(one, Combined) and one.relative:
            raise UserError(
                f"{name} ranks the whole set, which no process holds of a stream; say --scorers {','.join(one.needs)}"
            )


def _plan(config: Score, store: Store | None, work: Planned, engine: Here[Session]) -> None:
    """Say what the command would do.

    Args:
      config: the options.
      store: what it would resume.
      work: what there is to score.
      engine: what would do it.
    """
    shard, shards = _shard(config.shard)
    size, present = (work.part_size, set()) if store is None else (store.part_size, store.parts())
    mine = range(work.parts(size))[shard::shards]
    todo = [part for part in mine if part not in present]
    every, spans = ([work.span(part, size) for part in parts] for parts in (range(work.parts(size)), todo))
    print(f"architectures: {work.number:,}, in {sum(s.last for s in every):,} classes that are scored once")
    classes = sum(span.last for span in spans)
    print(f"parts: {work.parts(size):,}, of which {len(todo):,} are to do here, with {classes:,} classes")
    for line in engine.ask(prospect, work, size, todo):
        process.tell(line)
    print("nothing was scored or written")


def _report(store: Store, chosen: dict[str, scorers.AnyScore], complete: bool, seconds: float) -> str | None:
    """Print what the run found; return what is not as asked."""
    if not complete:
        process.tell(
            "parts of others are still missing; scores that rank the whole set come when all are there: see jaxnas "
            f"status {store.path}"
        )
    rows, found = store.tally(chosen)
    if not rows:
        return None
    print(f"{rows} architectures are in {store.path}; this run took {seconds:.1f} s")
    for name, score in found.items():
        text = ", ".join(f"{count} {status}" for status, count in score.statuses.most_common())
        span = f"{score.least:.5g} to {score.largest:.5g}" if score.least <= score.largest else "no value"
        process.tell(f"{name}: {span} ({text})", "  ")
    consensus = chosen.get(scorers.Consensus.name)
    if isinstance(consensus, Calibrated):
        process.tell(consensus.said, "  ")
    process.tell(f"params and flops are counts {store.manifest['counted']}", "  ")
    gone = [arch for record in store.records(WRITTEN) for arch in record.get("lost", {})]
    return f"{len(gone):,} architectures failed, for they end the process that scores them: {gone[0]}" if gone else None
