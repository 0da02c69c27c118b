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
    """Mean and deviation under the kernel of the grid with the highest density of the targets."""
    y = (targets - targets.mean()) / targets.std()
    found = []
    for length, linear, noise in itertools.product(processes.LENGTHS, processes.LINEAR, processes.NOISES):
        own = kernel(known, known, length, linear) + noise * np.eye(len(y))
        scale = y @ np.linalg.inv(own) @ y / len(y)
        density = stats.multivariate_normal(np.zeros(len(y)), scale * own).logpdf(y)
        across = kernel(asked, known, length, linear)
        mean = across @ np.linalg.inv(own) @ y
        covariance = kernel(asked, asked, length, linear) - across @ np.linalg.inv(own) @ across.T
        found.append((density, mean, np.sqrt(scale * np.diag(covariance))))
    _, mean, deviation = max(found, key=lambda each: each[0])
    return targets.mean() + targets.std() * mean, targets.std() * deviation


def test_it_is_the_posterior_of_the_likeliest_kernel():
    found = processes.fit_predict(KNOWN, TARGETS, ASKED)
    mean, deviation = reference(KNOWN, TARGETS, ASKED)
    np.testing.assert_allclose(found.mean, mean)
    np.testing.assert_allclose(found.deviation, deviation)


def test_it_is_certain_where_it_knows_and_only_there():
    found = processes.fit_predict(KNOWN, TARGETS, np.concatenate([KNOWN, 100 + ASKED]))
    np.testing.assert_allclose(found.mean[:12], TARGETS, atol=0.2)
    assert found.deviation[:12].max() < 0.2 * found.deviation[12:].min()


@pytest.mark.parametrize("targets", [np.full(12, 3.0), np.full(1, 3.0)])
def test_equal_targets_are_what_is_predicted(targets):
    found = processes.fit_predict(KNOWN[: len(targets)], targets, ASKED)
    np.testing.assert_allclose(found.mean, 3)
    assert np.isfinite(found.deviation).all()
