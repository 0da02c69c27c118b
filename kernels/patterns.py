"""Counting distinct activation patterns exactly, on packed bits."""

import jax
import jax.numpy as jnp


def pack_bits(bits: jax.Array) -> jax.Array:
    """Pack booleans `[N, U]` into words `[N, ceil(U / 32)]` of uint32."""
    n, units = bits.shape
    words = -(-units // 32)
    padded = jnp.pad(bits, ((0, 0), (0, 32 * words - units))).reshape(n, words, 32)
    return (padded.astype(jnp.uint32) << jnp.arange(32, dtype=jnp.uint32)[None, None]).sum(-1, dtype=jnp.uint32)


def count_distinct(bits: jax.Array) -> jax.Array:
    """Return the number of distinct rows of `bits` `[N, U]`, `[]` int32: sort the packed rows, count the changes."""
    words = jax.lax.sort(tuple(pack_bits(bits).T), num_keys=-(-bits.shape[1] // 32))
    changed = jnp.stack([word[1:] != word[:-1] for word in words]).any(0)
    return 1 + changed.sum(dtype=jnp.int32)
