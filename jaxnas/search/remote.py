"""The scores of a search, measured by the processes of an engine, which may answer for the user's function, too."""

import functools
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from jaxnas.cli.options import Options
from jaxnas.cli.session import Session
from jaxnas.engine import Here, Task
from jaxnas.search.goal import Scores
from jaxnas.search.loop import Measure, Panel
from jaxnas.search.oracle import Loaded
from jaxnas.types import Finished, Status

Range = tuple[int, int]


class PanelSession(Session):
    """A session with what measures the architectures of a round.

    Args:
      options: of the command.
      count: of devices; None for all.
      oracle: the user's function, if one is asked beside the scores.
      how: see `Session`.
    """

    def __init__(
        self, options: Options, count: int | None, *, oracle: str | Callable[[str], Any] | None = None, **how: Any
    ) -> None:
        super().__init__(options, count, **how)
        self._oracle = oracle

    @functools.cached_property
    def panel(self) -> Panel:
        return Panel(self.evaluators)

    @functools.cached_property
    def loaded(self) -> Loaded | None:
        return None if self._oracle is None else Loaded.of(self._oracle)

    @property
    def function(self) -> Callable[[str], Any]:
        """The user's, see `Function.ask_on`."""
        assert self.loaded is not None
        return self.loaded.function

    def about(self) -> dict[str, Any]:
        return super().about() | ({"oracle": self.loaded.fingerprint} if self.loaded else {})


class Asked(NamedTuple):
    """The architectures of a round, with the names and the draw of its `Question`."""

    archs: np.ndarray
    names: Collection[str] | None
    draw: int


def shared_out(engine: Here[PanelSession]) -> Measure:
    """The function that starts measuring as `Panel` does, each process some of the architectures."""

    def measure(archs: np.ndarray, names: Collection[str] | None = None, draw: int = 0) -> Callable[[], Scores]:
        size = -(-len(archs) // engine.width)
        ranges = [(first, min(first + size, len(archs))) for first in range(0, len(archs), size)]
        task = Task[PanelSession, Range, Scores](_start, Asked(archs, names, draw), lambda some, why: {}, _halves)
        return lambda: _joined(dict(engine.each(task, ranges)))

    return measure


def _start(state: PanelSession, asked: Asked, some: Range) -> Callable[[], Scores]:
    return state.panel(asked.archs[slice(*some)], asked.names, asked.draw)


def _halves(some: Range) -> list[Range]:
    first, last = some
    middle = (first + last) // 2
    return [(first, middle), (middle, last)] * (middle > first)


def _joined(found: dict[Range, Scores]) -> Scores:
    """The scores of all ranges in their order; of one that has none, for it ends its process, they `failed`."""
    ranges = sorted(found)
    like = {name: of for scores in found.values() for name, of in scores.items()}
    joined = {}
    for name, of in like.items():
        each = [found[some].get(name) or _failed(of, some[1] - some[0]) for some in ranges]
        value = np.concatenate([one.value for one in each], 1)
        joined[name] = Finished(value, np.concatenate([one.status for one in each], 1), {})
    return joined


def _failed(like: Finished, count: int) -> Finished:
    shape = len(like.value), count
    return Finished(np.full(shape, np.nan), np.full(shape, int(Status.failed)), {})
