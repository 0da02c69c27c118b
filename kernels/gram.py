"""Gram matrices of per-sample gradients."""

import jax


def gram(jacobian: jax.Array, axis: int = 0) -> jax.Array:
    """Return J J^T `[B, B]` of per-sample gradients J `[B, ...]`, or `[..., B]` with `axis` -1, in full float32.

    Also where TF32 is the default.
    """
    rows = jacobian.reshape(jacobian.shape[0], -1) if axis == 0 else jacobian.reshape(-1, jacobian.shape[-1])
    contracted = 1 if axis == 0 else 0
    return jax.lax.dot_general(
        rows, rows, (((contracted,), (contracted,)), ((), ())), precision=jax.lax.Precision.HIGHEST
    )
