"""Entropy of the Fisher information's spectrum (VKDNW; Tybl and Neumann, CVPR 2025).

J_b `[K, P]` are the derivatives of the logits of image b with respect to one entry, the first, of each of the first 128
tensors of parameters, with normalisations left out but for their scales and biases; p is the softmax of the logits with
a share of 0.05 of the uniform distribution; F is the mean over images of J'(diag(p) - pp')J. The score is the entropy
of the nine deciles of F's eigenvalues, as shares of their sum. It is at most log 9 and says nothing of the size: the
paper adds it to the number of tensors.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnas.kernels.spectrum import eigenvalues_on_host
from jaxnas.network.network import Network
from jaxnas.network.recipe import Recipe
from jaxnas.scorers.thin import ImageScorer
from jaxnas.types import Finished

TENSORS = 128
SMOOTHING = 0.05
DECILES = np.arange(1, 10) / 10


class Fisher(NamedTuple):
    """The Fisher information `[128, 128]`, zeros behind the `tensors` `[]` that an architecture has."""

    information: jax.Array
    tensors: jax.Array


def fisher(jacobian: jax.Array, logits: jax.Array) -> Fisher:
    """The Fisher information of the first tensors that have any derivative.

    Args:
      jacobian: the logits' derivatives `[B, K, T]` with respect to one entry of each tensor.
      logits: `[B, K]`.
    """
    classes = logits.shape[1]
    present = (jacobian != 0).any((0, 1))
    own = jacobian[..., jnp.argsort(~present, stable=True)[:TENSORS]].astype(jnp.float64)
    p = ((1 - SMOOTHING) * jax.nn.softmax(logits) + SMOOTHING / classes).astype(jnp.float64)
    mean = jnp.einsum("bk,bkp->bp", p, own)
    information = jnp.einsum("bkp,bk,bkq->pq", own, p, own) - mean.T @ mean
    return Fisher(information / len(logits), jnp.minimum(present.sum(), TENSORS).astype(jnp.int32))


@dataclass(frozen=True)
class VKDNW(ImageScorer):
    """Entropy of the Fisher information's spectrum."""

    name: ClassVar[str] = "vkdnw"
    sign: ClassVar[int] = 1
    least_images: ClassVar[int] = 1
    paper: ClassVar[str] = "VKDNW (Tybl and Neumann, CVPR 2025)"
    cost: ClassVar[str] = "one backward pass per class, of a thin network of full depth"
    float64: ClassVar[bool] = True
    archs_per_call: ClassVar[int] = 8

    @property
    def recipe(self) -> Recipe:
        return Recipe("taps", channels=self.width, bn="identity", init="kaiming")

    def measure(self, network: Network, params: Any, arch: jax.Array, inputs: jax.Array, key: jax.Array) -> Fisher:
        """The Fisher information of one architecture."""
        params = network.rescale_to_fan_in(params, arch)

        def of_one(x: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits, pull = jax.vjp(lambda params: network.apply(params, arch, x[None])[0], params)
            rows = jax.lax.map(lambda row: _entries(network, pull(row)[0]), jnp.eye(len(logits), dtype=logits.dtype))
            return rows, logits

        return fisher(*jax.vmap(of_one)(inputs))

    def floats(self, network: Network) -> int:
        """About how many floats the measurement of one architecture holds at once."""
        weights = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(network.init, jax.random.key(0))))
        return network.activations(self.images) + self.images * weights

    def finish(self, raw: Fisher) -> Finished:
        """Turn the Fisher informations `[N, 128, 128]` of a batch into values and statuses `[N]`, on the host."""
        spectra = np.maximum(eigenvalues_on_host(np.asarray(raw.information)), 0)
        counts = np.maximum(np.asarray(raw.tensors), 1)
        deciles = np.array([np.quantile(own[-count:], DECILES) for own, count in zip(spectra, counts, strict=True)])
        shares = deciles / deciles.sum(1, keepdims=True)
        return super().finish(-(shares * np.log(shares + 1e-10)).sum(1))


def _entries(network: Network, gradient: nnx.State) -> jax.Array:
    """The first entry of each tensor `[T]`, in the order in which the network has them."""
    places = {path: i for i, path in enumerate(network.ops())}

    def place(path: tuple[Any, ...]) -> int:
        return next(places[path[:end]] for end in range(len(path), 0, -1) if path[:end] in places)

    leaves = sorted(nnx.to_flat_state(gradient), key=lambda item: place(item[0]))
    return jnp.stack([leaf[...].ravel()[0] for _, leaf in leaves])
