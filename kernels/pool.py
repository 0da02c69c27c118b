"""Pooling: maxima and averages of windows, in both layouts."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.kernels.depthwise import depthwise
from jaxnas.kernels.layout import NHWC, Layout, from_nhwc
from jaxnas.kernels.windows import Two, pulled, total, windows


@functools.partial(jax.jit, static_argnames=("size", "stride"))
def max_pool(x: jax.Array, size: int, stride: int) -> jax.Array:
    """Take the maximum of each window of floats; its gradient goes to the first pixel that has it.

    That is the first one in its row, of the first such row: across, then down.
    """
    return _max_pool((size, 1), (stride, 1), _max_pool((1, size), (1, stride), x))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _max_pool(size: Two, strides: Two, x: jax.Array) -> jax.Array:
    return functools.reduce(jnp.maximum, windows(x, size, strides, NHWC, fill=-jnp.inf))


def _max_pool_forward(size, strides, x):
    y = _max_pool(size, strides, x)
    return y, (x, y)


def _max_pool_backward(size, strides, saved, g):
    x, y = saved
    first = jnp.zeros(y.shape, jnp.int32)
    for tap, window in reversed([*enumerate(windows(x, size, strides, NHWC, fill=-jnp.inf))]):
        first = jnp.where(window == y, tap, first)

    def terms(i: int, j: int, g: jax.Array, first: jax.Array) -> list[jax.Array]:
        return [jnp.where(first == i * size[1] + j, g, 0)]

    return (pulled(terms, (g, first), size, strides, x.shape, NHWC),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def avg_pool(x: jax.Array, size: int, stride: int) -> jax.Array:
    """Average each window, without the padding."""
    ones = np.ones((size, size, 1, x.shape[-1]), x.dtype)
    pixels = depthwise(jnp.ones((1, *x.shape[1:3], 1), x.dtype), ones[..., :1], (stride, stride))
    return depthwise(x, ones, (stride, stride)) / pixels


def lax_avg_pool(x: jax.Array, size: int, stride: int) -> jax.Array:
    """`avg_pool` as operations of `lax`, which have all derivatives."""
    ones, where = jnp.ones((1, *x.shape[1:3], 1), x.dtype), _square(size, stride)
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, *where) / jax.lax.reduce_window(ones, 0.0, jax.lax.add, *where)


def _square(size: int, stride: int) -> tuple[Sequence[int], Sequence[int], Sequence[tuple[int, int]]]:
    """Window, strides and padding of `[B, H, W, C]`; the padding keeps the image."""
    margin = (size // 2, size // 2)
    return (1, size, size, 1), (1, stride, stride, 1), ((0, 0), margin, margin, (0, 0))


@functools.partial(jax.jit, static_argnames=("layout",))
def sum_pool3x3(x: jax.Array, layout: Layout) -> jax.Array:
    """Sum over 3x3 windows at stride 1, zeros outside; its own adjoint."""
    return total(windows(x, (3, 3), 1, layout))


def window_sizes(x: jax.Array, layout: Layout) -> jax.Array:
    """How many pixels of the image each 3x3 window holds (4 at corners), shaped to broadcast against `x`."""
    ones = jnp.ones((1, x.shape[layout.height], x.shape[layout.width], 1), x.dtype)
    return sum_pool3x3(from_nhwc(ones, layout), layout)


@functools.partial(jax.jit, static_argnames=("layout",))
def mean_pool2x2(x: jax.Array, layout: Layout) -> jax.Array:
    """Average over disjoint 2x2 windows."""
    shape = list(x.shape)
    for axis in sorted((layout.height, layout.width), reverse=True):
        shape[axis : axis + 1] = [x.shape[axis] // 2, 2]
    return x.reshape(shape).mean((layout.height + 1, layout.width + 2))


def max_pool3x3(x: jax.Array, layout: Layout) -> jax.Array:
    """The maxima over 3x3 windows at stride 1, first down, then across.

    Maxima of shifted images and their derivatives are 2 to 10 times as fast as `lax.reduce_window`'s (2-core x86).
    """
    for axis in (layout.height, layout.width):
        widths = [(0, 0)] * x.ndim
        widths[axis] = (1, 1)
        padded, size = jnp.pad(x, widths, constant_values=-jnp.inf), x.shape[axis]
        shifts = [jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(3)]
        x = functools.reduce(jnp.maximum, shifts)
    return x


@functools.partial(jax.jit, static_argnames=("layout",))
def max_pool2x2(x: jax.Array, layout: Layout) -> jax.Array:
    """The maxima over disjoint 2x2 windows of images with even sides."""
    for axis in (layout.height, layout.width):
        even, odd = (jax.lax.slice_in_dim(x, i, x.shape[axis], 2, axis=axis) for i in range(2))
        x = jnp.maximum(even, odd)
    return x
