"""Depthwise convolutions and pooling against `lax`, with the gradients that automatic differentiation makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas.kernels.channelwise import BLOCK, avg_pool, depthwise, max_pool

CHANNELS = 3
DEPTHWISE = [  # image, kernel, strides, dilation
    ((6, 6), (3, 3), (1, 1), 1),
    ((6, 6), (3, 3), (2, 2), 1),
    ((7, 5), (3, 5), (2, 1), 1),  # an odd side, and differences down and across
    ((8, 8), (5, 5), (1, 1), 2),
    ((8, 8), (3, 3), (2, 2), 2),  # half of the input is never met
    ((3, 3), (7, 7), (1, 1), 1),  # a kernel larger than the image
    ((2, BLOCK + 5), (3, 3), (1, 1), 1),  # more than one block of the kernel's gradient, the second not full
    ((9, 8), (3, 3), (1, 1), 1),  # several rows in a block
]


def normal(*shape):
    return jnp.asarray(np.random.default_rng(shape).standard_normal(shape, np.float32))


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())


def assert_same_derivatives(own, theirs, batches, weights=()):
    """Of one batch, of two with the same weights, and of each with its own, as architectures at once have them."""

    def derivatives(function):
        def of(g, *operands):
            y, pull = jax.vjp(function, *operands)
            return y, pull(g)

        return of

    g = normal(*jax.eval_shape(theirs, batches[0], *weights).shape)
    gs, several = jnp.stack([g, -2 * g]), tuple(jnp.stack([own, 3 * own]) for own in weights)
    for axes, given in (
        (None, (g, batches[0], *weights)),
        ((0, 0, *[None] * len(weights)), (gs, batches, *weights)),
        ((0, 0, *[0] * len(weights)), (gs, batches, *several)),
    ):
        found, expected = (
            jax.jit(derivatives(f) if axes is None else jax.vmap(derivatives(f), axes))(*given) for f in (own, theirs)
        )
        jax.tree.map(assert_close, found, expected)


@pytest.mark.parametrize(("image", "size", "strides", "dilation"), DEPTHWISE)
def test_depthwise_convolution(image, size, strides, dilation):
    pads = [(dilation * (k // 2),) * 2 for k in size]

    def by_lax(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            strides,
            pads,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=CHANNELS,
        )

    assert_same_derivatives(
        lambda x, kernel: depthwise(x, kernel, strides, dilation),
        by_lax,
        normal(2, 2, *image, CHANNELS),
        (normal(*size, 1, CHANNELS),),
    )


@pytest.mark.parametrize("image", [(6, 6), (7, 5)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize(("own", "theirs"), [(max_pool, nnx.max_pool), (avg_pool, nnx.avg_pool)])
def test_pooling(own, theirs, image, stride, rounded):
    """Also of rounded images, where windows have several maxima."""
    x = normal(2, 2, *image, CHANNELS)
    options = {} if own is max_pool else {"count_include_pad": False}
    assert_same_derivatives(
        lambda x: own(x, 3, stride),
        lambda x: theirs(x, (3, 3), (stride, stride), ((1, 1), (1, 1)), **options),
        jnp.round(x) if rounded else x,
    )
