"""What orders architectures beside the supernet: landmarks from a table of accuracies, training-free scores."""

from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from jaxnas.correlate.pairs import TARGET, Pair, read_target
from jaxnas.errors import UserError, unknown
from jaxnas.runner import count
from jaxnas.scorers import COUNTS, Count
from jaxnas.spaces import Space
from jaxnas.store import read_scores
from jaxnas.supernet.arms import Sample

FEWEST = 2  # landmarks, scored architectures


def uniform(space: Space) -> Sample:
    """Return the function that draws connected architectures, different ones as long as there are some."""

    def sample(key: jax.Array, n: int) -> np.ndarray:
        found, missing = [], n
        while missing > 0:
            own, key = jax.random.split(key)
            archs = space.sample(own, min(missing, space.size))
            found.append(archs[~space.is_disconnected(archs)])
            missing -= len(found[-1])
        return np.concatenate(found)

    return sample


@dataclass(frozen=True)
class Labels:
    """A table of measured accuracies, see `jaxnas.correlate.pairs.Pair`."""

    table: Path
    target: str
    key: str | None = None
    lower_is_better: bool = False


def draw_landmarks(space: Space, labels: Labels, number: int, seed: int) -> np.ndarray:
    """Return `[number, A]` random architectures of a table, ascending in accuracy, whatever the order of the file.

    Raises:
      UserError: a bad file, too few architectures, or one that is none of the space.
    """
    pair = Pair(labels.table, labels.table, labels.target, labels.key, labels.lower_is_better)
    table = read_target(pair, space).sort("arch")
    if not FEWEST <= number <= table.height:
        raise UserError(
            f"{number} landmarks; give at least {FEWEST} and at most {table.height}, those of {labels.table} that have"
            f" a {labels.target}"
        )
    rng = np.random.default_rng(seed)
    table = table[np.sort(rng.choice(table.height, number, replace=False))].sort(
        TARGET, descending=labels.lower_is_better, maintain_order=True
    )
    return np.stack([space.encode(name) for name in table["arch"]])


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
    """Architectures `[M, A]` with scores `[M]`, higher is better; see `arms.Pool`."""

    archs: np.ndarray
    scores: np.ndarray

    def __call__(self, key: jax.Array, n: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.asarray(jax.random.randint(key, (n,), 0, len(self.archs)))
        return self.archs[rows], self.scores[rows]


def read_teacher(space: Space, name: str) -> Counted | Scored:
    """Return the teacher called `params` or `flops`, or `DIR:SCORE` of a directory that `jaxnas.score` wrote.

    Raises:
      UserError: there is no such teacher, or fewer than two architectures have a value.
    """
    if name in COUNTS:
        return Counted(space, COUNTS[name])
    directory, colon, score = name.rpartition(":")
    if not colon:
        raise UserError(f"--teacher {name}: give {', '.join(COUNTS)} or DIR:SCORE, a directory of jaxnas.score")
    table, manifest = read_scores(directory)
    known = [own for own in manifest.get("scorers", {}) if own in table.columns]
    if score not in known:
        raise unknown("score", score, known)
    table = table.drop_nulls(score)
    if table.height < FEWEST:
        raise UserError(f"--teacher {name}: {table.height} architectures have a value; give at least {FEWEST}")
    scores = manifest["scorers"][score]["sign"] * table[score].to_numpy().astype(np.float64)
    try:
        return Scored(space.from_table({"arch": table["arch"].to_list()}), scores)
    except UserError as error:
        raise UserError(f"--teacher {name}: {error}") from None
