"""Sums over shifted images (depthwise and oblong convolutions, pooling) against `lax`, and modules against Flax's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas.kernels.conv import conv2d
from jaxnas.kernels.depthwise import BLOCK, depthwise
from jaxnas.kernels.layout import NHWC
from jaxnas.kernels.pool import avg_pool, max_pool
from jaxnas.spaces.own import Conv2d, Depthwise

CHANNELS, FEATURES = 3, 4
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
    shared, each = ((0, 0, *[axis] * len(weights)) for axis in (None, 0))

    @jax.jit
    def of_all(one, two, apart):
        """By both functions, in one program."""
        by = map(derivatives, (own, theirs))
        return [(of(*one), jax.vmap(of, shared)(*two), jax.vmap(of, each)(*apart) if weights else ()) for of in by]

    found, expected = of_all((g, batches[0], *weights), (gs, batches, *weights), (gs, batches, *several))
    jax.tree.map(assert_close, found, expected)


def by_lax(x, kernel, strides, dilation=1):
    size = kernel.shape[:2]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        strides,
        [(dilation * (k // 2),) * 2 for k in size],
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] // kernel.shape[2],
    )


@pytest.mark.parametrize(("image", "size", "strides", "dilation"), DEPTHWISE)
def test_depthwise_convolution(image, size, strides, dilation):
    assert_same_derivatives(
        lambda x, kernel: depthwise(x, kernel, strides, dilation),
        lambda x, kernel: by_lax(x, kernel, strides, dilation),
        normal(2, 2, *image, CHANNELS),
        (normal(*size, 1, CHANNELS),),
    )


@pytest.mark.parametrize(("size", "strides"), [((1, 3), (1, 2)), ((3, 1), (2, 1)), ((5, 3), (1, 1)), ((1, 1), (2, 2))])
def test_convolution_whose_kernel_and_strides_differ_down_and_across(size, strides):
    assert_same_derivatives(
        lambda x, kernel: conv2d(x, kernel, strides, NHWC),
        lambda x, kernel: by_lax(x, kernel, strides),
        normal(2, 2, 6, 7, CHANNELS),
        (normal(*size, CHANNELS, FEATURES),),
    )


def test_depthwise_gradient_of_short_floats_is_summed_in_long_ones():
    x = normal(16, 32, 32, CHANNELS).astype(jnp.bfloat16)
    kernel = jnp.ones((3, 3, 1, CHANNELS), jnp.bfloat16)
    y, pull = jax.vjp(lambda x, kernel: depthwise(x, kernel, (1, 1)), x, kernel)
    _, expected = jax.vjp(lambda x, kernel: by_lax(x, kernel, (1, 1)), *(a.astype(jnp.float32) for a in (x, kernel)))
    for own, wanted in zip(pull(y), expected(y.astype(jnp.float32)), strict=True):
        assert own.dtype == jnp.bfloat16
        np.testing.assert_allclose(own.astype(np.float32), wanted, rtol=0.03, atol=0.02 * np.abs(wanted).max())


@pytest.mark.parametrize("size", [(2, 2), (3, 4)])
def test_even_kernels_are_refused(size):
    x = normal(1, 6, 6, CHANNELS)
    for refused in (
        lambda: depthwise(x, normal(*size, 1, CHANNELS), (1, 1)),
        lambda: conv2d(x, normal(*size, CHANNELS, FEATURES), 1, NHWC),
        lambda: max_pool(x, size[1], 1),
        lambda: avg_pool(x, size[1], 1),
    ):
        with pytest.raises(ValueError, match="must be odd"):
            refused()


@pytest.mark.parametrize("kind", ["float32", "uint8"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 1)])
def test_modules_are_those_of_flax(strides, kind):
    """From the same kernels; images may be bytes."""
    images = (100 * normal(2, 6, 7, CHANNELS)).astype(kind)
    for own, groups, features in (
        (Conv2d(CHANNELS, FEATURES, (3, 5), strides=strides, rngs=nnx.Rngs(0)), 1, FEATURES),
        (Depthwise(CHANNELS, (3, 5), strides=strides, rngs=nnx.Rngs(0)), CHANNELS, CHANNELS),
    ):
        theirs = nnx.Conv(
            *(CHANNELS, features, (3, 5)),
            strides=strides,
            padding=((1, 1), (2, 2)),
            feature_group_count=groups,
            use_bias=False,
            rngs=nnx.Rngs(1),
        )
        theirs.kernel = own.kernel
        assert_close(own(images), theirs(images))


@pytest.mark.parametrize("image", [(6, 6), (7, 5)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize(("own", "theirs"), [(max_pool, nnx.max_pool), (avg_pool, nnx.avg_pool)])
def test_pooling(own, theirs, size, image, stride):
    """Also of rounded images, where windows have several maxima."""
    x = normal(2, 4, *image, CHANNELS)
    options = {} if own is max_pool else {"count_include_pad": False}
    assert_same_derivatives(
        lambda x: own(x, size, stride),
        lambda x: theirs(x, (size, size), (stride, stride), ((size // 2, size // 2),) * 2, **options),
        jnp.concatenate([x[:, :2], jnp.round(x[:, 2:])], 1),
    )
