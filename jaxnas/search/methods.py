"""The search methods, by name."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from jaxnas.search import agnet, evolve, local, predictor, prune_method, random
from jaxnas.search.base import Method


class Entry(NamedTuple):
    """A search method.

    Attributes:
      make: from a task and, if it has any, the method's options; raises a `UserError` if they do not fit.
      budget: architectures that it scores by default; None where the space decides.
    """

    make: Callable[..., Method]
    budget: int | None


METHODS: Mapping[str, Entry] = {
    "prune": Entry(prune_method.make, None),
    "agnet": Entry(agnet.make, 192),
    "evolve": Entry(evolve.make, 450),
    "random": Entry(random.make, 500),
    "local": Entry(local.make, 192),
    "predictor": Entry(predictor.make, 192),
}
