"""What the command reads: architectures, their labels and their scores, from tables and directories of scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from jaxnas.correlate.comparison import BASELINES, signs
from jaxnas.errors import UserError, unknown
from jaxnas.learn.features import Pool, make_pool
from jaxnas.score.table import read_archs
from jaxnas.spaces import Space
from jaxnas.store import read_scores
from jaxnas.tables import read_architectures


class Labels(NamedTuple):
    """Measured values `[n]`, higher is better, of `rows` `[n]` of the architectures."""

    rows: np.ndarray
    values: np.ndarray


class Table(NamedTuple):
    """A table and the architectures `[N, A]` of its rows."""

    path: Path
    frame: pl.DataFrame
    archs: np.ndarray

    @classmethod
    def read(cls, path: Path, space: Space, key: str | None) -> "Table":
        return cls(path, *read_architectures(path, space, key))

    def numbers(self, column: str) -> np.ndarray:
        """Return a numeric column `[N]`, NaN where it is empty."""
        numeric = [name for name, dtype in self.frame.schema.items() if dtype.is_numeric()]
        if column not in numeric:
            raise UserError(f"{self.path}: {unknown('numeric column', column, numeric)}")
        return self.frame[column].cast(pl.Float64).fill_null(np.nan).to_numpy()


class Examples(NamedTuple):
    """Labels, and the pool whose rows they are of."""

    pool: Pool
    labels: Labels


@dataclass(frozen=True)
class Architectures:
    """The different architectures of several lists.

    Attributes:
      space: theirs.
      archs: `[N, A]`.
      places: of the members of each list in `archs`.
    """

    space: Space
    archs: np.ndarray
    places: tuple[np.ndarray, ...]

    @classmethod
    def join(cls, space: Space, lists: Sequence[np.ndarray]) -> "Architectures":
        """Return the different ones of `lists` `[N_i, A]`."""
        archs, inverse = np.unique(np.concatenate(lists), axis=0, return_inverse=True)
        ends = np.cumsum([len(part) for part in lists])
        return cls(space, archs, tuple(np.split(inverse.reshape(-1), ends[:-1])))

    def labels(self, table: Table, place: int, target: str, sign: int) -> Labels:
        """Return the labels of the table that is the list `place`; of an architecture with several rows their mean.

        Raises:
          UserError: there is no such column of numbers, or no number in it.
        """
        values = table.numbers(target)
        known = np.isfinite(values)
        if not known.any():
            raise UserError(f"{table.path}: the column {target!r} has no number; give measured values")
        rows, owner = np.unique(self.places[place][known], return_inverse=True)
        return Labels(rows, sign * np.bincount(owner, values[known]) / np.bincount(owner))

    def pool(self, directories: Sequence[Path], tables: dict[int, Table], features: Sequence[str]) -> Pool:
        """Return the pool of all of them, with the scores of directories and columns of tables, by the list's place."""
        counts = {"params": self.space.params(self.archs), "flops": self.space.flops(self.archs)}
        scores = {**self.from_directories(directories), **self.from_tables(tables, features)}
        missing = [name for name, values in scores.items() if not np.isfinite(values).any()]
        if missing:
            raise UserError(f"none of the architectures has the score {missing[0]!r}; is it the same space?")
        return make_pool(self.space, self.archs, {**scores, **counts}, silent=frozenset(counts))

    def from_directories(self, directories: Sequence[Path]) -> dict[str, np.ndarray]:
        """Return the scores `[N]` in directories of `jaxnas.score`, turned so that higher is better; NaN for none."""
        found: dict[str, np.ndarray] = {}
        strings = pl.DataFrame({"arch": [self.space.decode(arch) for arch in self.archs] if directories else []})
        for path in directories:
            scored, manifest = read_scores(path)
            if (other := manifest["settings"].get("space")) != self.space.name:
                raise UserError(f"{path} has scores of the space {other}, not of {self.space.name}")
            own = {name: sign for name, sign in signs(manifest, scored.columns).items() if name not in BASELINES}
            if twice := sorted(found.keys() & own.keys()):
                raise UserError(f"{path}: an earlier directory of scores has {twice[0]}, too; give one of them")
            joined = strings.join(scored.unique("arch"), on="arch", how="left", maintain_order="left")
            found |= {n: s * joined[n].cast(pl.Float64).fill_null(np.nan).to_numpy() for n, s in own.items()}
        return found

    def from_tables(self, tables: dict[int, Table], features: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the columns `[N]` of tables, by their places among the lists, NaN where there is none."""
        found = {name: np.full(len(self.archs), np.nan) for name in features}
        for place, table in tables.items():
            for name in features:
                if name in table.frame.columns:
                    found[name][self.places[place]] = table.numbers(name)
        return found


def asked_for(space: Space, spec: str, seed: int, key: str | None) -> tuple[np.ndarray, Table | None]:
    """Return the architectures `[N, A]` that --predict names, and the table if it is a file."""
    if Path(spec).suffix in (".csv", ".parquet"):
        table = Table.read(Path(spec), space, key)
        return table.archs, table
    try:
        return read_archs(space, spec, seed), None
    except UserError as error:
        raise UserError(str(error).replace("--archs", "--predict")) from None
