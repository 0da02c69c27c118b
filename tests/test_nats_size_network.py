"""The network of the size space: masks against the narrow network that they stand for, counts, scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import data, scorers
from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.spaces.nats_size.network import SizeNetwork
from jaxnas.spaces.nats_size.space import NATS_SIZE as SPACE
from jaxnas.types import Status

ARCHS = np.array([[3, 1, 6, 6, 4], [7, 7, 7, 7, 7], [0, 4, 2, 0, 1]], np.int32)
IMAGES = np.random.default_rng(0).standard_normal((4, 8, 8, 3), np.float32)
CHANGES = {"channels": 16, "image": (8, 8, 3)}

apply = jax.jit(SizeNetwork.apply, static_argnums=0)


def narrow(network, arch):
    """The network of one architecture, and the function that takes its share of the wide network's weights."""
    alone = network.specialised(arch)

    def share(params):
        wide, own = dict(nnx.to_flat_state(params)), []
        for path, leaf in nnx.to_flat_state(jax.eval_shape(alone.init, jax.random.key(0))):
            there = (*path[:3], "nor_conv_1x1", *path[3:]) if "3<-0" in path else path
            own.append((path, leaf.replace(np.asarray(wide[there][...])[tuple(map(slice, leaf.shape))])))
        return nnx.from_flat_state(own)

    return alone, share


@pytest.fixture(scope="module", params=[pytest.param("batch", marks=pytest.mark.slow), "frozen"])
def network(request):
    return SPACE.network("thin", bn=request.param, **CHANGES)


@pytest.fixture(scope="module")
def params(network):
    return network.init(jax.random.key(0))


@pytest.mark.parametrize("arch", ARCHS[:1], ids=SPACE.decode)
def test_logits_and_ntk_are_those_of_the_narrow_network(network, params, arch):
    alone, share = narrow(network, arch)
    own = share(network.rescale_to_fan_in(params, jnp.asarray(arch)))
    expected = apply(alone, own, jnp.asarray(arch), IMAGES)
    actual = apply(network, network.rescale_to_fan_in(params, jnp.asarray(arch)), jnp.asarray(arch), IMAGES)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    scorer = scorers.NTK(bn=network.config.bn)

    def gram(net, weights):
        return jax.jit(lambda p, x: scorer.measure(net, p, jnp.asarray(arch), x, jax.random.key(0)))(weights, IMAGES)

    expected = gram(alone, own)
    np.testing.assert_allclose(gram(network, params), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_steps_of_gradient_descent_are_those_of_the_narrow_network():
    network = SPACE.network("taps", **CHANGES)
    arch = jnp.asarray(ARCHS[0])
    params = network.rescale_to_fan_in(network.init(jax.random.key(1)), arch)
    alone, share = narrow(network, ARCHS[0])
    own = share(params)

    def stepped(net, weights):
        def loss(p):
            return sum((tap**3).sum() for tap in net.taps(p, arch, IMAGES)[0])

        return jax.jit(lambda p: jax.tree.map(lambda w, g: w - 1e-3 * g, p, jax.grad(loss)(p)))(weights)

    actual = share(stepped(network, params))
    expected = stepped(alone, own)
    for (path, before), (_, wanted), (_, found) in zip(*map(nnx.to_flat_state, (own, expected, actual)), strict=True):
        scale = np.abs(wanted[...] - before[...]).max()
        np.testing.assert_allclose(found[...], wanted[...], rtol=1e-5, atol=1e-3 * scale + 1e-7, err_msg=str(path))


def test_weights_are_those_that_the_narrow_network_draws():
    network = SPACE.network("thin", image=(8, 8, 3))
    leaves = dict(nnx.to_flat_state(network.rescale_to_fan_in(network.init(jax.random.key(0)), jnp.asarray(ARCHS[0]))))
    assert network.config.init == "kaiming"
    for path, width, taps in (
        (("layers", 0, "1<-0"), 4, 9),
        (("layers", 1, "conv_a"), 4, 9),
        (("layers", 1, "conv_b"), 2, 9),
        (("layers", 2, "2<-1"), 7, 9),
        (("layers", 4, "3<-0", "nor_conv_1x1"), 7, 1),
        (("head",), 5, 1),
    ):
        kernel = np.asarray(leaves[*path, "kernel"][...])
        fan = taps * width * network.config.channels // 8
        assert abs(kernel.std() / (2 / fan) ** 0.5 - 1) < 4 / (2 * kernel.size) ** 0.5, path


@pytest.mark.parametrize("changes", [{"channels": 12}, {"cells": 2}])
def test_sizes_that_it_cannot_have_are_refused(changes):
    with pytest.raises(UserError, match="a multiple of 8 channels, of which the widths are eighths, and one cell"):
        SPACE.network("taps", **changes)


@pytest.mark.parametrize("string", ["8:16:32:48:64", "64:64:8:8:8"])
def test_the_built_module_has_as_many_parameters_as_the_formula_says(string):
    module = nnx.eval_shape(lambda: SPACE.build(string, rngs=nnx.Rngs(0)))
    (params,) = SPACE.params(SPACE.encode(string)[None])
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param))) == params


def test_the_built_module_is_the_narrow_network():
    module = SPACE.build(ARCHS[0], rngs=nnx.Rngs(2), form="thin")
    alone = SPACE.network("thin").specialised(np.array(ARCHS[0]))
    params = alone.init(nnx.Rngs(2).params())
    x = np.random.default_rng(1).standard_normal((2, 32, 32, 3), np.float32)
    expected = apply(alone, params, jnp.asarray(ARCHS[0]), x)
    actual = nnx.jit(lambda module, x: module(x))(module, x)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


class Thin:
    """The space with thin networks."""

    def __getattr__(self, name):
        return getattr(SPACE, name)

    def network(self, form, group=None, **changes):
        return SPACE.network(form, group, **{**changes, "channels": 8})

    def network_for(self, recipe, group=None):
        return self.network(recipe.form, group, **recipe.changes())


@pytest.mark.parametrize(
    "scorer", [scorers.NTK(images=4), scorers.Regression(images=3, steps=2)], ids=lambda scorer: scorer.name
)
def test_scores_run_in_one_program_and_batch_mates_do_not_change_them(scorer, compiles):
    measure = Evaluator(Thin(), scorer, data.load("synthetic"), batch=4)
    scores = measure(ARCHS)
    assert (scores.status == Status.ok).all()
    assert len(np.unique(scores.value)) == len(ARCHS)
    with compiles(0):
        again = measure(ARCHS[1:])
    np.testing.assert_array_equal(again.value, scores.value[:, 1:])
