"""What acts on each channel alone, on `[B, H, W, C]`: convolution with one filter per channel, and pooling.

Kernels are odd, and the padding keeps the image (`windows`). All is sums (or maxima) of shifted images: on a CPU,
`lax.conv` with as many groups as channels and `lax.reduce_window` take several times as long, and what automatic
differentiation makes of them, or of the sums, five to fifty times as long as the gradients here (jax 0.10.2, 16 images
of 8x8 to 32x32 with 48 to 768 channels). Derivatives are first ones, in reverse.
"""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxnas.kernels.layout import NHWC
from jaxnas.kernels.windows import Two, margins, pulled, total, windows

BLOCK = 32  # pixels in a sum of the kernel's gradient; with 8 or 128 it takes several times as long


@functools.partial(jax.jit, static_argnames=("strides", "dilation"))
def depthwise(x: jax.Array, kernel: jax.Array, strides: Two, dilation: int = 1) -> jax.Array:
    """Convolve `x` `[B, H, W, C]` with `kernel` `[h, w, 1, C]`: y[p, c] = sum over k of x[s p + d k, c] kernel[k, c].

    Raises:
      ValueError: another number of channels, or an even kernel.
    """
    if kernel.shape[2:] != (1, x.shape[-1]):
        raise ValueError(f"a kernel {list(kernel.shape)} for {x.shape[-1]} channels; give [h, w, 1, {x.shape[-1]}]")
    return _depthwise(strides, dilation, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _depthwise(strides: Two, dilation: int, x: jax.Array, kernel: jax.Array) -> jax.Array:
    met = windows(x, kernel.shape[:2], strides, NHWC, dilation=dilation)
    weights = kernel.reshape(-1, 1, 1, 1, kernel.shape[3])
    return total(window * weight for window, weight in zip(met, weights, strict=True))


def _depthwise_forward(strides, dilation, x, kernel):
    return _depthwise(strides, dilation, x, kernel), (x, kernel)


def _depthwise_backward(strides, dilation, saved, g):
    x, kernel = saved
    size = kernel.shape[:2]
    dx = pulled(lambda i, j, g: [g * kernel[i, j][None, None]], (g,), size, strides, x.shape, NHWC, dilation=dilation)

    def at_once(x: jax.Array, g: jax.Array) -> jax.Array:
        met = windows(x, size, strides, NHWC, dilation=dilation)
        return jnp.stack([(window * g).sum((0, 1, 2)) for window in met]).reshape(kernel.shape)

    by_blocks = functools.partial(_kernel_grad, size=size, strides=strides, dilation=dilation)
    dkernel = jax.lax.platform_dependent(x, g, cpu=by_blocks, default=at_once)
    return dx.astype(x.dtype), dkernel.astype(kernel.dtype)


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _kernel_grad(x: jax.Array, g: jax.Array, size: Sequence[int], strides: Two, dilation: int) -> jax.Array:
    """Pull the cotangent `g` of a depthwise convolution back to its kernel `[*size, 1, C]`, summed over the batch.

    The sum over the pixels of a block is written out, one block after another: XLA's CPU compiler vectorises such a
    sum, over the channels, but not a reduction with a product inside.
    """
    batch, height, width, channels = g.shape
    across = min(width, BLOCK)
    down = min(height, BLOCK // across)
    blocks = (batch, -(-height // down), -(-width // across))
    extent, kind = [dilation * (k - 1) + 1 for k in size], jnp.promote_types(g.dtype, jnp.float32)
    g = _grown(g, (blocks[1] * down, blocks[2] * across))
    x = _grown(
        jnp.pad(x, ((0, 0), *((m, m) for m in margins(size, dilation)), (0, 0))),
        [length + stride * (side - 1) for length, stride, side in zip(extent, strides, g.shape[1:3], strict=True)],
    )
    read = (strides[0] * (down - 1) + extent[0], strides[1] * (across - 1) + extent[1])

    def block(sums: tuple[jax.Array, ...], place: jax.Array) -> tuple[tuple[jax.Array, ...], None]:
        b, i, j = place[0], place[1] * down, place[2] * across
        seen = jax.lax.dynamic_slice(x, (b, i * strides[0], j * strides[1], 0), (1, *read, channels))[0].astype(kind)
        own = jax.lax.dynamic_slice(g, (b, i, j, 0), (1, down, across, channels))[0].astype(kind)

        def column(k: int) -> jax.Array:
            """The block's sums for column k of the kernel `[h, C]`."""
            return total(
                seen[row * strides[0] :][: extent[0] : dilation, dilation * k + strides[1] * col] * own[row, col][None]
                for row, col in itertools.product(range(down), range(across))
            )

        return tuple(old + column(k) for k, old in enumerate(sums)), None

    places = jnp.stack(jnp.meshgrid(*map(jnp.arange, blocks), indexing="ij"), -1).reshape(-1, 3)
    columns, _ = jax.lax.scan(block, (jnp.zeros((size[0], channels), kind),) * size[1], places)
    return jnp.stack(columns, 1)[:, :, None].astype(g.dtype)


def _grown(x: jax.Array, space: Sequence[int]) -> jax.Array:
    """Return `[B, H, W, C]` with zeros added below and to the right, up to `space` or what it has."""
    more = [max(0, wanted - had) for wanted, had in zip(space, x.shape[1:3], strict=True)]
    return jnp.pad(x, ((0, 0), *((0, m) for m in more), (0, 0)))
