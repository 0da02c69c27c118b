"""The shared networks: three forms of an architecture, the reference's logits, sizes, and how weights are drawn."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import spaces
from jaxnas.network.op import is_weight
from jaxnas.spaces.blocks.architecture import ArchitectureModule
from jaxnas.spaces.cell.network import CellNetwork

SPACE = spaces.get("nasbench201")
ARCHS = [[3, 1, 2, 4, 3, 2], [0, 1, 3, 2, 4, 3]]
MASK = [[0, 1, 0, 1, 1], [0, 0, 1, 1, 0], [1, 0, 1, 0, 0], [0, 1, 1, 0, 1], [0, 0, 1, 1, 0], [0, 1, 0, 0, 0]]
SUPERNET = [[0, 1, 1, 1, 1]] * 6
TOLERANCE = 1e-5  # of the largest logit

apply = jax.jit(CellNetwork.apply, static_argnums=0)
patterns = jax.jit(CellNetwork.patterns, static_argnums=0)


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def shapes(network):
    return jax.eval_shape(network.init, jax.random.key(0))


def assert_same_logits(actual, expected):
    assert actual.shape == (len(expected), 10)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize(
    "network",
    [SPACE.network("thin"), pytest.param(SPACE.network("benchmark", cells=1), marks=pytest.mark.slow)],
    ids=["ntk", "wide"],
)
def test_index_mask_modules_and_reference_agree(network, reference, networks, flat_weights):
    params, x = network.init(jax.random.key(0)), images(4, 32, 32, 3)
    flat = flat_weights(params)
    for arch in ARCHS:
        logits = apply(network, params, jnp.array(arch), x)
        assert_same_logits(logits, reference.logits(flat, arch, x))
        assert_same_logits(apply(network, params, jnp.array(SPACE.to_mask(arch), int), x), logits)
        for module in (ArchitectureModule, networks.stand_alone):
            own = jax.jit(lambda params, x, module=module, arch=arch: module(network, params, np.array(arch))(x))
            assert_same_logits(own(params, x), logits)
    for mask in (MASK, SUPERNET):
        assert_same_logits(apply(network, params, jnp.array(mask), x), reference.logits(flat, mask, x))


def test_the_benchmark_network_equals_the_reference(reference, golden_inputs, nested_weights):
    """With five cells per stage, weights and biases other than initial ones."""
    network = SPACE.network("benchmark")
    flat = golden_inputs.golden_weights(golden_inputs.classifier_shapes(16, 5), seed=0)
    params = nested_weights(flat, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes(network)))
    x = images(2, 32, 32, 3)
    assert_same_logits(apply(network, params, jnp.array(ARCHS[0]), x), reference.logits(flat, ARCHS[0], x))


def test_build_gives_the_networks_weights_to_any_architecture():
    network, x = SPACE.network("thin"), images(4, 32, 32, 3)
    params = network.init(nnx.Rngs(5).params())
    string = SPACE.decode(ARCHS[0])
    module = nnx.jit(lambda rngs: SPACE.build(string, rngs=rngs, form="thin"))(nnx.Rngs(5))
    assert_same_logits(nnx.jit(lambda module, x: module(x))(module, x), apply(network, params, jnp.array(ARCHS[0]), x))
    for edge, kind in ((0, "nor_conv_3x3"), (2, "nor_conv_1x1")):
        own = module.modules[f"stages/0/0/{edge}"].conv.kernel[...]
        np.testing.assert_allclose(
            own, params["stages"][0][0][edge][kind]["kernel"][...], rtol=1e-6
        )  # drawn by another program


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_the_supernet_has_as_many_ntk_weights_as_te_nas():
    leaves = jax.tree_util.tree_leaves_with_path(shapes(SPACE.network("thin")))
    assert sum(math.prod(leaf.shape) for path, leaf in leaves if is_weight(path)) == 14_364


def test_parameter_counts_are_those_of_the_shapes():
    for form in ("thin", "benchmark", "patches"):
        network = SPACE.network(form)
        cost = network.params_cost()
        total = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes(network)))
        assert total == cost.fixed + cost.per_choice.sum()


def same_rows(rows):
    """Return `[N, N]`, which rows are equal."""
    _, number = np.unique(rows, axis=0, return_inverse=True)
    return number[:, None] == number


@pytest.mark.parametrize("arch", [*ARCHS, [1] * 6, MASK, SUPERNET], ids=["mixed", "dead", "skips", "mask", "supernet"])
def test_patterns_distinguish_the_same_inputs_as_all_relus_together(arch, reference, flat_weights):
    """Signs that several ReLUs share are kept once: 36 bits instead of the 117 of the supernet."""
    network = SPACE.network("patches")
    params, x = network.init(jax.random.key(3)), images(300, 3, 3, 1)
    own = np.concatenate(patterns(network, params, jnp.array(arch), x)[0])
    every = reference.patterns(flat_weights(params), np.array(arch), x)
    assert own.shape == (36, 300)
    assert arch != SUPERNET or every.shape == (300, 117)
    np.testing.assert_array_equal(same_rows(own.T), same_rows(every))


# --- initial weights -------------------------------------------------------------------------------------------------


def test_a_key_decides_the_weights():
    network = SPACE.network("thin")
    first, again, other = (jax.tree.leaves(network.init(jax.random.key(seed))) for seed in (0, 0, 1))
    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, same)
    kernels = [(one, two) for one, two in zip(first, other, strict=True) if one.ndim > 1]
    assert all((one != two).all() for one, two in kernels)
    values = np.concatenate([np.asarray(one).ravel() for one, _ in kernels])
    assert len(np.unique(values)) > 0.99 * len(values)  # no two kernels share their draws


@pytest.mark.parametrize("init", ["kaiming", "pytorch"])
def test_initial_weights_have_the_stated_spread(init, flat_weights):
    flat = flat_weights(SPACE.network("thin", init=init).init(jax.random.key(0)))
    assert set(flat) >= {"stem/conv/kernel", "stages/2/conv3x3/kernel", "classifier/kernel", "norm/scale"}
    for name, values in flat.items():
        if name.endswith("/scale"):
            assert (values == 1).all()
        elif name.endswith("norm/bias") or ("norm" in name and name.endswith("/bias")):
            assert (values == 0).all()
        elif name.endswith("kernel"):
            fan_in = math.prod(values.shape[-4:-1])
            if init == "pytorch":
                assert np.abs(values).max() <= 1 / math.sqrt(fan_in)
            if values.size > 1000:
                variance = {"kaiming": 2, "pytorch": 1 / 3}[init] / fan_in
                np.testing.assert_allclose(values.var(), variance, rtol=0.15)
    assert flat["classifier/bias"].any() == (init == "pytorch")
