"""The scores of a search, measured by the processes of an engine, which may answer for the user's function, too."""

import functools
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from jaxnas.cli.options import Options
from jaxnas.cli.session import Session
from jaxnas.engine import Here, Task, halved
from jaxnas.scorers.protocol import failed
from jaxnas.search.goal import Scores, join
from jaxnas.search.loop import Measure, Panel
from jaxnas.search.oracle import Loaded

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
    """The function that starts measuring as `Panel` does, each process some of the architectures.

    What ends its process has the status `failed`.
    """
    session = engine.state

    def measure(archs: np.ndarray, names: Collection[str] | None = None, draw: int = 0) -> Callable[[], Scores]:
        def without(some: Range, why: str) -> Scores:
            lost = failed(session.chosen, session.options.repeats, some[1] - some[0])
            return {name: none for name, none in lost.items() if names is None or name in names}

        size = -(-len(archs) // engine.width)
        ranges = [(first, min(first + size, len(archs))) for first in range(0, len(archs), size)]
        task = Task[PanelSession, Range, Scores](_start, Asked(archs, names, draw), without, lambda some: halved(*some))
        return lambda: _joined(dict(engine.each(task, ranges)))

    return measure


def _start(state: PanelSession, asked: Asked, some: Range) -> Callable[[], Scores]:
    return state.panel(asked.archs[slice(*some)], asked.names, asked.draw)


def _joined(found: dict[Range, Scores]) -> Scores:
    """The scores of all ranges in their order, those that all of them have."""
    each = [found[some] for some in sorted(found)]
    shared = [name for name in each[0] if all(name in one for one in each)]
    return join([{name: one[name] for name in shared} for one in each])
