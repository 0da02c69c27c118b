"""The networks of the AnyNets: against plain layers, counts, and the regression score."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import data, scorers
from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.score.work import Work
from jaxnas.spaces.anynet.space import ANYNETS, RESNET, RESNEXT_B, VANILLA
from jaxnas.types import Status

SMALL = [  # three stages each
    (RESNET, [16, 1, 16, 2, 16, 1, 32, -1, -1]),
    (VANILLA, [16, 1, 16, 1, 32, 1, 16, -1, -1]),
    (RESNEXT_B, [64, 1, 64, 1, 4, 1, 64, 4, 2, 2, 64, 2, 1]),
]
SMALL_ARCHS = pytest.mark.parametrize(("space", "arch"), SMALL, ids=[space.name for space, _ in SMALL])


def conv_norm(weights, x, stride=1):
    """Convolution, in groups where the kernel has fewer inputs than `x`, and normalisation by the batch's moments."""
    kernel = weights["kernel"]
    pad, groups = kernel.shape[0] // 2, x.shape[-1] // kernel.shape[2]
    x = jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(pad, pad)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    mean, variance = x.mean((0, 1, 2), keepdims=True), x.var((0, 1, 2), keepdims=True)
    scale, bias = (weights[name][None, None, None] for name in ("scale", "bias"))
    return (x - mean) / jnp.sqrt(variance + 1e-5) * scale + bias


def plain(space, shared, arch, x):
    """The stages' outputs before their last ReLU, block after block as NDS writes them."""
    relu, outputs = jax.nn.relu, []
    x = relu(conv_norm(shared.weights(("stem", 0)), x))
    stages = np.reshape(arch[1:], (len(space.strides) - 1, -1))
    for stage, (numbers, first) in enumerate(zip(stages, space.strides[1:], strict=True)):
        for block in range(numbers[0]):
            stride = 1 if block else first
            weights, y = shared.stages[stage][block], x
            strided = 1 if space is RESNEXT_B else 0
            convs = [weights[name].take() for name in ("conv0", "conv1", "conv2") if name in weights]
            for i, own in enumerate(convs):
                y = conv_norm(own, y if i == 0 else relu(y), stride if i == strided else 1)
            if space is not VANILLA:
                y += conv_norm(weights["shortcut"].take(), x, stride) if "shortcut" in weights else x
            x = relu(y)
        if numbers[0] > 0:
            outputs.append(y)
    return outputs


@SMALL_ARCHS
def test_taps_are_those_of_plain_layers_and_the_built_module_has_the_weights(space, arch):
    network = space.network("taps", tuple(arch))
    params = network.init(jax.random.key(0))
    x = np.random.default_rng(0).standard_normal((2, 32, 32, 3), np.float32)
    taps = jax.jit(lambda params, x: network.taps(params, jnp.array(arch), x)[0])(params, x)
    expected = jax.jit(lambda params, x: plain(space, network.module(params), arch, x))(params, x)
    assert [tap.shape[1] for tap in taps] == [32, 16, 8]
    for actual, wanted in zip(taps, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())
    module = space.build(np.array(arch), rngs=nnx.Rngs(3), form="taps")
    params = network.init(nnx.Rngs(3).params())
    logits = jax.jit(lambda params, x: network.apply(params, jnp.array(arch), x))(params, x)
    actual = nnx.jit(lambda module, x: module(x))(module, x)
    np.testing.assert_allclose(actual, logits, rtol=0, atol=2e-5 * np.abs(logits).max())


@SMALL_ARCHS
def test_weights_are_drawn_by_fan_out(space, arch):
    shapes = space.network("taps", tuple(arch)).init(jax.random.key(0))
    kernel = np.asarray(shapes["stages"][2][0]["conv1"]["kernel"][...])
    assert kernel.std() == pytest.approx((2 / (9 * kernel.shape[3])) ** 0.5, rel=0.1)


@pytest.mark.parametrize("space", ANYNETS, ids=[space.name for space in ANYNETS])
@pytest.mark.parametrize("dataset", ["imagenet", "cifar10"])
def test_the_built_module_has_as_many_parameters_as_the_tables_say(space, dataset):
    space = space.on(dataset)
    arch = space.encode(space.example)
    module = nnx.eval_shape(lambda: space.build(arch, rngs=nnx.Rngs(0)))
    (params,) = space.params(arch[None])
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param))) == params


@pytest.mark.slow
def test_regression_runs_and_batch_mates_do_not_change_it(compiles):
    archs = np.array([SMALL[0][1], [16, 1, 16, 1, 16, 1, 16, -1, -1]], np.int32)
    measure = Evaluator(RESNET, scorers.Regression(images=4, steps=2, task="resnet"), data.load("synthetic"))
    scores = measure(archs)
    assert (scores.status == Status.ok).all()
    with compiles(0):
        again = measure(archs[::-1])
    np.testing.assert_array_equal(again.value[:, ::-1], scores.value)
    (alone,) = Evaluator(RESNET, measure.scorer, data.load("synthetic"))(archs[1:]).value[0]
    assert alone == scores.value[0, 1]


def test_what_cannot_run_says_why():
    with pytest.raises(UserError, match=r"no network for 'thin' \(.*; it has networks for benchmark, taps"):
        RESNET.network("thin", tuple(SMALL[0][1]))
    with pytest.raises(UserError, match=r"resnet has no ntk: .*; say --scorers regression"):
        Evaluator(RESNET, scorers.NTK(), data.load("synthetic")).check()
    with pytest.raises(UserError, match="every architecture has a network of its own"):
        RESNET.network("taps")
    short = np.array([[16, 1, 16, 1, 16, 1, 16, -1, -1], [16, 1, 16, 1, 16, -1, -1, -1, -1]])
    evaluator = Evaluator(RESNET, scorers.Regression(), data.load("synthetic"))
    with pytest.raises(UserError, match=r"needs 3 stages, \{.*\[16,16,16\].* has 2; leave it out"):
        Work.plan(RESNET, short, [evaluator], dedup=True)
