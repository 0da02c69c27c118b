"""The search methods, by name."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxnas.search.method import Method
from jaxnas.search.methods import agnet, evolve, local, predictor, prune, random, sift


class Entry(NamedTuple):
    """A search method.

    Attributes:
      make: from a task and, if it has any, the method's options; raises a `UserError` if they do not fit.
      budget: architectures that it scores by default; None where the space decides.
      options: the dataclass of the method's own options, `--METHOD.OPTION` of the command; None if it has none.
      scorers: what it goes by if nothing else is said.
      repeats: measurements of each of these, likewise.
      oracle: it can go by one.
      beside: if not, it can by one beside scores.
    """

    make: Callable[..., Method]
    budget: int | None
    options: type[Any] | None = None
    scorers: str = "consensus"
    repeats: int = 1
    oracle: bool = True
    beside: bool = False


METHODS: Mapping[str, Entry] = {
    "sift": Entry(sift.make, 192, sift.SiftOptions, oracle=False, beside=True),
    "prune": Entry(prune.make, None, prune.PruneOptions, ",".join(prune.TE_NAS), repeats=3, oracle=False),
    "agnet": Entry(agnet.make, 192, agnet.AgnetOptions),
    "evolve": Entry(evolve.make, 450, evolve.EvolveOptions),
    "random": Entry(random.make, 500),
    "local": Entry(local.make, 192, local.LocalOptions),
    "predictor": Entry(predictor.make, 192, predictor.PredictorOptions),
}
