"""The Gaussian process: the textbook's equations, on a grid of kernels."""

import itertools

import numpy as np
import pytest
from scipy import stats

from jaxnas.learn.agnet import processes

RNG = np.random.default_rng(0)
KNOWN, ASKED = RNG.normal(size=(12, 3)) / 2, RNG.normal(size=(5, 3)) / 2
TARGETS = np.sin(3 * KNOWN[:, 0]) + KNOWN[:, 1] + 7


def kernel(x, y, length, linear):
    distances = np.linalg.norm(x[:, None] - y[None], axis=-1)
    return np.exp(-distances / length) + linear * x @ y.T


def reference(known, targets, asked):
    """The mean under the kernel of the grid with the highest density of the targets."""
    y = (targets - targets.mean()) / targets.std()
    found = []
    for length, linear, noise in itertools.product(processes.LENGTHS, processes.LINEAR, processes.NOISES):
        own = kernel(known, known, length, linear) + noise * np.eye(len(y))
        scale = y @ np.linalg.inv(own) @ y / len(y)
        density = stats.multivariate_normal(np.zeros(len(y)), scale * own).logpdf(y)
        found.append((density, kernel(asked, known, length, linear) @ np.linalg.inv(own) @ y))
    _, mean = max(found, key=lambda each: each[0])
    return targets.mean() + targets.std() * mean


def test_it_is_the_posterior_of_the_likeliest_kernel():
    everyone = np.concatenate([ASKED, KNOWN])
    found = processes.fit_predict(everyone, np.arange(5, 17), TARGETS)
    np.testing.assert_allclose(found, reference(KNOWN, TARGETS, everyone))


@pytest.mark.parametrize("targets", [np.full(12, 3.0), np.full(1, 3.0)])
def test_equal_targets_are_what_is_predicted(targets):
    found = processes.fit_predict(KNOWN, np.arange(len(targets)), targets)
    np.testing.assert_allclose(found, 3)
