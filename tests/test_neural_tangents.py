"""The frozen NTK against neural-tangents: stored values always, the package itself where it is installed."""

import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas import spaces
from jaxnas.scorers.gradient.ntk import NTK
from jaxnas.scorers.infinite import neural_tangents

GOLDEN = Path(__file__).parent / "golden"
STORED = json.loads((GOLDEN / "neural_tangents.json").read_text())

measure = jax.jit(NTK.measure, static_argnums=(0, 1))


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("make_neural_tangents", GOLDEN / "make_neural_tangents.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def own_gram(nested_weights):
    network = spaces.get("nasbench201").network("thin", bn="frozen")
    like = network.init(jax.random.key(0))

    def gram(flat, arch, images):
        return np.asarray(measure(NTK(), network, nested_weights(flat, like), jnp.array(arch), images, None))

    return gram


def test_the_recipe_is_the_one_that_was_stored(recipe):
    assert STORED["settings"] == recipe.SETTINGS
    assert STORED["archs"] == recipe.ARCHS
    assert STORED["versions"]["neural-tangents"] == "0.6.5"


@pytest.mark.slow
def test_frozen_gram_equals_the_stored_values(recipe, own_gram):
    flat, images = recipe.draw()
    for name, arch in STORED["archs"].items():
        gram, expected = own_gram(flat, arch, images), STORED["ntk"][name]
        np.testing.assert_allclose(np.diag(gram), expected["diagonal"], rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(gram[0], expected["first_row"], atol=1e-5 * gram[0, 0], err_msg=name)
        spectrum = np.linalg.eigvalsh(gram.astype(np.float64))
        np.testing.assert_allclose(spectrum[-1] / spectrum[0], expected["kappa"], rtol=1e-4, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixed", "pool_heavy"])
def test_frozen_gram_equals_the_package(name, recipe, own_gram):
    if importlib.util.find_spec("neural_tangents") is None:
        pytest.skip("needs neural-tangents: docs/install.md says how to install it")
    flat, images = recipe.draw()
    arch, images = STORED["archs"][name], np.ascontiguousarray(images[::-1]) / 2
    with jax.numpy_rank_promotion("allow"):
        expected = recipe.frozen_gram(neural_tangents.load(), flat, arch, images)
    np.testing.assert_allclose(own_gram(flat, arch, images), expected, rtol=1e-4, atol=1e-5 * expected.max())
