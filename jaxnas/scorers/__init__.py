"""The scores, by name; and the functions that score any model, to be called from your own JAX code."""

from jaxnas.errors import unknown
from jaxnas.scorers.counts import Count as Count
from jaxnas.scorers.counts import TeNas as TeNas
from jaxnas.scorers.forward.regions import Regions as Regions
from jaxnas.scorers.forward.regions import regions as regions
from jaxnas.scorers.gradient.ntk import NTK as NTK
from jaxnas.scorers.gradient.ntk import ntk as ntk
from jaxnas.scorers.gradient.ntk import ntk_gram as ntk_gram
from jaxnas.scorers.training.regression import Regression as Regression
from jaxnas.scorers.training.regression import regression as regression
from jaxnas.scorers.training.sequence import Sequences as Sequences
from jaxnas.scorers.training.sequence import sequence_regression as sequence_regression

Measured = NTK | Regions | Regression | Sequences
Scorer = Measured | Count | TeNas
COUNTS = {name: Count(name) for name in ("params", "flops")}
DEFAULTS: dict[str, Scorer] = {
    "ntk": NTK(),
    "regions": Regions(),
    "regression": Regression(),
    "sequence": Sequences(),
    "te_nas": TeNas(),
    **COUNTS,
}


def select(names: str, options: tuple[Measured, ...] = ()) -> dict[str, Scorer]:
    """Return the scorers of a comma-separated list, those of `options` with their settings, and what they need.

    `params` and `flops` are always there. An unknown name raises a `UserError` with the nearest valid one.
    """
    available = DEFAULTS | {scorer.name: scorer for scorer in options}
    wanted: list[str] = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name not in available:
            raise unknown("scorer", name, available)
        wanted += [*getattr(available[name], "needs", ()), name]
    if not wanted:
        raise unknown("scorer", names, available)
    return {name: available[name] for name in dict.fromkeys([*wanted, *COUNTS])}
