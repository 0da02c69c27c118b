"""The tables and figures of README.md, from the records."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.core import plots
from jaxnas.errors import UserError

NUMBERS = ("0", "4", "8", "16", "32", "64", "128")  # of labels, in the table of predictors

Record = dict[str, Any]


class Table(NamedTuple):
    """A table of one kind of record.

    Attributes:
      kind: of the records.
      header: of the columns.
      rows: the rows of one record.
    """

    kind: str
    header: str
    rows: Callable[[Record], list[str]]


def write(readme: Path, results: Path) -> None:
    """Draw the figures in the directory `results` anew, and put them and the tables of its records into `readme`."""
    records = read(results)
    for path, record in records.items():
        if record["kind"] == "curves":
            plots.draw(record, path.with_suffix(".png"))
    text = readme.read_text()
    for name, new in blocks(records).items():
        text = replaced(text, name, new, readme)
        print(new, end="")
    readme.write_text(text)


def read(results: Path) -> dict[Path, Record]:
    """The newest record of each case and device by its path, in order of case and device."""
    found = [(path, json.loads(path.read_text())) for path in results.glob("*.json")]
    ordered = sorted(found, key=lambda item: item[1]["created"])
    newest = {(record["case"], record["machine"]["device"]): (path, record) for path, record in ordered}
    return dict(newest[key] for key in sorted(newest))


def blocks(records: dict[Path, Record]) -> dict[str, str]:
    """What stands between the marks of each name in README.md."""
    figures = [path.with_suffix(".png") for path, record in records.items() if record["kind"] == "curves"]
    return {name: markdown(table, list(records.values())) for name, table in TABLES.items()} | {
        "curves": "".join(f"![{path.stem}]({path.parent.name}/{path.name})\n" for path in figures) or "None yet.\n"
    }


def replaced(text: str, name: str, new: str, origin: Path) -> str:
    """Return `text` with `new` between the marks of `name`."""
    marked = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
    if not marked.search(text):
        lines = f"<!-- {name} --> and <!-- end of {name} -->"
        raise UserError(f"{origin} has no place for {name}; put the lines {lines} in it")
    return marked.sub(lambda _: new, text)


def markdown(table: Table, records: Sequence[Record]) -> str:
    """The table of those records that are of its kind."""
    bars = table.header.count("|")
    rows = [row for record in records if record["kind"] == table.kind for row in table.rows(record)]
    lines = [table.header, " | ".join(["---"] * (bars + 1)), *(rows or ["none yet" + " |" * bars])]
    return "".join(f"| {line} |\n" for line in lines)


def speed(record: Record) -> list[str]:
    """One row for each competitor of a record, or one without."""
    own = {stage: found["median"] for stage, found in record["seconds"].items()}
    first = f"{about(record)} | {record['archs_per_second']:.3g} | {milliseconds(record['seconds_per_arch']['median'])}"
    last = (
        f"{own['lower']:.1f} | {own['compile']:.1f} | {own['total']:.1f} | {mebibytes(record)}"
        f" | {record['archs']} x {record['rounds']}, {record['created'][:10]}"
    )
    versus = [
        f"{name} | {milliseconds(rival['seconds_per_arch']['median'])} | {ratio(rival)}"
        for name, rival in (record["competitors"] or {}).items()
    ]
    return [f"{first} | {middle} | {last}" for middle in versus or ["none | |"]]


def floor(record: Record) -> list[str]:
    """The row of a record against the least that its scorer takes on this machine."""
    peak = {name: record["ceilings"][name]["median"] / 1e9 for name in ("flops_per_second", "bytes_per_second")}
    return [
        f"{about(record)} | {record['flops_per_arch'] / 1e9:.3g} | {record['bytes_per_arch'] / 1e6:.3g}"
        f" | {peak['flops_per_second']:.0f} ({record['ceilings']['precision']}) | {peak['bytes_per_second']:.0f}"
        f" | {milliseconds(record['floor_seconds_per_arch'])} | {record['floor_bound_by']}"
        f" | {milliseconds(record['seconds_per_arch']['median'])} | {record['share_of_floor']:.0%}"
    ]


def whole(record: Record) -> list[str]:
    """The row of a command line."""
    cold, warm = (record["seconds"].get(run) for run in ("cold", "warm"))
    return [
        f"{about(record)} | `{record['command_line']}` | {record['networks']:,} | {seconds(cold)} | {seconds(warm)}"
        f" | {record['networks_per_second']:.3g} | {mebibytes(record)} | {record['rounds']}, {record['created'][:10]}"
    ]


def transfer(record: Record) -> list[str]:
    """A row for each way to predict: Spearman's rho by number of labels, with the 95 % interval of the mean."""
    case = record["case"].removeprefix("transfer_")
    target = f"{case} | {record['target']['space']}, {record['target']['column']}"

    def cell(found: dict[str, Any] | None) -> str:
        rho = (found or {}).get("spearman")
        return "" if rho is None else f"{rho['mean']:.3f} ± {rho['half']:.3f}"

    return [
        " | ".join([target, name, *(cell(found.get(number)) for number in NUMBERS)])
        for name, found in record["figures"].items()
    ]


