"""What the command lines share: options from a dataclass, errors in one line, exit codes."""

import contextlib
import difflib
import io
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import tyro

from jaxnas.cli import common, process, versions
from jaxnas.cli.help_text import choices, documented
from jaxnas.errors import UserError, check_package, spelt
from jaxnas.evaluate import devices
from jaxnas.pinned import pinned
from jaxnas.user_file import local

Config = TypeVar("Config")
_collected: dict[str, type[Any]] | None = None
PLOT_SUFFIXES = (".png", ".pdf", ".svg")
UNWRAPPED = "100000"  # columns
WORDINGS = {  # of tyro: ours
    r"Error parsing (\S+): invalid literal for int.*: ('.*')": r"\1: \2 is no whole number",
    r"Error parsing (\S+): could not convert string to float: ('.*')": r"\1: \2 is no number",
    r"Error parsing (\S+): no type matching {None}\|INT could .* from \[('.*?')\].*": r"\1: \2 is no whole number",
    r"Error parsing (\S+): no type matching (\S+) could .* from \[(.*?)\].*": r"\1: \3 is none of \2",
    r"Missing from [\w -]+: (.*?)\s*\(required\)": r"missing: \1",
    r"Missing value for argument '(\S+)'\. Expected 1 values": r"\1 needs a value",
    r"Missing value for argument '(\S+)'\. Expected (\d+) values": r"\1 needs \2 values",
    r"Unrecognized options:": "unknown option:",
}
COMPILES = "/jax/core/compile/backend_compile_duration"
SECONDS = 0.5  # of a program that is worth a line
REMOTE = ("--data-dir",)  # options that take an address too: TFDS does


def run(
    config_class: type[Config],
    command: Callable[[Config], str | None],
    argv: Sequence[str] | None,
    prog: str,
    *,
    kept: str = "",
) -> int:
    """Parse `argv` into a `config_class`, call `command` on it and return the exit code.

    Exit codes: 0 done; 1 a fault, or standard output could not be written; 2 bad input (one line on standard error); 3
    finished, but not as asked (one line, too); 130 interrupted, by Ctrl-C or SIGTERM.

    Args:
      config_class: dataclass whose fields are the options; the text under each field is its help.
      command: the program; returns what is not as asked, if anything is; raises `UserError` for bad input.
      argv: arguments without the program's name; None takes those of the process.
      prog: the program's name in messages and help.
      kept: what an interrupted run leaves on the disk, where the same command goes on from there.
    """
    process.say_when_interrupted(
        f"{prog}: interrupted" + f"; {kept}, and the same command goes on from there" * bool(kept)
    )
    if _collected is not None:
        _collected[prog] = config_class
        return 0
    try:
        beside, words = common.split(sys.argv[1:] if argv is None else argv)
        process.set_loudness(quiet=beside.quiet, verbose=beside.verbose)
        if beside.config is not None:
            again = beside.config.suffix == ".json"
            read = common.words_again(beside.config, prog) if again else common.words_of(beside.config, config_class)
            process.detail(f"{beside.config} says {shlex.join(read)}")
            words = [*read, *words]
        config = _parse(config_class, words, prog)
        process.set_command([*prog.split(), *words])
        with pinned(), _told_of_programs():
            short = command(config)
        sys.stdout.flush()
    except SystemExit as stop:  # --help
        return stop.code if isinstance(stop.code, int) else 0
    except UserError as error:
        return _fail(prog, str(error), 2)
    except (RuntimeError, AssertionError):
        if said := devices.trouble():
            return _fail(prog, said, 2)
        raise
    except KeyboardInterrupt:
        return process.interrupted()
    except OSError as error:
        return process.output_lost(error, prog)
    finally:
        process.set_command([])
    return _fail(prog, short, 3) if short else 0


@contextlib.contextmanager
def collecting() -> Iterator[dict[str, type[Any]]]:
    """While this lasts, `run` runs nothing: the dictionary gets the dataclass of each program by its name."""
    global _collected
    _collected = {}
    try:
        yield _collected
    finally:
        _collected = None


