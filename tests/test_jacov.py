"""Covariance of the input's Jacobian: against the formula in NumPy float64, and gradients of modules wired by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import Status, data, scorers, spaces
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.scorers.gradient.jacov import input_correlation

SPACE = spaces.get("nasbench201")
SOURCE = data.load("synthetic")
ARCHS = np.array([[3, 1, 2, 4, 3, 2], [0, 1, 3, 2, 4, 3], [3, 3, 3, 3, 3, 3]])


def formula(gradients):
    """Mellor's score of gradients `[B, D]`, in float64."""
    spectrum = np.linalg.eigvalsh(np.corrcoef(np.asarray(gradients, np.float64)))
    return -sum(np.log(v + 1e-5) + 1 / (v + 1e-5) for v in spectrum)


def weighted_sum(params, x):
    """A model whose gradient by x is `params`."""
    return (x * params).sum(1, keepdims=True)


def test_the_formula():
    gradients = np.random.default_rng(0).standard_normal((6, 40)).astype(np.float32)
    found = scorers.jacov(weighted_sum, jnp.asarray(gradients), jnp.ones((6, 40)))
    assert found.status == Status.ok
    np.testing.assert_allclose(found.value, formula(gradients), rtol=1e-5)
    assert found.value < -6  # which only gradients without any correlation reach


def test_equal_gradients_are_the_worst():
    found = scorers.jacov(weighted_sum, jnp.tile(jnp.arange(40.0), (2, 1)), jnp.ones((2, 40)))
    assert found.value < -5e4


def test_an_input_without_a_gradient_has_no_score():
    params = jnp.asarray(np.random.default_rng(0).standard_normal((3, 8)), jnp.float32).at[1].set(0)
    found = jax.jit(scorers.jacov, static_argnums=0)(weighted_sum, params, jnp.ones((3, 8)))
    assert found.status == Status.nonfinite and np.isnan(found.value)


@pytest.mark.parametrize("bn", ["batch", "frozen"])
def test_scores_are_those_of_the_modules_wired_by_hand(networks, bn):
    scorer = scorers.Jacov(bn=bn, images=6)
    network = SPACE.network("taps", channels=4, cells=1, stages=1, bn=bn, init="kaiming")
    params, x = network.init(jax.random.key(0)), jnp.asarray(SOURCE.images(np.random.default_rng(0), 6))
    for arch in ARCHS[:2]:
        module = networks.stand_alone(network, params, arch)
        if bn == "frozen":  # evaluation with the statistics of this batch
            norms = [node for _, node in nnx.iter_graph(module) if isinstance(node, nnx.BatchNorm)]
            for norm in norms:
                norm.momentum = 0.0
            module(x)
            module.eval()
        gradient = nnx.jit(nnx.grad(lambda module, x: module(x).sum(), argnums=1))(module, x).reshape(6, -1)
        raw = jax.jit(scorer.measure, static_argnums=0)(network, params, jnp.asarray(arch), x, jax.random.key(0))
        np.testing.assert_allclose(raw, np.corrcoef(np.asarray(gradient, np.float64)), atol=1e-3)


def test_batch_mates_change_nothing_and_a_second_batch_compiles_nothing(networks, compiles):
    measure = Evaluator(networks.small(SPACE), scorers.Jacov(images=4), SOURCE, batch=2)
    found = measure(ARCHS)
    assert (found.status == Status.ok).all() and len(np.unique(found.value)) == 3
    with compiles(0):
        np.testing.assert_array_equal(measure(ARCHS[::-1]).value[:, ::-1], found.value)


def test_correlation_is_symmetric_with_a_unit_diagonal():
    x = jax.random.normal(jax.random.key(1), (5, 12))
    found = input_correlation(lambda params, x: jnp.tanh(x @ params), jax.random.normal(jax.random.key(2), (12, 3)), x)
    np.testing.assert_allclose(found, found.T, atol=1e-6)
    np.testing.assert_allclose(jnp.diag(found), jnp.ones(5), atol=1e-6)


@pytest.mark.parametrize("name", ["nasbench101", "resnet", "transnas101_micro", "transnas101_macro", "nats_size"])
def test_networks_are_as_thin_as_the_space_has_them(name):
    """Logits have no layout, though thin networks keep the batch innermost."""
    space = spaces.get(name)
    scorer, arch = scorers.Jacov(images=4).on(space), space.encode(space.example)
    ((network, _),) = space.networks(arch[None], scorer.recipe)
    params = jax.eval_shape(network.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((4, *network.config.image), jnp.float32)
    assert jax.eval_shape(lambda params, x: scorer.measure(network, params, arch, x, None), params, x).shape == (4, 4)
    assert scorer.width == {"resnet": None, "nats_size": 8}.get(name, 4)
