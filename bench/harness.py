"""How a case is timed: ours cold and warm, then the competitors, and again; it knows no scorer and no space.

Every round starts from empty caches, so that lowering and compilation are measured as often as the run. Ours and theirs
take turns, so that a machine that slows down slows both.
"""

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

Rivals = Mapping[str, Callable[[Any], Any]]
Span = tuple[float, float]
STAGES = ("lower", "compile", "run", "total")
PACKAGES = ("jax", "jaxlib", "flax", "numpy", "torch")
EVENTS = "/jax/core/compile/"
COMPILE = EVENTS + "backend_compile_duration"


@dataclass(frozen=True)
class Workload:
    """What is timed.

    Attributes:
      archs: the architectures, the same ones for all.
      ours: makes a new scorer, compiled on its first call; it takes all of `archs` at once.
      rivals: loads the competitors, by name; each takes one architecture. Empty if there are none.
    """

    archs: Sequence[Any] | np.ndarray
    ours: Callable[[], Callable[[Any], Any]]
    rivals: Callable[[], Rivals]


def measure(work: Workload, *, rounds: int) -> dict[str, Any]:
    """Return the figures of `rounds` rounds of ours, theirs, ours, theirs, ...

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
    """Return the seconds of each of `STAGES`, from empty caches."""
    jax.clear_caches()
    started = time.perf_counter()
    with events() as spans:
        score = work.ours()
        jax.block_until_ready(score(work.archs))
    total = time.perf_counter() - started
    compiling = covered(spans.get(COMPILE, []))
    lowering = covered([span for found in spans.values() for span in found]) - compiling
    return {"lower": lowering, "compile": compiling, "run": seconds(score, work.archs), "total": total}


def time_rivals(rivals: Rivals, archs: Iterable[Any]) -> dict[str, float]:
    """Return each competitor's seconds for all architectures, one after another."""
    return {name: sum(seconds(rival, arch) for arch in archs) for name, rival in rivals.items()}


def seconds(function: Callable[[Any], Any], argument: Any) -> float:
    """Return the time until the result of `function(argument)` is there."""
    started = time.perf_counter()
    jax.block_until_ready(function(argument))
    return time.perf_counter() - started


@contextmanager
def events() -> Iterator[dict[str, list[Span]]]:
    """Collect the (start, end) of every tracing, lowering and compilation by JAX."""
    spans: dict[str, list[Span]] = {}

    def note(event: str, start_time: float, end_time: float, **_: Any) -> None:
        if event.startswith(EVENTS):
            spans.setdefault(event, []).append((start_time, end_time))

    jax.monitoring.register_event_time_span_listener(note)
    try:
        yield spans
    finally:
        jax.monitoring.unregister_event_time_span_listener(note)


def covered(spans: Sequence[Span]) -> float:
    """Return the length of the union of spans, which may be nested."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, smallest and largest value."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def compare(ours: Sequence[float], theirs: Sequence[float], archs: int) -> dict[str, Any]:
    """Return a competitor's seconds per architecture and its ratio to ours: of medians, and the rounds' extremes."""
    rounds = [their / our for our, their in zip(ours, theirs, strict=True)]
    ratio = statistics.median(theirs) / statistics.median(ours)
    return {
        "device": "cpu",
        "seconds_per_arch": spread([their / archs for their in theirs]),
        "ratio": {"of_medians": ratio, "min": min(rounds), "max": max(rounds)},
    }


def peak_memory() -> dict[str, int | None]:
    """Return the largest resident set of this process so far, and the peak of its device, if it has one, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    device = jax.devices()[0].memory_stats()
    return {
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "peak_device_bytes": device and device.get("peak_bytes_in_use"),
    }


def machine() -> dict[str, Any]:
    """Return what the figures depend on: device, processor, CPUs and how busy they are before the run."""
    return {
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "processor": processor(),
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg()[0],
    }


def processor() -> str:
    """Return the processor's model."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of `PACKAGES`; None for one that is not installed."""
    return {"python": platform.python_version()} | {name: installed(name) for name in PACKAGES}


def installed(package: str) -> str | None:
    """Return the version of a package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