def check_plot(path: Path, option: str = "--plot") -> None:
    """Refuse a file that no figure can be drawn into."""
    if path.suffix not in PLOT_SUFFIXES:
        raise UserError(f"{option} {path}: give a file that ends in one of {', '.join(PLOT_SUFFIXES)}")
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: there is no directory {path.parent}; create it first")
    check_package(option, "matplotlib", "report")


@contextlib.contextmanager
def _told_of_programs() -> Iterator[None]:
    """Say, if details are wanted, what runs where, which programs take long to compile, and how long it all took."""
    began, compiled = time.monotonic(), list[float]()

    def heard(event: str, duration_secs: float, **_: Any) -> None:
        if event == COMPILES:
            compiled.append(duration_secs)
            if duration_secs > SECONDS:
                process.detail(f"compiled a program in {duration_secs:.1f} s")

    process.detail(versions.line())
    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        yield
    finally:
        jax.monitoring.unregister_event_duration_listener(heard)
        took = f"{time.monotonic() - began:.1f} s, of which compiling {len(compiled):,} programs {sum(compiled):.1f} s"
        process.detail(f"{took} of all threads together")


def _parse(config_class: type[Config], argv: Sequence[str], prog: str) -> Config:
    """The options; a refusal by tyro, which it prints in a box, becomes one line."""
    words = list(_spelt(_local(argv), choices(config_class)))

    def options(of: type[Config]) -> Config:
        return tyro.cli(of, prog=prog, args=words, config=(tyro.conf.FlagCreatePairsOff,))

    try:
        with _printed() as printed:
            return options(config_class)
    except SystemExit as stop:
        if not stop.code:
            try:
                return options(documented(config_class))  # --help once more, for the terminal
            finally:
                print(common.EVERYWHERE)
        raise UserError(f"{_in_one_line(printed.getvalue())} see {prog} --help") from None


def _local(argv: Sequence[str]) -> Iterator[str]:
    """Yield the arguments with `~` expanded; `UserError` for a path that is none of this machine."""
    option = ""
    for word in argv:
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            yield option + equals + local(value, word, remote=option.replace("_", "-") in REMOTE)
        else:
            yield local(word, f"{option} {word}".strip(), remote=option.replace("_", "-") in REMOTE)


def _spelt(words: Iterable[str], known: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Yield the arguments; of an option that takes one of a few words, with the hyphens that they have."""
    option = ""
    for word in words:
        if word.startswith("--"):
            given, equals, value = word.partition("=")
            option = given.replace("_", "-")
            yield given + equals + spelt(value, known.get(option, ()))
        else:
            yield spelt(word, known.get(option, ()))


class _Paper(io.StringIO):
    """Takes what is printed, as a file of UTF-8 would: without colours."""

    encoding = "utf-8"  # type: ignore[assignment]


@contextlib.contextmanager
def _printed() -> Iterator[io.StringIO]:
    """Collect what is printed, in lines of any length."""
    paper, columns = _Paper(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = UNWRAPPED
    try:
        with contextlib.redirect_stdout(paper), contextlib.redirect_stderr(paper):
            yield paper
    finally:
        del os.environ["COLUMNS"]
        if columns is not None:
            os.environ["COLUMNS"] = columns


def _in_one_line(box: str) -> str:
    """What a box of tyro's says, and the nearest valid name."""
    lines = [line.strip("│ ") for line in box.splitlines() if line[:1] == "│"] or box.splitlines()
    rule = next((i for i, line in enumerate(lines) if line and set(line) == {"─"}), len(lines))
    says = " ".join(lines[:rule])
    for wording, ours in WORDINGS.items():
        says = re.sub(wording, ours, says)
    near = re.search(r"Perhaps you meant:\W+(--[\w.-]+)", " ".join(lines))
    choice = re.search(r"'(.*)' for argument .*\((.*)\)", says)
    hints = [near[1]] if near else []
    if choice:
        hints = difflib.get_close_matches(choice[1], re.findall(r"'([^']+)'", choice[2]), n=1, cutoff=0.4)
    hint = f"; did you mean {hints[0]}?" if hints else ";"
    return says.rstrip(".") + hint


def _fail(prog: str, message: str, code: int) -> int:
    process.say(f"{prog}: {' '.join(message.split())}")
    return code
