"""The scores by name; a score of jaxnas is a line here, a score of a user's is `path/to/file.py:VARIABLE`."""

from collections.abc import Iterable
from typing import Any

from jaxnas.errors import UserError, unknown
from jaxnas.scorers.consensus import Consensus
from jaxnas.scorers.counts import Flops, LiveFlops, LiveLayers, LiveParams, Params, SpaceCount, SpectralCapacity
from jaxnas.scorers.forward.az_nas import AZExpressivity, AZProgressivity
from jaxnas.scorers.forward.intrain_capacity import InTrainCapacity
from jaxnas.scorers.forward.nwot import Nwot
from jaxnas.scorers.forward.regions import Regions
from jaxnas.scorers.forward.swap import Swap
from jaxnas.scorers.forward.zen import Zen
from jaxnas.scorers.gradient.az_trainability import AZTrainability
from jaxnas.scorers.gradient.jacov import Jacov
from jaxnas.scorers.gradient.ntk import NTK
from jaxnas.scorers.gradient.synflow import LogSynflow, Synflow
from jaxnas.scorers.gradient.vkdnw import VKDNW
from jaxnas.scorers.gradient.weight_gradients import GradNorm, InTrainHealth, L2Norm, Plain, Snip, Zico
from jaxnas.scorers.infinite.infinite_width import InfiniteNNGP, InfiniteNTK
from jaxnas.scorers.intrain import InTrain
from jaxnas.scorers.latency import Latency
from jaxnas.scorers.protocol import AnyScore, Combined, Count
from jaxnas.scorers.te_nas import TeNas
from jaxnas.scorers.training.regression import Regression
from jaxnas.scorers.training.sequence import Sequences
from jaxnas.user_file import load_variable

DEFAULTS: dict[str, AnyScore] = {
    score.name: score
    for score in (
        NTK(),
        Regions(),
        Regression(),
        Sequences(),
        TeNas(),
        InTrain(),
        Consensus(),
        Jacov(),
        Nwot(),
        Swap(),
        Synflow(),
        LogSynflow(),
        AZTrainability(),
        VKDNW(),
        Zico(),
        InTrainHealth(),
        Snip(),
        GradNorm(),
        Plain(),
        L2Norm(),
        InfiniteNNGP(),
        InfiniteNTK(),
        Zen(),
        AZExpressivity(),
        AZProgressivity(),
        InTrainCapacity(),
        Params(),
        Flops(),
        LiveParams(),
        LiveFlops(),
        LiveLayers(),
        SpectralCapacity(),
        Latency(),
    )
}
COUNTS: dict[str, Count] = {name: score for name, score in DEFAULTS.items() if isinstance(score, SpaceCount)}
RESERVED = {"row", "arch", "arch_id", "scored_as", "seed", "round", "asked", "seconds"}  # columns of tables
ALWAYS = ("params", "flops", "live_flops")  # the baselines of every comparison


def select(names: str, options: Iterable[AnyScore] = (), space: Any = None) -> dict[str, AnyScore]:
    """The scores of a comma-separated list by name, those of `options` with their settings, and what they need.

    `params`, `flops` and `live_flops` are always there. `path/to/file.py:VARIABLE` is the score of a user. With a
    `Space`, the consensus has those members that the space can have.

    Raises:
      UserError: no score is named, one is unknown (the message has the nearest valid name), or two have one name.
    """
    available = DEFAULTS | {scorer.name: scorer for scorer in options}
    chosen: dict[str, AnyScore] = {}
    for name in listed(names):
        score = load(name) if ".py:" in name else available.get(name)
        if score is None:
            raise unknown("scorer", name, available)
        if isinstance(score, Consensus) and space is not None:
            score = score.on(space, available | chosen)
        if (score.name in chosen and chosen[score.name] is not score) or (".py:" in name and score.name in DEFAULTS):
            raise UserError(f"--scorers {name}: another score is called {score.name!r}; give it another name")
        single = {n: other for n, other in (available | chosen).items() if not isinstance(other, Combined)}
        for needed in score.needs if isinstance(score, Combined) else ():
            if needed not in single:
                raise unknown(f"score that {score.name} needs", needed, single)
            chosen.setdefault(needed, single[needed])
        chosen[score.name] = score
    if not chosen:
        raise unknown("scorer", names, available)
    return chosen | {name: available[name] for name in ALWAYS if name not in chosen}


def listed(names: str) -> list[str]:
    """The names of a comma-separated list, each once; `te-nas` is `te_nas`, for all names are identifiers."""
    parts = filter(None, (part.strip() for part in names.split(",")))
    return list(dict.fromkeys(part if ".py:" in part else part.replace("-", "_") for part in parts))


def load(spec: str) -> AnyScore:
    """Return the score that `path/to/file.py:VARIABLE` names, or raise a `UserError`."""
    found: AnyScore = load_variable(spec, "--scorers", "score", lambda value: isinstance(value, AnyScore))
    if not isinstance(getattr(found, "name", None), str) or not found.name.isidentifier():
        raise UserError(f"--scorers {spec}: the score needs a `name`: letters, digits and _")
    if found.name in RESERVED or found.name.endswith(("_std", "_status", "_repeats")):
        raise UserError(f"--scorers {spec}: {found.name!r} is a column of every table; give the score another name")
    return found
