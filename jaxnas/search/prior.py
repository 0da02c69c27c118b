"""Training-free scores as a prior: what a search may look at for free before it asks the oracle."""

import numpy as np

from jaxnas.search.goal import Goal
from jaxnas.search.method import Evaluate, keys
from jaxnas.spaces import Space


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
