"""Gaussian processes on graphs: AG-Net's surrogate where few architectures are known."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)  # of the exponential kernel; typical architectures are about 1 apart
LINEAR = (0.0, 1.0, 3.0)  # share of the linear kernel
NOISES = (1e-4, 1e-3, 1e-2, 1e-1)  # variance beside that of the kernel
LEAST = 1e-12  # variance


class _Fit(NamedTuple):
    """Numbers of the kernel, the root `[n, n]` of its matrix, and the whitened targets `[n]`."""

    length: float
    linear: float
    root: np.ndarray
    white: np.ndarray

    @property
    def likelihood(self) -> float:
        scale = max(float(self.white @ self.white) / len(self.white), LEAST)
        return float(-0.5 * len(self.white) * np.log(scale) - np.log(np.diag(self.root)).sum())


def fit_predict(features: np.ndarray, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return predictions `[N]`, in units of the targets, from the rows with a target.

    The mean of a Gaussian process with the kernel exp(-|x - y| / length) + linear <x, y>. Its numbers are those of the
    grid above with the highest marginal likelihood, maximised over the scale of kernel and noise in closed form
    (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, equations 2.25 and 2.30).

    Args:
      features: of the architectures `[N, P]`.
      rows: of those with a target `[n]`.
      targets: of these `[n]`.
    """
    known = features[rows]
    centre, spread = targets.mean(), targets.std() or 1.0
    fit = max(_fits(known, (targets - centre) / spread), key=lambda each: each.likelihood)
    across = np.exp(-_distances(features, known) / fit.length) + fit.linear * features @ known.T
    weights = solve_triangular(fit.root, fit.white, lower=True, trans="T")
    predicted: np.ndarray = centre + spread * across @ weights
    return predicted


def _fits(known: np.ndarray, targets: np.ndarray) -> Iterator[_Fit]:
    """The fits on the grid to targets `[n]` of mean 0."""
    distances, products = _distances(known, known), known @ known.T
    for length, linear in itertools.product(LENGTHS, LINEAR):
        kernel = np.exp(-distances / length) + linear * products
        for noise in NOISES:
            root = np.linalg.cholesky(kernel + noise * np.eye(len(targets)))
            yield _Fit(length, linear, root, solve_triangular(root, targets, lower=True))


def _distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    squares = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T
    distances: np.ndarray = np.sqrt(np.maximum(squares, 0))
    return distances
