"""The console script `jaxnas`: hands its arguments on to one of the programs, and imports only that one."""

import importlib
import sys
from typing import NoReturn

from jaxnas.cli import process
from jaxnas.errors import unknown

COMMANDS = {  # name, with `-` for the `_` of its package: what it does
    "search": "find a good architecture of a space",
    "score": "score architectures into a directory of Parquet files",
    "correlate": "compare scores with measured accuracies",
    "predict": "learn from measured architectures, predict others",
    "supernet": "train one network for a whole space and rank architectures with it",
    "report": "make a page about runs: one HTML file that needs no network",
    "tables": "build, list, fetch, verify and convert tables of whole spaces",
    "search-signals": "evolve the signals of the regression score on a few accuracies",
}
CODES = {
    0: "done",
    1: "a fault, or standard output could not be written",
    2: "your input (one line says what to do)",
    3: "finished, but not as asked (one line says what)",
    130: "interrupted; the same command goes on from what it kept",
}


def script(*command: str) -> NoReturn:
    """Be the console script, or the program of one command."""
    process.run(lambda: main([*command, *sys.argv[1:]]))


def main(argv: list[str] | None = None) -> int:
    """Run the command that `argv` (by default the process's arguments) starts with and return its exit code."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if not name:
        process.say(usage())
        return 2
    if name not in COMMANDS:
        process.say(f"jaxnas: {unknown('command', name, COMMANDS)}")
        return 2
    return int(importlib.import_module(f"jaxnas.{name.replace('-', '_')}.command").main(rest))


def usage() -> str:
    """The text of `jaxnas --help`."""
    width = max(map(len, COMMANDS)) + 1
    lines = [f"  {name:<{width}} {does}" for name, does in COMMANDS.items()]
    codes = [f"  {code:<{width}} {means}" for code, means in CODES.items()]
    options = "jaxnas COMMAND --help lists a command's options."
    return "\n".join(["usage: jaxnas COMMAND ...", "", *lines, "", options, "", "Exit codes:", *codes])
