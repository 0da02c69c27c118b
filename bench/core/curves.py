"""The kind of case that follows the cost of scores: by number of architectures, by batch size, and task by task."""

import contextlib
import functools
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import jax
import numpy as np

from bench.core import harness
from bench.core.case import Options
from bench.core.commands import CommandCase
from bench.scorers.case import SEED, SPACE
from jaxnas import data
from jaxnas.errors import UserError
from jaxnas.evaluate import devices
from jaxnas.evaluate.compiled import CompiledScorer
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.network.network import Network
from jaxnas.score import command as score
from jaxnas.scorers import NTK, Regions, Scorer
from jaxnas.scorers.protocol import options_of
from jaxnas.tables.store import Store

FEW = 64  # architectures that a timing has at least: one alone would be over too soon
TIMED = {  # public functions by what their time is for; see `attributed`
    "weights, inputs": ((Network, "init"), (NTK, "draw"), (Regions, "draw")),
    "eigenvalues": ((NTK, "finish"),),
    "Parquet": ((Store, "write"), (Store, "finish")),
    "device": ((CompiledScorer, "launch"),),
}


@dataclass(frozen=True)
class CurveCase:
    """Curves of some scorers, and a command line to take apart.

    Attributes:
      name: on the command line.
      summary: one line for the list.
      scorers: by label.
      whole: the run of `jaxnas.score` whose time is taken apart.
      sizes: numbers of architectures; the last one is all of NAS-Bench-201, isomorphic ones counted once.
      batches: architectures per device in a compiled call.
      rounds: timings per batch size.
    """

    name: str
    summary: str
    scorers: Mapping[str, Scorer]
    whole: CommandCase
    sizes: tuple[int, ...] = (10, 30, 100, 300, 1000, 3000, 6461)
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    rounds: int = 3
    kind: ClassVar[str] = "curves"

    def adapted(self, options: Options) -> "CurveCase":
        if min((*(options.sizes or (1,)), *(options.batches or (1,)))) < 1:
            raise UserError("--sizes and --batches must be at least 1")
        return replace(self, whole=self.whole.adapted(options), **options.given("rounds", "sizes", "batches"))

    def arguments(self) -> str:
        sizes, batches = (" ".join(map(str, numbers)) for numbers in (self.sizes, self.batches))
        return f"{self.whole.shortened}--rounds {self.rounds} --sizes {sizes} --batches {batches}"

    def run(self) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="jaxnas-bench-") as scratch:
            cache, out = Path(scratch, "cache"), Path(scratch, "out")
            return {
                "rounds": self.rounds,
                "settings": {
                    "space": SPACE.name,
                    "seed": SEED,
                    "scorers": {label: options_of(scorer) for label, scorer in self.scorers.items()},
                },
                "by_archs": harness.in_new_process(by_archs, self),
                "by_batch": harness.in_new_process(by_batch, self),
                "breakdown": {
                    "command_line": f"python -m {shlex.join(self.whole.argv(Path('DIR')))}",
                    "seconds": harness.in_new_process(breakdown, self.whole.argv(out)[1:], time.time(), cache=cache),
                },
            }


def by_archs(case: CurveCase) -> dict[str, list[dict[str, float]]]:
    """Return for each scorer and number of architectures what a user waits for, from empty caches, in seconds."""
    order, source = representatives(), data.load("synthetic")

    def cold(scorer: Scorer, archs: np.ndarray) -> dict[str, float]:
        _, seconds = harness.time_first_call(lambda: Evaluator(SPACE, scorer, source, seed=SEED), archs)
        return {"archs": len(archs), **seconds}

    return {label: [cold(scorer, order[:n]) for n in case.sizes] for label, scorer in case.scorers.items()}


def by_batch(case: CurveCase) -> dict[str, list[dict[str, Any]]]:
    """Return for each scorer and batch size the seconds per architecture, compilation apart."""
    order, source = representatives(), data.load("synthetic")

    def warm(scorer: Scorer, batch: int) -> dict[str, Any]:
        together = batch * len(devices.shared(jax.local_devices()))
        archs = np.resize(order, (-(-FEW // together) * together, order.shape[1]))
        evaluator = Evaluator(SPACE, scorer, source, seed=SEED, batch=batch)
        evaluator(archs)
        times = [harness.seconds(evaluator, archs) / len(archs) for _ in range(case.rounds)]
        return {"batch": evaluator.program().batch, "archs": len(archs), "seconds_per_arch": harness.spread(times)}

    return {label: [warm(scorer, batch) for batch in case.batches] for label, scorer in case.scorers.items()}


def representatives() -> np.ndarray:
    """One architecture of each isomorphism class `[M, E]` that is connected, in a fixed random order."""
    archs = np.unique(SPACE.canonical(SPACE.enumerate()), axis=0)
    connected = archs[~SPACE.is_disconnected(archs)]
    return np.random.default_rng(SEED).permutation(connected)


def breakdown(argv: Sequence[str], started: float) -> dict[str, float]:
    """Run `python -m jaxnas.score ARGV` in this process and return the seconds that each of its tasks took.

    Args:
      argv: the options.
      started: when this process was asked for, by `time.time`.

    Returns:
      Seconds by task; their sum is the time since `started`.
    """
    spans: dict[str, list[harness.Span]] = {"start, imports": [(started, time.time())]}
    with harness.compilations() as compiling, timers(TIMED) as tasks, contextlib.redirect_stdout(sys.stderr):
        if score.main(argv):
            raise UserError(f"jaxnas.score {shlex.join(argv)} failed")
    whole = {"other": [(started, time.time())]}
    return attributed(spans | compiling | tasks | whole)


def attributed(spans: Mapping[str, Sequence[harness.Span]]) -> dict[str, float]:
    """The seconds of each task; moments that several tasks cover count for the first of them."""
    seen: list[harness.Span] = []
    found: dict[str, float] = {}
    for task, own in spans.items():
        before = harness.covered(seen)
        seen += own
        found[task] = harness.covered(seen) - before
    return found


@contextlib.contextmanager
def timers(functions: Mapping[str, Sequence[tuple[type, str]]]) -> Iterator[dict[str, list[harness.Span]]]:
    """Collect the (start, end) of all calls of methods, by task; a function that one returns is timed too."""
    spans: dict[str, list[harness.Span]] = {task: [] for task in functions}
    with contextlib.ExitStack() as stack:
        for task, methods in functions.items():
            for owner, name in methods:
                stack.enter_context(mock.patch.object(owner, name, _timed(getattr(owner, name), spans[task])))
        yield spans


def _timed(function: Callable[..., Any], spans: list[harness.Span]) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*args: Any, **options: Any) -> Any:
        started = time.time()
        try:
            result = function(*args, **options)
        finally:
            spans.append((started, time.time()))
        return _timed(result, spans) if callable(result) else result

    return timed
