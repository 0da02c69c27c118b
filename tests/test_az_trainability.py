"""Trainability: against the formula in NumPy float64, and cotangents of modules wired by hand, block by block."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import Status, data, scorers, spaces
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.scorers.gradient.az_trainability import largest_singular_value

SPACE = spaces.get("nasbench201")
SOURCE = data.load("synthetic")
ARCHS = np.array([[3, 1, 2, 4, 3, 2], [0, 1, 3, 2, 4, 3], [0, 0, 0, 1, 0, 0]])
IMAGES = 4


def formula(q, r):
    """A block's t from cotangents `[B, H, W, C]` at its input and output, square by square, in float64."""
    q, r = np.asarray(q, np.float64), np.asarray(r, np.float64)
    stride, total = q.shape[1] // r.shape[1], 0
    for b, i, j in np.ndindex(r.shape[:3]):
        square = q[b, i * stride : (i + 1) * stride, j * stride : (j + 1) * stride]
        total = total + np.outer(square, r[b, i, j])
    s = np.linalg.svd(total / r[..., 0].size, compute_uv=False)[0]
    return 2 - s - 1 / (s + 1e-6), s


@pytest.mark.parametrize("stride", [1, 2])
def test_the_formula(stride):
    rng = np.random.default_rng(0)
    q, r = rng.standard_normal((3, 4 * stride, 4 * stride, 2)), rng.choice([-1, 1], (3, 4, 4, 5))
    found = jax.jit(largest_singular_value)(jnp.asarray(q, jnp.float32), jnp.asarray(r, jnp.float32))
    np.testing.assert_allclose(found, formula(q, r)[1], rtol=1e-5)


@nnx.jit
def pulled(block, x, r):
    """A block's output, and the cotangent at its input."""

    def product(block, x):
        y = block(x)
        return (y * r).sum(), y

    (_, y), q = nnx.value_and_grad(product, argnums=1, has_aux=True)(block, x)
    return y, q


def by_hand(module, x, begin):
    """The score, block after block; those that change nothing are left out."""
    values = []
    for block, r in zip(module.blocks, begin, strict=True):
        if not values and x.shape[-1] == 3:
            x = block(x)  # the stem
            continue
        x, q = pulled(block, x, r)
        if q.shape != r.shape or (q != r).any():
            values.append(formula(q, r)[0])
    return np.mean(values)


def test_scores_are_those_of_the_modules_wired_by_hand(networks, compiles):
    """Batch-mates change nothing, and a second batch compiles nothing; the cell of the last one is the identity."""
    measure = Evaluator(networks.small(SPACE, stages=2), scorers.AZTrainability(images=IMAGES), SOURCE, batch=2)
    found = measure(ARCHS)
    assert (found.status == Status.ok).all() and (found.value < 0).all()
    with compiles(0):
        np.testing.assert_array_equal(measure(ARCHS[::-1]).value[:, ::-1], found.value)
    program = measure.program()
    ((params, images, key),) = program.draw()
    shapes = program.network.flow.blocks
    begin = [
        jax.random.rademacher(k, (IMAGES, *shape), jnp.float32)
        for k, shape in zip(jax.random.split(key, len(shapes)), shapes, strict=True)
    ]
    for row in (0, 2):
        module = networks.stand_alone(program.network, params, ARCHS[row])
        np.testing.assert_allclose(found.value[0, row], by_hand(module, jnp.asarray(images), begin), rtol=1e-3)


@pytest.mark.parametrize("name", ["transnas101_macro", "nats_size"])
def test_blocks_of_other_spaces(name):
    """In skeletons of TransNAS-Bench-101, whether there is a block is data."""
    space = spaces.get(name)
    scorer, arch = scorers.AZTrainability(images=2).on(space), space.encode(space.example)
    ((network, _),) = space.networks(arch[None], scorer.recipe)
    params = jax.eval_shape(network.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((2, *network.config.image), jnp.float32)
    found = jax.eval_shape(
        lambda params, x: scorer.measure(network, params, jnp.asarray(arch), x, jax.random.key(0)), params, x
    )
    assert found.shape == ()
