"""Eigenvalues of Gram matrices, always in float64, and the condition number.

An NTK of 72 images has condition numbers up to 1e5; float32 eigenvalues would lose the small end of such a spectrum
(batched float32 `eigvalsh` also differs from looped). LAPACK on the host in float64 does not.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.kernels.gram import gram
from jaxnas.kernels.layout import Layout

DOUBLE = float(np.finfo(np.float64).eps)  # rounding of a Gram that is computed in float64, or counted


def eigenvalues_on_host(gram: np.ndarray) -> np.ndarray:
    """The ascending eigenvalues `[..., B]` of symmetric `gram` `[..., B, B]`, float64; NaN where not finite."""
    gram = np.asarray(gram, np.float64)
    finite = np.isfinite(gram).all((-2, -1), keepdims=True)
    values = np.linalg.eigvalsh(np.where(finite, gram, 0.0))
    return np.where(finite[..., 0], values, np.nan)


def eigenvalues(gram: jax.Array) -> jax.Array:
    """The same from inside `jit` and `vmap`: computed in float64 on the host, rounded to `gram`'s dtype."""
    result = jax.ShapeDtypeStruct(gram.shape[:-1], gram.dtype)
    return jax.pure_callback(
        lambda g: eigenvalues_on_host(g).astype(result.dtype), result, gram, vmap_method="expand_dims"
    )


def channel_covariance(x: jax.Array, layout: Layout) -> jax.Array:
    """The covariance `[C, C]` between the channels of a feature map, over images and positions."""
    rows = jnp.moveaxis(x, layout.channel, 0).reshape(x.shape[layout.channel], -1)
    return gram(rows - rows.mean(1, keepdims=True)) / rows.shape[1]


def spectral_entropy(spectrum: jax.Array) -> jax.Array:
    """The entropy `[]` of eigenvalues `[C]` as shares p of their sum, -sum of p log(p + 1e-8)."""
    shares = jnp.maximum(spectrum, 0) / spectrum.sum()
    return -(shares * jnp.log(shares + 1e-8)).sum()


def participation(covariance: jax.Array) -> jax.Array:
    """The participation ratio `[]` of a covariance `[C, C]`, (tr C)^2 / tr C^2: how many dimensions it fills."""
    return jnp.square(jnp.trace(covariance)) / jnp.square(covariance).sum()


def condition_number(spectrum, rounding: float):
    """Return (kappa, trusted): lambda_max / lambda_min `[...]` of an ascending `spectrum` `[..., B]`.

    Args:
      spectrum: eigenvalues, NumPy or JAX.
      rounding: relative rounding of the Gram's entries (eps of the dtype that it was computed in). A smallest
        eigenvalue below B * rounding * lambda_max is rounding error: `trusted` is False and kappa meaningless.
    """
    smallest, largest = spectrum[..., 0], spectrum[..., -1]
    trusted = smallest > spectrum.shape[-1] * rounding * largest
    xp = jnp if isinstance(spectrum, jax.Array) else np
    return largest / xp.where(trusted, smallest, 1.0), trusted
