"""Which of several processes on one directory scores which part: each claims the next by a file.

A claim saves work and is nothing else: two processes that score the same part write the same bytes. Its process touches
it while it lives, so a claim that was not touched for long is one of a process that is gone.
"""

import contextlib
import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxnas.cli import process

TOUCH_SECONDS = 20.0
STALE_SECONDS = 300.0  # network file systems tell the time of a file late
TRIES = 3  # processes that may die on a part
_NUMBERS = (  # of a process among several, and how many there are, where the scheduler says so
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT"),
    ("JOB_COMPLETION_INDEX", "", "JOB_COMPLETIONS"),
)


class Place(NamedTuple):
    """One of several processes."""

    number: int
    of: int


def place(environment: Mapping[str, str] = os.environ) -> Place:
    """Which process of a SLURM array or of a Kubernetes job this is; one of many, at random, where neither is."""
    for index, first, count in _NUMBERS:
        found = [environment.get(name, "0") for name in (index, first, count)]
        if index in environment and all(map(str.isdecimal, found)):
            number, least, of = map(int, found)
            return Place(number - least, max(of, number - least + 1))
    of = 2**16
    return Place(random.randrange(of), of)


class Claims:
    """The parts that this process scores; a context manager.

    Args:
      folder: the run's directory.
      parts: that are missing.
      there: whether a part is there by now.
    """

    def __init__(self, folder: Path, parts: Sequence[int], there: Callable[[int], bool]) -> None:
        self._folder, self._parts, self._there = folder, parts, there
        self._held: set[int] = set()
        self._left_out: set[int] = set()
        self._began = time.time()
        self._ended = threading.Event()
        self._touching = threading.Thread(target=self._touch, name="jaxnas claims", daemon=True)

    def __enter__(self) -> Iterator[int]:
        self._touching.start()
        return self._claimed()

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        for part in list(self._held):
            self.release(part)

    def release(self, part: int) -> None:
        """Say that a part is done, or that this process does not do it."""
        self._held.discard(part)
        self._file(part).unlink(missing_ok=True)

    def _claimed(self) -> Iterator[int]:
        """Yield parts that nobody else does, beginning where this process stands among the others.

        It goes round until it finds none, for whoever had claimed a part may be gone since.
        """
        number, of = place()
        first = len(self._parts) * number // of
        left, found = [*self._parts[first:], *self._parts[:first]], True
        while found:
            found = False
            for part in left:
                if not self._there(part) and self._take(part):
                    self._held.add(part)
                    if not self._there(part):
                        found = True
                        yield part
                    else:  # it was written and released in between
                        self.release(part)
            left = [part for part in left if part not in self._held | self._left_out]

    def _take(self, part: int) -> bool:
        path = self._file(part)
        mark = f"{socket.gethostname()} {os.getpid()}\n"
        try:
            with path.open("x") as file:
                file.write(mark)
            return True
        except FileExistsError:
            pass
        with contextlib.suppress(FileNotFoundError):
            marks = path.read_text().splitlines()
            if self._lives(path, marks):
                return False
            if len(marks) >= TRIES:
                self._left_out.add(part)
                process.note(
                    f"part {part} is left out: {len(marks)} processes ended in it ({'; '.join(marks)}); "
                    f"--on ray finds the architecture that ends them, or delete {path} to try again"
                )
                return False
            with path.open("a") as file:
                file.write(mark)
            return True
        return False

    def _lives(self, path: Path, marks: Sequence[str]) -> bool:
        """Whether the process that claimed a part last is at work, as far as is known."""
        last = re.fullmatch(r"(\S+) (\d+)", marks[-1] if marks else "")
        if last and last[1] == socket.gethostname() and os.name == "posix":
            if int(last[2]) == os.getpid() and path.stat().st_mtime < self._began:
                return False  # a container that began again has the same name and number
            with contextlib.suppress(PermissionError):
                try:
                    os.kill(int(last[2]), 0)
                except ProcessLookupError:
                    return False
        return time.time() - path.stat().st_mtime < STALE_SECONDS

    def _touch(self) -> None:
        while not self._ended.wait(TOUCH_SECONDS):
            for part in list(self._held):
                with contextlib.suppress(OSError):
                    os.utime(self._file(part))

    def _file(self, part: int) -> Path:
        return self._folder / f"claim-{part:05d}"
