"""The loop around a search method: evaluate or replay each round, and log the rounds on the disk."""

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl

from jaxnas.evaluate.evaluator import Evaluator, count, launch_all, one_repeat, summarise
from jaxnas.scorers.protocol import AnyScore, Combined, Count
from jaxnas.search.goal import Scores, join
from jaxnas.search.method import Evaluate, Method, Question
from jaxnas.spaces import Space
from jaxnas.tables.store import Store
from jaxnas.types import Finished, Status

SEEDS_APART = 1_000_003  # of two draws
Measure = Callable[[np.ndarray, Collection[str] | None, int], Callable[[], Scores]]
"""From architectures `[N, A]`, names and draw of a `Question` to the function that waits for their scores."""


class Log:
    """The rounds of a search, each one a part of the run directory.

    A row is an evaluated network: `row`, `round`, `asked` (its op indices `[E]` or its flattened op mask `[E O]`), per
    scorer `<name>` and `<name>_status` of each repeat, and `seconds`, those of the whole round.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        parts = store.read().partition_by("round") if store.parts() else []
        self._rounds = {int(part["round"][0]): part for part in parts}

    @property
    def evaluations(self) -> int:
        """Number of networks that were evaluated."""
        return sum(part.height for part in self._rounds.values())

    @property
    def seconds(self) -> float:
        """Wall-clock time of the rounds."""
        return float(sum(part["seconds"][0] for part in self._rounds.values()))

    def read(self, number: int, asked: np.ndarray) -> Scores | None:
        """The scores of a round in which the same was asked, or None."""
        part = self._rounds.get(number)
        if part is None or part["asked"].to_list() != _flat(asked):
            return None
        return _scores(part)

    def history(self) -> tuple[np.ndarray, Scores]:
        """Return everything that was asked `[N, A]`, masks flattened, and its scores, in the order of the rounds."""
        parts = [self._rounds[number] for number in sorted(self._rounds)]
        return np.array([row for part in parts for row in part["asked"].to_list()]), join([_scores(p) for p in parts])

    def write(self, number: int, asked: np.ndarray, scores: Scores, seconds: float) -> None:
        """Add a round; it is on the disk when this returns."""
        first = sum(part.height for earlier, part in self._rounds.items() if earlier < number)
        columns: dict[str, Any] = {
            "row": np.arange(first, first + len(asked)),
            "round": np.full(len(asked), number),
            "asked": _flat(asked),
        }
        for name, found in scores.items():
            columns |= {name: found.value.T.tolist(), f"{name}_status": found.status.T.tolist()}
        self._rounds[number] = pl.DataFrame({**columns, "seconds": np.full(len(asked), seconds)})
        self._store.write(number, self._rounds[number])


class Panel:
    """Evaluators that measure what a search asks for; programs of those that it skips are compiled meanwhile."""

    def __init__(self, evaluators: Iterable[Evaluator]) -> None:
        self._every, self._drawn = list(evaluators), 0
        self._later = ThreadPoolExecutor(thread_name_prefix="jaxnas-later")
        self._unprepared = list(self._every)

    def __call__(self, archs: np.ndarray, names: Collection[str] | None = None, draw: int = 0) -> Callable[[], Scores]:
        """Start measuring `archs`, by all scores or those of these names; the function that waits for `[R, N]`."""
        wanted = [one for one in self._every if names is None or any(score.name in names for score in one.scorers)]
        if draw != self._drawn:
            for one in self._every:
                one.redraw(one.setup.seed + SEEDS_APART * (draw - self._drawn))
            self._drawn = draw
        if names is not None:
            for one in self._unprepared:
                self._later.submit(one.prepare(archs))
            self._unprepared.clear()
        waiting = launch_all(wanted, archs)
        return lambda: {name: wait() for name, wait in waiting.items()}


def evaluate_with(space: Space, chosen: Mapping[str, AnyScore], measure: Measure) -> Evaluate:
    """The function from op indices `[N, E]` or op masks `[N, E, O]` to their scores `[R, N]`.

    Those that are made of others are made of their means over the repeats. What is not among the `names`, if these are
    given, is `skipped`, so are counts of op masks, and a consensus is the sum over those of its members that are there.

    Args:
      space: of the architectures.
      chosen: all scores, by name.
      measure: starts those that are measured.
    """

    def evaluate(archs: np.ndarray, names: Collection[str] | None = None, draw: int = 0) -> Scores:
        wait = measure(archs, names, draw)
        counts = {name: score for name, score in chosen.items() if isinstance(score, Count) and np.ndim(archs) == 2}
        scores = {name: count(space, score, archs) for name, score in counts.items()}
        scores |= wait()
        means = {name: _mean(found) for name, found in scores.items()}
        for name, score in chosen.items():
            if isinstance(score, Combined) and not means.keys().isdisjoint(score.needs):
                scores[name] = one_repeat(score.combine(means))
        return scores | {name: _skipped(len(archs)) for name in chosen if name not in scores}

    return evaluate


def beside(scores: Evaluate, oracle: Callable[[np.ndarray], Scores], numbers: Collection[str]) -> Evaluate:
    """The function from architectures `[N, A]` to their scores and the numbers of an oracle.

    Args:
      scores: those that are not among the names it gets are `skipped`.
      oracle: asked where one of its numbers is among these names.
      numbers: of the oracle, by the names of its answers.
    """

    def evaluate(archs: np.ndarray, names: Collection[str] | None = None, draw: int = 0) -> Scores:
        asked = names is None or any(name in numbers for name in names)
        found = oracle(archs) if asked else {name: _skipped(len(archs)) for name in numbers}
        return {**scores(archs, names, draw), **found}

    return evaluate


def _skipped(count: int) -> Finished:
    return Finished.without_value(Status.skipped, 1, count)


def run(method: Method, evaluate: Evaluate, log: Log, tell: Callable[[int], None] = lambda number: None) -> Any:
    """Search to the end and return the last state; rounds that the log has are replayed.

    Args:
      method: the search method.
      evaluate: scores what the method asks for.
      log: rounds before this call; gets the others, each as soon as it is finished.
      tell: called with the number of rounds behind, after each.
    """
    state, number = method.init(), 0
    while not method.done(state):
        question, start = method.ask(state), perf_counter()
        asked = question.archs if isinstance(question, Question) else question
        scores = log.read(number, asked)
        if scores is None:
            scores = evaluate(*question) if isinstance(question, Question) else evaluate(question)
            log.write(number, asked, scores, perf_counter() - start)
        state, number = method.step(state, scores), number + 1
        tell(number)
    return state


def _mean(scores: Finished) -> Finished:
    value, _, status = summarise(scores)
    return Finished(value, status, {})


def _flat(archs: np.ndarray) -> list[list[int]]:
    rows: list[list[int]] = archs.reshape(len(archs), -1).astype(int).tolist()
    return rows


def _scores(part: pl.DataFrame) -> Scores:
    names = [name for name in part.columns if f"{name}_status" in part.columns]
    return {n: Finished(_by_repeat(part[n]), _by_repeat(part[f"{n}_status"]), {}) for n in names}


def _by_repeat(column: pl.Series) -> np.ndarray:
    return np.array(column.to_list()).T
