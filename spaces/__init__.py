"""The search spaces, by name."""

from jaxnas.errors import unknown
from jaxnas.spaces.base import Space as Space
from jaxnas.spaces.cell import CellSpace as CellSpace
from jaxnas.spaces.nasbench201 import NASBENCH201

SPACES: dict[str, Space] = {space.name: space for space in (NASBENCH201,)}


def get(name: str) -> Space:
    """Return the space called `name`, or raise a `UserError` that lists the spaces."""
    if name not in SPACES:
        raise unknown("space", name, SPACES)
    return SPACES[name]
