"""Gaussian processes on graphs: AG-Net's surrogate where few architectures are known."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)  # of the exponential kernel; typical architectures are about 1 apart
LINEAR = (0.0, 1.0, 3.0)  # share of the linear kernel
NOISES = (1e-4, 1e-3, 1e-2, 1e-1)  # variance beside that of the kernel
LEAST = 1e-12  # variance


class Posterior(NamedTuple):
    """Mean and standard deviation of predictions `[N]`."""

    mean: np.ndarray
    deviation: np.ndarray


class _Fit(NamedTuple):
    """Numbers of the kernel, the root `[n, n]` of its matrix, the whitened targets `[n]` and their variance."""

    length: float
    linear: float
    root: np.ndarray
    white: np.ndarray

    @property
    def scale(self) -> float:
        return max(float(self.white @ self.white) / len(self.white), LEAST)

    @property
    def likelihood(self) -> float:
        return float(-0.5 * len(self.white) * np.log(self.scale) - np.log(np.diag(self.root)).sum())


def fit_predict(known: np.ndarray, targets: np.ndarray, asked: np.ndarray) -> Posterior:
    """Predict `targets` `[n]` of features `[n, P]` at features `[N, P]` by a Gaussian process.

    The kernel is exp(-d / length) + linear <x, y>, d the distance of x and y; its numbers are those of the grid above
    with the highest marginal likelihood (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, eq.
    2.30), maximised over the scale of kernel and noise in closed form.
    """
    centre, spread = targets.mean(), targets.std() or 1.0
    fit = max(_fits(known, (targets - centre) / spread), key=lambda each: each.likelihood)
    across = np.exp(-_distances(asked, known) / fit.length) + fit.linear * asked @ known.T
    there = np.linalg.solve(fit.root, across.T)
    variance = 1 + fit.linear * (asked**2).sum(1) - (there**2).sum(0)
    return Posterior(centre + spread * (fit.white @ there), spread * np.sqrt(fit.scale * np.maximum(variance, LEAST)))


def _fits(known: np.ndarray, targets: np.ndarray) -> Iterator[_Fit]:
    """The fits on the grid to targets `[n]` of mean 0."""
    distances, products = _distances(known, known), known @ known.T
    for length, linear in itertools.product(LENGTHS, LINEAR):
        kernel = np.exp(-distances / length) + linear * products
        for noise in NOISES:
            root = np.linalg.cholesky(kernel + noise * np.eye(len(targets)))
            yield _Fit(length, linear, root, np.linalg.solve(root, targets))


def _distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    squares = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T
    distances: np.ndarray = np.sqrt(np.maximum(squares, 0))
    return distances
