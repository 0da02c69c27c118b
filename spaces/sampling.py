"""Random numbers of the spaces that are too large to list."""

from collections.abc import Callable

import jax
import numpy as np

from jaxnas.errors import UserError

LARGEST_SHARE = 100  # at most one in so many architectures can be asked for: a draw that is there already is repeated


def generator(key: jax.Array) -> np.random.Generator:
    """Return NumPy's generator seeded by a JAX key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def check_number(name: str, n: int, most: int) -> None:
    """Raise a `UserError` unless `n` architectures can be drawn from the space `name`: 1 to `most`."""
    if not 1 <= n <= most:
        raise UserError(f"cannot draw {n} architectures from {name}; ask for 1 to {most}")


def distinct(name: str, size: int, n: int, propose: Callable[[int], np.ndarray]) -> np.ndarray:
    """Draw `n` different architectures `[n, A]`.

    Args:
      name: of the space, for messages.
      size: number of its architectures.
      n: how many to draw.
      propose: from a number to at most so many architectures `[M, A]`, not always none.

    Raises:
      UserError: `n` is below 1 or more than a hundredth of the space.
    """
    most = size // LARGEST_SHARE
    check_number(name, n, most)
    drawn: dict[bytes, np.ndarray] = {}
    while len(drawn) < n:
        for arch in propose(n - len(drawn)):
            drawn.setdefault(arch.tobytes(), arch)
    return np.stack(list(drawn.values()))
