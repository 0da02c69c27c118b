"""A command as a process of its own: its streams, what a signal does to it, and how it ends.

XLA compiles and computes in threads that the interpreter does not wait for: a process that takes itself apart under
them crashes. So one that stops before its work is done ends on the spot. What is on the disk is whole at any moment.
"""

import contextlib
import errno
import os
import re
import shlex
import shutil
import signal
import socket
import sys
import textwrap
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from io import StringIO, TextIOWrapper
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
FAULT, INTERRUPTED = 1, 130
LOST = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EBADF, errno.EIO}  # of what is written to
GRACE = 2.0  # seconds in which a command that was interrupted may clean up
SHOW_CURSOR = "\x1b[?25h"

_last_words = "jaxnas: interrupted"
_stopping = threading.Event()
_noted: set[str] = set()
_quiet = _verbose = False
_command = ""


def run(main: Callable[[], int]) -> NoReturn:
    """Run `main` as the program of this process, which ends with the exit code that it returns.

    Ctrl-C and SIGTERM are a `KeyboardInterrupt` in `main`. Where it does not come through, because the program is being
    compiled, the process ends nevertheless.
    """
    _open_streams()
    _catch_signals()
    warnings.showwarning = _note  # type: ignore[assignment]
    try:
        code = main()
        _ignore_signals()
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt) or _stopping.is_set()
        code = interrupted() if stopped else _fault(error)
    _end(code)


def say_when_interrupted(message: str) -> None:
    """Set the line that is printed when this process is interrupted."""
    global _last_words
    _last_words = message


def interrupted() -> int:
    """Say so and return the exit code."""
    say(_last_words)
    return INTERRUPTED


def set_command(words: Sequence[str]) -> None:
    """Set the words of the command line that runs, of which manifests tell; none where a program calls."""
    global _command
    _command = shlex.join(words)


def command() -> str:
    """The command line that runs, with what --config says; empty where a program calls."""
    return _command


def say(message: str) -> None:
    """Print a line on standard error, or nothing where that cannot be written to."""
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)


def tell(text: str, indent: str = "") -> None:
    """Print a sentence on standard output: on a terminal in lines that end between words, elsewhere in one."""
    if sys.stdout.isatty():
        width, inner = shutil.get_terminal_size().columns, indent + "  "
        words = textwrap.TextWrapper(width, indent, inner, break_long_words=False, break_on_hyphens=False)
        print(words.fill(text))
    else:
        print(indent + text)


def set_loudness(*, quiet: bool, verbose: bool) -> None:
    """Set whether notes and progress are said at all, and details, too."""
    global _quiet, _verbose
    _quiet, _verbose = quiet, verbose


def is_quiet() -> bool:
    """Say whether progress is not wanted."""
    return _quiet


def note(message: str) -> None:
    """Say something that a user should know but may not want to."""
    if not _quiet:
        say(f"note: {message}")


def detail(message: str) -> None:
    """Say something that a user may want to know."""
    if _verbose:
        say(message)


def output_lost(error: OSError, prog: str) -> int:
    """The exit code for an output whose reader went away or whose disk is full; raise any other error again."""
    if error.errno not in LOST:
        raise error
    if not isinstance(error, BrokenPipeError):
        say(f"{prog}: cannot write {error.filename or 'standard output'}: {error.strerror}")
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit is silent
    return FAULT


def _open_streams() -> None:
    """Put /dev/null where a stream is closed, whose number a file would get; let every text be written."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or StringIO()
    sys.stderr = sys.stderr or StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _note(message: Warning | str, *_: object) -> None:
    """Print a warning in one line; of those that differ in a name alone, the first."""
    kind = re.sub("'[^']*'", "", str(message))
    if kind not in _noted:
        _noted.add(kind)
        note(" ".join(str(message).split()))


def _catch_signals() -> None:
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as a shell does for its background jobs
            signal.signal(number, _interrupt)
    threading.Thread(target=_end_after_signal, args=(woken, waker), daemon=True).start()


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Interrupt the main thread, once: a second signal must not disturb its cleaning up."""
    _ignore_signals()
    _stopping.set()
    sys.unraisablehook = lambda _: None  # where nobody can catch it, nobody need read of it
    raise KeyboardInterrupt


def _end_after_signal(woken: socket.socket, waker: socket.socket) -> None:
    """End the process if the main thread does not: compiling takes minutes and hears nothing."""
    while woken.recv(1)[0] not in SIGNALS:
        pass
    time.sleep(GRACE)
    if sys.__stderr__ is not None and sys.__stderr__.isatty():
        sys.stderr = sys.__stderr__  # a progress bar has put itself in between
        say(SHOW_CURSOR)
    os._exit(interrupted())


def _fault(error: BaseException) -> int:
    if isinstance(error, OSError) and error.errno in LOST:
        return output_lost(error, "jaxnas")
    with contextlib.suppress(OSError):
        traceback.print_exception(error)
    return FAULT


def _end(code: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except OSError as error:
        code = code or _fault(error)
    if code:
        os._exit(code)
    raise SystemExit(0)
