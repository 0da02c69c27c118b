"""`python -m bench`: list the cases, run some of them, or bring the table in README.md up to date."""

import json
import multiprocessing
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from bench import cases
from jaxnas import cli
from jaxnas.errors import UserError, unknown
from jaxnas.scorers import Regression

HERE = Path(__file__).parent
HEADER = (
    "case | machine | architectures/s | ms each | competitor | ms each | ratio (range) | lower s | compile s | all s"
    " | peak MiB | GFLOP each | run"
)
MARKED = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- end of table -->)", re.DOTALL)


@dataclass(frozen=True)
class Bench:
    """Time the scorers and, in the same run, the PyTorch loop. Without names: list the cases."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Cases to run, each in a process of its own."""
    out: str | None = None
    """File (.json, for one case) or directory for the records, one per case; by default standard output."""
    archs: int | None = None
    """Architectures in the sample; by default the case's number."""
    rounds: int = 3
    """Rounds of ours and theirs in turn."""
    steps: int | None = None
    """Steps of the regression, fewer than GenNAS's 100 to try it out."""
    table: bool = False
    """Write the newest figures of bench/results into bench/README.md."""


def bench(config: Bench) -> None:
    """Run the command."""
    if config.table:
        write_table(HERE / "README.md", HERE / "results")
    elif config.names:
        run(config)
    else:
        for case in cases.CASES.values():
            print(f"{case.name:<12}{case.summary}; beside {', '.join(case.rivals)}; {case.archs} architectures")


def run(config: Bench) -> None:
    """Run the named cases and write or print their records."""
    names = list(dict.fromkeys(config.names))
    chosen = [adapted(name, config) for name in names]
    out = checked_out(config.out, len(chosen))
    for case in chosen:
        archs = case.archs if config.archs is None else config.archs
        steps = f" --steps {case.scorer.steps}" if isinstance(case.scorer, Regression) else ""
        command = f"python -m bench {case.name} --archs {archs} --rounds {config.rounds}{steps}"
        print(f"{command} ...", file=sys.stderr)
        record = in_new_process(case, archs=archs, rounds=config.rounds, command=command)
        text = json.dumps(record, indent=1) + "\n"
        if out is None:
            print(text, end="")
        else:
            path = out if out.suffix == ".json" else out / file_name(record)
            path.write_text(text)
            print(path)


def adapted(name: str, config: Bench) -> cases.Case:
    """Return the case called `name` changed as the command line asks; `UserError` if that makes no sense."""
    if name not in cases.CASES:
        raise unknown("case", name, cases.CASES)
    if config.rounds < 1 or (config.archs is not None and config.archs < 1):
        raise UserError("--archs and --rounds must be at least 1")
    case = cases.CASES[name]
    if config.steps is not None and isinstance(case.scorer, Regression):
        case = replace(case, scorer=replace(case.scorer, steps=config.steps))
    case.scorer.check()
    return case


def checked_out(out: str | None, count: int) -> Path | None:
    """Return where the records go, after making sure before the work that they can."""
    if out is None:
        return None
    path = Path(out)
    if path.suffix == ".json" and count > 1:
        raise UserError(f"--out {out} is one file, but there are {count} cases; give a directory")
    folder = path.parent if path.suffix == ".json" else path
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the directory {folder}: {error.strerror}") from error
    return path


def in_new_process(case: cases.Case, **options: Any) -> dict[str, Any]:
    """Return `cases.run(case, **options)` from a fresh process: its peak memory is this case's alone."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(cases.run, case, **options).result()


def file_name(record: dict[str, Any]) -> str:
    """Return the name of a record's file: case, device, time."""
    device = re.sub(r"\W+", "-", record["machine"]["device"].lower())
    return f"{record['case']}-{device}-{record['created'].replace(':', '')}.json"


def write_table(readme: Path, results: Path) -> None:
    """Replace the table in `readme` by that of the records in the directory `results`."""
    text = readme.read_text()
    if not MARKED.search(text):
        raise UserError(
            f"{readme} has no place for the table; put the lines <!-- table --> and <!-- end of table --> in it"
        )
    new = table([json.loads(path.read_text()) for path in results.glob("*.json")])
    readme.write_text(MARKED.sub(lambda _: new, text))
    print(new, end="")


def table(records: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table of the newest record of each case and device."""
    newest = {(r["case"], r["machine"]["device"]): r for r in sorted(records, key=lambda r: r["created"])}
    rows = [row for key in sorted(newest) for row in rows_of(newest[key])] or ["none yet" + " |" * HEADER.count("|")]
    rule = "---" + "|---" * HEADER.count("|")
    return "".join(f"| {row} |\n" for row in (HEADER, *rows)).replace("\n", f"\n|{rule}|\n", 1)


def rows_of(record: dict[str, Any]) -> list[str]:
    """Return one row of the table for each competitor of a record, or one without."""
    own, host = {stage: found["median"] for stage, found in record["seconds"].items()}, record["machine"]
    model = host["processor"] if host["backend"] == "cpu" else host["device"]
    first = (
        f"{record['case']} | {model}, {host['cpus']} CPUs | {record['archs_per_second']:.3g} | {milliseconds(record)}"
    )
    last = (
        f"{own['lower']:.1f} | {own['compile']:.1f} | {own['total']:.1f} | {record['peak_rss_bytes'] / 2**20:.0f}"
        f" | {record['flops_per_arch'] / 1e9:.3g} | {record['archs']} x {record['rounds']}, {record['created'][:10]}"
    )
    versus = [f"{name} | {milliseconds(r)} | {ratio(r)}" for name, r in (record["competitors"] or {}).items()]
    return [f"{first} | {middle} | {last}" for middle in versus or ["none | |"]]


def milliseconds(record: dict[str, Any]) -> str:
    """Return the median time per architecture."""
    value = 1000 * record["seconds_per_arch"]["median"]
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def ratio(record: dict[str, Any]) -> str:
    """Return a competitor's ratio with its range."""
    found = record["ratio"]
    return f"{found['of_medians']:.3g}x ({found['min']:.3g} to {found['max']:.3g})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return cli.run(Bench, bench, argv, prog="bench")


if __name__ == "__main__":
    raise SystemExit(main())
