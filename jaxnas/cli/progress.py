"""How far a command is: on a terminal a bar, elsewhere a line every 30 seconds. On standard error."""

import sys
import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from jaxnas.cli import process
from jaxnas.evaluate.compiled import is_compiling

LINE_SECONDS = 30.0


class Progress:
    """Shows how much of a piece of work is done; a context manager.

    Args:
      phase: what is done, such as `scoring`; while programs are compiled, `compiling` stands in its place.
      unit: what is counted, in the plural.
      total: of the whole work.
      done: before this run.
    """

    def __init__(self, phase: str, unit: str, total: int, done: int = 0):
        self._phase, self._unit, self._total, self._done = phase, unit, total, done
        self._before, self._started, self._note = done, time.monotonic(), ""
        self._ended = threading.Event()
        self._bar = Bar(
            _Column(self), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"), TimeElapsedColumn(),
            console=Console(stderr=True), disable=process.is_quiet() or not sys.stderr.isatty(),
        )  # fmt: skip
        self._task = self._bar.add_task(phase, total=total, completed=done, pace="")
        self._lines = threading.Thread(target=self._say_lines, name="jaxnas progress", daemon=True)

    def __enter__(self) -> Self:
        self._bar.start()
        if self._bar.disable and not process.is_quiet():
            self._lines.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._bar.stop()

    def advance(self, count: int, note: str = "") -> None:
        """Say that `count` more are done, and something else worth a few words."""
        self.reach(self._done + count, note)

    def reach(self, done: int, note: str = "") -> None:
        """Say that `done` of all are done."""
        self._done, self._note = done, note
        self._bar.update(self._task, completed=done, pace=self._pace())

    @property
    def phase(self) -> str:
        """What is going on."""
        return "compiling" if is_compiling() else self._phase

    def _pace(self) -> str:
        """Return rate, time left and note, as far as they are known."""
        seconds, count = time.monotonic() - self._started, self._done - self._before
        if not count:
            return self._note
        rate, left = count / seconds, (self._total - self._done) * seconds / count
        pace = f"{rate:.1f} a second" if rate >= 1 else f"{1 / rate:.1f} s each"
        known = (pace, f"{duration(left)} left" if left else "", self._note)
        return ", ".join(filter(None, known))

    def _say_lines(self) -> None:
        while not self._ended.wait(LINE_SECONDS):
            beside = self._pace()
            process.say(
                f"{self.phase}: {self._done:,} of {self._total:,} {self._unit}{', ' * bool(beside)}{beside}; "
                f"{duration(time.monotonic() - self._started)} so far"
            )


class _Column(ProgressColumn):
    """The phase."""

    def __init__(self, of: Progress):
        super().__init__()
        self._of = of

    def render(self, task: Task) -> Text:
        return Text(self._of.phase)


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(42.4), duration(400), duration(9000)
    ('42 s', '7 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
