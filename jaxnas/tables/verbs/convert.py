"""`jaxnas tables convert`: a benchmark's own file of measured values as a table."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from jaxnas import spaces
from jaxnas.errors import UserError, unknown
from jaxnas.spaces import Space
from jaxnas.tables import release
from jaxnas.tables.official import nasbench101, nats, transnas101

READERS: dict[str, Callable[[Space, Path], pl.DataFrame]] = {
    "nasbench201": lambda space, path: nats.read("nasbench201", path),
    "nats_size": lambda space, path: nats.read("nats_size", path),
    "nasbench101": lambda space, path: nasbench101.read(path),
    "transnas101_micro": transnas101.read,
    "transnas101_macro": transnas101.read,
}
BESIDE = ("arch_id", "arch", release.SEED)  # columns that were not measured


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
    different = read.select("arch").unique(maintain_order=True)
    try:
        archs = space.from_table({space.string_columns[0]: different["arch"]})
    except UserError as error:
        raise UserError(f"{path}: {error}; is it a file of {name}?") from None
    ids = space.arch_ids(archs)
    own = different.with_columns(
        pl.Series("arch_id", ids, pl.Int64) if ids is not None else pl.lit(None, pl.Int64).alias("arch_id"),
        pl.Series("own", [space.decode(arch) for arch in archs], pl.String),
    )
    table = read.join(own, on="arch", maintain_order="left").with_columns(arch="own")
    measured = [column for column in read.columns if column not in BESIDE]
    table = table.select(*(column for column in BESIDE if column in table.columns), *measured)
    manifest = {
        "name": f"{name}-accuracies",
        "settings": {"space": name},
        "seeds": table[release.SEED].unique().sort().to_list() if release.SEED in table.columns else [],
        "rows": len(table),
        "columns": measured,
        "source": {"file": path.name, "sha256": release.checksum(path)},
    }
    return table, manifest
