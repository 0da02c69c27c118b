"""Hand-written backward passes of the operations, and the primitive that chooses among them.

Expected values come from automatic differentiation of the forward pass on NHWC, with `lax`'s own convolutions in it.
"""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.kernels import conv as convolutions
from jaxnas.kernels.layout import CHWN, NHWC, from_nhwc, to_nhwc
from jaxnas.network.apply_op import apply_op
from jaxnas.network.op import EPSILON, Moments, moments
from jaxnas.network.ops import AvgPool, ConvNorm, Head, Identity, Zero

BATCH, SIDE, WIDTH = 4, 6, 3
CLASSES = 5


def operation(name, layout=NHWC, bn="batch"):
    conv = functools.partial(ConvNorm, layout=layout, bn=bn)
    return {
        "zero": Zero(WIDTH, layout),
        "identity": Identity(WIDTH, layout),
        "pool": AvgPool(WIDTH, layout),
        "conv1x1": conv(WIDTH, WIDTH, 1),
        "conv3x3": conv(WIDTH, WIDTH, 3),
        "strided": conv(WIDTH, 2 * WIDTH, 3, stride=2, affine=False),
        "shortcut": conv(WIDTH, 2 * WIDTH, 1, relu=False, norm=False),
        "head": Head(WIDTH, CLASSES, layout, bn),
        "relu_head": Head(WIDTH, CLASSES, layout, norm_first=False),
        "linear_head": Head(WIDTH, CLASSES, layout, norm_first=False, relu=False),
    }[name]


NAMES = ("zero", "identity", "pool", "conv1x1", "conv3x3", "strided", "shortcut", "head", "relu_head", "linear_head")
CHOICES = ("zero", "identity", "conv1x1", "conv3x3", "pool")
on_both_layouts = pytest.mark.parametrize("layout", [pytest.param(layout, id=layout.name) for layout in (CHWN, NHWC)])


def normal(shape, seed):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def images(seed=0):
    return normal((BATCH, SIDE, SIDE, WIDTH), seed)


def parameters(name, seed=0):
    shapes = operation(name).shapes()
    return {leaf: normal(shape, [seed, i]) + (leaf == "scale") for i, (leaf, shape) in enumerate(shapes.items())}


def to_layout(x, layout):
    return from_nhwc(x, layout) if x.ndim == 4 else x


def assert_trees_close(actual, expected, tolerance=2e-5):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * max(1.0, np.abs(other).max()))


# --- what automatic differentiation says -----------------------------------------------------------------------------


