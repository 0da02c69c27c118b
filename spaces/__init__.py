"""The search spaces, by name."""

import functools

from jaxnas.errors import UserError, spelt, unknown
from jaxnas.spaces import own
from jaxnas.spaces.anynet.space import ANYNETS
from jaxnas.spaces.base import Space as Space
from jaxnas.spaces.cell.space import CellSpace as CellSpace
from jaxnas.spaces.nasbench101.space import NASBENCH101
from jaxnas.spaces.nasbench201.space import NASBENCH201
from jaxnas.spaces.nasbench_macro import NASBENCH_MACRO
from jaxnas.spaces.nasbench_nlp.space import NASBENCH_NLP
from jaxnas.spaces.nats_size.space import NATS_SIZE
from jaxnas.spaces.nds.spaces import NDS
from jaxnas.spaces.own import cell_space as cell_space
from jaxnas.spaces.transnas101.macro import TRANSNAS101_MACRO
from jaxnas.spaces.transnas101.micro import TRANSNAS101_MICRO

SPACES: dict[str, Space] = {
    space.name: space
    for space in (
        NASBENCH101,
        NASBENCH201,
        *NDS,
        *ANYNETS,
        TRANSNAS101_MICRO,
        TRANSNAS101_MACRO,
        NATS_SIZE,
        NASBENCH_MACRO,
        NASBENCH_NLP,
    )
}


def get(name: str | Space) -> Space:
    """The space called `name`, or that of `path/to/file.py:variable`; a space is returned as it is.

    `SPACE:DATASET` names the space with the networks for another of the data sets of its benchmark: `darts:cifar10`,
    `nasbench201:cifar100`. Counts and `build` follow it, scores do not.

    Raises:
      UserError: there is none; the message lists the spaces, or the data sets of the space.
    """
    if isinstance(name, Space):
        return name
    if ".py:" in name:
        return own.load(name)
    if name.endswith(".py"):
        raise UserError(f"--space {name} is a file; say which variable of it is the space, for instance {name}:space")
    return _built_in(name)


def name_of(spec: str | Space) -> str:
    """The one name of what `get(spec)` returns: of a built-in space its own, of a user's space `spec`."""
    return spec if isinstance(spec, str) and ".py:" in spec else get(spec).name


def same_scores(one: Space, other: Space) -> bool:
    """Say whether scores of one are scores of the other: they differ at most in the data set, so in their counts."""
    first, second = (space.name.partition(":")[0] if space.datasets else space.name for space in (one, other))
    return first == second


@functools.cache
def _built_in(name: str) -> Space:
    base, colon, dataset = name.partition(":")
    base = spelt(base, SPACES)
    if base not in SPACES:
        raise unknown("space", base, SPACES)
    return SPACES[base].on(dataset) if colon else SPACES[base]
