"""What the command lines share: options from a dataclass, errors in one line, exit codes."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import tyro

from jaxnas.errors import UserError

Config = TypeVar("Config")


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
        config = tyro.cli(config_class, prog=prog, args=argv, config=(tyro.conf.FlagCreatePairsOff,))
        command(config)
        sys.stdout.flush()
    except SystemExit as stop:  # --help or a parse error, already printed by tyro
        return stop.code if isinstance(stop.code, int) else 0
    except UserError as error:
        return _fail(prog, " ".join(str(error).split()), 2)
    except KeyboardInterrupt:
        return _fail(prog, "interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit is silent too
        return 1
    return 0


def _fail(prog: str, message: str, code: int) -> int:
    print(f"{prog}: {message}", file=sys.stderr)
    return code
