"""Synaptic flow: against the formula in NumPy float64, by matrices and by modules wired by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import Status, data, scorers, spaces
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.spaces import own

SPACE = spaces.get("nasbench201")
SOURCE = data.load("synthetic")
ARCHS = np.array([[3, 1, 2, 4, 3, 2], [0, 1, 3, 2, 4, 3], [3, 3, 3, 3, 3, 3]])


def chain(params, x):
    """Linear layers with a bias and a ReLU; the flow of such a network is that of its absolute weights."""
    for layer in params:
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"][None])
    return x


def layers(*sizes, size=1.0):
    rng = np.random.default_rng(0)
    return [
        {"kernel": size * rng.standard_normal(shape).astype(np.float32), "bias": np.ones(shape[1], np.float32)}
        for shape in itertools.pairwise(sizes)
    ]


def formula(params, inputs):
    """Both scores of a chain, in float64."""
    weights = [np.abs(layer["kernel"].astype(np.float64)) for layer in params]
    before, after = [np.ones(inputs)], [np.ones(weights[-1].shape[1])]
    for w in weights:
        before.append(before[-1] @ w)
    for w in weights[::-1]:
        after.insert(0, w @ after[0])
    g = [np.outer(i, o) for i, o in zip(before, after[1:], strict=False)]
    flow = sum((w * dw).sum() for w, dw in zip(weights, g, strict=True))
    return np.log(flow), sum((w * np.log1p(dw)).sum() for w, dw in zip(weights, g, strict=True))


@pytest.mark.parametrize("size", [1.0, 1e20, 1e-9])
def test_the_formula(size):
    """Also where values are far beyond float32."""
    params, x = layers(5, 4, 6, 3, size=size), jnp.ones((1, 5))
    found = [score(chain, params, x) for score in (scorers.synflow, scorers.logsynflow)]
    np.testing.assert_allclose([one.value for one in found], formula(params, 5), rtol=1e-6)
    assert all(one.status == Status.ok and one.value.dtype == jnp.float32 for one in found)


def test_what_overflows_in_float64_has_no_score():
    found = scorers.synflow(chain, layers(*[5] * 12, size=1e30), jnp.ones((1, 5)))
    assert found.status == Status.nonfinite and np.isnan(found.value)


def by_hand(module, x):
    """Both scores of a module without its normalisations, with gradients in float32."""
    for _, node in nnx.iter_graph(module):
        if isinstance(node, nnx.BatchNorm):
            node.var[...] = node.var[...] - node.epsilon  # the mean is 0
    module.eval()
    graphdef, weights, rest = nnx.split(module, nnx.Param, ...)
    weights = jax.tree.map(lambda leaf: jnp.abs(leaf) if leaf.ndim > 1 else leaf, weights)
    g = jax.jit(jax.grad(lambda weights: nnx.merge(graphdef, weights, rest)(x).sum()))(weights)
    leaves = [(w, np.asarray(dw, np.float64)) for w, dw in zip(*map(jax.tree.leaves, (weights, g)), strict=True)]
    pairs = [(np.asarray(w, np.float64), dw) for w, dw in leaves if w.ndim > 1]
    return np.log(sum((w * dw).sum() for w, dw in pairs)), sum((w * np.log1p(dw)).sum() for w, dw in pairs)


def test_scores_are_those_of_the_modules_wired_by_hand(networks, compiles):
    """Both from one program; batch-mates change nothing, and a second batch compiles nothing."""
    measure = Evaluator(networks.small(SPACE), scorers.Synflow(), SOURCE, together=[scorers.LogSynflow()], batch=2)
    found = {name: wait().value[0] for name, wait in measure.launch_each(ARCHS).items()}
    with compiles(0):
        np.testing.assert_array_equal(measure(ARCHS[::-1]).value[0, ::-1], found["synflow"])
    program = measure.program()
    ((params, _, _),) = program.draw()
    module = networks.stand_alone(program.network, params, ARCHS[0])
    expected = by_hand(module, jnp.ones((1, *program.network.config.image)))
    np.testing.assert_allclose([found[name][0] for name in ("synflow", "logsynflow")], expected, rtol=1e-5)


def test_scores_of_both_names_share_a_pass():
    assert scorers.Synflow().reads == scorers.LogSynflow().reads
    assert scorers.Synflow(width=8).reads != scorers.LogSynflow().reads


@pytest.mark.parametrize("name", ["resnet", "nats_size", "own"])
def test_networks_in_float64(name):
    """Widths of the architecture's own, masks, and users' modules."""
    ops = {"a": own.identity, "b": lambda channels, rngs: nnx.Linear(channels, channels, rngs=rngs)}
    space = own.cell_space("own", edges=((1, 0),), ops=ops, cells=1) if name == "own" else spaces.get(name)
    scorer, arch = scorers.Synflow().on(space), space.encode(space.example)
    ((network, _),) = space.networks(arch[None], scorer.reads.recipe)
    params = jax.eval_shape(network.init, jax.random.key(0))
    found = jax.eval_shape(lambda params: scorer.reads.measure(network, params, jnp.asarray(arch), (), None), params)
    assert [(leaf.shape, leaf.dtype) for leaf in found] == [((), jnp.float32)] * 2
