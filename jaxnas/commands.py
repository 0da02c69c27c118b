"""The console script `jaxnas`: hands its arguments on to one of the programs, and imports only that one."""

import importlib
import sys

from jaxnas.errors import unknown

COMMANDS = {  # name: (module with a `main`, what it does)
    "search": ("jaxnas.search.__main__", "find a good architecture of a space"),
    "score": ("jaxnas.score.__main__", "score architectures into a directory of Parquet files"),
    "correlate": ("jaxnas.correlate", "compare scores with measured accuracies"),
    "predict": ("jaxnas.predict", "learn from measured architectures, predict others"),
    "supernet": ("jaxnas.supernet.command", "train one network for a whole space and rank architectures with it"),
    "search-signals": ("jaxnas.search_signals", "evolve the signals of the regression score on a few accuracies"),
}


def main(argv: list[str] | None = None) -> int:
    """Run the command that `argv` (by default the process's arguments) starts with and return its exit code."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if not name:
        print(usage(), file=sys.stderr)
        return 2
    if name not in COMMANDS:
        print(f"jaxnas: {unknown('command', name, COMMANDS)}", file=sys.stderr)
        return 2
    return int(importlib.import_module(COMMANDS[name][0]).main(rest))


def usage() -> str:
    """Return the text of `jaxnas --help`."""
    width = max(map(len, COMMANDS)) + 1
    lines = [f"  {name:<{width}} {does}" for name, (_, does) in COMMANDS.items()]
    return "\n".join(["usage: jaxnas COMMAND ...", "", *lines, "", "jaxnas COMMAND --help lists a command's options."])