def spaces(record: Record) -> list[str]:
    """A row for each space and score."""
    return [
        f"{space} | {scorer} | {score_on_space(found)}"
        for space, own in sorted(record["results"].items())
        for scorer, found in sorted(own.items())
    ]


def score_on_space(found: dict[str, Any]) -> str:
    """The figures of one score on one space."""
    first, groups = found["first_call_seconds"], found["groups"]
    whole = "" if groups["space"] is None else f" (of {groups['space']:,})"
    each = {name: 1000 * value for name, value in found["seconds_per_arch"].items()}
    return (
        f"{found['archs_per_second']:.3g} | {seconds(each)} | {first['lower']:.1f} | {first['compile']:.1f}"
        f" | {groups['sample']:,}{whole} | {found['settings']['archs']:,} in {found['estimated_seconds']:,.0f}"
        f" | {found['archs']} x {found['rounds']}, {found['created'][:10]}"
    )


TABLES = {
    "speed": Table(
        "scorer",
        "case | machine | architectures/s | ms each | competitor | ms each | ratio (range) | lower s | compile s"
        " | all s | peak MiB | run",
        speed,
    ),
    "floor": Table(
        "scorer",
        "case | machine | GFLOP each | MB each | peak GFLOP/s (precision) | GB/s | floor, ms each | bound by"
        " | measured, ms each | share of floor",
        floor,
    ),
    "whole": Table(
        "command",
        "case | machine | command | networks | cold s (range) | warm s (range) | networks/s, cold | peak MiB | run",
        whole,
    ),
    "transfer": Table(
        "transfer", " | ".join(["case", "target", "predicted by", *(f"{n} labels" for n in NUMBERS)]), transfer
    ),
    "spaces": Table(
        "spaces",
        "space | score | architectures/s | ms each (range) | lower s | compile s | groups met (of the space)"
        " | random ones in s, estimated | run",
        spaces,
    ),
}


def about(record: Record) -> str:
    """The case and the machine."""
    host = record["machine"]
    model = host["processor"] if host["backend"] == "cpu" else f"{host['devices']} x {host['device']}"
    return f"{record['case']} | {model}, {host['cpus']} CPUs"


def milliseconds(value: float) -> str:
    """Return seconds in milliseconds, to three digits."""
    return f"{1000 * value:.3g}" if value < 0.1 else f"{1000 * value:.0f}"


def seconds(found: dict[str, float] | None) -> str:
    """A median with its range, to three digits; nothing for None."""
    if found is None:
        return ""
    median, low, high = (f"{v:.3g}" if v < 1000 else f"{v:.0f}" for v in (found["median"], found["min"], found["max"]))
    return median if low == high else f"{median} ({low} to {high})"


def mebibytes(record: Record) -> str:
    """The peak memory of the process."""
    return f"{record['peak_rss_bytes'] / 2**20:.0f}"


def ratio(record: Record) -> str:
    """A competitor's ratio with its range."""
    found = record["ratio"]
    return f"{found['of_medians']:.3g}x ({found['min']:.3g} to {found['max']:.3g})"
