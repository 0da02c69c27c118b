"""Gram matrices of per-sample gradients."""

import jax
import jax.numpy as jnp


def gram(jacobian: jax.Array) -> jax.Array:
    """Return J J^T `[B, B]` of per-sample gradients J `[B, ...]`, in full float32 also where TF32 is the default."""
    rows = jacobian.reshape(jacobian.shape[0], -1)
    return jnp.matmul(rows, rows.T, precision=jax.lax.Precision.HIGHEST)
