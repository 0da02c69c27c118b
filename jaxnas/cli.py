"""What the command lines share: options from a dataclass, errors in one line, exit codes."""

import contextlib
import difflib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import tyro

from jaxnas import devices
from jaxnas.errors import UserError
from jaxnas.pinned import pinned

Config = TypeVar("Config")
PLOT_SUFFIXES = (".png", ".pdf", ".svg")


def run(config_class: type[Config], command: Callable[[Config], None], argv: Sequence[str] | None, prog: str) -> int:
    """Parse `argv` into a `config_class`, call `command` on it and return the exit code.

    Exit codes: 0 success; 1 the reader of standard output went away; 2 bad input (one line on standard error);
    130 interrupted by Ctrl-C.

    Args:
      config_class: dataclass whose fields are the options; the text under each field is its help.
      command: the program; raises `UserError` for bad input.
      argv: arguments without the program's name; None takes those of the process.
      prog: the program's name in messages and help.
    """
    try:
        config = _parse(config_class, argv, prog)
        with pinned():
            command(config)
        sys.stdout.flush()
    except SystemExit as stop:  # --help
        return stop.code if isinstance(stop.code, int) else 0
    except UserError as error:
        return _fail(prog, " ".join(str(error).split()), 2)
    except (RuntimeError, AssertionError):
        if said := devices.trouble():
            return _fail(prog, " ".join(said.split()), 2)
        raise
    except KeyboardInterrupt:
        return _fail(prog, "interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit is silent too
        return 1
    return 0


def check_plot(path: Path) -> None:
    """Refuse a file that no figure can be drawn into."""
    if path.suffix not in PLOT_SUFFIXES:
        raise UserError(f"--plot {path}: give a file that ends in one of {', '.join(PLOT_SUFFIXES)}")
    if not path.parent.is_dir():
        raise UserError(f"--plot {path}: there is no directory {path.parent}; create it first")


def _parse(config_class: type[Config], argv: Sequence[str] | None, prog: str) -> Config:
    """Return the options; a refusal by tyro, which it prints in a box, becomes one line."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(config_class, prog=prog, args=argv, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as stop:
        if not stop.code:
            raise
        lines = [line.strip("│| ") for line in printed.getvalue().splitlines() if line[:1] in "│|"]
        lines = lines or printed.getvalue().splitlines()
        rule = next((i for i, line in enumerate(lines) if line and set(line) <= set("─-")), len(lines))
        near = re.search(r"Perhaps you meant:\W+(--[\w.-]+)", " ".join(lines))
        choice = re.search(r"'(.*)' for argument .*\((.*)\)", " ".join(lines[:rule]))
        hints = [near[1]] if near else []
        if choice:
            hints = difflib.get_close_matches(choice[1], re.findall(r"'([^']+)'", choice[2]), n=1, cutoff=0.4)
        hint = f"; did you mean {hints[0]}?" if hints else ";"
        raise UserError(f"{' '.join(lines[:rule]).rstrip('.')}{hint} see {prog} --help") from None


def _fail(prog: str, message: str, code: int) -> int:
    print(f"{prog}: {message}", file=sys.stderr)
    return code
