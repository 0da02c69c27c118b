"""Accuracy of every architecture with the shared weights, on fixed batches and by their statistics."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnas.errors import UserError
from jaxnas.network.network import Network
from jaxnas.supernet.batches import Images, centred

CHUNK = 50  # architectures in a call
FEWEST = 64  # images in a batch whose statistics are used


class Ranking:
    """Measures sub-nets on the first batches of the images at `positions`, by default on all, without augmentation.

    Batch normalisations use the batch's statistics, so the batches are the same for all, and not smaller than 64: with
    tracked statistics, which mix all sub-nets, the ranking is near random (Yu et al., arXiv:2003.04276).
    """

    def __init__(
        self, network: Network, images: Images, positions: np.ndarray, *, batch: int, batches: int | None = None
    ):
        if batch < FEWEST or (batches is not None and batches < 1):
            raise UserError(f"ranking on {batches or 'all'} batches of {batch} images; give at least 1 of {FEWEST}")
        if len(positions) < batch:
            raise UserError(f"{len(positions)} images for the ranking make no batch of {batch}; give more")
        there = len(positions) // batch
        count = there if batches is None else min(batches, there)
        rows = jnp.asarray(positions[: count * batch].reshape(count, batch))
        self.network = network
        self.batches = jax.vmap(images.take)(rows, jnp.asarray(centred(images.pad, count, batch)))

    def measure(self, params: Any, archs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield accuracy (from 0 to 1) and cross-entropy, `[n]` each, of the next n of `archs` `[N, A]`."""
        for first in range(0, len(archs), CHUNK):
            chunk = archs[first : first + CHUNK]
            padded = np.resize(chunk, (CHUNK, *chunk.shape[1:])).astype(np.int32)
            found = np.asarray(_measure(self.network, params, padded, *self.batches))[: len(chunk)]
            yield found[:, 0], found[:, 1]

    def all(self, params: Any, archs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return accuracy and cross-entropy `[N]` of `archs` `[N, A]`."""
        accuracy, loss = zip(*self.measure(params, archs), strict=True)
        return np.concatenate(accuracy), np.concatenate(loss)


@functools.partial(jax.jit, static_argnames=("network",))
def _measure(network: Network, params: Any, archs: jax.Array, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Return `[N, 2]` the mean over batches of images `[K, B, S, S, 3]`, one architecture after another."""

    def one(arch: jax.Array) -> jax.Array:
        def batch(shown: tuple[jax.Array, jax.Array]) -> jax.Array:
            logits = network.apply(params, arch, shown[0])
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, shown[1]).mean()
            return jnp.stack([(logits.argmax(-1) == shown[1]).mean(), loss])

        return jax.lax.map(batch, (images, labels)).mean(0)

    return jax.lax.map(one, archs)
