"""Convolution and its adjoints, in both layouts, with odd kernels and zero padding `(k - 1) / 2`.

Kernels are `[h, w, C_in, C_out]` (HWIO) in either layout. On `NHWC` a convolution is `lax.conv_general_dilated`, and
kernels and strides may differ down and across. On `CHWN` it is a sum of shifted multiply-adds, which XLA fuses into one
loop, up to a few channels, and from there a matrix product with the stacked shifts. The functions are jitted so that
one shape is traced once, however often a network uses it.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnas.kernels.gram import gram
from jaxnas.kernels.layout import CHWN, NHWC, Layout, Pair, pad_space, pair, shifted
from jaxnas.kernels.windows import margins, outputs, pulled, total, windows

FUSED = 8  # input channels up to which one fused loop of multiply-adds beats a matrix product on a CPU
DENSE = 16  # input channels up to which a CPU is faster with groups in one convolution, zeros between them
WIDE = 64  # output channels from which a kernel's gradient on `NHWC` is faster as a matrix product for each tap
_NHWC = ("NHWC", "HWIO", "NHWC")


@functools.partial(jax.jit, static_argnames=("stride", "layout"))
def conv2d(x: jax.Array, kernel: jax.Array, stride: Pair, layout: Layout) -> jax.Array:
    """Convolve `x` with `kernel`: y[p, o] = sum over offsets k and channels i of x[stride p + k, i] kernel[k, i, o]."""
    return _conv2d(stride, layout, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _conv2d(stride: Pair, layout: Layout, x: jax.Array, kernel: jax.Array) -> jax.Array:
    if layout is not CHWN:
        return _conv_nhwc(x, kernel, stride)
    assert isinstance(stride, int)
    return _conv_chwn(x, kernel, stride)


def _conv2d_forward(stride, layout, x, kernel):
    return _conv2d(stride, layout, x, kernel), (x, kernel)


def _conv2d_backward(stride, layout, saved, g):
    x, kernel = saved
    dkernel = conv2d_kernel_grad(x, g, kernel.shape[:2], stride, layout)
    return conv2d_input_grad(g, kernel, stride, x.shape, layout), dkernel


_conv2d.defvjp(_conv2d_forward, _conv2d_backward)


def lax_conv2d(x: jax.Array, kernel: jax.Array, strides: Pair, dilation: int = 1) -> jax.Array:
    """`conv2d` on `[B, H, W, C_in]` as one operation of `lax`, which has all derivatives.

    A kernel `[h, w, C_in / groups, C_out]` says the number of groups.
    """
    pads = [(margin, margin) for margin in margins(kernel.shape[:2], dilation)]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        pair(strides),
        pads,
        rhs_dilation=pair(dilation),
        dimension_numbers=_NHWC,
        feature_group_count=x.shape[3] // kernel.shape[2],
    )


@functools.partial(jax.jit, static_argnames=("groups", "stride"))
def grouped_conv2d(x: jax.Array, kernel: jax.Array, groups: int, stride: int) -> jax.Array:
    """Convolve `[B, H, W, C_in]` with `kernel` `[h, w, C_in / groups, C_out]`: a group of channels sees its own inputs.

    It is a `conv2d` for every group, or for several small ones: XLA's CPU compiler runs its own convolution in groups,
    and that one's gradients, 10 to 50 times slower (jax 0.10.2).
    """
    inputs = kernel.shape[2]
    joined = next(n for n in range(1, groups + 1) if groups % n == 0 and (n * inputs >= DENSE or n == groups))
    # [h, w, C_in / groups, groups / joined, joined, C_out / groups], then its blocks on a diagonal
    blocks = kernel.reshape(*kernel.shape[:3], groups // joined, joined, -1)
    blocks = blocks[:, :, None] * jnp.eye(joined, dtype=kernel.dtype)[None, None, :, None, None, :, None]
    blocks = blocks.reshape(*kernel.shape[:2], joined * inputs, groups // joined, -1)
    parts = zip(jnp.split(x, groups // joined, -1), jnp.moveaxis(blocks, 3, 0), strict=True)
    return jnp.concatenate([conv2d(part, block, stride, NHWC) for part, block in parts], -1)


@functools.partial(jax.jit, static_argnames=("stride", "shape", "layout"))
def conv2d_input_grad(
    g: jax.Array, kernel: jax.Array, stride: Pair, shape: tuple[int, ...], layout: Layout
) -> jax.Array:
    """Pull the cotangent `g` of `conv2d`'s output back to its input of `shape`."""
    adjoint = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    if layout is not CHWN:
        strides = pair(stride)
        return _conv_nhwc(g, adjoint, 1) if strides == (1, 1) else _scattered(g, kernel, strides, shape)
    assert isinstance(stride, int)
    if stride == 1:
        return _conv_chwn(g, adjoint, 1)

    def terms(i: int, j: int, window: jax.Array) -> list[jax.Array]:
        return [kernel[i, j, :, o][:, None, None, None] * window[o : o + 1] for o in range(len(g))]

    return pulled(terms, (g,), kernel.shape[:2], stride, shape, CHWN)


