"""Convolution and its adjoints, in both layouts, with odd kernels and zero padding `(k - 1) / 2`.

Kernels are `[k, k, C_in, C_out]` (HWIO) in either layout. On `NHWC` a convolution is `lax.conv_general_dilated`. On
`CHWN` it is a sum of shifted multiply-adds, which XLA fuses into one loop, up to a few channels, and from there a
matrix product with the stacked shifts. The functions are jitted so that one shape is traced once, however often a
network uses it.
"""

import functools

import jax
import jax.numpy as jnp

from jaxnas.kernels.layout import CHWN, Layout, from_nhwc, pad_space, shifted

FUSED = 16  # input channels up to which one fused loop of multiply-adds beats a matrix product on a CPU
FEW = 4  # channels up to which per-sample kernel gradients are sums rather than batched matrix products
_NHWC = ("NHWC", "HWIO", "NHWC")


@functools.partial(jax.jit, static_argnames=("stride", "layout"))
def conv2d(x: jax.Array, kernel: jax.Array, stride: int, layout: Layout) -> jax.Array:
    """Convolve `x` with `kernel`: y[p, o] = sum over offsets k and channels i of x[stride p + k, i] kernel[k, i, o]."""
    if layout is CHWN:
        return _conv_chwn(x, kernel, stride)
    return _conv_nhwc(x, kernel, stride, (kernel.shape[0] - 1) // 2)


@functools.partial(jax.jit, static_argnames=("stride", "shape", "layout"))
def conv2d_input_grad(
    g: jax.Array, kernel: jax.Array, stride: int, shape: tuple[int, ...], layout: Layout
) -> jax.Array:
    """Pull the cotangent `g` of `conv2d`'s output back to its input of `shape`."""
    adjoint = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    if layout is not CHWN:
        return _conv_nhwc(_spread(g, stride, shape), adjoint, 1, (kernel.shape[0] - 1) // 2)
    if stride == 1:
        return _conv_chwn(g, adjoint, 1)
    return _strided_input_grad(g, kernel, stride, shape)


@functools.partial(jax.jit, static_argnames=("size", "stride", "layout"))
def conv2d_kernel_grad(x: jax.Array, g: jax.Array, size: int, stride: int, layout: Layout) -> jax.Array:
    """Pull the cotangent `g` back to the kernel `[size, size, C_in, C_out]`, summed over the batch."""
    if layout is CHWN:
        patches = jnp.concatenate(_windows(x, size, (g.shape[1], g.shape[2]), stride, layout))
        return jnp.einsum("phwb,ohwb->po", patches, g).reshape(size, size, x.shape[0], g.shape[0])
    images, kernel = x.transpose(3, 1, 2, 0), _spread(g, stride, x.shape).transpose(1, 2, 0, 3)
    return _conv_nhwc(images, kernel, 1, (size - 1) // 2).transpose(1, 2, 0, 3)


@functools.partial(jax.jit, static_argnames=("size", "stride", "layout"))
def conv2d_sample_kernel_grads(x: jax.Array, g: jax.Array, size: int, stride: int, layout: Layout) -> jax.Array:
    """Pull `g` back to one kernel per sample: `[B, size, size, C_in, C_out]`, valid where samples are independent."""
    channels, features = x.shape[layout.channel], g.shape[layout.channel]
    space = (g.shape[layout.height], g.shape[layout.width])
    if layout is not CHWN:
        patches = jnp.concatenate(_windows(x, size, space, stride, layout), -1)
        grads = jnp.einsum("bhwp,bhwo->bpo", patches, g)
    elif channels <= FEW:
        grads = _sample_kernel_grads_by_row(x, g, size, stride)
    else:
        patches = jnp.concatenate(_windows(x, size, space, stride, layout))
        batch = x.shape[layout.batch]
        grads = patches.reshape(-1, space[0] * space[1], batch).transpose(2, 0, 1) @ (
            g.reshape(features, -1, batch).transpose(2, 1, 0)
        )
    return grads.reshape(-1, size, size, channels, features)


@functools.partial(jax.jit, static_argnames=("layout",))
def sum_pool3x3(x: jax.Array, layout: Layout) -> jax.Array:
    """Sum over 3x3 windows at stride 1, zeros outside; its own adjoint."""
    space = (x.shape[layout.height], x.shape[layout.width])
    padded = pad_space(x, 1, layout)
    return functools.reduce(jnp.add, [shifted(padded, (i, j), space, 1, layout) for i in range(3) for j in range(3)])


def window_sizes(x: jax.Array, layout: Layout) -> jax.Array:
    """Return how many pixels of the image each 3x3 window holds (4 at corners), shaped to broadcast against `x`."""
    ones = jnp.ones((1, x.shape[layout.height], x.shape[layout.width], 1), x.dtype)
    return sum_pool3x3(from_nhwc(ones, layout), layout)


def mean_pool2x2(x: jax.Array, layout: Layout) -> jax.Array:
    """Average over disjoint 2x2 windows."""
    shape = list(x.shape)
    for axis in sorted((layout.height, layout.width), reverse=True):
        shape[axis : axis + 1] = [x.shape[axis] // 2, 2]
    return x.reshape(shape).mean((layout.height + 1, layout.width + 2))


def _conv_nhwc(x: jax.Array, kernel: jax.Array, stride: int, pad: int) -> jax.Array:
    """Convolve `[B, H, W, C]`.

    Both adjoints are written as this plain convolution too: inside a loop or a branch XLA's CPU compiler runs the
    transposed and dilated ones that automatic differentiation makes 10 to 80 times slower (jax 0.10.2).
    """
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), ((pad, pad), (pad, pad)), dimension_numbers=_NHWC)


def _spread(g: jax.Array, stride: int, shape: tuple[int, ...]) -> jax.Array:
    """Put the pixels of `g` `[B, H / stride, W / stride, C]` on every `stride`-th pixel of zeros of `shape`."""
    if stride == 1:
        return g
    gap = [(0, shape[axis] - (stride * (g.shape[axis] - 1) + 1), stride - 1) for axis in (1, 2)]
    return jax.lax.pad(g, jnp.zeros((), g.dtype), ((0, 0, 0), *gap, (0, 0, 0)))


def _windows(x: jax.Array, size: int, space: tuple[int, int], stride: int, layout: Layout) -> list[jax.Array]:
    """Return the `size**2` shifts of the padded `x`, row by row, each with `space` = (height, width) pixels."""
    padded = pad_space(x, (size - 1) // 2, layout)
    return [shifted(padded, (i, j), space, stride, layout) for i in range(size) for j in range(size)]


def _conv_chwn(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`conv2d` on `[C, H, W, B]`."""
    size, _, channels, features = kernel.shape
    space = (-(-x.shape[1] // stride), -(-x.shape[2] // stride))
    windows = _windows(x, size, space, stride, CHWN)
    if channels > FUSED:
        patches = jnp.concatenate(windows).reshape(size * size * channels, -1)
        return (kernel.reshape(-1, features).T @ patches).reshape(features, *space, -1)
    taps = zip(windows, kernel.reshape(-1, channels, features), strict=True)
    return sum(weights[c, :, None, None, None] * window[c : c + 1] for window, weights in taps for c in range(channels))


def _strided_input_grad(g: jax.Array, kernel: jax.Array, stride: int, shape: tuple[int, ...]) -> jax.Array:
    """`conv2d_input_grad` on `[C, H, W, B]`, for strides that divide the image.

    Input pixel stride p + a is reached from output p + d through kernel row k where a + pad = k + stride d, so each of
    the stride^2 phases (a, b) is a small convolution of g, and no multiplication meets the zeros of a spread-out g.
    """
    size, pad = kernel.shape[0], (kernel.shape[0] - 1) // 2
    reach = size // stride + 1
    padded = jnp.pad(g, ((0, 0), (reach, reach), (reach, reach), (0, 0)))

    def taps(phase: int) -> list[tuple[int, int]]:
        return [(k, (phase + pad - k) // stride) for k in range(size) if (phase + pad - k) % stride == 0]

    def pixels(a: int, b: int) -> jax.Array:
        terms = []
        for i, down in taps(a):
            for j, right in taps(b):
                window = shifted(padded, (reach + down, reach + right), g.shape[1:3], 1, CHWN)
                terms += [kernel[i, j, :, o][:, None, None, None] * window[o : o + 1] for o in range(g.shape[0])]
        return functools.reduce(jnp.add, terms, jnp.zeros((kernel.shape[2], *g.shape[1:]), g.dtype))

    rows = [jnp.stack([pixels(a, b) for b in range(stride)], 3) for a in range(stride)]
    return jnp.stack(rows, 2).reshape(shape)


def _sample_kernel_grads_by_row(x: jax.Array, g: jax.Array, size: int, stride: int) -> jax.Array:
    """`conv2d_sample_kernel_grads` on `[C, H, W, B]`: long sums over space, vectorised over the batch.

    A loop over the kernel's rows: unrolled, it runs no faster and takes four times as long to compile.
    """
    padded = pad_space(x, (size - 1) // 2, CHWN)
    height = stride * (g.shape[1] - 1) + 1

    def row(i: jax.Array) -> jax.Array:
        band = jax.lax.dynamic_slice_in_dim(padded, i, height, axis=1)
        windows = [shifted(band, (0, j), g.shape[1:3], stride, CHWN) for j in range(size)]
        return jnp.stack([(window[:, None] * g[None]).sum((2, 3)) for window in windows])

    return jnp.moveaxis(jax.lax.map(row, jnp.arange(size)), -1, 0)
