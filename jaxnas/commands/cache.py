"""`jaxnas cache`: what is kept between runs, and where."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jaxnas import user_cache
from jaxnas.cli import frame
from jaxnas.errors import UserError
from jaxnas.report.sheet import Format, Sheet

ELSEWHERE = "JAX_COMPILATION_CACHE_DIR"  # JAX's own


@dataclass(frozen=True)
class Cache:
    """Show or clear what is kept between runs.

    The environment variable JAXNAS_CACHE names another folder for it.
    """

    action: tyro.conf.Positional[Annotated[Literal["info", "clear"], tyro.conf.arg(metavar="[info|clear]")]] = "info"
    """`info` says where it is and how large; `clear` deletes it: what is needed again is made again."""
    format: Format = "table"
    """How to print it."""


def cache(config: Cache) -> None:
    """Run the command."""
    root = user_cache.root()
    records: list[dict[str, Any]] = [
        {"kind": kind, "what": what, "files": len(sizes := _sizes(root / kind)), "bytes": sum(sizes)}
        for kind, what in user_cache.KINDS.items()
    ]
    notes = [f"in {root}" if config.action == "info" else f"deleted from {root}"]
    if ELSEWHERE in os.environ:
        notes.append(f"compiled programs are in {os.environ[ELSEWHERE]} instead, as {ELSEWHERE} says; not counted here")
    if config.action == "clear":
        _clear(root)
    shown = [
        {"kind": r["kind"], "what": r["what"], "files": f"{r['files']:,}", "MB": f"{r['bytes'] / 1e6:,.1f}"}
        for r in records
    ]
    Sheet(shown, records, ["files", "MB"], notes=notes, json={"directory": str(root), "kinds": records}).print(
        config.format
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Cache, cache, argv, prog="jaxnas cache")


def _sizes(folder: Path) -> list[int]:
    """The sizes of the files in a folder, if there is one."""
    return [path.stat().st_size for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []


def _clear(root: Path) -> None:
    """Delete what is of a known kind, and nothing else that the folder may hold."""
    for kind in user_cache.KINDS:
        try:
            if (root / kind).is_dir():
                shutil.rmtree(root / kind)
        except OSError as error:
            raise UserError(f"cannot delete {root / kind}: {error.strerror}; delete it yourself") from None
