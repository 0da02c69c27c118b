"""Images on the device: batches by position, cropped and mirrored, standardised."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.data.labelled import Labelled


class Images(NamedTuple):
    """A labelled data set on the device.

    Attributes:
      pixels: raw, with a black margin of an eighth of the side, `[M, S + 2 pad, S + 2 pad, 3]`.
      labels: `[M]`.
      mean, std: `[3]`.
    """

    pixels: jax.Array
    labels: jax.Array
    mean: jax.Array
    std: jax.Array

    @classmethod
    def of(cls, data: Labelled) -> "Images":
        pad = data.images.shape[1] // 8
        pixels = np.pad(data.images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        colours = (jnp.array(c, jnp.float32) for c in (data.mean, data.std))
        return cls(jnp.asarray(pixels), jnp.asarray(data.labels), *colours)

    @property
    def pad(self) -> int:
        """Width of the margin: 4 at 32 pixels, 2 at 16."""
        return self.pixels.shape[1] // 10

    def take(self, rows: jax.Array, crops: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return standardised images `[B, S, S, 3]` and labels `[B]`.

        Args:
          rows: positions `[B]`.
          crops: top, left and whether to mirror, `[B, 3]`.
        """
        side = self.pixels.shape[1] - 2 * self.pad

        def one(row: jax.Array, crop: jax.Array) -> jax.Array:
            image = jax.lax.dynamic_slice(self.pixels, (row, crop[0], crop[1], 0), (1, side, side, 3))[0]
            return jnp.where(crop[2] > 0, image[:, ::-1], image)

        raw = jax.vmap(one)(rows, crops).astype(jnp.float32)
        return (raw - self.mean[None, None, None]) / self.std[None, None, None], self.labels[rows]


def shuffled(rng: np.random.Generator, positions: np.ndarray, steps: int, batch: int) -> np.ndarray:
    """Return batches `[steps, batch]` of `positions` in random order, from the beginning where they do not suffice."""
    return np.resize(rng.permutation(positions), (steps, batch)).astype(np.int32)


def random_crops(rng: np.random.Generator, pad: int, steps: int, batch: int) -> np.ndarray:
    """Return `[steps, batch, 3]`: uniform offsets within the margin, mirrored with probability 0.5."""
    return rng.integers(0, [2 * pad + 1, 2 * pad + 1, 2], (steps, batch, 3)).astype(np.int32)


def centred(pad: int, *shape: int) -> np.ndarray:
    """Return `[*shape, 3]` crops that leave the images as they are."""
    return np.broadcast_to(np.array([pad, pad, 0], np.int32), (*shape, 3))
