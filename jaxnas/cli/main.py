"""The console script `jaxnas`: hands its arguments on to one of the programs, and imports only that one."""

import importlib
import sys
from typing import NamedTuple, NoReturn

from jaxnas.cli import process, versions
from jaxnas.errors import unknown


class Command(NamedTuple):
    """A program: the module of jaxnas whose `main` it is, and what it does."""

    module: str
    does: str


COMMANDS = {
    "search": Command("search.command", "find a good architecture of a space"),
    "score": Command("score.command", "score architectures into a directory of Parquet files"),
    "top": Command("commands.top", "show the best architectures of such a directory"),
    "export": Command("commands.export", "write an architecture as Flax, StableHLO, ONNX or PyTorch"),
    "correlate": Command("correlate.command", "compare scores with measured accuracies"),
    "report": Command("report.command", "make a page about runs: one HTML file"),
    "predict": Command("predict.command", "learn from measured architectures, predict others"),
    "supernet": Command("supernet.command", "train one network for a space and rank its architectures"),
    "tables": Command("tables.command", "build, list, fetch, verify and convert tables of whole spaces"),
    "search-signals": Command("search_signals.command", "evolve the signals of the regression score"),
    "status": Command("commands.status", "say what of a directory of scores is there and what is missing"),
    "merge": Command("commands.merge", "join the directories of shards that ran apart"),
    "latency": Command("commands.latency", "time the operations of a space on this device"),
    "completion": Command("commands.completion", "print what makes bash, zsh or fish complete these words"),
    "cache": Command("commands.cache", "show or clear what is kept between runs"),
    "spaces": Command("commands.spaces", "list the search spaces, or describe one"),
    "scorers": Command("commands.scorers", "list the scores, or describe one"),
}
HELP = "help"
EVERYWHERE = {
    "--config FILE": "TOML file of long options; the command line wins",
    "-q, --quiet": "no progress, no notes, only why it failed",
    "-v, --verbose": "versions, what is compiled, what --config says",
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
    if name == HELP and rest:
        name, rest = rest[0], ["--help"]
    if name in ("-h", "--help", HELP):
        print(usage())
        return 0
    if name == "--version":
        print(versions.line())
        return 0
    if not name:
        process.say(usage())
        return 2
    name = name.replace("_", "-")
    if name not in COMMANDS:
        process.say(f"jaxnas: {unknown('command', name, [*COMMANDS, HELP])}")
        return 2
    return int(importlib.import_module(f"jaxnas.{COMMANDS[name].module}").main(rest))


def usage() -> str:
    """The text of `jaxnas --help`."""
    width = max(map(len, (*COMMANDS, *EVERYWHERE))) + 1
    shown = {
        **{name: command.does for name, command in COMMANDS.items()},
        HELP: "list these commands, or the options of one",
    }
    lines = [f"  {name:<{width}} {does}" for name, does in shown.items()]
    codes = [f"  {code:<{width}} {means}" for code, means in CODES.items()]
    every = [f"  {option:<{width}} {means}" for option, means in EVERYWHERE.items()]
    head = ["usage: jaxnas COMMAND ...", "       jaxnas --version", "", *lines]
    return "\n".join([*head, "", "Options of every command:", *every, "", "Exit codes:", *codes])
