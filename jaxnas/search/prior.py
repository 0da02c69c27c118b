"""Training-free scores as a prior: what a search may look at for free before it asks the oracle."""

import numpy as np
import polars as pl

from jaxnas import spaces
from jaxnas.errors import UserError, unknown
from jaxnas.scorers.registry import COUNTS, listed
from jaxnas.search.goal import Goal, Scores
from jaxnas.search.method import Evaluate, keys
from jaxnas.spaces import Space
from jaxnas.tables.joins import match
from jaxnas.tables.named import PREFIX, located
from jaxnas.tables.store import read_scores
from jaxnas.types import Finished, Status
from jaxnas.user_file import fingerprint


class CachedPrior:
    """Scores of architectures, turned so that higher is better; each is scored once, however it is written.

    Args:
      space: of the architectures.
      evaluate: the scorers.
      goal: their signs.
    """

    def __init__(self, space: Space, evaluate: Evaluate, goal: Goal):
        self._space, self._evaluate, self._goal = space, evaluate, goal
        self._known: dict[bytes, np.ndarray] = {}

    def __call__(self, archs: np.ndarray) -> np.ndarray:
        """The scores `[N, F]` of architectures `[N, A]`; NaN where there is none."""
        listed = self._space.as_listed(archs)
        names = keys(self._space, listed)
        new = {name: arch for name, arch in zip(names, listed, strict=True) if name not in self._known}
        if new:
            values = self._goal.values(self._evaluate(np.stack(list(new.values()))))
            self._known |= dict(zip(new, np.where(np.isfinite(values), values, np.nan).T, strict=True))
        return np.stack([self._known[name] for name in names])


class StoredScores:
    """Scores of a table with a name, which answers as the scorers do; an architecture that it lacks has none.

    Attributes:
      signs: of the scores, +1 where higher is better.
      settings: what the answers depend on.

    Args:
      space: of the architectures.
      spec: `table:NAME`, or `table:NAME:SCORE,SCORE`; by default the scores that are no mere counts.

    Raises:
      UserError: there is no such table or score, or it is of another space.
    """

    def __init__(self, space: Space, spec: str):
        name, _, wanted = spec.removeprefix(PREFIX).partition(":")
        frame, manifest = read_scores(PREFIX + name)
        other = spaces.get(manifest["settings"]["space"])
        if not spaces.same_scores(other, space):
            raise UserError(f"--prior {spec} has scores of the space {other.name}, not of {space.name}")
        known = manifest["scorers"]
        names = listed(wanted) or [score for score in known if score not in COUNTS] or [*known]
        for score in names:
            if score not in known:
                raise unknown(f"score of {PREFIX}{name}", score, known)
        self.signs = {score: int(known[score]["sign"]) for score in names}
        self.settings = {"name": spec, "scorers": names, "fingerprint": fingerprint(located(PREFIX + name))}
        self._space = space
        self._archs = space.from_table({space.string_columns[0]: frame["arch"]})
        self._values = {n: frame[n].cast(pl.Float64).fill_null(np.nan).to_numpy() for n in names}

    def __call__(self, archs: np.ndarray) -> Scores:
        """The scores `[1, N]` of architectures `[N, A]`."""
        rows = match(self._space, archs, self._archs).rows
        found = {name: np.where(rows < 0, np.nan, of[rows]) for name, of in self._values.items()}
        status = {name: np.where(np.isfinite(of), Status.ok, Status.failed) for name, of in found.items()}
        return {name: Finished(of[None], status[name][None], {}) for name, of in found.items()}
