"""`jaxnas tables convert`: a benchmark's own file of measured values as a table."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from jaxnas import spaces
from jaxnas.errors import UserError, unknown
from jaxnas.spaces import Space
from jaxnas.spaces.nasbench101.table import COLUMNS
from jaxnas.tables import release
from jaxnas.tables.official import nasbench101, nats, transnas101

READERS: dict[str, Callable[[Space, Path], pl.DataFrame]] = {
    "nasbench201": lambda space, path: nats.read("nasbench201", path),
    "nats_size": lambda space, path: nats.read("nats_size", path),
    "nasbench101": lambda space, path: nasbench101.read(path),
    "transnas101_micro": transnas101.read,
    "transnas101_macro": transnas101.read,
}
ARCH = "arch"
IDENTITY = (ARCH, *COLUMNS)  # columns by which the readers say which architecture it is


def converted(name: str, path: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The table of a benchmark's file, and its manifest: strings as jaxnas writes them, the benchmark's columns.

    Args:
      name: of the space.
      path: the benchmark's file.

    Raises:
      UserError: no file of this space can be read, or this one cannot.
    """
    if name not in READERS:
        raise unknown("space with a file to convert", name, READERS)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the file of the benchmark {name}")
    space = spaces.get(name)
    read = READERS[name](space, path)
    written = [column for column in read.columns if column in IDENTITY]
    different = read.select(written).unique(maintain_order=True)
    try:
        archs = space.from_table({column: different[column] for column in written})
    except UserError as error:
        raise UserError(f"{path}: {error}; is it a file of {name}?") from None
    found = {ARCH: pl.Series([space.decode(arch) for arch in archs], dtype=pl.String)}
    if "arch_id" not in read.columns:
        ids = space.arch_ids(archs)
        found["arch_id"] = pl.Series([None] * len(archs) if ids is None else ids, dtype=pl.Int64)
    different = different.with_columns(of.alias(f"_{column}") for column, of in found.items())
    table = read.join(different, on=written, maintain_order="left").drop(written)
    table = table.rename({f"_{column}": column for column in found})
    beside = [column for column in ("arch_id", ARCH, release.SEED) if column in table.columns]
    measured = [column for column in table.columns if column not in beside]
    table = table.select(*beside, *measured)
    manifest = {
        "name": f"{name}-accuracies",
        "settings": {"space": name},
        "seeds": table[release.SEED].unique().sort().to_list() if release.SEED in table.columns else [],
        "rows": len(table),
        "columns": measured,
        "source": {"file": path.name, "sha256": release.checksum(path)},
    }
    return table, manifest
