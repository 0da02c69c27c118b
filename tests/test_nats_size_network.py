"""The network of the size space: masks against the narrow network that they stand for, counts, scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import data, scorers
from jaxnas.runner import Evaluator
from jaxnas.spaces.nats_size import NATS_SIZE as SPACE
from jaxnas.spaces.nats_size_network import SizeNetwork
from jaxnas.types import Status

ARCHS = np.array([[3, 1, 6, 6, 4], [7, 7, 7, 7, 7], [0, 4, 2, 0, 1]], np.int32)
IMAGES = np.random.default_rng(0).standard_normal((4, 8, 8, 3), np.float32)
CHANGES = {"channels": 16, "image": (8, 8, 3)}

apply = jax.jit(SizeNetwork.apply, static_argnums=0)


def narrow(network, params, arch):
    """Return the network of one architecture and its share of the weights."""
    alone = SPACE.network("ntk", tuple(int(2 * (k + 1)) for k in arch), bn=network.config.bn, **CHANGES)
    wide = dict(nnx.to_flat_state(network.sized(params, jnp.asarray(arch), steps=False)))
    own = []
    for path, leaf in nnx.to_flat_state(jax.eval_shape(alone.init, jax.random.key(0))):
        there = (*path[:3], "nor_conv_1x1", *path[3:]) if "3<-0" in path else path
        own.append((path, leaf.replace(wide[there][...][tuple(map(slice, leaf.shape))])))
    return alone, nnx.from_flat_state(own)


@pytest.fixture(scope="module", params=["batch", "frozen"])
def network(request):
    return SPACE.network("ntk", bn=request.param, **CHANGES)


@pytest.fixture(scope="module")
def params(network):
    return network.init(jax.random.key(0))


@pytest.mark.parametrize("arch", ARCHS[:1], ids=SPACE.decode)
def test_logits_and_ntk_are_those_of_the_narrow_network(network, params, arch):
    alone, own = narrow(network, params, arch)
    expected = apply(alone, own, jnp.asarray(arch), IMAGES)
    actual = apply(network, params, jnp.asarray(arch), IMAGES)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    scorer = scorers.NTK(bn=network.config.bn)

    def gram(net, weights):
        return jax.jit(lambda p, x: scorer.measure(net, p, jnp.asarray(arch), x, jax.random.key(0)))(weights, IMAGES)

    expected = gram(alone, own)
    np.testing.assert_allclose(gram(network, params), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_steps_of_gradient_descent_are_those_of_the_narrow_network():
    network = SPACE.network("regression", **CHANGES)
    params = network.init(jax.random.key(1))
    arch = jnp.asarray(ARCHS[0])
    alone, own = narrow(network, params, ARCHS[0])

    def stepped(net, weights):
        def loss(p):
            return sum((tap**3).sum() for tap in net.taps(p, arch, IMAGES)[0])

        return jax.jit(lambda p: jax.tree.map(lambda w, g: w - 1e-3 * g, p, jax.grad(loss)(p)))(weights)

    _, actual = narrow(network, stepped(network, params), ARCHS[0])
    expected = stepped(alone, own)
    for (path, before), (_, wanted), (_, found) in zip(*map(nnx.to_flat_state, (own, expected, actual)), strict=True):
        scale = np.abs(wanted[...] - before[...]).max()
        np.testing.assert_allclose(found[...], wanted[...], rtol=1e-5, atol=1e-3 * scale + 1e-7, err_msg=str(path))


@pytest.mark.parametrize("string", ["8:16:32:48:64", "64:64:8:8:8"])
def test_the_built_module_has_as_many_parameters_as_the_formula_says(string):
    module = nnx.eval_shape(lambda: SPACE.build(string, rngs=nnx.Rngs(0)))
    (params,) = SPACE.params(SPACE.encode(string)[None])
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param))) == params


def test_the_built_module_is_the_narrow_network():
    module = SPACE.build(ARCHS[0], rngs=nnx.Rngs(2), purpose="ntk")
    alone = SPACE.network("ntk", tuple(int(k + 1) for k in ARCHS[0]))
    params = alone.init(nnx.Rngs(2).params())
    x = np.random.default_rng(1).standard_normal((2, 32, 32, 3), np.float32)
    expected = apply(alone, params, jnp.asarray(ARCHS[0]), x)
    actual = nnx.jit(lambda module, x: module(x))(module, x)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


class Thin:
    """The space with thin networks."""

    def __getattr__(self, name):
        return getattr(SPACE, name)

    def network(self, purpose, group=None, **changes):
        return SPACE.network(purpose, group, channels=8, **changes)


@pytest.mark.parametrize(
    "scorer", [scorers.NTK(images=6), scorers.Regression(images=3, steps=2)], ids=lambda scorer: scorer.name
)
def test_scores_run_in_one_program_and_batch_mates_do_not_change_them(scorer, compiles):
    measure = Evaluator(Thin(), scorer, data.load("synthetic"), batch=4)
    scores = measure(ARCHS)
    assert (scores.status == Status.ok).all()
    assert len(np.unique(scores.value)) == len(ARCHS)
    with compiles(0):
        again = measure(ARCHS[1:])
    np.testing.assert_array_equal(again.value, scores.value[:, 1:])
