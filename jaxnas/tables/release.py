"""A table as one file: Parquet, whose footer holds the manifest that a run directory has beside its parts."""

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from jaxnas import atomic_file
from jaxnas.errors import UserError

FORMAT = 1
SUFFIX = ".parquet"
SPECTRA = ".spectra"  # what the name of the second file ends in, which has the spectra of a table
SPECTRUM = "_spectrum"  # what the columns of spectra end in
KEY = "jaxnas"  # of the footer's metadata
SUMS = "SHA256SUMS"  # as the program sha256sum writes and checks it
SEED = "seed"  # column: of the weights and inputs, or of what was trained
_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S+)")
_LEVEL = 19  # of zstd


def write(path: Path, table: pl.DataFrame, manifest: Mapping[str, Any]) -> None:
    """Write a table with its manifest; the file appears complete or not at all.

    Raises:
      UserError: it cannot be written there.
    """
    metadata = {KEY: json.dumps({"format": FORMAT, **manifest}, default=str)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file.writing(path) as file:
            table.write_parquet(file, compression="zstd", compression_level=_LEVEL, metadata=metadata)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def manifest_of(path: Path) -> dict[str, Any] | None:
    """The manifest in the footer of a file; None where the file is no table that jaxnas made.

    Raises:
      UserError: another version made it.
    """
    try:
        manifest = json.loads(pl.read_parquet_metadata(path)[KEY])
    except (KeyError, ValueError, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    if manifest.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {manifest.get('format')}, this version reads format {FORMAT}; build it anew"
        )
    return dict(manifest)


def read(path: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The table of scores in a file and its manifest, which is like that of a run directory.

    Raises:
      UserError: the file has no scores.
    """
    if (manifest := manifest_of(path)) is None:
        raise UserError(f"{path} has no manifest, so `jaxnas tables build` did not make it; give a table that it made")
    if "scorers" not in manifest:
        raise UserError(f"{path} has measured values, no scores; give it where measured values are read")
    return read_frame(path), manifest


def read_frame(path: Path) -> pl.DataFrame:
    """The rows of a table; `UserError` if the file cannot be read."""
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: cannot be read ({reason}); is it truncated? Give a complete file") from None


def with_spectra(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """A table with the spectra in the file beside it, `[B]`, or `[R, B]` of repeats; null where there are none.

    Args:
      table: rows with `arch`, `scored_as` and `seed`.
      path: its file.

    Raises:
      UserError: there is no such file.
    """
    beside = spectra_beside(path)
    if not beside.exists():
        raise UserError(f"{path} has no spectra beside it; build it with --spectra of runs that have some")
    spectra = read_frame(beside).rename({"arch": "ran"})
    ran = table.with_columns(pl.coalesce("scored_as", "arch").alias("ran"))
    return ran.join(spectra, on=["ran", SEED], how="left", maintain_order="left").drop("ran")


def spectra_beside(path: Path) -> Path:
    """The file with the spectra of the table in a file."""
    return path.with_name(f"{path.stem}{SPECTRA}{SUFFIX}")


def by_seed(table: pl.DataFrame) -> dict[int, pl.DataFrame]:
    """The rows of each seed."""
    return {int(seed): table.filter(pl.col(SEED) == seed) for seed in table[SEED].unique().sort()}


def over_seeds(table: pl.DataFrame) -> pl.DataFrame:
    """A row for each architecture: means over the seeds; what failed with one of them has no value."""
    if table[SEED].n_unique() < 2:
        return table

    def of(name: str) -> pl.Expr:
        values = pl.col(name)
        if table.schema[name] == pl.Enum:
            return values.max()  # the worst, as for repeats
        if not table.schema[name].is_float():
            return values.first()
        return pl.when(values.null_count() == 0).then(values.mean()).alias(name)

    return table.group_by("arch", maintain_order=True).agg(of(name) for name in table.columns if name != "arch")


def checksum(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        found = sha256()
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def checksums(path: Path) -> dict[str, str]:
    """The SHA-256 of files by name, as a `SHA256SUMS` lists them; empty where there is none."""
    return {name: known for known, name in _LINE.findall(path.read_text())} if path.is_file() else {}


def add_checksum(path: Path) -> None:
    """List a file in the `SHA256SUMS` beside it."""
    sums = path.with_name(SUMS)
    known = checksums(sums) | {path.name: checksum(path)}
    sums.write_text("".join(f"{value}  {name}\n" for name, value in sorted(known.items())))
