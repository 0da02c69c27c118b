"""Convolutions against `lax.conv` and its derivatives, pooling, Gram matrices, spectra and bit patterns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas.kernels import conv, pool
from jaxnas.kernels.gram import gram
from jaxnas.kernels.layout import CHWN, NHWC, THIN, from_nhwc, layout_for, to_nhwc
from jaxnas.kernels.patterns import count_distinct, count_distinct_on_host, pack_bits
from jaxnas.kernels.spectrum import condition_number, eigenvalues, eigenvalues_on_host

BATCH, SIDE = 3, 6
CASES = [  # layout, channels in and out: on CHWN on either side of every threshold
    pytest.param(CHWN, (1, 2), id="CHWN"),
    pytest.param(CHWN, (3, 3), id="CHWN-square"),
    pytest.param(CHWN, (conv.FUSED + 1, 2), id="CHWN-above-FUSED"),
    pytest.param(CHWN, (2, conv.FUSED + 1), id="CHWN-adjoint-above-FUSED"),
    pytest.param(NHWC, (3, 2), id="NHWC"),
    pytest.param(NHWC, (3, conv.WIDE), id="NHWC-WIDE"),
]
on_all_cases = pytest.mark.parametrize(("layout", "widths"), CASES)
on_all_kernels = pytest.mark.parametrize(("size", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2)])
on_both_layouts = pytest.mark.parametrize("layout", [pytest.param(layout, id=layout.name) for layout in (CHWN, NHWC)])


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32))


def assert_close(actual, expected, tolerance=2e-5):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


@functools.partial(jax.jit, static_argnames=("stride", "groups"))
def by_lax(x, kernel, g, stride, groups=1):
    """The convolution, its two adjoints, and the Gram matrix of the kernel's per-sample gradients, on NHWC."""

    def convolve(x, kernel):
        pad = [((len(kernel) - 1) // 2,) * 2] * 2
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (stride,) * 2, pad, dimension_numbers=numbers, feature_group_count=groups
        )

    def of_one(x, g):
        return jax.grad(lambda w: (convolve(x[None], w) * g[None]).sum())(kernel)

    y, pull = jax.vjp(convolve, x, kernel)
    samples = jax.vmap(of_one)(x, g).reshape(len(x), -1)
    return y, *pull(g), samples @ samples.T


@on_all_cases
@on_all_kernels
def test_convolution_and_its_adjoints(layout, widths, size, stride):
    x, kernel = normal(BATCH, SIDE, SIDE, widths[0]), normal(size, size, *widths)
    g = normal(BATCH, SIDE // stride, SIDE // stride, widths[1])
    y, dx, dkernel, samples_gram = by_lax(x, kernel, g, stride)
    own_x, own_g = from_nhwc(x, layout), from_nhwc(g, layout)
    assert_close(to_nhwc(conv.conv2d(own_x, kernel, stride, layout), layout), y)
    assert_close(to_nhwc(conv.conv2d_input_grad(own_g, kernel, stride, own_x.shape, layout), layout), dx)
    assert_close(conv.conv2d_kernel_grad(own_x, own_g, size, stride, layout), dkernel)
    assert_close(conv.conv2d_kernel_gram(own_x, own_g, size, stride, layout), samples_gram)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("inputs", "outputs", "groups"),
    [(2 * conv.DENSE, 4, 2), (conv.DENSE, 8, 4), (3 * conv.DENSE, 12, 6), (4, 4, 4), (6, 9, 3)],
    ids=["wide", "joined-all", "joined-by-twos", "depthwise", "few"],
)
def test_convolution_in_groups(inputs, outputs, groups, stride):
    x, kernel = normal(BATCH, SIDE, SIDE, inputs), normal(3, 3, inputs // groups, outputs)
    g = normal(BATCH, SIDE // stride, SIDE // stride, outputs)
    y, pull = jax.vjp(lambda x, kernel: conv.grouped_conv2d(x, kernel, groups, stride), x, kernel)
    for actual, expected in zip((y, *pull(g)), by_lax(x, kernel, g, stride, groups), strict=False):
        assert_close(actual, expected)


@on_all_cases
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("mapped", [(0, 0), (None, 0), (0, None)], ids=["both", "kernels", "images"])
def test_convolutions_at_once_are_those_one_by_one(layout, widths, stride, mapped):
    """As architectures at once have them: each its own image, kernel or both; also by automatic differentiation."""
    count = 2
    xs = normal(count, BATCH, SIDE, SIDE, widths[0]) if mapped[0] == 0 else normal(BATCH, SIDE, SIDE, widths[0])
    kernels = normal(count, 3, 3, *widths) if mapped[1] == 0 else normal(3, 3, *widths)
    gs = normal(count, BATCH, SIDE // stride, SIDE // stride, widths[1])

    def one(x, kernel, g):
        own_x, own_g = from_nhwc(x, layout), from_nhwc(g, layout)
        y, pull = jax.vjp(lambda x, kernel: conv.conv2d(x, kernel, stride, layout), own_x, kernel)
        dx = conv.conv2d_input_grad(own_g, kernel, stride, own_x.shape, layout)
        dkernel = conv.conv2d_kernel_grad(own_x, own_g, 3, stride, layout)
        derived_dx, derived_dkernel = pull(own_g)
        return to_nhwc(y, layout), (to_nhwc(dx, layout), dkernel), (to_nhwc(derived_dx, layout), derived_dkernel)

    several = jax.jit(jax.vmap(one, (*mapped, 0)))(xs, kernels, gs)
    for i in range(count):
        x, kernel = xs[i] if mapped[0] == 0 else xs, kernels[i] if mapped[1] == 0 else kernels
        y, dx, dkernel, _ = by_lax(x, kernel, gs[i], stride)
        own_y, written, derived = jax.tree.map(lambda leaf, i=i: leaf[i], several)
        assert_close(own_y, y)
        for own_dx, own_dkernel in (written, derived):
            assert_close(own_dx, dx)
            assert_close(own_dkernel, dkernel)


@functools.partial(jax.jit, static_argnames=("stride", "coupled"))
def normalised_by_lax(x, kernel, scale, bias, gs, stride, coupled):
    """Return normalise(convolution) and 1 / deviation, and by `jax.vjp` what each cotangent becomes, on NHWC."""

    def hat(linear):
        seen = linear if coupled else jax.lax.stop_gradient(linear)
        mean, variance = seen.mean((0, 1, 2), keepdims=True), seen.var((0, 1, 2), keepdims=True)
        return (linear - mean) / jnp.sqrt(variance + 1e-5), 1 / jnp.sqrt(variance + 1e-5)

    def forward(change, kernel, scale, bias):
        pad = [((len(kernel) - 1) // 2,) * 2] * 2
        linear = change + jax.lax.conv_general_dilated(
            x, kernel, (stride,) * 2, pad, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return hat(linear)[0] * scale[None, None, None] + bias[None, None, None], hat(linear)

    _, pull, (normalised, inverse) = jax.vjp(forward, jnp.zeros(gs.shape[1:]), kernel, scale, bias, has_aux=True)
    return normalised, inverse.ravel(), jax.vmap(pull)(gs)


@on_all_kernels
@pytest.mark.parametrize("coupled", [True, False])
@on_both_layouts
def test_gradients_through_normalisation_and_convolution(layout, size, stride, coupled):
    """Also of several cotangents at once, as the rows of an exact NTK are."""
    widths = (3, 2)
    x, kernel = normal(BATCH, SIDE, SIDE, widths[0]), normal(size, size, *widths)
    scale, bias = 1 + normal(widths[1], seed=1), normal(widths[1], seed=2)
    gs = normal(2, BATCH, SIDE // stride, SIDE // stride, widths[1])
    hat, inverse, expected = normalised_by_lax(x, kernel, scale, bias, gs, stride, coupled)

    def own(g):
        own_x, own_hat = from_nhwc(x, layout), from_nhwc(hat, layout)
        pulled = conv.conv2d_norm_grads(own_x, own_hat, scale * inverse, g, size, stride, coupled, layout)
        return to_nhwc(pulled.linear, layout), pulled.kernel, pulled.scale, pulled.bias

    own_gs = jnp.stack([from_nhwc(g, layout) for g in gs])
    single, several = jax.jit(lambda gs: (own(gs[0]), jax.vmap(own)(gs)))(own_gs)
    for one, many, wanted in zip(single, several, expected, strict=True):
        assert_close(one, wanted[0])
        assert_close(many, wanted)


@on_both_layouts
def test_pooling_equals_flax(layout):
    x = normal(BATCH, SIDE, SIDE, 2)
    own = from_nhwc(x, layout)
    mean = pool.sum_pool3x3(own, layout) / pool.window_sizes(own, layout)
    same = nnx.avg_pool(x, (3, 3), strides=(1, 1), padding="SAME", count_include_pad=False)
    assert_close(to_nhwc(mean, layout), same)
    assert_close(to_nhwc(pool.mean_pool2x2(own, layout), layout), nnx.avg_pool(x, (2, 2), strides=(2, 2)))


@on_both_layouts
def test_sum_pool_is_its_own_adjoint(layout):
    x, g = (from_nhwc(normal(BATCH, SIDE, SIDE, 2, seed=seed), layout) for seed in (0, 1))
    _, pull = jax.vjp(lambda x: pool.sum_pool3x3(x, layout), x)
    assert_close(pool.sum_pool3x3(g, layout), pull(g)[0])


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
    assert_close(gram(jnp.moveaxis(jacobian, 0, -1), -1), rows @ rows.T, 1e-6)
    assert gram(jacobian, -1).shape == (5, 5)


# --- spectra ---------------------------------------------------------------------------------------------------------


def spread_gram(smallest, size=12):
    """A float64 Gram matrix whose eigenvalues run from `smallest` to 1."""
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


def count_of_one_on_host(words):
    return count_distinct_on_host(np.asarray(words))


COUNTERS = [pytest.param(count_distinct, id="device"), pytest.param(count_of_one_on_host, id="host")]
WORDS = [1, 2, 3, 5]


def recurring(units, n, seed):
    """Return booleans `[units, n]` in which columns recur."""
    rng = np.random.default_rng(seed)
    few = rng.random((units, n // 3 + 1)) < 0.5
    return few[:, rng.integers(0, few.shape[1], n)]


def random_words(words, n, seed=0):
    """Return `[words, n]` uint32 from few values, all of them extreme or close to another."""
    values = np.array([0, 1, 2**31 - 1, 2**31, 2**32 - 1], np.uint32)
    return np.random.default_rng([seed, words]).choice(values, (words, n))


@pytest.mark.parametrize("units", [1, 31, 32, 33, 117])
def test_packed_bits_unpack(units):
    bits = recurring(units, 7, 0)
    words = np.asarray(pack_bits(jnp.asarray(bits)))
    assert words.dtype == np.uint32
    assert words.shape == (-(-units // 32), 7)
    unpacked = np.unpackbits(words.T.astype("<u4", order="C").view(np.uint8), axis=1, bitorder="little")
    np.testing.assert_array_equal(unpacked[:, :units], bits.T)
    assert not unpacked[:, units:].any()


@pytest.mark.parametrize("sizes", [(5, 3), (9, 9, 9, 9), (20, 80), (31, 1, 64, 3), (1, 63, 40), (40, 40)])
def test_pieces_are_packed_as_one(sizes):
    bits = jnp.asarray(recurring(sum(sizes), 7, 2))
    pieces = jnp.split(bits, np.cumsum(sizes)[:-1])
    np.testing.assert_array_equal(pack_bits(*pieces), pack_bits(bits))


@pytest.mark.parametrize("counter", COUNTERS)
@pytest.mark.parametrize("words", WORDS)
def test_distinct_columns_are_counted_exactly(counter, words):
    for n in (1, 2, 50, 400):
        drawn = random_words(words, n)
        assert counter(jnp.asarray(drawn)) == np.unique(drawn, axis=1).shape[1]


@pytest.mark.parametrize("counter", COUNTERS)
@pytest.mark.parametrize(("units", "n"), [(5, 1), (3, 50), (64, 50), (117, 200)])
def test_patterns_are_counted_exactly(counter, units, n):
    bits = recurring(units, n, 1)
    assert counter(pack_bits(jnp.asarray(bits))) == np.unique(bits, axis=1).shape[1]


@pytest.mark.parametrize("counter", COUNTERS)
@pytest.mark.parametrize("words", WORDS)
def test_columns_that_differ_in_one_bit_of_any_word_are_distinct(counter, words):
    units = 32 * words
    nothing, everything = jnp.zeros((units, 1), bool), jnp.ones((units, 1), bool)
    bits = jnp.concatenate([nothing, jnp.eye(units, dtype=bool), everything, nothing], 1)
    assert counter(pack_bits(bits)) == units + 2
    assert counter(pack_bits(~bits)) == units + 2
    assert counter(jnp.zeros((words, 9), jnp.uint32)) == 1


@pytest.mark.parametrize("words", WORDS)
def test_several_counts_at_once_do_not_mix(words):
    columns = np.arange(40) % np.array([1, 3, 8, 15, 30, 40])[:, None]  # so many different ones at most
    batch = np.stack([random_words(words, 40, seed)[:, some] for seed, some in enumerate(columns)])
    batch = batch.reshape(3, 2, words, 40)
    expected = [[np.unique(one, axis=1).shape[1] for one in row] for row in batch]
    assert len(set(np.ravel(expected))) > 2
    counts = jax.jit(jax.vmap(jax.vmap(count_distinct)))(jnp.asarray(batch))
    assert counts.dtype == np.int32
    np.testing.assert_array_equal(counts, expected)
    host = count_distinct_on_host(batch)
    assert host.dtype == np.int64
    np.testing.assert_array_equal(host, expected)
