"""Counting distinct activation patterns exactly, on packed bits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.kernels.gram import gram

WORD = 32


def agreement(read: jax.Array) -> jax.Array:
    """On how many of U units two inputs have the same sign, `[B, B]`, of what a ReLU reads `[U, B]`.

    A unit that is zero throughout is none, and a ReLU that reads nothing negative is none.
    """
    there = (read != 0).any(1) & (read < 0).any()
    signs = jnp.where(read > 0, 1.0, -1.0) * there[:, None]
    return (there.sum() + gram(signs, -1)) / 2


def pack_bits(*pieces: jax.Array) -> jax.Array:
    """Pack booleans `[U, N]`, one column a pattern, into words `[ceil(U / 32), N]` of uint32; U is of all pieces.

    Pieces are read where they lie: XLA's CPU compiler looks for the piece anew at every element of a concatenation.
    """
    rows: list[jax.Array] = []
    used = 0  # bits of the last word
    for piece in pieces:
        units, n = piece.shape
        first = min(-used % WORD, units)
        whole = first + (units - first) // WORD * WORD
        if first:
            rows[-1] |= _packed(piece[None, :first], used)
        if whole > first:
            rows.append(_packed(piece[first:whole].reshape(-1, WORD, n), 0))
        if units > whole:
            rows.append(_packed(piece[None, whole:], 0))
        used = (used + units) % WORD
    return jnp.concatenate(rows)


def _packed(bits: jax.Array, first: int) -> jax.Array:
    """Return words `[W, N]` in which `bits` `[W, at most 32, N]` begin at bit number `first`."""
    return functools.reduce(jnp.bitwise_or, [bits[:, k].astype(jnp.uint32) << first + k for k in range(bits.shape[1])])


def count_distinct(words: jax.Array) -> jax.Array:
    """The number of distinct columns of `words` `[W, N]`, `[]` int32: sort them, count the changes."""
    ordered = jax.lax.sort(tuple(words), num_keys=len(words))
    changed = jnp.stack([word[1:] != word[:-1] for word in ordered]).any(0)
    return 1 + changed.sum(dtype=jnp.int32)


def count_distinct_on_host(words: np.ndarray) -> np.ndarray:
    """The same of `words` `[..., W, N]`, int64 `[...]`; far faster on a CPU than XLA's sort.

    Columns are compared by one 64-bit key: two words or, where there are more, the rank of those so far and the next.
    """
    first, *others = np.moveaxis(np.asarray(words), -2, 0)
    keys = first.astype(np.uint64)
    for number, word in enumerate(others):
        keys = (_ranks(keys) if number else keys) << np.uint64(WORD)
        keys |= word
    return 1 + np.count_nonzero(_changes(np.sort(keys, -1)), axis=-1)


def _ranks(keys: np.ndarray) -> np.ndarray:
    """The position of each key among the distinct keys of its row."""
    order = np.argsort(keys, -1)
    ranks = np.zeros_like(keys)
    steps = _changes(np.take_along_axis(keys, order, -1)).cumsum(-1)
    np.put_along_axis(ranks, order[..., 1:], steps.astype(keys.dtype), -1)
    return ranks


def _changes(ordered: np.ndarray) -> np.ndarray:
    return ordered[..., 1:] != ordered[..., :-1]
