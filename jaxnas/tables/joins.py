"""One architecture, however it is written, is one architecture: what lists of them have in common."""

from typing import Any, NamedTuple

import numpy as np

from jaxnas.spaces import Space


class Match(NamedTuple):
    """Where architectures are found in another list.

    Attributes:
      rows: of the other list `[N]`, -1 for none.
      isomorphic: how many were found by an isomorphic architecture, since they are not there themselves.
    """

    rows: np.ndarray
    isomorphic: int


def distinct(space: Space, archs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first rows `[n]` of the different ones of `archs` `[N, A]`, ascending, and who is which `[N]`.

    Where the benchmark lists one architecture of each class, those of a class are one.
    """
    return different(space.as_listed(archs))


def different(archs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first rows `[n]` of the different ones of arrays `[N, A]`, ascending, and who is which `[N]`."""
    numbers: dict[bytes, int] = {}
    owner = np.array([numbers.setdefault(key, len(numbers)) for key in _keys(archs)], int)
    return np.unique(owner, return_index=True)[1], owner


def match(space: Space, archs: np.ndarray, known: np.ndarray, *, once: bool = False) -> Match:
    """Find `archs` `[N, A]` among `known` `[M, A]`: each one itself or, where it is not there, an isomorphic one.

    Where the benchmark lists one architecture of each class, as NAS-Bench-101 does, each of the class is that one.

    Args:
      once: an isomorphic one is found by the first architecture only that looks for it, and by none that is there
        itself; so no measured value counts twice.
    """
    rows = _places(space.as_listed(archs), space.as_listed(known))
    missing = np.flatnonzero(rows < 0)
    free = np.setdiff1d(np.arange(len(known)), rows) if once else np.arange(len(known))
    if not len(missing) or not len(free):
        return Match(rows, 0)
    found = _places(space.canonical(archs[missing]), space.canonical(known[free]))
    if once:
        _, first = np.unique(found, return_index=True)
        found = np.where(np.isin(np.arange(len(found)), first), found, -1)
    rows[missing] = np.where(found < 0, -1, free[found])
    return Match(rows, int((found >= 0).sum()))


def _places(archs: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return `[N]` the first row of `known` `[M, A]` that equals each of `archs` `[N, A]`, -1 for none."""
    places: dict[bytes, int] = {}
    for row, key in enumerate(_keys(known)):
        places.setdefault(key, row)
    return np.array([places.get(key, -1) for key in _keys(archs)], int)


def _keys(archs: np.ndarray) -> list[bytes]:
    """The bytes of each of `archs` `[N, A]`."""
    rows = np.ascontiguousarray(archs, np.int32)
    whole: Any = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))
    return list(whole.ravel().tolist())