@functools.partial(jax.jit, static_argnames=("size", "stride", "layout"))
def conv2d_kernel_grad(x: jax.Array, g: jax.Array, size: Pair, stride: Pair, layout: Layout) -> jax.Array:
    """Pull the cotangent `g` back to the kernel `[*size, C_in, C_out]`, summed over the batch."""
    sizes = pair(size)
    if layout is CHWN:
        by_lines = pair(stride) == (1, 1) and sizes != (1, 1)
        return (_kernel_grad_by_lines if by_lines else _kernel_grad_by_taps)(x, g, sizes, stride)

    def by_taps(x: jax.Array, g: jax.Array) -> jax.Array:
        met = windows(x, sizes, stride, layout)
        taps = [jax.lax.dot_general(window, g, (((0, 1, 2), (0, 1, 2)), ((), ()))) for window in met]
        return jnp.stack(taps).reshape(*sizes, x.shape[layout.channel], g.shape[layout.channel])

    def by_conv(x: jax.Array, g: jax.Array) -> jax.Array:
        return _lax_conv(x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), 1, sizes).transpose(1, 2, 0, 3)

    wide = pair(stride) != (1, 1) or g.shape[layout.channel] >= WIDE
    return by_taps(x, g) if wide else _unless_mapped(by_conv, by_taps)(x, g)


class NormGrads(NamedTuple):
    """Cotangents of `gain * normalise(conv2d(x, kernel)) + bias`: of the convolution's output, and of the weights.

    `scale` is that of a factor inside `gain`, before it: the sum of g times the normalised values.
    """

    linear: jax.Array
    kernel: jax.Array
    scale: jax.Array
    bias: jax.Array


@functools.partial(jax.jit, static_argnames=("size", "stride", "coupled", "layout"))
def conv2d_norm_grads(
    x: jax.Array, hat: jax.Array, gain: jax.Array, g: jax.Array, size: int, stride: int, coupled: bool, layout: Layout
) -> NormGrads:
    """Pull the cotangent `g` back through a batch normalisation and the convolution before it.

    Args:
      x: the convolution's input.
      hat: the normalised output, before `gain` `[C_out]`.
      coupled: differentiate through the batch's moments, g_y = gain (g - mean g - hat mean(g hat)), or not, gain g.

    Of mapped cotangents, on `CHWN`, every sum over g, the kernel's gradient included, is a row of one matrix product
    with what does not depend on g (the shifted inputs X, ones, hat) and is shared: X g_y^T = gain (X g^T -
    mean(g) X 1 - mean(g hat) X hat^T).
    """

    def alone(x: jax.Array, hat: jax.Array, gain: jax.Array, g: jax.Array) -> NormGrads:
        scale, bias = (g * hat).sum(layout.all_but_channel), g.sum(layout.all_but_channel)
        linear = through_moments(g, hat, gain, bias, scale, coupled, layout)
        return NormGrads(linear, conv2d_kernel_grad(x, linear, size, stride, layout), scale, bias)

    def sharing(x: jax.Array, hat: jax.Array, gain: jax.Array, g: jax.Array) -> NormGrads:
        features, pixels = len(g), g[0].size
        rows = jnp.concatenate([*windows(x, (size, size), stride, layout), jnp.ones_like(g[:1]), hat])
        rows = rows.reshape(-1, pixels)
        taps = len(rows) - 1 - features
        own = _inner(g.reshape(features, pixels), rows)
        bias, scale = own[:, taps], jnp.diagonal(own[:, taps + 1 :])
        kernel = own[:, :taps]
        if coupled:
            shared = _inner(rows[taps:], rows[:taps])
            kernel = kernel - (bias[:, None] * shared[:1] + scale[:, None] * shared[1:]) / pixels
        kernel = (gain[:, None] * kernel).T.reshape(size, size, len(x), features)
        return NormGrads(through_moments(g, hat, gain, bias, scale, coupled, layout), kernel, scale, bias)

    own = [False, False, False, True]
    return _unless_mapped(alone, sharing, lambda axes: layout is CHWN and axes == own)(x, hat, gain, g)


