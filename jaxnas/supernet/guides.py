"""What orders architectures beside the supernet: landmarks from a table of accuracies, training-free scores."""

from dataclasses import dataclass

import jax
import numpy as np

from jaxnas import spaces
from jaxnas.cli import process
from jaxnas.errors import UserError, unknown
from jaxnas.evaluate.evaluator import count
from jaxnas.scorers import COUNTS, Count
from jaxnas.spaces import Space
from jaxnas.supernet.arms import Sample
from jaxnas.tables.joins import distinct
from jaxnas.tables.measured import Measurements
from jaxnas.tables.store import read_scores

FEWEST = 2  # landmarks, scored architectures


def uniform(space: Space) -> Sample:
    """The function that draws connected architectures, different ones as long as there are some."""

    def sample(key: jax.Array, n: int) -> np.ndarray:
        found, missing = [], n
        while missing > 0:
            own, key = jax.random.split(key)
            archs = space.sample(own, min(missing, space.size))
            found.append(archs[~space.is_disconnected(archs)])
            missing -= len(found[-1])
        return np.concatenate(found)

    return sample


def draw_landmarks(
    space: Space, known: Measurements, number: int, seed: int, *, lower_is_better: bool = False
) -> np.ndarray:
    """Return `[number, A]` random ones of the measured architectures, the worst first, whatever the order of the file.

    Raises:
      UserError: too few architectures.
    """
    if not FEWEST <= number <= (total := len(known.archs)):
        raise UserError(
            f"{number} landmarks; give at least {FEWEST} and at most {total}, those of the table with a value"
        )
    by_name = np.argsort([space.decode(arch) for arch in known.archs])
    drawn = by_name[np.sort(np.random.default_rng(seed).choice(total, number, replace=False))]
    values = -known.values[drawn] if lower_is_better else known.values[drawn]
    return known.archs[drawn[np.argsort(values, kind="stable")]]


@dataclass(frozen=True, eq=False)
class Counted:
    """All architectures, by `params` or `flops`; see `arms.Pool`."""

    space: Space
    scorer: Count

    def __call__(self, key: jax.Array, n: int) -> tuple[np.ndarray, np.ndarray]:
        archs = uniform(self.space)(key, n)
        return archs, count(self.space, self.scorer, archs).value[0]


@dataclass(frozen=True, eq=False)
class Scored:
    """Architectures `[M, A]` with scores `[M]`, higher is better; see `arms.Pool`.

    Attributes:
      rows: of the directory of scores.
      empty: rows without a value.
    """

    archs: np.ndarray
    scores: np.ndarray
    rows: int
    empty: int

    def counts(self) -> dict[str, int]:
        """What was read, for JSON."""
        repeats = self.rows - self.empty - len(self.archs)
        counts = {"rows": self.rows, "rows_without_value": self.empty, "repeats": repeats}
        return counts | {"architectures": len(self.archs)}

    def __call__(self, key: jax.Array, n: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.asarray(jax.random.randint(key, (n,), 0, len(self.archs)))
        return self.archs[rows], self.scores[rows]


def read_teacher(space: Space, name: str) -> Counted | Scored:
    """The teacher called `params` or `flops`, or `DIR:SCORE` of a directory that `jaxnas.score` wrote.

    Raises:
      UserError: there is no such teacher, or fewer than two architectures have a value.
    """
    if name in COUNTS:
        return Counted(space, COUNTS[name])
    directory, colon, score = name.rpartition(":")
    if not colon:
        raise UserError(
            f"--teacher {name}: give {', '.join(COUNTS)} or DIR:SCORE, a directory of jaxnas.score or table:NAME"
        )
    table, manifest = read_scores(directory)
    known = [own for own in manifest.get("scorers", {}) if own in table.columns]
    if score not in known:
        raise unknown("score", score, known)
    other = spaces.get(manifest["settings"].get("space", space.name))
    if not spaces.same_scores(other, space):
        raise UserError(f"--teacher {name}: {directory} has scores of the space {other.name}, not of {space.name}")
    if score in COUNTS and other.name != space.name:
        raise UserError(f"--teacher {name} counts the networks of {other.name}; say --teacher {score} for {space.name}")
    everyone, table = table.height, table.drop_nulls(score)
    if empty := everyone - table.height:
        process.note(f"--teacher {name}: {empty:,} of {everyone:,} have no value")
    if table.height < FEWEST:
        raise UserError(f"--teacher {name}: {table.height} architectures have a value; give at least {FEWEST}")
    scores = manifest["scorers"][score]["sign"] * table[score].to_numpy().astype(np.float64)
    try:
        archs = space.from_table({space.string_columns[0]: table["arch"]})
    except UserError as error:
        raise UserError(f"--teacher {name}: {error}") from None
    first, _ = distinct(space, archs)
    if again := len(archs) - len(first):
        process.note(f"--teacher {name}: {again:,} of {len(archs):,} rows repeat an architecture, counted once")
    return Scored(archs[first], scores[first], everyone, empty)
