"""`jaxnas status`: what of a run of `jaxnas score` is there, and what is missing."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from jaxnas.cli import frame
from jaxnas.cli.progress import duration
from jaxnas.errors import UserError
from jaxnas.report.sheet import Format, card
from jaxnas.tables.store import WRITTEN, Store

MANY = 12  # parts or shards that are named
WATCH_SECONDS = 10.0
PACE_SECONDS = 600.0  # of which the pace is the mean


@dataclass(frozen=True)
class Status:
    """Say what of a directory of scores is there and what is missing.

    The exit code is 3 while it is not finished.
    """

    scores: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DIR")]]
    """Directory that `jaxnas score` writes, or has written."""
    format: Annotated[Format, tyro.conf.arg(metavar="FORM")] = "table"
    """How to print it: table, csv, markdown, latex or json."""
    watch: bool = False
    """Say it again every 10 seconds, until it is finished."""


def status(config: Status) -> str | None:
    """Run the command; return what is missing."""
    while True:
        record = recorded(scored(config.scores))
        if config.watch and sys.stdout.isatty():
            Console().clear()
        card(str(config.scores), _lines(record), record).print(config.format)
        if record["finished"] or not config.watch:
            return lacking(record)
        sys.stdout.flush()
        time.sleep(WATCH_SECONDS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Status, status, argv, prog="jaxnas status")


def scored(path: Path) -> Store:
    """The run directory that is there; `UserError` if it is none of `jaxnas score`."""
    run = Store.existing(path)
    if not {"parts", "shards"} <= run.manifest.keys():
        raise UserError(f"{path} was not written by jaxnas score; give the --out directory of such a run")
    return run


def recorded(run: Store) -> dict[str, Any]:
    """What is known of a run, for JSON."""
    known = run.manifest
    there, shards = run.parts(), known["shards"]
    missing = [part for part in range(known["parts"]) if part not in there]
    rows, scores = run.tally(known["scorers"])
    written = run.records(WRITTEN)
    pace = _pace(written)
    return {
        "directory": str(run.path),
        "space": known["settings"]["space"],
        "finished": not missing and known["scorers"].keys() <= scores.keys(),
        "parts": known["parts"],
        "missing_parts": missing,
        "missing_by_shard": {
            f"{shard}/{shards}": len(own)
            for shard in range(shards)
            if (own := [p for p in missing if p % shards == shard])
        },
        "rows": rows,
        "asked": known["settings"]["archs"]["number"],
        "scores": {
            name: dict(scores[name].statuses.most_common()) if name in scores else {} for name in known["scorers"]
        },
        "seconds": known["seconds"],
        "began": known["created"],
        "last_written": _moment(run.written()) if there else None,
        "rows_per_second": pace,
        "seconds_left": (known["settings"]["archs"]["number"] - rows) / pace if pace else None,
        "hosts": _hosts(written),
        "at_work": {str(part): who for part, who in run.claims().items()},
        "lost": {arch: why for line in written for arch, why in line.get("lost", {}).items()},
        "made_by": _makers(run),
    }


def lacking(record: dict[str, Any]) -> str | None:
    """Return in words what a run, as `recorded`, lacks."""
    if record["finished"]:
        return None
    missing, shards = record["missing_parts"], [*record["missing_by_shard"]]
    if not missing:
        names = ", ".join(name for name, found in record["scores"].items() if not found)
        return f"{record['directory']} has all parts, but not yet {names}; run its jaxnas score again"
    again = "" if shards == ["0/1"] else f" with --shard {_listed(shards)}"
    return (
        f"{record['directory']} lacks {len(missing):,} of {record['parts']:,} parts; run its jaxnas score again{again}"
    )


def _pace(written: Sequence[Mapping[str, Any]]) -> float | None:
    """Rows a second of the parts that were written in the last minutes; None if there are too few."""
    last = [line for line in written if line["ended"] > time.time() - PACE_SECONDS]
    first = min((line["ended"] - line["seconds"] for line in last), default=0.0)
    return sum(line["rows"] for line in last) / max(time.time() - first, 1e-3) if last else None


def _hosts(written: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What each machine wrote, and when it last did."""
    found: dict[str, dict[str, Any]] = {}
    for line in written:
        of = found.setdefault(line["host"], {"parts": 0, "rows": 0, "last": 0.0})
        found[line["host"]] = {
            "parts": of["parts"] + 1,
            "rows": of["rows"] + line["rows"],
            "last": max(of["last"], line["ended"]),
        }
    return {host: of | {"last": _moment(of["last"])} for host, of in found.items()}


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _makers(run: Store) -> dict[str, list[int]]:
    """Which parts were made on which processor by which versions."""
    found: dict[str, list[int]] = {}
    for part, maker in sorted(run.makers().items()):
        versions = [f"{name} {maker[f'versions.{name}']}" for name in ("jaxnas", "jax") if f"versions.{name}" in maker]
        found.setdefault(", ".join([str(maker.get("arithmetic.processor")), *versions]), []).append(part)
    return found


def _lines(record: dict[str, Any]) -> dict[str, str]:
    missing = record["missing_parts"]
    lines = {
        "space": record["space"],
        "parts": f"{record['parts'] - len(missing):,} of {record['parts']:,}",
        "missing": _listed(missing),
        "by shard": _listed([f"{count:,} of {shard}" for shard, count in record["missing_by_shard"].items()]),
        "rows": f"{record['rows']:,} of {record['asked']:,}",
    }
    for name, found in record["scores"].items():
        lines[name] = ", ".join(f"{count:,} {kind}" for kind, count in found.items()) or "not yet"
    lines |= {"seconds": f"{record['seconds']:,.1f}", "began": record["began"]}
    if record["rows_per_second"] and not record["finished"]:
        lines["pace"] = f"{record['rows_per_second']:,.2f} rows a second, {duration(record['seconds_left'])} left"
    for host, of in record["hosts"].items():
        lines[f"host {host}"] = f"{of['parts']:,} parts, {of['rows']:,} rows, the last at {of['last']}"
    lines["at work"] = _listed([f"{who} on {part}" for part, who in record["at_work"].items()])
    lines["failed"] = _listed([f"{arch} ({why})" for arch, why in record["lost"].items()])
    lines["last written"] = record["last_written"] or ""
    for number, (maker, parts) in enumerate(record["made_by"].items()):
        lines["made by" if not number else f"and {number}"] = f"{maker}: {len(parts):,} parts"
    lines["finished"] = "yes" if record["finished"] else "no"
    return {name: text for name, text in lines.items() if text}


def _listed(names: Sequence[object]) -> str:
    return ", ".join(map(str, names[:MANY])) + ", ..." * (len(names) > MANY)
