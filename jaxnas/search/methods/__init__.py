"""The search methods, by name."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from jaxnas.search.method import Method
from jaxnas.search.methods import agnet, evolve, local, predictor, prune, random


class Entry(NamedTuple):
    """A search method.

    Attributes:
      make: from a task and, if it has any, the method's options; raises a `UserError` if they do not fit.
      budget: architectures that it scores by default; None where the space decides.
    """

    make: Callable[..., Method]
    budget: int | None


METHODS: Mapping[str, Entry] = {
    "prune": Entry(prune.make, None),
    "agnet": Entry(agnet.make, 192),
    "evolve": Entry(evolve.make, 450),
    "random": Entry(random.make, 500),
    "local": Entry(local.make, 192),
    "predictor": Entry(predictor.make, 192),
}
