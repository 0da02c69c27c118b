"""The network of NAS-Bench-101: masked channels against a plain module, counts, and every score through the runner."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import data, scorers
from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.kernels.layout import CHWN, NHWC, from_nhwc
from jaxnas.kernels.pool import max_pool2x2
from jaxnas.kernels.relus import relu_inputs
from jaxnas.network.apply_op import apply_op
from jaxnas.scorers.gradient.ntk import ntk_gram
from jaxnas.spaces.blocks.architecture import ArchitectureModule
from jaxnas.spaces.nasbench101.network import vertex_channels
from jaxnas.spaces.nasbench101.ops import MaxPool
from jaxnas.spaces.nasbench101.space import NASBENCH101 as SPACE
from jaxnas.spaces.nasbench101.space import NASBench101, from_table
from jaxnas.types import Status

CELLS = {  # edge bits and operations, by the number of vertices that feed the output
    0: [(32768, [-1, -1, -1, -1, -1])],  # a fifth one would take ten edges
    1: [(131079, [1, 0, -1, -1, -1]), (262203, [0, 2, 0, -1, -1]), (1104397, [2, 0, 1, 2, 1])],
    2: [(229383, [2, 1, -1, -1, -1]), (360507, [1, 0, 0, -1, -1]), (1335845, [1, 2, 1, 0, 1])],
    3: [(491549, [2, 1, 1, -1, -1]), (950885, [0, 0, 2, 1, -1]), (1392933, [1, 0, 2, 0, 2])],
    4: [(1016101, [1, 1, 2, 1, -1]), (983203, [0, 0, 1, 0, -1]), (1523875, [0, 1, 0, 0, 1])],
}
PARAMS = {1: 14000266, 2: 3553034, 3: 2479416, 4: 2323274}  # of the last of each, as published for NAS-Bench-101
on_both_layouts = pytest.mark.parametrize("layout", [CHWN, NHWC], ids=["CHWN", "NHWC"])


def cells(feeders):
    """Return architectures `[M, 26]` in which so many vertices feed the output."""
    bits, ops = map(np.array, zip(*CELLS[feeders], strict=True))
    return from_table(np.full(len(bits), 7), bits, ops)


def images(*shape):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))


def drawn(network):
    """Return parameters of which none is at a special value, such as a bias of zero."""
    leaves, tree = jax.tree.flatten(network.init(jax.random.key(0)))
    rng = np.random.default_rng(1)
    return jax.tree.unflatten(tree, [leaf + 0.1 * rng.standard_normal(leaf.shape, np.float32) for leaf in leaves])


def count(module):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def pure(module):
    """A module as `(apply, params)`."""
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)
    return lambda params, x: nnx.merge(graphdef, params, rest, copy=True)(x), params


def frozen(module, x):
    """The module in evaluation mode, the moments of `x` as running moments."""
    for _, part in nnx.iter_modules(module):
        if isinstance(part, nnx.BatchNorm):
            part.momentum = 0.0
    module(x)
    module.eval()
    return module


# --- the network is the plain module ---------------------------------------------------------------------------------


@pytest.mark.parametrize("feeders", CELLS)
def test_logits_are_those_of_the_modules_wired_by_hand_and_by_the_network(networks, feeders):
    """Eleven channels: no number of vertices but one shares them equally."""
    network = SPACE.network("thin", feeders, channels=11, stages=1 if feeders else 2, image=(4, 4, 3))
    params, x = drawn(network), images(6, 4, 4, 3)
    apply = jax.jit(lambda arch: network.apply(params, arch, x))
    for arch in cells(feeders)[::2]:
        alone = network.specialised(arch)
        own = ArchitectureModule(alone, networks.share(params, alone), arch)
        by_hand = networks.nasbench101(network, params, arch)
        expected, actual = nnx.jit(lambda *modules: [module(x) for module in modules])(by_hand, own)
        for logits in (apply(arch), actual):
            np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
        assert count(own) == count(by_hand)


@pytest.mark.parametrize("bn", ["batch", "frozen"])
def test_ntk_is_that_of_the_module_wired_by_hand(networks, bn):
    arch = cells(3)[1]
    assert vertex_channels(arch, 16).tolist() == [6, 6, 5, 5, 0]
    network = SPACE.network("taps", 3, cells=1, stages=1, image=(6, 6, 3), bn=bn)
    params, x = drawn(network), images(5, 6, 6, 3)
    measure = scorers.NTK(bn=bn, images=5).measure
    own = jax.jit(lambda params: measure(network, params, jnp.asarray(arch), x, jax.random.key(0)))(params)
    module = networks.nasbench101(network, network.rescale_to_fan_in(params, jnp.asarray(arch)), arch)
    apply, weights = pure(frozen(module, x) if bn == "frozen" else module)
    theirs = jax.jit(lambda weights: ntk_gram(apply, weights, x, independent=bn == "frozen"))(weights)
    np.testing.assert_allclose(own, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())


def test_weights_are_those_of_the_own_fan_in():
    arch = cells(3)[1]
    network = SPACE.network("thin", 3, channels=16, cells=1, stages=1)
    params = network.init(jax.random.key(0))
    before, after = (dict(nnx.to_flat_state(p)) for p in (params, network.rescale_to_fan_in(params, jnp.asarray(arch))))
    for v, channels in enumerate(vertex_channels(arch, 16).tolist()):
        path = ("stacks", 0, 0, "vertices", v, "conv3x3-bn-relu", "kernel")
        expected = before[path][...] * (6 / max(channels, 1)) ** 0.5
        np.testing.assert_allclose(after[path][...], expected, rtol=1e-5)
    changed = [path for path in before if (before[path][...] != after[path][...]).any()]
    assert {path[3:5] for path in changed} == {("vertices", 2), ("vertices", 3), ("vertices", 4)}


def test_patterns_distinguish_the_same_inputs_as_the_modules_relus(networks):
    """Four channels for three vertices, and one that feeds them: 2, 2, 1, 1; inputs on a line, not all in a region."""
    network, arch = SPACE.network("patches", 3), cells(3)[1]
    params, x = drawn(network), images(300, 1, 1, 1) * images(1, 3, 3, 1)
    own = np.concatenate(jax.jit(lambda arch: network.patterns(params, arch, x)[0])(arch)).T
    every = np.concatenate(relu_inputs(*pure(networks.nasbench101(network, params, arch)), x)[1], -1) > 0
    counts = [len(np.unique(rows, axis=0)) for rows in (own, every, np.concatenate([own, every], -1))]
    assert 1 < counts[0] < 300
    assert len(set(counts)) == 1


# --- its operations --------------------------------------------------------------------------------------------------


@on_both_layouts
def test_maximum_pooling(layout):
    x, weights = images(3, 6, 6, 2), images(2, 3, 6, 6, 2)[1]

    def own(x):
        return from_nhwc(apply_op((MaxPool(2, layout),), jnp.asarray(0), ({},), from_nhwc(x, layout))[0], layout)

    def flax(x):
        return nnx.max_pool(x, (3, 3), strides=(1, 1), padding="SAME")

    np.testing.assert_array_equal(own(x), flax(x))
    gradients = [jax.grad(lambda x, pool=pool: (pool(x) * weights).sum())(x) for pool in (own, flax)]
    np.testing.assert_allclose(*gradients, atol=1e-6)
    halved = from_nhwc(max_pool2x2(from_nhwc(x, layout), layout), layout)
    np.testing.assert_array_equal(halved, nnx.max_pool(x, (2, 2), strides=(2, 2)))


# --- counts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("feeders", PARAMS)
def test_the_benchmark_network_has_the_published_number_of_parameters(feeders):
    string = SPACE.decode(cells(feeders)[-1])
    module = nnx.eval_shape(lambda: SPACE.build(string, rngs=nnx.Rngs(0)))
    assert count(module) == PARAMS[feeders]


def test_costs_count_what_is_chosen():
    """They are FLOPs where all vertices have the same number of channels, apart from normalisations."""
    for feeders in (0, 1, 2, 4):
        archs, network = cells(feeders), SPACE.network("benchmark", feeders)
        np.testing.assert_allclose(network.costs(archs), SPACE.flops(archs), rtol=0.02)


def test_regression_taps_are_the_stacks_outputs():
    assert SPACE.network("taps", 3).flow.taps == ((32, 32, 16), (16, 16, 32), (8, 8, 64))


@pytest.mark.parametrize(("group", "form"), [(None, "thin"), (5, "thin"), (2, "nkt")])
def test_networks_that_there_are_not(group, form):
    with pytest.raises(UserError, match="give 0 to 4" if form == "thin" else "thin"):
        SPACE.network(form, group)


# --- scores ----------------------------------------------------------------------------------------------------------


class Small(NASBench101):
    """With networks that compile fast."""

    def network(self, form="benchmark", group=None, **changes):
        size = {"thin": {"stages": 1}, "taps": {"channels": 8, "cells": 1}}.get(form, {})
        return super().network(form, group, **{**changes, **size})


@pytest.mark.parametrize(
    ("scorer", "feeders"),
    [
        (scorers.NTK(images=4), (2,)),
        (scorers.NTK(images=4, bn="batch"), (3,)),
        (scorers.Regions(batches=1, samples=60), (0, 3)),
        pytest.param(scorers.Regression(images=2, steps=2), (1,), marks=pytest.mark.slow),
    ],
    ids=["frozen", "batch", "regions", "regression"],
)
def test_scores(scorer, feeders, compiles):
    archs = np.concatenate([cells(k) for k in feeders])
    measure = Evaluator(Small(), scorer, data.load("synthetic"), batch=2)
    whole = measure(archs)
    assert np.isfinite(whole.value).all()
    assert np.isin(whole.status, (Status.ok, Status.saturated)).all()
    assert len(np.unique(whole.value)) > 1
    with compiles(0):
        for i, arch in enumerate(archs[:3]):
            np.testing.assert_array_equal(measure(arch[None]).value[0], whole.value[0, [i]])
