"""The fixtures that carry weights between our network and the reference."""

import jax
import numpy as np
import pytest
from flax import nnx

from jaxnas import spaces


@pytest.fixture
def network():
    return spaces.get("nasbench201").network("thin")


def test_interchange_names_and_shapes_are_the_golden_ones(network, flat_weights, golden_inputs):
    flat = flat_weights(network.init(jax.random.key(0)))
    assert {name: leaf.shape for name, leaf in flat.items()} == golden_inputs.classifier_shapes(3, 1)


def test_weights_come_back(network, flat_weights, nested_weights):
    params, other = (network.init(jax.random.key(seed)) for seed in (0, 1))
    back = nested_weights(flat_weights(params), other)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_regression_weights_drop_what_has_no_effect(flat_weights, nested_weights, golden_inputs):
    like = spaces.get("nasbench201").network("taps", channels=4, cells=2).init(jax.random.key(0))
    drawn = golden_inputs.golden_weights(golden_inputs.regression_shapes(4, 2, (8, 8, 8)), seed=0)
    params = nested_weights(drawn, like)
    flat = flat_weights(params)
    assert all(np.array_equal(flat[name], drawn[name]) for name in flat if name in drawn)
    assert {name.split("/")[0] for name in flat.keys() - drawn.keys()} == {"norm", "classifier"}
    assert {name.split("/")[-1] for name in drawn.keys() - flat.keys() if not name.startswith("heads/")} == {"bias"}
    assert jax.tree.structure(params) == jax.tree.structure(nnx.from_flat_state(nnx.to_flat_state(like)))


def test_misnamed_weights_are_refused(network, flat_weights, nested_weights):
    params = network.init(jax.random.key(0))
    flat = flat_weights(params)
    with pytest.raises(AssertionError, match="without a place"):
        nested_weights(flat | {"stem/other/kernel": flat["stem/conv/kernel"]}, params)
    with pytest.raises(KeyError, match="stem/conv/kernel"):
        nested_weights({name: leaf for name, leaf in flat.items() if not name.startswith("stem/conv")}, params)
