"""The search methods, by name."""

from collections.abc import Callable

from jaxnas.search import evolve, prune_method, random
from jaxnas.search.base import Method as Method
from jaxnas.search.base import Scores as Scores
from jaxnas.search.base import Task as Task

METHODS: dict[str, Callable[[Task], Method]] = {
    "prune": prune_method.make,
    "evolve": evolve.make,
    "random": random.make,
}
