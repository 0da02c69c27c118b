"""Scores of the weights' gradients: against the formulas in NumPy float64, on a linear model and on modules by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxnas import Status, data, scorers, spaces
from jaxnas.evaluate.evaluator import Evaluator

SPACE = spaces.get("nasbench201")
SOURCE = data.load("synthetic")
ARCHS = np.array([[3, 1, 2, 4, 3, 2], [0, 1, 3, 2, 4, 3], [3, 3, 3, 3, 3, 3]])
NAMES = "zico", "intrain_health", "snip", "grad_norm", "plain", "l2_norm"
SCORERS = [scorers.DEFAULTS[name] for name in NAMES]


def formulas(tensors):
    """The scores of weights and their two gradients, `(w, (g1, g2))`, in float64."""
    tensors = [(np.asarray(w, np.float64), np.asarray(g, np.float64)) for w, g in tensors]
    health = sum(min(1, g.std() / np.abs(g).max()) / 2 for _, both in tensors for g in both)
    tensors = [(w, g) for w, g in tensors if w.ndim > 1]
    zico = 0
    for _, both in tensors:
        mean, deviation = np.abs(both).mean(0), both.std(0)
        zico += np.log((mean[deviation > 0] / deviation[deviation > 0]).sum())
    snip = sum(np.abs(w * g).sum() / 2 for w, both in tensors for g in both)
    plain = sum((w * g).sum() / 2 for w, both in tensors for g in both)
    norms = sum(np.linalg.norm(g) / 2 for _, both in tensors for g in both)
    return zico, health, snip, norms, plain, sum(np.linalg.norm(w) for w, _ in tensors)


def linear(params, x):
    return x @ params["used"]["kernel"] + params["used"]["bias"][None]


def test_the_formulas():
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((5, 3)).astype(np.float32), rng.standard_normal((2, 4, 5)).astype(np.float32)
    labels = np.array([[0, 1, 2, 2], [1, 1, 0, 4]])  # the last one modulo the classes
    params = {"used": {"kernel": w, "bias": np.zeros(3, np.float32)}, "unused": {"kernel": w}}
    gradients = []
    for images, own in zip(x.astype(np.float64), labels % 3, strict=True):
        odds = np.exp(images @ w)
        g = (odds / odds.sum(1, keepdims=True) - np.eye(3)[own]) / 4
        gradients.append((images.T @ g, g.sum(0)))
    kernels, biases = map(np.stack, zip(*gradients, strict=True))
    found = scorers.zico(linear, params, jnp.asarray(x), jnp.asarray(labels))
    expected = formulas([(w, kernels), (np.zeros(3), biases)])
    np.testing.assert_allclose([found.info[name] for name in NAMES], expected, rtol=1e-4)
    assert found.value == found.info["zico"] and found.status == Status.ok


def test_scores_are_those_of_the_modules_wired_by_hand(networks, compiles):
    """All from one program; batch-mates change nothing, and a second batch compiles nothing."""
    first, *others = [type(scorer)(images=4) for scorer in SCORERS]
    measure = Evaluator(networks.small(SPACE), first, SOURCE, together=others, batch=2)
    found = {name: wait() for name, wait in measure.launch_each(ARCHS).items()}
    assert all((scores.status == Status.ok).all() for scores in found.values())
    with compiles(0):
        np.testing.assert_array_equal(measure(ARCHS[::-1]).value[0, ::-1], found["zico"].value[0])
    program = measure.program()
    ((params, (images, labels), _),) = program.draw()
    module = networks.stand_alone(program.network, params, ARCHS[0])

    @nnx.jit
    @nnx.grad
    def gradient(module, x, labels):
        return optax.softmax_cross_entropy_with_integer_labels(module(x), labels % 10).mean()

    one, two = (jax.tree.leaves(gradient(module, x, y)) for x, y in zip(images, labels, strict=True))
    weights = jax.tree.leaves(nnx.state(module, nnx.Param))
    expected = formulas([(w, (g, h)) for w, g, h in zip(weights, one, two, strict=True)])
    np.testing.assert_allclose([found[name].value[0, 0] for name in NAMES], expected, rtol=2e-3, atol=1e-3)


def test_options_share_a_pass_or_make_no_sense():
    assert len({scorer.reads for scorer in SCORERS}) == 1
    with pytest.raises(scorers.registry.UserError, match="at least 2 images"):
        scorers.Zico(images=1).check()
