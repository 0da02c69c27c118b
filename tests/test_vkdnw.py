"""Entropy of the Fisher information: against the formula in NumPy float64, and modules wired by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnas import Status, data, scorers, spaces
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.scorers.gradient.vkdnw import fisher

SPACE = spaces.get("nasbench201")
SOURCE = data.load("synthetic")
ARCHS = np.array([[3, 1, 2, 4, 3, 2], [0, 1, 3, 2, 4, 3], [3, 3, 3, 3, 3, 3]])


def information(jacobian, logits):
    """The Fisher information in float64, image by image."""
    total = 0
    for j, z in zip(np.asarray(jacobian, np.float64), np.asarray(logits, np.float64), strict=True):
        p = 0.95 * np.exp(z) / np.exp(z).sum() + 0.05 / len(z)
        total = total + j.T @ (np.diag(p) - np.outer(p, p)) @ j
    return total / len(logits)


def entropy(information):
    deciles = np.quantile(np.linalg.eigvalsh(information), np.arange(1, 10) / 10)
    q = deciles / deciles.sum()
    return -(q * np.log(q + 1e-10)).sum()


def test_the_formula():
    """Tensors without a derivative are not there, and of the others the first 128 are."""
    rng = np.random.default_rng(0)
    jacobian, logits = rng.standard_normal((60, 4, 140)), rng.standard_normal((60, 4))
    jacobian[..., ::20] = 0
    with jax.enable_x64(True):
        found = fisher(jnp.asarray(jacobian, jnp.float32), jnp.asarray(logits, jnp.float32))
    present = np.delete(jacobian.astype(np.float32), np.arange(0, 140, 20), -1)[..., :128]
    np.testing.assert_allclose(found.information, information(present, logits), atol=1e-5)
    assert found.tensors == 128
    finished = scorers.VKDNW().finish(jax.tree.map(lambda leaf: np.asarray(leaf)[None], found))
    np.testing.assert_allclose(finished.value, entropy(found.information))


def by_hand(module, x):
    """The score of a module without its normalisations; the order of tensors does not matter to it."""
    for _, node in nnx.iter_graph(module):
        if isinstance(node, nnx.BatchNorm):
            node.var[...] = node.var[...] - node.epsilon
    module.eval()
    graphdef, weights, rest = nnx.split(module, nnx.Param, ...)
    jacobian = jax.jit(jax.jacrev(lambda weights: nnx.merge(graphdef, weights, rest)(x)))(weights)
    rows = [leaf.reshape(*leaf.shape[:2], -1)[..., 0] for leaf in jax.tree.leaves(jacobian)]
    return entropy(information(np.stack(rows, -1), module(x)))


def test_scores_are_those_of_the_modules_wired_by_hand(networks, compiles):
    """Batch-mates change nothing, and a second batch compiles nothing."""
    measure = Evaluator(networks.small(SPACE), scorers.VKDNW(images=5), SOURCE, batch=2)
    found = measure(ARCHS)
    assert (found.status == Status.ok).all() and (found.value < np.log(9)).all()
    with compiles(0):
        np.testing.assert_array_equal(measure(ARCHS[::-1]).value[:, ::-1], found.value)
    program = measure.program()
    ((params, images, _),) = program.draw()
    module = networks.stand_alone(program.network, params, ARCHS[0])
    np.testing.assert_allclose(found.value[0, 0], by_hand(module, jnp.asarray(images)), rtol=1e-3)
