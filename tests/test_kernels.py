"""Convolutions against `lax.conv` and its derivatives, pooling, Gram matrices, spectra and bit patterns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas.kernels import conv
from jaxnas.kernels.gram import gram
from jaxnas.kernels.layout import CHWN, NHWC, THIN, from_nhwc, layout_for, to_nhwc
from jaxnas.kernels.patterns import count_distinct, pack_bits
from jaxnas.kernels.spectrum import condition_number, eigenvalues, eigenvalues_on_host

BATCH, SIDE = 3, 6
CASES = [  # layout, channels in and out: on CHWN on either side of every threshold
    pytest.param(CHWN, (1, 2), id="CHWN"),
    pytest.param(CHWN, (conv.FEW + 1, 3), id="CHWN-above-FEW"),
    pytest.param(CHWN, (conv.FUSED + 1, 2), id="CHWN-above-FUSED"),
    pytest.param(NHWC, (3, 2), id="NHWC"),
]
on_both_layouts = pytest.mark.parametrize("layout", [pytest.param(layout, id=layout.name) for layout in (CHWN, NHWC)])


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32))


def assert_close(actual, expected, tolerance=2e-5):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


@functools.partial(jax.jit, static_argnames="stride")
def by_lax(x, kernel, g, stride):
    """Return the convolution, its two adjoints, and the kernel's gradient of every sample, on NHWC."""

    def convolve(x, kernel):
        pad = [((len(kernel) - 1) // 2,) * 2] * 2
        return jax.lax.conv_general_dilated(x, kernel, (stride,) * 2, pad, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def of_one(x, g):
        return jax.grad(lambda w: (convolve(x[None], w) * g[None]).sum())(kernel)

    y, pull = jax.vjp(convolve, x, kernel)
    return y, *pull(g), jax.vmap(of_one)(x, g)


@pytest.mark.parametrize(("layout", "widths"), CASES)
@pytest.mark.parametrize(("size", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_convolution_and_its_adjoints(layout, widths, size, stride):
    x, kernel = normal(BATCH, SIDE, SIDE, widths[0]), normal(size, size, *widths)
    g = normal(BATCH, SIDE // stride, SIDE // stride, widths[1])
    y, dx, dkernel, samples = by_lax(x, kernel, g, stride)
    own_x, own_g = from_nhwc(x, layout), from_nhwc(g, layout)
    assert_close(to_nhwc(conv.conv2d(own_x, kernel, stride, layout), layout), y)
    assert_close(to_nhwc(conv.conv2d_input_grad(own_g, kernel, stride, own_x.shape, layout), layout), dx)
    assert_close(conv.conv2d_kernel_grad(own_x, own_g, size, stride, layout), dkernel)
    assert_close(conv.conv2d_sample_kernel_grads(own_x, own_g, size, stride, layout), samples)


@on_both_layouts
def test_pooling_equals_flax(layout):
    x = normal(BATCH, SIDE, SIDE, 2)
    own = from_nhwc(x, layout)
    mean = conv.sum_pool3x3(own, layout) / conv.window_sizes(own, layout)
    same = nnx.avg_pool(x, (3, 3), strides=(1, 1), padding="SAME", count_include_pad=False)
    assert_close(to_nhwc(mean, layout), same)
    assert_close(to_nhwc(conv.mean_pool2x2(own, layout), layout), nnx.avg_pool(x, (2, 2), strides=(2, 2)))


@on_both_layouts
def test_sum_pool_is_its_own_adjoint(layout):
    x, g = (from_nhwc(normal(BATCH, SIDE, SIDE, 2, seed=seed), layout) for seed in (0, 1))
    _, pull = jax.vjp(lambda x: conv.sum_pool3x3(x, layout), x)
    assert_close(conv.sum_pool3x3(g, layout), pull(g)[0])


def test_layouts_are_transposes_of_each_other():
    x = normal(2, 3, 4, 5)
    assert from_nhwc(x, CHWN).shape == (5, 3, 4, 2)
    for layout in (CHWN, NHWC):
        np.testing.assert_array_equal(to_nhwc(from_nhwc(x, layout), layout), x)
        assert from_nhwc(x, layout).shape[layout.channel] == 5
    assert layout_for(THIN - 1) is CHWN
    assert layout_for(THIN) is NHWC


def test_gram_flattens_all_but_the_batch():
    jacobian = normal(4, 2, 3, 5)
    rows = np.asarray(jacobian, np.float64).reshape(4, -1)
    assert_close(gram(jacobian), rows @ rows.T, 1e-6)


# --- spectra ---------------------------------------------------------------------------------------------------------


def spread_gram(smallest, size=12):
    """Return a float64 Gram matrix whose eigenvalues run from `smallest` to 1."""
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((size, size)))[0]
    return (basis * np.geomspace(smallest, 1, size)) @ basis.T


def test_eigenvalues_are_computed_in_float64():
    wanted = spread_gram(1e-10)
    np.testing.assert_allclose(eigenvalues_on_host(wanted), np.geomspace(1e-10, 1, 12), rtol=1e-4)
    single = np.float32(spread_gram(1e-6))
    np.testing.assert_array_equal(eigenvalues_on_host(single), np.linalg.eigvalsh(single.astype(np.float64)))


def test_eigenvalues_inside_jit_and_vmap_are_the_same():
    grams = np.stack([spread_gram(10.0**-k) for k in range(1, 6)]).astype(np.float32).reshape(5, 1, 12, 12)
    expected = eigenvalues_on_host(grams).astype(np.float32)
    for transform in (jax.jit, jax.vmap, lambda f: jax.jit(jax.vmap(jax.vmap(f)))):
        actual = transform(eigenvalues)(jnp.asarray(grams))
        assert actual.dtype == np.float32
        np.testing.assert_array_equal(actual, expected)
    mapped = jax.jit(lambda g: jax.lax.map(eigenvalues, g))(jnp.asarray(grams))
    np.testing.assert_array_equal(mapped, expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_eigenvalues_of_a_matrix_that_is_not_finite(bad):
    grams = np.stack([np.eye(3), np.eye(3), 2 * np.eye(3)])
    grams[1, 0, 2] = bad
    np.testing.assert_array_equal(eigenvalues_on_host(grams), [[1] * 3, [np.nan] * 3, [2] * 3])


@pytest.mark.parametrize("xp", [np, jnp])
def test_condition_number_is_trusted_above_rounding(xp):
    rounding = 1e-6
    spectrum = xp.array([[0.5, 1.0, 4.0], [1e-7, 1.0, 4.0], [-1e-7, 1.0, 4.0], [0.0, 0.0, 0.0], [np.nan] * 3])
    kappa, trusted = condition_number(spectrum, rounding)
    np.testing.assert_array_equal(trusted, [True, False, False, False, False])
    assert kappa[0] == 8
    limit = 3 * rounding * 4.0
    for smallest, expected in ((0.99 * limit, False), (1.01 * limit, True)):
        assert condition_number(xp.array([smallest, 1.0, 4.0]), rounding)[1] == expected


# --- patterns --------------------------------------------------------------------------------------------------------


def repeated_rows(rows, units, seed):
    """Return booleans `[rows, units]` in which rows recur."""
    rng = np.random.default_rng(seed)
    few = rng.random((rows // 3 + 1, units)) < 0.5
    return few[rng.integers(0, len(few), rows)]


@pytest.mark.parametrize("units", [1, 31, 32, 33, 117])
def test_packed_bits_unpack(units):
    bits = repeated_rows(7, units, 0)
    words = np.asarray(pack_bits(jnp.asarray(bits)))
    assert words.dtype == np.uint32
    assert words.shape == (7, -(-units // 32))
    unpacked = np.unpackbits(words.astype("<u4").view(np.uint8), axis=1, bitorder="little")
    np.testing.assert_array_equal(unpacked[:, :units], bits)
    assert not unpacked[:, units:].any()


@pytest.mark.parametrize(("rows", "units"), [(1, 5), (50, 3), (50, 64), (200, 117)])
def test_distinct_rows_are_counted_exactly_also_under_vmap(rows, units):
    batch = np.stack([repeated_rows(rows, units, seed) for seed in range(3)])
    expected = [len(np.unique(bits, axis=0)) for bits in batch]
    counts = jax.jit(jax.vmap(count_distinct))(jnp.asarray(batch))
    assert counts.dtype == np.int32
    np.testing.assert_array_equal(counts, expected)
    assert count_distinct(jnp.asarray(batch[0])) == expected[0]


def test_rows_that_differ_in_one_bit_of_any_word_are_distinct():
    bits = jnp.concatenate([jnp.zeros((1, 70), bool), jnp.eye(70, dtype=bool), jnp.ones((1, 70), bool)])
    assert count_distinct(bits) == 72
    assert count_distinct(jnp.zeros((9, 70), bool)) == 1
