"""The expected capacity of random matrices, in closed form."""

import functools
from typing import Any

import numpy as np

NODES = 2000


def log_determinant(outputs: Any, inputs: Any) -> np.ndarray:
    """The expected log det(I + W W') of `outputs x inputs` matrices W with entries of variance 2 / `inputs`.

    By the Marchenko-Pastur law: with a <= b the two sizes and g = a / b, a times the integral of
    log(1 + 2 b t / inputs) sqrt((t+ - t)(t - t-)) / (2 pi g t) from t- to t+ = (1 -, + sqrt g)^2.

    Args:
      outputs: whole numbers from 0 on, or arrays of them, that broadcast with the next.
      inputs: of the matrices; the capacity of none is 0.

    >>> float(log_determinant(1, 9).round(2))
    1.07
    """
    outputs, inputs = np.broadcast_arrays(outputs, inputs)
    pairs, where = np.unique(np.stack([outputs.ravel(), inputs.ravel()]), axis=1, return_inverse=True)
    return np.array([_of_size(*pair) for pair in pairs.T.tolist()])[where].reshape(outputs.shape)


@functools.cache
def _of_size(outputs: int, inputs: int) -> float:
    small, large = sorted((outputs, inputs))
    if small <= 0:
        return 0.0
    ratio = small / large
    angle = (np.arange(NODES) + 0.5) * np.pi / NODES
    t = 1 + ratio - 2 * np.sqrt(ratio) * np.cos(angle)  # from t- to t+
    density = 4 * ratio * np.sin(angle) ** 2 / (2 * np.pi * ratio * t) * np.pi / NODES
    return float(small * (density * np.log1p(2 * large / inputs * t)).sum())
