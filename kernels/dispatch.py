"""Which of several operations runs is data: one at a time, or a batch of choices sorted by operation.

`choose` takes one index and runs one operation: under `lax.map` nothing else is computed, which suits a CPU. Under
`vmap` every element of the batch has its own index; XLA would run all operations on all elements and select, so the
elements are sorted by operation, and each operation runs on whole blocks of those that chose it, which suits an
accelerator.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

BLOCK = 16  # elements that an operation is run on at once; half a block per operation is wasted on average

Branch = Callable[..., Any]


def choose(index: jax.Array | int, branches: Sequence[Branch], *operands: Any) -> Any:
    """Return `branches[index](*operands)`.

    Args:
      index: which branch, `[]`; a Python int is known when compiling.
      branches: functions of `operands` with equal output shapes, of no other arrays.
      operands: pytrees of arrays.
    """
    if isinstance(index, int):
        return branches[index](*operands)

    @jax.custom_batching.custom_vmap
    def chosen(index: jax.Array, *operands: Any) -> Any:
        return jax.lax.switch(index, branches, *operands)

    @chosen.def_vmap
    def batched(size: int, axes: Any, index: jax.Array, *operands: Any) -> tuple[Any, Any]:
        index_mapped, *operands_mapped = axes
        if index_mapped:
            out = _by_block(size, index, branches, operands, operands_mapped)
        else:
            out = choose(index, _mapped(branches, operands_mapped, size), *operands)
        return out, jax.tree.map(lambda _: True, out)

    return chosen(index, *operands)


def alone(zero: jax.Array | int, function: Branch, *operands: Any) -> Any:
    """Return `function(*operands)`, compiled as a computation of its own if `zero` `[]` is a 0 that XLA cannot foresee.

    XLA's CPU compiler fuses the reshape before a matrix product into the elementwise loop that makes its operand, and
    such a loop is not vectorised: a convolution's adjoint takes 2 to 3 ms instead of 0.5 (jax 0.10.2). It does not
    fuse across the border of a branch; the other branch is never taken. Where `zero` is mapped, nothing is set apart.
    """
    if isinstance(zero, int):
        return function(*operands)
    shapes = jax.eval_shape(function, *operands)

    def never(*_: Any) -> Any:
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    @jax.custom_batching.custom_vmap
    def isolated(zero: jax.Array, *operands: Any) -> Any:
        return jax.lax.switch(zero, (function, never), *operands)

    @isolated.def_vmap
    def batched(size: int, axes: Any, zero: jax.Array, *operands: Any) -> tuple[Any, Any]:
        zero_mapped, *operands_mapped = axes
        (vectorised,) = _mapped([function], operands_mapped, size)
        out = vectorised(*operands) if zero_mapped else alone(zero, vectorised, *operands)
        return out, jax.tree.map(lambda _: True, out)

    return isolated(zero, *operands)


def _mapped(branches: Sequence[Branch], mapped: Sequence[Any], size: int) -> list[Branch]:
    """The branches vectorised over the operands that are `mapped`; every output gets the new leading axis."""
    axes = tuple(jax.tree.map(lambda m: 0 if m else None, tree) for tree in mapped)
    return [jax.vmap(branch, in_axes=axes, axis_size=size) for branch in branches]


def _by_block(size: int, index: jax.Array, branches: Sequence[Branch], operands: Any, mapped: Sequence[Any]) -> Any:
    """Run each branch on blocks of the elements that chose it and put the results back in order.

    The number of blocks is data, their size is not, so one compiled program serves every batch.
    """
    block = min(BLOCK, size)
    rows, ops, count = _blocks(index, len(branches), block)
    vectorised = _mapped(branches, mapped, block)

    def of(rows: jax.Array) -> Any:
        take = functools.partial(jnp.take, indices=rows, axis=0, mode="clip")
        return [jax.tree.map(lambda m, x: take(x) if m else x, m, x) for m, x in zip(mapped, operands, strict=True)]

    shapes = jax.eval_shape(lambda: vectorised[0](*of(rows[0])))
    blank = jax.tree.map(lambda s: jnp.zeros((size, *s.shape[1:]), s.dtype), shapes)

    def turn(number: jax.Array, out: Any) -> Any:
        found = jax.lax.switch(ops[number], vectorised, *of(rows[number]))
        return jax.tree.map(lambda whole, part: whole.at[rows[number]].set(part, mode="drop"), out, found)

    return jax.lax.fori_loop(0, count, turn, blank)


def _blocks(index: jax.Array, branches: int, block: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return for each block its elements `[N, block]`, past the end where it is not full, its op `[N]`, and how many.

    `N = size // block + branches` suffices for any `index` `[size]`.
    """
    size = len(index)
    order = jnp.argsort(index, stable=True)
    sizes = jnp.bincount(index, length=branches)
    ends = jnp.cumsum(-(-sizes // block))
    number = jnp.arange(size // block + branches)
    ops = jnp.minimum(jnp.searchsorted(ends, number, side="right"), branches - 1)
    first = (number - (ends - -(-sizes // block))[ops]) * block  # of the block, among those with the same op
    position = first[:, None] + jnp.arange(block)[None]
    inside = position < sizes[ops][:, None]
    start = (jnp.cumsum(sizes) - sizes)[ops]
    rows = jnp.where(inside, order[jnp.minimum(start[:, None] + position, size - 1)], size)
    return rows, ops, ends[-1]
