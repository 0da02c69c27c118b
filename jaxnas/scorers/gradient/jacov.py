"""Covariance of the input's Jacobian (Mellor et al., 2020, version 1; Abdelfattah et al., ICLR 2021).

g_b is the gradient of the sum of all logits with respect to image b, R `[B, B]` the correlation of these gradients over
the pixels and v its eigenvalues; the score is -sum over i of log(v_i + k) + 1 / (v_i + k) with k = 1e-5. It is highest,
-B, where the gradients of different images have nothing to do with each other.

With batch normalisation in training mode the gradient of the summed logits vanishes wherever no ReLU follows the last
normalisation: a constant cotangent passes through no batch statistics. So they are held constant by default.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.kernels.spectrum import eigenvalues, eigenvalues_on_host
from jaxnas.network.network import Network
from jaxnas.network.recipe import Recipe
from jaxnas.scorers.gradient.ntk import Apply
from jaxnas.scorers.thin import ImageScorer
from jaxnas.types import Finished, Score, if_finite

K = 1e-5
VANISHED = 1e-6  # deviation of an image's gradient, as a share of the largest one, below which it is noise


def input_correlation(apply: Apply, params: Any, x: jax.Array) -> jax.Array:
    """The correlation `[B, B]` between the gradients of the summed logits of `apply(params, x)` by image.

    NaN where the gradient of an image is constant.
    """
    g = jax.grad(lambda x: apply(params, x).sum())(x).reshape(len(x), -1)
    g -= g.mean(1, keepdims=True)
    deviation = jnp.sqrt(jnp.square(g).sum(1, keepdims=True))
    unit = jnp.where(deviation > VANISHED * deviation.max(), g / deviation, jnp.nan)
    with jax.default_matmul_precision("highest"):
        return unit @ unit.T


def jacov(apply: Apply, params: Any, x: jax.Array) -> Score:
    """The score of any model.

    Pure; works under `jit` and `vmap`. `nonfinite`, without a value, says that an image has no gradient.

    Args:
      apply: `(params, x [B, ...]) -> logits [B, K]`.
      params: any pytree.
      x: inputs `[B, ...]`.
    """
    spectrum = jnp.maximum(eigenvalues(input_correlation(apply, params, x)), 0) + K
    return if_finite(-(jnp.log(spectrum) + 1 / spectrum).sum(-1))


@dataclass(frozen=True)
class Jacov(ImageScorer):
    """Covariance of the input's Jacobian."""

    bn: Literal["frozen", "batch"] = "frozen"
    """Derivative of batch normalisation: `frozen` holds the batch statistics constant, `batch` goes through them, as
    published; where no ReLU follows the last normalisation, the score is then rounding noise."""
    init: Literal["kaiming", "pytorch"] = "kaiming"
    """Initial weights: Kaiming-normal, or the defaults of PyTorch, as published."""

    name: ClassVar[str] = "jacov"
    sign: ClassVar[int] = 1
    paper: ClassVar[str] = "Mellor et al. (2020); Abdelfattah et al. (ICLR 2021)"
    cost: ClassVar[str] = "one backward pass to the input, of a thin network of full depth"
    archs_per_call: ClassVar[int] = 64

    @property
    def recipe(self) -> Recipe:
        return Recipe("taps", channels=self.width, bn=self.bn, init=self.init)

    def measure(self, network: Network, params: Any, arch: jax.Array, inputs: jax.Array, key: jax.Array) -> jax.Array:
        """The correlation `[B, B]` of one architecture."""
        params = network.rescale_to_fan_in(params, arch)
        return input_correlation(lambda params, x: network.apply(params, arch, x), params, inputs)

    def finish(self, correlations: np.ndarray) -> Finished:
        """Turn the correlations `[N, B, B]` of a batch into values and statuses `[N]`, in float64 on the host."""
        spectrum = np.maximum(eigenvalues_on_host(correlations), 0) + K
        return super().finish(-(np.log(spectrum) + 1 / spectrum).sum(-1))
