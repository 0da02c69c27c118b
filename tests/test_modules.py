"""Users' Flax modules as operations: the same numbers as a hand-written operation, and a space made of them."""

import functools
import json
import re
import runpy
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import data, spaces
from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.kernels.layout import CHWN, NHWC, from_nhwc
from jaxnas.network.apply_op import apply_op
from jaxnas.network.module_op import ModuleOp
from jaxnas.network.ops import ConvNorm, Zero
from jaxnas.score.command import main as score
from jaxnas.scorers import NTK, Regions, Regression
from jaxnas.search.command import main as search
from jaxnas.spaces import own

EXAMPLES = Path(__file__).parents[1] / "examples"
EXAMPLE = f"{EXAMPLES / 'own_space.py'}:space"
BATCH, SIDE, WIDTH = 4, 5, 3
SOURCE = data.load("synthetic")


class Block(nnx.Module):
    """What `ConvNorm(3, 3, 3)` is, made of Flax's own layers."""

    def __init__(self, rngs: nnx.Rngs):
        self.conv = nnx.Conv(WIDTH, WIDTH, (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(WIDTH, epsilon=1e-5, use_fast_variance=False, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.conv(jax.nn.relu(x)))


@dataclass(frozen=True)
class Make:
    def __call__(self, rngs):
        return Block(rngs)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def pair(layout, bn):
    """The two ops with equal parameters: the hand-written one's names, and those of the module."""
    names = {"conv/kernel": "kernel", "norm/scale": "scale", "norm/bias": "bias"}
    written, module = ConvNorm(WIDTH, WIDTH, 3, layout, bn=bn), ModuleOp(Make(), WIDTH, WIDTH, layout, bn=bn)
    assert module.shapes() == {name: written.shapes()[short] for name, short in names.items()}
    params = {short: normal(*written.shapes()[short], seed=i) for i, short in enumerate(names.values())}
    return (written, params), (module, {name: params[short] for name, short in names.items()})


@pytest.mark.parametrize("layout", [CHWN, NHWC], ids=["CHWN", "NHWC"])
@pytest.mark.parametrize("bn", ["batch", "frozen", "identity"])
def test_a_module_is_differentiated_as_the_same_op_by_hand(layout, bn):
    x, g = (from_nhwc(normal(BATCH, SIDE, SIDE, WIDTH, seed=seed), layout) for seed in (7, 8))
    results = []
    for op, params in pair(layout, bn):

        @functools.partial(jax.jit, static_argnums=0)
        def through(op, params, x, g):
            def output(index, params, x, probe=None):
                ops = (Zero(WIDTH, layout), op)
                return apply_op(ops, index, ({}, params), x, probe)[0]

            index = jnp.asarray(1)
            y, pull = jax.vjp(functools.partial(output, index), params, x)
            probe = jnp.zeros((BATCH, BATCH))
            gram = jax.grad(lambda z: (output(index, params, x, z) * g).sum())(probe)
            return (y, pull(g)[1], gram), pull(g)[0]

        results.append(through(op, params, x, g))
    (one, weights), (other, own_weights) = results
    if bn == "batch":  # the NTK as a cotangent is for independent samples
        one, other = one[:2], other[:2]
    for expected, actual in zip(one, other, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=2e-4)
    for name, leaf in own_weights.items():
        np.testing.assert_allclose(leaf, weights[name.rpartition("/")[-1]], rtol=1e-4, atol=2e-4)


def test_sizes_and_signs_of_a_module():
    (written, _params), (module, own_params) = pair(NHWC, "batch")
    assert module.num_params == written.num_params
    assert module.flops(SIDE**2) == 9 * WIDTH * WIDTH * SIDE**2  # convolutions only
    x = normal(BATCH, SIDE, SIDE, WIDTH)
    np.testing.assert_array_equal(module.observe(own_params, x).read > 0, np.asarray(x > 0).reshape(BATCH, -1).T)


@pytest.fixture(scope="module")
def example():
    return spaces.get(EXAMPLE)


def linear(channels, rngs):
    return nnx.Linear(channels, channels, rngs=rngs)


def pooled(op, channels=4, **sizes):
    return own.cell_space("x", edges=((1, 0),), ops={"a": own.avg_pool_3x3, "b": op}, channels=channels, **sizes)


def test_scores_see_the_same_images_whatever_the_full_networks_are():
    small, large = (pooled(own.identity, image=(side, side, 1)) for side in (16, 32))
    archs = small.enumerate()
    assert (large.flops(archs) > 3.9 * small.flops(archs)).all()
    assert {small.network(form).config.image for form in ("thin", "taps")} == {(32, 32, 3)}


def test_the_example_is_short():
    assert len((EXAMPLES / "own_space.py").read_text().splitlines()) < 50


def test_the_examples_space(example):
    assert example.size == 4**5 == len(example.enumerate())
    archs = example.sample(jax.random.key(0), 20)
    assert [example.decode(example.encode(example.decode(a))) for a in archs] == [example.decode(a) for a in archs]
    assert example.is_disconnected(np.zeros((1, 5), int)).all()
    canonical = example.canonical(archs)
    np.testing.assert_array_equal(example.canonical(canonical), canonical)


def test_spaces_of_one_name_have_their_own_classes():
    edges, classes = [[1, 0], [2, 0], [2, 1]], []
    for first in (own.zero, own.identity):
        ops = {"first": first, "pool": own.avg_pool_3x3, "gate": linear}
        space = own.cell_space("own", edges=edges, ops=ops)
        assert space.edges == tuple(map(tuple, edges))
        classes.append(space.canonical(space.enumerate()))
    assert (classes[0] != classes[1]).any()


def test_a_module_on_zeros_may_have_a_bias_and_a_pooling_has_none():
    ops = {"none": own.zero, "pool": own.avg_pool_3x3, "gate": linear}
    space = own.cell_space("own", edges=((1, 0), (2, 0), (2, 1)), ops=ops)
    none, pool, gate = space.canonical(np.array([[0, 2, 0], [0, 2, 1], [0, 2, 2]]))
    np.testing.assert_array_equal(pool, none)
    assert (gate != none).any()


@pytest.fixture(scope="module")
def small(example):
    """The example's modules on fewer edges, in one stage: what is compiled grows with both."""
    blocks = runpy.run_path(str(EXAMPLES / "own_space.py"))
    ops = {"none": own.zero, "skip": own.identity, "separable": blocks["SeparableConv"], "gate": blocks["Gate"]}
    space = own.cell_space("small", edges=((1, 0), (2, 0), (2, 1)), channels=4, cells=1, ops=ops)
    return replace(space, configs={name: replace(network, stages=1) for name, network in space.configs.items()})


@pytest.mark.parametrize(("scorer", "masks"), [(NTK(images=4), False), (Regions(samples=50), True)])
def test_every_architecture_is_scored(small, scorer, masks, compiles):
    archs = small.sample(jax.random.key(1), 6)
    measure = Evaluator(small, scorer, SOURCE, batch=4)
    values = measure(archs).value
    np.testing.assert_array_equal(np.isfinite(values[0]), ~small.is_disconnected(archs))
    with compiles(0):
        np.testing.assert_array_equal(measure(archs[::-1]).value, values[:, ::-1])
    if masks:
        of_masks = Evaluator(small, scorer, SOURCE, batch=4)(small.to_mask(archs)).value
        np.testing.assert_array_equal(of_masks, values)


def test_the_stand_alone_module_has_the_same_logits(small):
    network, arch = small.network("thin"), np.array([2, 0, 3])
    params, x = network.init(nnx.Rngs(5).params()), normal(4, 32, 32, 3)
    module = small.build("separable|none|gate", rngs=nnx.Rngs(5), form="thin")
    expected = jax.jit(network.apply)(params, jnp.asarray(arch), x)
    np.testing.assert_allclose(nnx.jit(lambda m, x: m(x))(module, x), expected, rtol=0, atol=1e-4)


def test_modules_learn_signals(small, one_tap):
    archs = np.array([[2, 0, 3], [1, 2, 2]])
    scorer = Regression(steps=2, images=2, task=one_tap)
    assert np.isfinite(Evaluator(small, scorer, SOURCE)(archs).value).all()


def test_the_example_from_the_command_line(tmp_path, capsys):
    words = ["--space", EXAMPLE, "--archs", "random:4", "--scorers", "regions", "--regions.samples", "20"]
    assert score([*words, "--out", str(tmp_path / "x")]) == 0
    assert "4 architectures" in capsys.readouterr().out


def test_the_example_is_searched(tmp_path, capsys):
    words = ["--space", EXAMPLE, "--scorers", "regions", "--regions.samples", "20", "--repeats", "1", "--json"]
    evolve = [
        "--method",
        "evolve",
        "--budget",
        "6",
        "--evolve.population",
        "4",
        "--evolve.tournament",
        "2",
        "--evolve.brood",
        "2",
    ]
    for method, number in ((["--method", "prune"], 2), (evolve, 2)):
        assert search([*words, *method, "--out", str(tmp_path / method[1])]) == 0
        found = json.loads(capsys.readouterr().out)
        assert len(found["rounds"]) == number
        assert found["scores"]["regions_status"] == "ok"


def test_the_example_of_models(capsys):
    runpy.run_path(str(EXAMPLES / "model_zoo.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["depth 1", "depth 3", "depth 5"]
    assert all(float(re.search(r"kappa +([\d.]+) \(ok\)", line)[1]) > 1 for line in lines)
    regions = [int(re.search(r"(\d+) regions \(ok\)", line)[1]) for line in lines]
    assert 1 < regions[0] < regions[1] < regions[2] < 1000


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spaces.get("nowhere.py:space"), "no file nowhere.py; say path/to/file.py:variable"),
        (lambda: spaces.get(f"{EXAMPLES / 'own_space.py'}:spce"), "space in .*own_space.py"),
        (lambda: own.cell_space("x", edges=((2, 0),), ops={"a": own.zero, "b": own.identity}), "every node from 1 on"),
        (lambda: own.cell_space("x", edges=((1, 0, 2),), ops={"a": own.zero, "b": own.identity}), "pairs sorted"),
        (lambda: own.cell_space("x", edges=((1, 0),), ops={"a": own.zero}), "at least two ops"),
        (
            lambda: pooled(lambda c, rngs: nnx.Conv(c, 2 * c, (1, 1), rngs=rngs)),
            r"'b' turns \[2, 8, 8, 4\] into .* 8\]",
        ),
        (lambda: pooled(lambda c, rngs: lambda x: [x]), "into list; an op must keep the shape"),
        (lambda: pooled(lambda c: nnx.Conv(c, c, (1, 1))), "'b' does not run on .*TypeError.*rngs"),
        (lambda: pooled(5), "'b' is 5; give own.zero"),
        (lambda: pooled(own.identity, cells=0), "cells is 0; it must be a whole number"),
        (lambda: pooled(own.identity, channels=1.5), "channels is 1.5; it must"),
        (lambda: pooled(own.identity, image=(32, 32)), r"give \(height, width, channels\)"),
        (lambda: pooled(own.identity, image=(30, 30, 3)), "multiples of 4"),
        (lambda: spaces.get(EXAMPLE).encode("gate|gate"), "2 ops instead of 5"),
        (lambda: spaces.get(EXAMPLE).encode("gate|gate|gate|gate|gte"), "edge 4 .*gte"),
    ],
)
def test_bad_input_gets_one_line(make, message):
    with pytest.raises(UserError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
