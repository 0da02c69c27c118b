"""Networks of infinite width: against NumPy in float64, stax by hand, and wide networks; what is refused."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas import Status, data, scorers, spaces
from jaxnas.cli.main import main
from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.network.network import HEAD
from jaxnas.scorers.infinite import neural_tangents
from jaxnas.scorers.infinite.infinite_width import InfiniteWidth
from jaxnas.spaces import cell_space, own

SPACE = spaces.get("nasbench201")
SOURCE = data.load("synthetic")
NONE, SKIP, CONV1X1, CONV3X3, POOL = range(5)
ARCHS = np.array([[3, 1, 2, 4, 3, 2], [1, 4, 1, 1, 4, 4], [0, 1, 3, 2, 4, 3]])  # the second one has no weights
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("neural_tangents") is None,
    reason="neural-tangents is not installed: pip install 'jaxnas[neural-tangents]'",
)


def measured(arch, images, norm="none", stages=1, cell=SPACE):
    scorer = InfiniteWidth(len(images), images.shape[1], norm, 1)
    network = cell.network_for(scorer.recipe) if stages == 3 else cell.network(**scorer.recipe.changes(), form="thin", stages=stages)
    run = jax.jit(lambda arch, images: scorer.measure(network, None, arch, images, None))
    return run(jnp.asarray(arch), jnp.asarray(images, jnp.float32))


@pytest.fixture(scope="module")
def images():
    return InfiniteWidth(3, 4, "none", 1).draw(SOURCE, np.random.default_rng(0))


@needs_package
@pytest.mark.parametrize("norm", ["none", "pixel", "layer", "batch"])
def test_kernels_are_those_of_numpy(images, reference, norm):
    for arch in ARCHS:
        found = measured(arch, images, norm)
        for ours, expected in zip(found, reference.infinite_kernels(arch, images, norm, 1), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-9)