def through_moments(
    g: jax.Array, hat: jax.Array, gain: jax.Array, bias: jax.Array, scale: jax.Array, coupled: bool, layout: Layout
) -> jax.Array:
    """Pull `g` back through gain * hat, given its sums `bias` and, times hat, `scale` over all but the channels."""
    if coupled:
        pixels = g.size // g.shape[layout.channel]
        g = g - layout.per_channel(bias / pixels) - hat * layout.per_channel(scale / pixels)
    return g * layout.per_channel(gain)


@functools.partial(jax.jit, static_argnames=("size", "stride", "layout"))
def conv2d_kernel_gram(x: jax.Array, g: jax.Array, size: int, stride: int, layout: Layout) -> jax.Array:
    """The Gram matrix `[B, B]` of the kernel's per-sample gradients, valid where samples are independent."""
    if layout is CHWN:
        return gram(_sample_kernel_grads(x, g, size, stride), -1)
    patches = jnp.concatenate(windows(x, (size, size), stride, layout), -1)
    return gram(jnp.einsum("bhwp,bhwo->bpo", patches, g))


def _kernel_grad_by_taps(x: jax.Array, g: jax.Array, size: tuple[int, int], stride: Pair) -> jax.Array:
    """`conv2d_kernel_grad` on `[C, H, W, B]`: one matrix product with all shifts of x."""
    patches = jnp.concatenate(windows(x, size, stride, CHWN))
    products = _inner(g.reshape(len(g), -1), patches.reshape(math.prod(size) * len(x), -1))
    return products.T.reshape(*size, len(x), len(g))


def _kernel_grad_by_lines(x: jax.Array, g: jax.Array, size: tuple[int, int], stride: Pair) -> jax.Array:
    """`conv2d_kernel_grad` on `[C, H, W, B]` at stride 1: one product of the shifts of x down and those of g across.

    It moves 2 k copies of an image, all shifts of x are k^2: half the time of a 3x3 kernel's (2-core x86, jax 0.10.2).
    """
    down = jnp.concatenate(windows(x, (size[0], 1), stride, CHWN))
    across = jnp.concatenate(windows(g, (1, size[1]), stride, CHWN)[::-1])
    products = _inner(down.reshape(size[0] * len(x), -1), across.reshape(size[1] * len(g), -1))
    return products.reshape(size[0], len(x), size[1], len(g)).swapaxes(1, 2)


def _inner(a: jax.Array, b: jax.Array) -> jax.Array:
    """A b^T of `[M, K]` and `[N, K]`; their rows are read as they lie, also under `vmap`."""
    return jax.lax.dot_general(a, b, (((1,), (1,)), ((), ())))


def _conv_nhwc(x: jax.Array, kernel: jax.Array, stride: Pair) -> jax.Array:
    """Convolve `[B, H, W, C]`.

    Both adjoints are written as this plain convolution too: inside a loop or a branch XLA's CPU compiler runs the
    transposed and dilated ones that automatic differentiation makes 10 to 80 times slower (jax 0.10.2).
    """

    def by_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
        patches = jnp.concatenate(windows(x, kernel.shape[:2], stride, NHWC), -1)
        return patches @ kernel.reshape(-1, kernel.shape[3])

    size = kernel.shape[:2]
    return _unless_mapped(lambda x, kernel: _lax_conv(x, kernel, stride, size), by_patches)(x, kernel)


def _lax_conv(x: jax.Array, kernel: jax.Array, stride: Pair, size: Sequence[int]) -> jax.Array:
    """Convolve with the padding of a kernel of `size`."""
    pads = [(margin, margin) for margin in margins(size)]
    return jax.lax.conv_general_dilated(x, kernel, pair(stride), pads, dimension_numbers=_NHWC)


