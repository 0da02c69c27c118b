"""Tables by name, `table:NAME`: those in the package, and those in the user's cache."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from jaxnas.errors import UserError, unknown
from jaxnas.tables import release
from jaxnas.user_cache import user_cache

PREFIX = "table:"
PACKAGED = Path(__file__).parent / "released"
CACHE = "tables"
ALWAYS = ("arch_id", "arch", "scored_as", release.SEED, "params", "flops")  # columns, whatever scores are asked for


class Named(NamedTuple):
    """A table that has a name.

    Attributes:
      name: its own, without `table:`.
      where: `package`, `cache`, or `to fetch` where it is only known.
      path: file; None where it is to be fetched.
    """

    name: str
    where: str
    path: Path | None

    def manifest(self) -> dict[str, Any]:
        """What its file says; empty where it is to be fetched."""
        return (self.path and release.manifest_of(self.path)) or {}


def available() -> list[Named]:
    """The tables that have a name, sorted: those at hand, and those that `jaxnas tables fetch` brings."""
    found = {name: Named(name, "to fetch", None) for name in _names(known_checksums())}
    for where, folder in (("cache", user_cache(CACHE)), ("package", PACKAGED)):
        found |= {name: Named(name, where, path) for name, path in _files(folder).items()}
    return [found[name] for name in sorted(found)]


def load(name: str, scores: Sequence[str] | None = None, *, spectra: bool = False) -> pl.DataFrame:
    """A table by its name: a row for each architecture and seed.

    Args:
      name: one of `available()`, such as `nasbench201`.
      scores: the scores to load, each with its status; None for all columns.
      spectra: load the file of spectra, too: columns such as `ntk_spectrum`, ascending eigenvalues `[B]` in float32.

    Returns:
      The benchmark's own index `arch_id`, the string `arch`, the isomorphic one that was `scored_as` in its place,
      `seed`, the scores, `params` and `flops`. A score without a value is null, and its `_status` says why.

    Raises:
      UserError: there is no such table or score; the message has the nearest name.
    """
    path = located(PREFIX + name)
    table = release.read_frame(path)
    if spectra:
        table = release.with_spectra(table, path)
    if scores is None:
        return table
    known = list((release.manifest_of(path) or {}).get("scorers", {}))
    for score in scores:
        if score not in known:
            raise unknown(f"score of {name}", score, known)
    wanted = {*ALWAYS, *scores, *(f"{score}{of}" for score in scores for of in ("_status", release.SPECTRUM))}
    return table.select(column for column in table.columns if column in wanted)


def located(path: str | Path) -> Path:
    """The file of `table:NAME`; another path is returned as it is.

    Raises:
      UserError: there is no such table, or it is to be fetched first.
    """
    if not is_named(path):
        return Path(path)
    name = str(path).removeprefix(PREFIX)
    if name in (packaged := _files(PACKAGED)):
        return packaged[name]
    tables = {table.name: table for table in available()}
    if name not in tables:
        raise unknown("table", name, tables)
    if (found := tables[name].path) is None:
        raise UserError(f"{path} is not here yet; run `jaxnas tables fetch {name}`")
    return found


def is_named(path: str | Path) -> bool:
    """Say whether a path is `table:NAME`."""
    return str(path).startswith(PREFIX)


def known_checksums() -> dict[str, str]:
    """The SHA-256 of the files of released tables by name, as this version of jaxnas knows them."""
    return release.checksums(PACKAGED / release.SUMS)


def cached(name: str) -> Path:
    """Where the cache has, or gets, the table of this name; `UserError` where there is no cache."""
    folder = user_cache(CACHE)
    if folder is None:
        raise UserError(f"there is no cache for the table {name}; say --out FILE, or name a folder by XDG_CACHE_HOME")
    return folder / f"{name}{release.SUFFIX}"


def _files(folder: Path | None) -> dict[str, Path]:
    """The tables of a folder by name."""
    return {name: folder / f"{name}{release.SUFFIX}" for name in _names(os.listdir(folder))} if folder else {}


def _names(files: Iterable[str]) -> list[str]:
    """The names of the tables among files, which are neither cards nor spectra."""
    tables = [file.removesuffix(release.SUFFIX) for file in files if file.endswith(release.SUFFIX)]
    return [name for name in tables if not name.endswith(release.SPECTRA)]
