"""`python -m bench`: list the cases, run some of them, or bring the tables in README.md up to date."""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from bench.cases import CASES
from bench.core import harness, plots, tables
from bench.core.case import Case, Options
from bench.core.machine import provenance
from jaxnas.cli import frame
from jaxnas.errors import UserError, unknown

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Bench(Options):
    """Time the scorers beside the PyTorch loop, and whole command lines. Without names: list the cases."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Cases to run, each in processes of its own."""
    out: str | None = None
    """File (.json, for one case) or directory for the records, one per case; by default standard output. The case
    `curves` draws a .png beside its record."""
    table: bool = False
    """Write the newest figures of bench/results into bench/README.md."""


def bench(config: Bench) -> None:
    """Run the command."""
    if config.table:
        tables.write(HERE / "README.md", HERE / "results")
    elif config.names:
        run(config)
    else:
        for case in CASES.values():
            print(f"{case.name:<16}{case.summary}")


def run(config: Bench) -> None:
    """Run the named cases and write or print their records."""
    chosen = [adapted(name, config) for name in dict.fromkeys(config.names)]
    out = checked_out(config.out, len(chosen))
    for case in chosen:
        record = measured(case)
        text = json.dumps(record, indent=1) + "\n"
        if out is None:
            print(text, end="", flush=True)
        else:
            write(record, text, out if out.suffix == ".json" else out / file_name(record))


def measured(case: Case) -> dict[str, Any]:
    """The record of a case: what it is and how to run it again, where and when it ran, and its figures."""
    command = f"python -m bench {case.name} {case.arguments()}"
    print(f"{command} ...", file=sys.stderr)
    about = {"case": case.name, "kind": case.kind, "command": command}
    return about | harness.in_new_process(provenance) | case.run()


def write(record: dict[str, Any], text: str, path: Path) -> None:
    """Write a record, and draw its figure if it is one of curves."""
    path.write_text(text)
    print(path)
    if record["kind"] == "curves":
        plots.draw(record, path.with_suffix(".png"))
        print(path.with_suffix(".png"))


def adapted(name: str, config: Bench) -> Case:
    """The case called `name` changed as the command line asks; `UserError` if that makes no sense."""
    if name not in CASES:
        raise unknown("case", name, CASES)
    if min(config.given("archs", "rounds").values(), default=1) < 1:
        raise UserError("--archs and --rounds must be at least 1")
    return CASES[name].adapted(config)


def checked_out(out: str | None, count: int) -> Path | None:
    """Where the records go, after making sure before the work that they can."""
    if out is None:
        return None
    path = Path(out)
    if path.suffix == ".json" and count > 1:
        raise UserError(f"--out {out} is one file, but there are {count} cases; give a directory")
    make_folder(path.parent if path.suffix == ".json" else path)
    return path


def make_folder(folder: Path) -> None:
    """Make the folder unless it is there; `UserError` if that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the directory {folder}: {error.strerror}") from error


def file_name(record: dict[str, Any]) -> str:
    """The name of a record's file: case, device, time."""
    device = re.sub(r"\W+", "-", record["machine"]["device"].lower())
    return f"{record['case']}-{device}-{record['created'].replace(':', '')}.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Bench, bench, argv, prog="bench")


if __name__ == "__main__":
    raise SystemExit(main())
