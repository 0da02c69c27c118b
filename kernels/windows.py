"""The pixels that each tap of a kernel meets, and the adjoint of meeting them.

Kernels are odd, and the padding keeps the image: tap k of output p meets input s p + d (k - middle), at strides s and
dilation d. Numbers for height and width come in pairs.
"""

import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp

from jaxnas.kernels.layout import Layout, Pair, pad_space, pair, shifted

Two = tuple[int, int]
"""Down and across."""


def margins(size: Sequence[int], dilation: int = 1) -> tuple[int, int]:
    """The rows above (and below) and the columns left (and right) of an image that keep its size.

    Raises:
      ValueError: a side of the kernel is even.
    """
    high, wide = size
    if high % 2 == 0 or wide % 2 == 0:
        raise ValueError(f"a kernel or window of {high}x{wide}; both must be odd, so that it has a middle")
    return dilation * (high // 2), dilation * (wide // 2)


def outputs(space: Sequence[int], strides: Pair) -> tuple[int, int]:
    """Return height and width of the output for an image of `space`."""
    down, across = pair(strides)
    return -(-space[0] // down), -(-space[1] // across)


def windows(
    x: jax.Array, size: Sequence[int], strides: Pair, layout: Layout, *, dilation: int = 1, fill: float = 0
) -> list[jax.Array]:
    """Return for each tap, row by row, the pixels that it meets, one for each output; beyond the image is `fill`."""
    space = outputs((x.shape[layout.height], x.shape[layout.width]), strides)
    padded = pad_space(x, margins(size, dilation), layout, fill)
    taps = itertools.product(range(size[0]), range(size[1]))
    return [shifted(padded, (dilation * i, dilation * j), space, strides, layout) for i, j in taps]


def pulled(
    terms: Callable[..., Iterable[jax.Array]],
    operands: Sequence[jax.Array],
    size: Sequence[int],
    strides: Pair,
    shape: Sequence[int],
    layout: Layout,
    *,
    dilation: int = 1,
) -> jax.Array:
    """Return `[*shape]` for each input pixel the sum of `terms(i, j, *operands)` over the outputs that met it by a tap.

    With margin m, input pixel s p + a is met by output p + q through tap k where a + m = d k + s q. So each phase a is
    a sum of its own over shifted operands, and nothing is spent on the zeros of a spread-out one.
    """
    steps, margin = pair(strides), margins(size, dilation)
    space = outputs((shape[layout.height], shape[layout.width]), strides)
    padded = [pad_space(x, margin, layout) for x in operands]

    def taps(axis: int, phase: int) -> list[tuple[int, int]]:
        ahead = [(k, phase + margin[axis] - dilation * k) for k in range(size[axis])]
        return [(k, margin[axis] + step // steps[axis]) for k, step in ahead if step % steps[axis] == 0]

    def pixels(a: int, b: int) -> jax.Array:
        met: list[jax.Array] = []
        for (i, down), (j, across) in itertools.product(taps(0, a), taps(1, b)):
            met += terms(i, j, *(shifted(x, (down, across), space, 1, layout) for x in padded))
        return total(met) if met else jnp.zeros(_resized(shape, space, layout), operands[0].dtype)

    rows = [jnp.stack([pixels(a, b) for b in range(steps[1])], layout.width + 1) for a in range(steps[0])]
    whole = _resized(shape, (space[0] * steps[0], space[1] * steps[1]), layout)
    return jax.lax.slice(jnp.stack(rows, layout.height + 1).reshape(whole), (0,) * 4, shape)


def total(terms: Iterable[jax.Array]) -> jax.Array:
    """The sum of one or more, one after another: XLA fuses it into one loop."""
    return functools.reduce(operator.add, terms)


def _resized(shape: Sequence[int], space: tuple[int, int], layout: Layout) -> tuple[int, ...]:
    sides = {layout.height: space[0], layout.width: space[1]}
    return tuple(sides.get(axis, side) for axis, side in enumerate(shape))
