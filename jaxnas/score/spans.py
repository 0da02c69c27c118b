"""What a process that scores is asked to do: here, or as one of many on other machines."""

import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from jaxnas.cli.options import against
from jaxnas.cli.session import Session
from jaxnas.evaluate import devices
from jaxnas.score import pace, table
from jaxnas.score.work import Piece, Planned, Span, Stream, Work
from jaxnas.scorers.protocol import failed
from jaxnas.scorers.reference import Reference


class Scoring(NamedTuple):
    """What all parts share: the architectures, the size of a part, and what the consensus compares with."""

    work: Planned
    size: int
    reference: Reference | None

    def piece(self, span: Span) -> Piece:
        return self.work.piece(span.part, self.size).cut(span.first, span.last)


class Made(NamedTuple):
    """Rows, and how they came about.

    Attributes:
      rows: of the table.
      maker: what the machine says of itself.
      host: name of the machine.
      pid: of the process.
      seconds: from the start to the end of these rows; those before may not have been finished at the start.
      lost: why they have no scores; empty if they have.
    """

    rows: pl.DataFrame
    maker: dict[str, Any]
    host: str
    pid: int
    seconds: float
    lost: str = ""


def planned(session: Session, archs: np.ndarray | int, dedup: bool) -> tuple[Planned, dict[str, Any]]:
    """The parts of the work, and the settings and the provenance of the run.

    Args:
      session: of the process.
      archs: `[N, E]`, or the number of those to draw in a stream.
      dedup: isomorphic ones are scored once.
    """
    work: Planned
    if isinstance(archs, int):
        work = Stream.plan(session.space, session.options.seed, archs, session.evaluators)
    else:
        work = Work.plan(session.space, archs, session.evaluators, dedup=dedup)
    return work, {"settings": session.settings() | work.settings(), **session.provenance()}


def prospect(session: Session, work: Planned, size: int, todo: Sequence[int]) -> list[str]:
    """What scoring the parts of `todo` would begin with, and what it would take, in words."""
    options, run, archs = session.options, None, sum(work.span(part, size).last for part in todo)
    said = []
    if isinstance(work, Work):
        run = np.concatenate([work.representatives[:0], *(work.piece(part, size).run for part in todo)])
        archs = int((~session.space.is_disconnected(run)).sum())
        programs = [
            f"{'/'.join(one.name for one in of.scorers)} {len(of.programs(run)):,}" for of in session.evaluators
        ]
        if programs:
            said.append(f"programs to compile, or to find in the cache: {', '.join(programs)}")
    if count := options.reference_archs(session.space, session.chosen, session.evaluators, session.source):
        said.append(f"reference of the consensus: {count:,} measurements before")
        archs += -(-count // len(session.evaluators))
    on = devices.available(options.devices)
    said.append(f"devices: {devices.named(on)}")
    if todo and session.evaluators:
        some = work.piece(todo[0], size).run
        most = max(one.memory(some) for one in session.evaluators) * len(on)
        said += [
            f"memory: about {most / 1e9:.2g} GB of feature maps, beside JAX and its compiler",
            pace.estimate(session, archs, run),
        ]
    return said


def start(session: Session, scoring: Scoring, span: Span) -> Callable[[], Made]:
    """Start scoring a span and return the function that waits for it."""
    began, chosen = time.time(), against(session.chosen, scoring.reference)
    finish = table.launch(scoring.piece(span), session.evaluators, session.space, chosen)

    def made() -> Made:
        rows = finish()
        return Made(rows, session.machine, socket.gethostname(), os.getpid(), time.time() - began)

    return made


def lost(session: Session, scoring: Scoring, span: Span, why: str) -> Made:
    """The rows of a span that cannot be scored, with the status `failed`."""
    piece = scoring.piece(span)
    chosen = against(session.chosen, scoring.reference)
    rows = table.rows_of(piece, failed(chosen, session.options.repeats, len(piece.run)), session.space, chosen)
    return Made(rows, {}, socket.gethostname(), os.getpid(), 0.0, why)
