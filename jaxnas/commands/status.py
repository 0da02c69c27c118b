"""`jaxnas status`: what of a run of `jaxnas score` is there, and what is missing."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxnas.cli import frame
from jaxnas.errors import UserError
from jaxnas.report.sheet import Format, card
from jaxnas.tables.store import Store

MANY = 12  # parts or shards that are named


@dataclass(frozen=True)
class Status:
    """Say what of a directory of scores is there and what is missing.

    The exit code is 3 while it is not finished.
    """

    scores: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DIR")]]
    """Directory that `jaxnas score` writes, or has written."""
    format: Format = "table"
    """How to print it."""


def status(config: Status) -> str | None:
    """Run the command; return what is missing."""
    record = recorded(scored(config.scores))
    card(str(config.scores), _lines(record), record).print(config.format)
    return lacking(record)


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
    table = run.read() if there else None
    columns = [] if table is None else table.columns
    return {
        "directory": str(run.path),
        "space": known["settings"]["space"],
        "finished": not missing and known["scorers"].keys() <= {*columns},
        "parts": known["parts"],
        "missing_parts": missing,
        "missing_by_shard": {
            f"{shard}/{shards}": len(own)
            for shard in range(shards)
            if (own := [p for p in missing if p % shards == shard])
        },
        "rows": 0 if table is None else len(table),
        "asked": known["settings"]["archs"]["number"],
        "scores": {
            name: {}
            if table is None or f"{name}_status" not in columns
            else dict(table[f"{name}_status"].value_counts(sort=True).iter_rows())
            for name in known["scorers"]
        },
        "seconds": known["seconds"],
        "began": known["created"],
        "last_written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(run.written())) if there else None,
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
    lines["last written"] = record["last_written"] or ""
    for number, (maker, parts) in enumerate(record["made_by"].items()):
        lines["made by" if not number else f"and {number}"] = f"{maker}: {len(parts):,} parts"
    lines["finished"] = "yes" if record["finished"] else "no"
    return {name: text for name, text in lines.items() if text}


def _listed(names: Sequence[object]) -> str:
    return ", ".join(map(str, names[:MANY])) + ", ..." * (len(names) > MANY)