def _unless_mapped(
    plain: Callable[..., Any], mapped: Callable[..., Any], applies: Callable[[list[bool]], bool] = lambda axes: axes[1]
) -> Callable[..., Any]:
    """Return `plain`, a function of arrays, which under a `vmap` that `applies` is `mapped`, vectorised.

    By default that is one over the second operand, weights, where `mapped` is of batched matrix products: of a
    convolution XLA would make a grouped one, whose gradients are slow (jax#13800).

    Args:
      plain: what is computed.
      mapped: the same, in the way that suits a `vmap`.
      applies: from which operands are mapped to whether that `vmap` is meant.
    """
    function = jax.custom_batching.custom_vmap(plain)

    @function.def_vmap
    def batched(size: int, axes: list[bool], *operands: jax.Array) -> tuple[Any, Any]:
        chosen = mapped if applies(axes) else plain
        out = jax.vmap(chosen, in_axes=tuple(0 if m else None for m in axes), axis_size=size)(*operands)
        return out, jax.tree.map(lambda _: True, out)

    return function


def _scattered(g: jax.Array, kernel: jax.Array, strides: tuple[int, int], shape: tuple[int, ...]) -> jax.Array:
    """`conv2d_input_grad` on `[B, H, W, C]` with a stride: the products of each tap are added where it read its input.

    No multiplication meets the zeros of a spread-out g.
    """
    high, wide, channels, features = kernel.shape
    (top, left), (batch, height, width, _) = margins((high, wide)), g.shape
    products = g.reshape(-1, features) @ kernel.transpose(3, 0, 1, 2).reshape(features, -1)
    products = products.reshape(batch, height, width, high, wide, channels)
    padded = jnp.zeros((shape[0], shape[1] + 2 * top, shape[2] + 2 * left, channels), g.dtype)
    for i in range(high):
        for j in range(wide):
            read = (slice(k, k + s * n, s) for k, s, n in zip((i, j), strides, (height, width), strict=True))
            padded = padded.at[:, *read].add(products[:, :, :, i, j])
    return padded[:, top : top + shape[1], left : left + shape[2]]


def _conv_chwn(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`conv2d` on `[C, H, W, B]`."""
    if kernel.shape[2] > FUSED:
        return _conv_by_rows(x, kernel, stride)
    _, _, channels, features = kernel.shape
    taps = zip(windows(x, kernel.shape[:2], stride, CHWN), kernel.reshape(-1, channels, features), strict=True)
    return sum(weights[c, :, None, None, None] * window[c : c + 1] for window, weights in taps for c in range(channels))


def _conv_by_rows(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`conv2d` on `[C, H, W, B]` by one matrix product: input rows stacked before it, its columns summed after it.

    It moves 2 k copies of the image; stacking all k^2 shifts before the product, or summing them after it, moves k^2.
    """
    size, _, channels, features = kernel.shape
    pad, _ = margins(kernel.shape[:2])
    padded = jnp.pad(x, ((0, 0), (pad, pad), (0, 0), (0, 0)))
    height, width = outputs(x.shape[1:3], stride)
    whole = (height, x.shape[2])
    rows = jnp.concatenate([shifted(padded, (i, 0), whole, (stride, 1), CHWN) for i in range(size)])
    weights = kernel.transpose(1, 3, 0, 2).reshape(size * features, size * channels)
    columns = (weights @ rows.reshape(size * channels, -1)).reshape(size * features, *rows.shape[1:])
    padded = jnp.pad(columns, ((0, 0), (0, 0), (pad, pad), (0, 0)))
    taps = [padded[j * features : (j + 1) * features] for j in range(size)]
    space = (height, width)
    return total(shifted(tap, (0, j), space, (1, stride), CHWN) for j, tap in enumerate(taps))


def _sample_kernel_grads(x: jax.Array, g: jax.Array, size: int, stride: int) -> jax.Array:
    """One kernel gradient per sample of `[C, H, W, B]`: `[size, size, C_in, C_out, B]`.

    Sums are written out, over columns, then rows: XLA's CPU compiler vectorises such a sum, over the batch, but not a
    reduction with a product inside. Rows lead, so that one row of x and g stays in the cache for all taps and channels.
    """
    height, width = g.shape[1:3]
    padded = pad_space(x, margins((size, size)), CHWN)
    whole = (height, padded.shape[2])
    own = jnp.swapaxes(g, 0, 1)[:, None]

    def taps(i: int) -> jax.Array:
        band = jnp.swapaxes(shifted(padded, (i, 0), whole, (stride, 1), CHWN), 0, 1)[:, :, None]
        columns = [total(band[..., j + stride * w, :] * own[..., w, :] for w in range(width)) for j in range(size)]
        return jnp.stack(columns, 1)

    rows = jnp.stack([taps(i) for i in range(size)], 1)
    return total(rows[h] for h in range(height))
