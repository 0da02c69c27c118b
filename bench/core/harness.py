"""How a case is timed; it knows no scorer, no space and no command.

In the process: ours cold and warm, then the competitors, and again. Every round starts from empty caches, so that
lowering and compilation are measured as often as the run. Ours and theirs take turns, so that a machine that slows
down slows both. As a child: a command line from its start to its exit.
"""

import multiprocessing
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from unittest import mock

import jax
import numpy as np

from bench.core.machine import RSS_UNIT, peak_memory
from jaxnas.errors import UserError
from jaxnas.evaluate import devices

Scorer = Callable[[Any], Any]
Rivals = Mapping[str, Scorer]
Span = tuple[float, float]
T = TypeVar("T")
STAGES = ("lower", "compile", "run", "total")
CALLS = 3  # warm calls per round
EVENTS = "/jax/core/compile/"
COMPILE = EVENTS + "backend_compile_duration"
CACHE = "JAX_COMPILATION_CACHE_DIR"


@dataclass(frozen=True)
class Workload:
    """What is timed.

    Attributes:
      archs: the architectures, the same ones for all.
      ours: makes a new scorer, compiled on its first call; it takes all of `archs` at once.
      rivals: loads the competitors, by name; each takes one architecture. Empty if there are none.
    """

    archs: Sequence[Any] | np.ndarray
    ours: Callable[[], Scorer]
    rivals: Callable[[], Rivals]


def measure(work: Workload, *, rounds: int) -> dict[str, Any]:
    """The figures of `rounds` rounds of ours, theirs, ours, theirs, ...

    Ours are seconds for all architectures: `lower` (tracing included), `compile`, `run` (warm) and `total`, the whole
    first call, which is what a user waits for. Theirs are warm too.
    """
    ours = [time_ours(work)]
    memory = peak_memory()  # before another library is loaded
    rivals = work.rivals()
    for rival in rivals.values():
        rival(work.archs[0])
    theirs = [time_rivals(rivals, work.archs)]
    for _ in range(rounds - 1):
        ours.append(time_ours(work))
        theirs.append(time_rivals(rivals, work.archs))
    runs = [seconds["run"] for seconds in ours]
    versus = {name: compare(runs, [seconds[name] for seconds in theirs], len(work.archs)) for name in rivals}
    return {
        "seconds": {stage: spread([seconds[stage] for seconds in ours]) for stage in STAGES},
        "seconds_per_arch": spread([run / len(work.archs) for run in runs]),
        "archs_per_second": len(work.archs) / statistics.median(runs),
        **memory,
        "competitors": versus or None,
    }


def time_ours(work: Workload) -> dict[str, float]:
    """The seconds of each of `STAGES`, from empty caches."""
    score, cold = time_first_call(work.ours, work.archs)
    return {**cold, "run": statistics.median(seconds(score, work.archs) for _ in range(CALLS))}


def time_first_call(make: Callable[[], Scorer], archs: Any) -> tuple[Scorer, dict[str, float]]:
    """A new scorer and the seconds to `lower`, to `compile`, and in `total` to its first scores."""
    jax.clear_caches()
    started = time.perf_counter()
    with compilations() as spans:
        score = make()
        jax.block_until_ready(score(archs))
    total = time.perf_counter() - started
    compiling = covered(spans["compile"])
    lowering = covered(spans["compile"] + spans["lower"]) - compiling
    return score, {"lower": lowering, "compile": compiling, "total": total}


def time_rivals(rivals: Rivals, archs: Iterable[Any]) -> dict[str, float]:
    """Each competitor's seconds for all architectures, one after another."""
    return {name: sum(seconds(rival, arch) for arch in archs) for name, rival in rivals.items()}


def seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """The time until the result of `function(*arguments)` is there."""
    started = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - started


@contextmanager
def compilations() -> Iterator[dict[str, list[Span]]]:
    """Collect the (start, end), by `time.time`, of all that JAX does to `compile` and, tracing included, to `lower`."""
    spans: dict[str, list[Span]] = {"compile": [], "lower": []}

    def note(event: str, start_time: float, end_time: float, **_: Any) -> None:
        if event.startswith(EVENTS):
            spans["compile" if event == COMPILE else "lower"].append((start_time, end_time))

    jax.monitoring.register_event_time_span_listener(note)
    try:
        yield spans
    finally:
        jax.monitoring.unregister_event_time_span_listener(note)


def covered(spans: Sequence[Span]) -> float:
    """The length of the union of spans, which may be nested."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, smallest and largest value."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def compare(ours: Sequence[float], theirs: Sequence[float], archs: int) -> dict[str, Any]:
    """A competitor's seconds per architecture and its ratio to ours: of medians, and the rounds' extremes."""
    rounds = [their / our for our, their in zip(ours, theirs, strict=True)]
    ratio = statistics.median(theirs) / statistics.median(ours)
    return {
        "device": "cpu",
        "seconds_per_arch": spread([their / archs for their in theirs]),
        "ratio": {"of_medians": ratio, "min": min(rounds), "max": max(rounds)},
    }


class Child(NamedTuple):
    """What a child process took: wall-clock seconds from start to exit, and its largest resident set in bytes."""

    seconds: float
    peak_rss_bytes: int


def time_command(argv: Sequence[str], *, cache: Path) -> Child:
    """Run a command line to its end, with JAX's persistent cache in `cache`; `UserError` if it fails.

    Linux reports as its peak memory at least that of this process, which should do no work of its own.
    """
    with tempfile.TemporaryFile() as printed:
        started = time.perf_counter()
        process = subprocess.Popen(argv, env=os.environ | {CACHE: str(cache)}, stdout=printed, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)  # the peak of this child alone, unlike RUSAGE_CHILDREN
        elapsed = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        if process.returncode:
            said = printed.read().decode(errors="replace").strip()[-500:]
            raise UserError(f"{' '.join(argv)} failed with exit code {process.returncode}: {said}")
    return Child(elapsed, usage.ru_maxrss * RSS_UNIT)


def in_new_process(function: Callable[..., T], *arguments: Any, cache: Path | None = None) -> T:
    """Return `function(*arguments)` from a fresh process, on all devices that the command line would use.

    Peak memory and compiled programs are that process's alone; JAX's persistent cache is off unless `cache` says where.
    """
    caching = {"JAX_ENABLE_COMPILATION_CACHE": "false"} if cache is None else {CACHE: str(cache)}
    with (
        mock.patch.dict(os.environ, caching),
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
    ):
        return pool.submit(_on_all_devices, function, *arguments).result()


def _on_all_devices(function: Callable[..., T], *arguments: Any) -> T:
    devices.available()
    return function(*arguments)
