"""Scores that read one forward pass: against formulas in NumPy float64, on modules wired by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import Status, data, scorers, spaces
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.kernels.relus import relu_inputs
from jaxnas.scorers.forward.forward_pass import ForwardPass, ForwardScore

SPACE = spaces.get("nasbench201")
SOURCE = data.load("synthetic")
ARCHS = np.array([[3, 1, 2, 4, 3, 2], [0, 1, 3, 2, 4, 3], [3, 3, 3, 3, 3, 3]])
IMAGES = 6
NWOT = scorers.Nwot(images=IMAGES)
SCORES = [NWOT]


def log_det(signs):
    """NASWOT's score of signs `[B, U]`, in float64."""
    active = np.asarray(signs, np.float64)
    sign, value = np.linalg.slogdet(active @ active.T + (1 - active) @ (1 - active).T)
    return value if sign > 0 else np.nan


class Small(type(SPACE)):
    """The space with networks that compile fast."""

    def __init__(self):
        vars(self).update(vars(SPACE))

    def network(self, form="benchmark", group=None, **changes):
        return super().network(form, group, **changes | {"cells": 1, "stages": 2})


@pytest.fixture(scope="module")
def measured():
    """What the pass gives of architectures of the small space, its weights and images."""
    reads = ForwardPass(4, IMAGES)
    network = Small().network_for(reads.recipe)
    params, x = network.init(jax.random.key(0)), jnp.asarray(SOURCE.images(np.random.default_rng(0), IMAGES))
    of_one = jax.jit(lambda arch: reads.measure(network, params, arch, x, jax.random.key(0)))
    return network, params, x, [jax.device_get(of_one(arch)) for arch in ARCHS]


def run_by_hand(module, x):
    """What the ReLUs of a module read."""
    graphdef, state = nnx.split(module)
    return jax.jit(lambda state, x: relu_inputs(lambda state, x: nnx.merge(graphdef, state)(x), state, x))(state, x)[1]


def test_agreement_is_that_of_the_modules_wired_by_hand(networks, measured):
    """Every edge has a ReLU of its own; those behind an edge that is left out read zeros."""
    network, params, x, seen = measured
    for arch, own in zip(ARCHS[:2], seen, strict=False):
        read = [np.asarray(tensor) for tensor in run_by_hand(networks.stand_alone(network, params, arch), x)]
        signs = np.concatenate([tensor > 0 for tensor in read if tensor.any()], -1)
        np.testing.assert_array_equal(own.agreement, (signs[:, None] == signs[None]).sum(-1))
        np.testing.assert_allclose(NWOT.finish(own.agreement[None]).value, log_det(signs), rtol=1e-9)


def test_nwot_of_any_model():
    def apply(params, x):
        return jax.nn.relu(x @ params[0]) @ params[1] + jnp.maximum(x @ params[0] - 1, 0) @ params[1]

    rng = np.random.default_rng(0)
    params = [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in ((5, 40), (40, 3))]
    x = jnp.asarray(rng.standard_normal((8, 5)), jnp.float32)
    hidden = np.asarray(x @ params[0])
    expected = log_det(np.concatenate([hidden > 0, hidden > 1], -1))
    np.testing.assert_allclose(scorers.nwot(apply, params, x).value, expected, rtol=1e-5)
    same = scorers.nwot(apply, params, x.at[1].set(x[0]))
    assert same.status == Status.rank_deficient and np.isnan(same.value)
    with pytest.raises(ValueError, match="no ReLU"):
        scorers.nwot(lambda params, x: x @ params, params[0], x)


def test_scores_of_one_preset_share_a_program_and_batch_mates_change_nothing(compiles):
    measure = Evaluator(Small(), SCORES[0], SOURCE, together=SCORES[1:], batch=2)

    def run(archs):
        return {name: wait() for name, wait in measure.launch_each(archs).items()}

    found = run(ARCHS)
    for scores in found.values():
        assert (scores.status == Status.ok).all() and len(np.unique(scores.value)) == 3
    with compiles(0):
        for name, scores in run(ARCHS[::-1]).items():
            np.testing.assert_array_equal(scores.value[:, ::-1], found[name].value)


def test_presets():
    """Scores with the same sizes read the same pass; a space gets the width that it can have."""
    every = [score for score in scorers.DEFAULTS.values() if isinstance(score, ForwardScore)]
    assert {score.reads for score in every} == {ForwardPass(4, 64)}
    assert scorers.Nwot(preset="paper").reads == ForwardPass(None, 128)
    assert spaces.get("nats_size").network_for(scorers.Nwot().recipe).config.channels == 8


@pytest.mark.parametrize("name", ["nasbench101", "transnas101_micro"])
def test_shapes_on_other_spaces(name):
    space, reads = spaces.get(name), ForwardPass(4, 3)
    arch = space.encode(space.example)
    ((network, _),) = space.networks(arch[None], reads.recipe)
    params = jax.eval_shape(network.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((3, *network.config.image), jnp.float32)
    seen = jax.eval_shape(partial(reads.measure, network), params, arch, x, None)
    assert seen.agreement.shape == (3, 3)


def test_a_mask_with_one_op_on_every_edge_is_the_architecture(measured):
    network, params, x, seen = measured
    mask = jnp.asarray(SPACE.to_mask(ARCHS[0]))
    found = jax.jit(partial(ForwardPass(4, IMAGES).measure, network))(params, mask, x, jax.random.key(0))
    np.testing.assert_allclose(found.agreement, seen[0].agreement)