def by_lax(x, kernel, stride, layout):
    """Stand in for `conv.conv2d`, whose derivative is written by hand."""
    assert layout is NHWC
    pad = [((len(kernel) - 1) // 2,) * 2] * 2
    return jax.lax.conv_general_dilated(x, kernel, (stride,) * 2, pad, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def with_lax():
    """While functions are traced in this context, their convolutions are `lax`'s."""
    return mock.patch.object(convolutions, "conv2d", by_lax)


def frozen_forward(name, params, x):
    """The op's output with batch moments that are constants for automatic differentiation."""
    op = operation(name)
    if isinstance(op, Head) and op.norm_first:
        return head(params, x, jax.lax.stop_gradient(moments(x, NHWC)))
    if not isinstance(op, ConvNorm):
        return op.forward(params, x)[0]
    return op.forward(params, x, jax.lax.stop_gradient(op.forward(params, x)[1].moments))[0]


def head(params, x, by):
    gain = params["scale"] / jnp.sqrt(by.variance + EPSILON)
    active = jnp.maximum((x - by.mean[None, None, None]) * gain[None, None, None] + params["bias"][None, None, None], 0)
    return active.mean((1, 2)) @ params["kernel"] + params["offset"][None]


def explicit_gram(forward, params, g):
    """The Gram matrix of the weight gradients of every sample's part of `forward(params)` weighted by `g`."""
    pull = jax.vjp(forward, params)[1]

    def row(sample):
        only = jax.nn.one_hot(sample, BATCH).reshape(-1, *[1] * (g.ndim - 1))
        gradients = jax.tree_util.tree_leaves_with_path(pull(g * only)[0])
        weights = [leaf.ravel() for path, leaf in gradients if path[-1].key in ("kernel", "scale")]
        return jnp.concatenate([jnp.zeros(1), *weights])

    rows = jax.vmap(row)(jnp.arange(BATCH))
    return rows @ rows.T


@functools.cache
def expected(name, bn):
    """An output, a cotangent of it, and what it becomes at the input and the parameters; and the Gram matrix."""

    @jax.jit
    def derive(params, x):
        batch = operation(name).forward(params, x)[0]
        g = normal(batch.shape, 1)
        forward = functools.partial(frozen_forward, name)
        y, pull = jax.vjp(lambda p, x: operation(name).forward(p, x)[0] if bn == "batch" else forward(p, x), params, x)
        dparams, dx = pull(g)
        kernel = explicit_gram(lambda p: forward(p, x), params, g) if bn == "frozen" else None
        return y, g, dx, dparams, kernel

    with with_lax():
        return derive(parameters(name), images())


@on_both_layouts
@pytest.mark.parametrize("name", NAMES)
def test_backward_is_the_derivative_of_forward(name, layout):
    op, params = operation(name, layout), parameters(name)
    y, g, dx, dparams, _ = expected(name, "batch")

    @jax.jit
    def own(x, g):
        y, saved = op.forward(params, x)
        return y, *op.backward(params, x, saved, g)

    actual = own(from_nhwc(images(), layout), to_layout(g, layout))
    assert_trees_close(actual, (to_layout(y, layout), from_nhwc(dx, layout), dparams))


@on_both_layouts
@pytest.mark.parametrize("name", NAMES)
def test_frozen_gram_is_that_of_the_gradients_of_every_sample(name, layout):
    op, params = operation(name, layout, "frozen"), parameters(name)
    _, g, dx, _, kernel = expected(name, "frozen")

    @jax.jit
    def own(x, g):
        return op.backward_gram(params, x, op.forward(params, x)[1], g)

    actual = own(from_nhwc(images(), layout), to_layout(g, layout))
    assert_trees_close(actual, (from_nhwc(dx, layout), kernel))


@on_both_layouts
def test_moments_are_those_of_the_batch(layout):
    mean, variance = moments(from_nhwc(images(), layout), layout)
    np.testing.assert_allclose(mean, np.mean(images(), (0, 1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, np.var(images(), (0, 1, 2)), rtol=1e-5)


def test_given_moments_replace_those_of_the_batch():
    op, params = operation("strided"), parameters("strided")
    linear = op.forward(params, images())[1].linear
    y, saved = op.forward(params, images(), Moments(jnp.full(2 * WIDTH, 0.5), jnp.full(2 * WIDTH, 4.0)))
    np.testing.assert_allclose(y, (linear - 0.5) / np.sqrt(4.0 + EPSILON), rtol=1e-5, atol=1e-6)
    assert (saved.moments.mean == 0.5).all()


# --- run -------------------------------------------------------------------------------------------------------------


def choice(layout, bn="batch"):
    """The ops of an edge and their parameters."""
    return tuple(operation(name, layout, bn) for name in CHOICES), tuple(parameters(name) for name in CHOICES)


def scan(f, ks):
    return jax.lax.scan(lambda carry, k: (carry, f(k)), 0, ks)[1]


def vmap(f, ks):
    return jax.vmap(f)(ks)


@pytest.mark.parametrize("many", [jax.lax.map, scan, vmap], ids=["map", "scan", "vmap"])
def test_run_and_its_gradient_are_those_of_the_op_chosen(many):
    ops, params = choice(CHWN)
    x, g = from_nhwc(images(), CHWN), from_nhwc(expected("conv3x3", "batch")[1], CHWN)

    def one(k):
        (y, seen), pull = jax.vjp(lambda p, x: apply_op(ops, k, p, x), params, x)
        return to_nhwc(y, CHWN), *pull((g, jax.tree.map(jnp.zeros_like, seen)))

    ys, dparams, dx = jax.jit(lambda ks: many(one, ks))(jnp.arange(len(CHOICES)))
    for k, name in enumerate(CHOICES):
        y, _, into_x, into_params, _ = expected(name, "batch")
        wanted = tuple(into_params if i == k else jax.tree.map(jnp.zeros_like, p) for i, p in enumerate(params))
        assert_trees_close(jax.tree.map(lambda leaf, k=k: leaf[k], dparams), wanted)
        assert_trees_close((ys[k], to_nhwc(dx[k], CHWN)), (y, into_x))


def test_run_returns_the_moments_of_the_op_chosen():
    (op,), params = (operation("conv3x3"),), parameters("conv3x3")
    seen = apply_op((op,), 0, (params,), images())[1]
    assert_trees_close(seen, moments(op.forward(params, images())[1].linear, NHWC))


def test_the_cotangents_of_a_shared_probe_add_up_to_the_ntk():
    """Two edges in a row, the first one's op chosen by data; mapped and vectorised."""
    first, params = choice(CHWN, "frozen")
    params = params, (parameters("conv3x3", 9),)
    x, g = images(), normal((BATCH, SIDE, SIDE, WIDTH), 1)

    def output(params, probe, k):
        y, _ = apply_op(first, k, params[0], from_nhwc(x, CHWN), probe)
        y, _ = apply_op((operation("conv3x3", CHWN, "frozen"),), 0, params[1], y, probe)
        return (to_nhwc(y, CHWN) * g).sum()

    def own(k):
        return jax.grad(output, (0, 1))(params, jnp.zeros((BATCH, BATCH)), k)

    def plain(params, k):
        return frozen_forward("conv3x3", params[1][0], frozen_forward(CHOICES[k], params[0][k], x))

    ks = jnp.arange(len(CHOICES))
    (into_params, mapped), (_, vectorised) = jax.jit(lambda ks: (jax.lax.map(own, ks), vmap(own, ks)))(ks)
    wanted = jax.jit(lambda: jnp.stack([explicit_gram(lambda p, k=k: plain(p, k), params, g) for k in range(len(ks))]))
    with with_lax():
        assert_trees_close(mapped, wanted())
    assert_trees_close(vectorised, mapped)
    assert not any(leaf.any() for leaf in jax.tree.leaves(into_params))
