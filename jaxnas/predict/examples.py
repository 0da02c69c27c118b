"""What the command reads: architectures, their labels and their scores, from tables and directories of scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from jaxnas.correlate.sources import BASELINES, signs, space_of
from jaxnas.errors import UserError
from jaxnas.learn.features import Pool, make_pool
from jaxnas.score.table import read_archs
from jaxnas.spaces import Space, same_scores
from jaxnas.tables.archs import Table, is_table, read_architectures
from jaxnas.tables.joins import distinct, match
from jaxnas.tables.measured import measured
from jaxnas.tables.store import read_scores

SHARE = 0.5  # of the architectures, at least, that need a score unless told otherwise


class Labels(NamedTuple):
    """Measured values `[n]`, higher is better, of `rows` `[n]` of the architectures, and what was read of the table."""

    rows: np.ndarray
    values: np.ndarray
    counts: dict[str, Any]


class Found(NamedTuple):
    """Where the architectures are found in a directory of scores or in a table with features.

    Attributes:
      rows: that it has.
      architectures: that it has, different ones.
      places: `[N]` of each among these, -1 for none.
    """

    rows: int
    architectures: int
    places: np.ndarray

    def counts(self, used: np.ndarray) -> dict[str, int]:
        """Return, for JSON, how many there are and how many are left out, since none of `used` `[n]` is found there."""
        places = self.places[used]
        left_out = self.architectures - len(np.unique(places[places >= 0]))
        repeats = self.rows - self.architectures
        return {"rows": self.rows, "repeats": repeats, "architectures": self.architectures, "left_out": left_out}


class Given(NamedTuple):
    """Scores `[N]` by name, turned so that higher is better, NaN for none or a failure; and who has any `[N]`.

    Attributes:
      files: by name, what they were read from.
    """

    scores: dict[str, np.ndarray]
    there: dict[str, np.ndarray]
    files: dict[str, Found]

    def counts(self, groups: Mapping[str, np.ndarray]) -> dict[str, dict[str, int]]:
        """Return by file what is used of it for groups of architectures, rows `[n]`; see `Found.counts`."""
        used = np.unique(np.concatenate(list(groups.values())))
        return {name: found.counts(used) for name, found in self.files.items()}


class Examples(NamedTuple):
    """Labels, the pool whose rows they are of, and what was read of the files of scores that are theirs alone."""

    pool: Pool
    labels: Labels
    files: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Architectures:
    """The different architectures of several lists.

    Attributes:
      space: theirs.
      archs: `[N, A]`, as first written.
      places: of the members of each list in `archs`.
    """

    space: Space
    archs: np.ndarray
    places: tuple[np.ndarray, ...]

    @classmethod
    def join(cls, space: Space, lists: Sequence[np.ndarray]) -> "Architectures":
        """The different ones of `lists` `[N_i, A]`, sorted, whatever the order of the lists."""
        together = np.concatenate(lists)
        first, owner = distinct(space, together)
        order = np.lexsort(space.as_listed(together[first]).T[::-1])
        ends = np.cumsum([len(part) for part in lists])
        return cls(space, together[first[order]], tuple(np.split(np.argsort(order)[owner], ends[:-1])))

    def labels(self, table: Table, target: str, sign: int) -> Labels:
        """The labels of a table whose architectures are among these; see `measured`."""
        found = measured(self.space, table, target)
        rows = match(self.space, found.archs, self.archs).rows
        order = np.argsort(rows)
        return Labels(rows[order], sign * found.values[order], found.counts())

    def given(self, directories: Sequence[Path], tables: dict[int, Table], features: Sequence[str]) -> Given:
        """The scores in directories of `jaxnas.score`, and in columns of tables, by the list's place."""
        found = self._from_directories(directories)
        for name in features:
            values = np.full(len(self.archs), np.nan)
            for place, table in tables.items():
                if name in table.frame.columns:
                    own = table.numbers(name)
                    values[self.places[place][np.isfinite(own)]] = own[np.isfinite(own)]
            found.scores[name], found.there[name] = values, np.isfinite(values)
        found.files.update(self._from_tables(tables, features))
        missing = [name for name, values in found.scores.items() if not np.isfinite(values).any()]
        if missing:
            raise UserError(f"none of the architectures has the score {missing[0]!r}; is it the same space?")
        return found

    def pool(self, given: Given) -> Pool:
        """The pool of all of them."""
        return make_pool(self.space, self.space.as_listed(self.archs), given.scores)

    def params(self, rows: np.ndarray) -> np.ndarray:
        """Return `[n]` the parameters of `rows` `[n]`."""
        return self.space.params(self.space.as_listed(self.archs[rows]))

    def flops(self, rows: np.ndarray) -> np.ndarray:
        """Return `[n]` the FLOPs of `rows` `[n]`."""
        return self.space.flops(self.space.as_listed(self.archs[rows]))

    def live_flops(self, rows: np.ndarray) -> np.ndarray:
        """Return `[n]` the FLOPs of the operations on a path from input to output."""
        return self.space.flops(self.space.live(self.space.as_listed(self.archs[rows])))

    def _from_tables(self, tables: dict[int, Table], features: Sequence[str]) -> dict[str, Found]:
        """Where the architectures are found in the tables that have a column of the features."""
        found = {}
        for place, table in tables.items():
            if any(name in table.frame.columns for name in features):
                own = np.unique(self.places[place])
                places = np.full(len(self.archs), -1)
                places[own] = np.arange(len(own))
                found[str(table.path)] = Found(len(table.archs), len(own), places)
        return found

    def _from_directories(self, directories: Sequence[Path]) -> Given:
        found = Given({}, {}, {})
        for path in directories:
            scored, manifest = read_scores(path)
            if not same_scores(space_of(path, manifest), self.space):
                other = manifest["settings"]["space"]
                raise UserError(f"{path} has scores of the space {other}, not of {self.space.name}")
            own = {name: sign for name, sign in signs(manifest, scored.columns).items() if name not in BASELINES}
            if twice := sorted(found.scores.keys() & own.keys()):
                raise UserError(f"{path}: an earlier directory of scores has {twice[0]}, too; give one of them")
            archs = self.space.from_table({self.space.string_columns[0]: scored["arch"]})
            first, _ = distinct(self.space, archs)
            places = match(self.space, self.archs, archs[first]).rows
            found.files[str(path)] = Found(len(archs), len(first), places)
            rows = np.where(places < 0, -1, first[places])
            for name, sign in own.items():
                values = sign * scored[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
                found.scores[name] = np.where(rows < 0, np.nan, values[rows])
                found.there[name] = rows >= 0
        return found


def coverage(given: Given, groups: dict[str, np.ndarray]) -> dict[str, dict[str, int]]:
    """Return by score how many of each group of architectures, rows `[n]`, it is there for."""
    return {
        name: {group: int(there[rows].sum()) for group, rows in groups.items()} for name, there in given.there.items()
    }


def check_coverage(given: Given, groups: dict[str, np.ndarray]) -> None:
    """Raise a `UserError` if a score is there for less than half of a group of architectures, rows `[n]`."""
    for name, counts in coverage(given, groups).items():
        for group, count in counts.items():
            if count < SHARE * (total := len(groups[group])):
                raise UserError(
                    f"{count} of the {total} {group} architectures have the score {name!r}, the others would rank "
                    "last: score them, too (jaxnas score --archs FILE), or say --allow-missing-scores"
                )


def asked_for(space: Space, spec: str, seed: int, key: str | None) -> tuple[np.ndarray, Table | None]:
    """The architectures `[N, A]` that --predict names, and the table if it is a file."""
    if is_table(spec):
        table = read_architectures(Path(spec), space, key)
        return table.archs, table
    try:
        return read_archs(space, spec, seed).archs, None
    except UserError as error:
        raise UserError(str(error).replace("--archs", "--predict")) from None
