"""What acts on each channel alone, on `[B, H, W, C]`: convolution with one filter per channel, and pooling.

Kernels are odd, and the padding keeps the image: output p meets input strides p + dilation k. All is sums (or maxima)
of shifted images: on a CPU, `lax.conv` with as many groups as channels and `lax.reduce_window` take several times as
long, and what automatic differentiation makes of them, or of the sums, five to fifty times as long as the gradients
here (jax 0.10.2).
"""

import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.kernels.layout import NHWC, shifted

Steps = tuple[int, int]
"""Down and across."""

BLOCK = 32  # pixels in a sum of the kernel's gradient; 8 or 128 take several times as long


@functools.partial(jax.jit, static_argnames=("strides", "dilation"))
def depthwise(x: jax.Array, kernel: jax.Array, strides: Steps, dilation: int = 1) -> jax.Array:
    """Convolve `x` `[B, H, W, C]` with `kernel` `[h, w, 1, C]`: y[p, c] = sum_k x[s p + d k, c] kernel[k, c]."""
    return _depthwise(strides, dilation, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _depthwise(strides: Steps, dilation: int, x: jax.Array, kernel: jax.Array) -> jax.Array:
    met = _windows(x, kernel.shape[:2], strides, dilation, 0)
    return _sum(window * kernel[tap][None, None] for tap, window in met)


def _depthwise_forward(strides, dilation, x, kernel):
    return _depthwise(strides, dilation, x, kernel), (x, kernel)


def _depthwise_backward(strides, dilation, saved, g):
    x, kernel = saved
    size = kernel.shape[:2]
    dx = _pulled(lambda tap, g: g * kernel[tap][None, None], (g,), size, strides, dilation, x.shape)
    return dx, _kernel_grad(x, g, size, strides, dilation)


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


@functools.partial(jax.jit, static_argnames=("size", "stride"))
def max_pool(x: jax.Array, size: int, stride: int) -> jax.Array:
    """Take the maximum of each window; its gradient goes to the first pixel that has it."""
    return _max_pool(size, stride, x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _max_pool(size: int, stride: int, x: jax.Array) -> jax.Array:
    return functools.reduce(jnp.maximum, [window for _, window in _windows(x, (size,) * 2, (stride,) * 2, 1, -jnp.inf)])


def _max_pool_forward(size, stride, x):
    y = _max_pool(size, stride, x)
    return y, (x, y)


def _max_pool_backward(size, stride, saved, g):
    (x, y), sizes, strides = saved, (size, size), (stride, stride)
    found = jnp.zeros(y.shape, jnp.int32)
    for (i, j), window in reversed([*_windows(x, sizes, strides, 1, -jnp.inf)]):
        found = jnp.where(window == y, i * size + j, found)

    def term(tap: Steps, g: jax.Array, found: jax.Array) -> jax.Array:
        return jnp.where(found == tap[0] * size + tap[1], g, 0)

    return (_pulled(term, (g, found), sizes, strides, 1, x.shape),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def avg_pool(x: jax.Array, size: int, stride: int) -> jax.Array:
    """Average each window, without the padding."""
    strides, ones = (stride, stride), np.ones((size, size, 1, 1), x.dtype)
    pixels = depthwise(jnp.ones((1, *x.shape[1:3], 1), x.dtype), ones, strides)
    return depthwise(x, jnp.broadcast_to(ones, (size, size, 1, x.shape[3])), strides) / pixels


def _pulled(
    term: Callable[..., jax.Array],
    operands: Sequence[jax.Array],
    size: Steps,
    strides: Steps,
    dilation: int,
    shape: tuple[int, ...],
) -> jax.Array:
    """Return for each input pixel `[*shape]` the sum of `term(tap, *operands)`, over the outputs that met it by a tap.

    Input pixel s p + a is met by output p + q through tap k where a + pad = d k + s q. So each phase a is a sum of its
    own over shifted operands `[B, H', W', C]`, and nothing is spent on the zeros of a spread-out one.
    """
    reach = [dilation * (k // 2) for k in size]
    space = [-(-side // step) for side, step in zip(shape[1:3], strides, strict=True)]
    padded = [jnp.pad(x, ((0, 0), *((r, r) for r in reach), (0, 0))) for x in operands]

    def taps(axis: int, phase: int) -> list[tuple[int, int]]:
        steps = [(k, phase + reach[axis] - dilation * k) for k in range(size[axis])]
        return [(k, reach[axis] + step // strides[axis]) for k, step in steps if step % strides[axis] == 0]

    def pixels(a: int, b: int) -> jax.Array:
        terms = [
            term((i, j), *(shifted(x, (down, across), tuple(space), 1, NHWC) for x in padded))
            for (i, down), (j, across) in itertools.product(taps(0, a), taps(1, b))
        ]
        return _sum(terms) if terms else jnp.zeros((shape[0], *space, shape[3]), operands[0].dtype)

    rows = [jnp.stack([pixels(a, b) for b in range(strides[1])], 3) for a in range(strides[0])]
    whole = (shape[0], space[0] * strides[0], space[1] * strides[1], shape[3])
    return jnp.stack(rows, 2).reshape(whole)[:, : shape[1], : shape[2]]


def _kernel_grad(x: jax.Array, g: jax.Array, size: Steps, strides: Steps, dilation: int) -> jax.Array:
    """Pull the cotangent `g` of a depthwise convolution back to its kernel `[*size, 1, C]`, summed over the batch.

    The sum over the pixels of a block is written out, one block after another: XLA's CPU compiler vectorises such a
    sum, over the channels, but not a reduction with a product inside.
    """
    batch, height, width, channels = g.shape
    across = min(width, BLOCK)
    down = min(height, BLOCK // across)
    blocks = (batch, -(-height // down), -(-width // across))
    reach = [dilation * (k - 1) + 1 for k in size]
    g = _grown(g, (blocks[1] * down, blocks[2] * across))
    x = _grown(
        jnp.pad(x, ((0, 0), *((r // 2, r // 2) for r in reach), (0, 0))),
        [r + stride * (side - 1) for r, stride, side in zip(reach, strides, g.shape[1:3], strict=True)],
    )
    read = (strides[0] * (down - 1) + reach[0], strides[1] * (across - 1) + reach[1])

    def block(sums: tuple[jax.Array, ...], place: jax.Array) -> tuple[tuple[jax.Array, ...], None]:
        b, i, j = place[0], place[1] * down, place[2] * across
        seen = jax.lax.dynamic_slice(x, (b, i * strides[0], j * strides[1], 0), (1, *read, channels))[0]
        own = jax.lax.dynamic_slice(g, (b, i, j, 0), (1, down, across, channels))[0]

        def column(k: int) -> jax.Array:
            """Return the block's sums for column k of the kernel `[h, C]`."""
            return _sum(
                seen[row * strides[0] :][: reach[0] : dilation, dilation * k + strides[1] * col] * own[row, col][None]
                for row, col in itertools.product(range(down), range(across))
            )

        return tuple(old + column(k) for k, old in enumerate(sums)), None

    places = jnp.stack(jnp.meshgrid(*map(jnp.arange, blocks), indexing="ij"), -1).reshape(-1, 3)
    columns, _ = jax.lax.scan(block, (jnp.zeros((size[0], channels), g.dtype),) * size[1], places)
    return jnp.stack(columns, 1)[:, :, None]


def _grown(x: jax.Array, space: Sequence[int]) -> jax.Array:
    """Return `[B, H, W, C]` with zeros added below and to the right, up to `space` or what it has."""
    more = [max(0, wanted - had) for wanted, had in zip(space, x.shape[1:3], strict=True)]
    return jnp.pad(x, ((0, 0), *((0, m) for m in more), (0, 0)))


def _windows(
    x: jax.Array, size: Sequence[int], strides: Steps, dilation: int, fill: float
) -> Iterator[tuple[Steps, jax.Array]]:
    """Yield each tap with the pixels that it meets, one for each output `[B, H', W', C]`."""
    padded = jnp.pad(x, ((0, 0), *((dilation * (k // 2),) * 2 for k in size), (0, 0)), constant_values=fill)
    space = tuple(-(-side // stride) for side, stride in zip(x.shape[1:3], strides, strict=True))
    for i, j in itertools.product(*map(range, size)):
        yield (i, j), shifted(padded, (dilation * i, dilation * j), space, strides, NHWC)


def _sum(terms: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(operator.add, terms)
