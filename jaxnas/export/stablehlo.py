"""A compiled-anywhere program: StableHLO as `jax.export` serialises it, for any number of images."""

from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
from flax import nnx

from jaxnas.export.winner import Winner

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def write(winner: Winner, path: Path) -> None:
    """Write the program from images `[B, H, W, C]` to logits `[B, classes]`, its weights closed over."""
    graphdef, state = nnx.split(winner.module)

    def logits(images: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, state)(images)

    images = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("B"), *winner.image), jnp.float32)
    path.write_bytes(jax.export.export(jax.jit(logits), platforms=PLATFORMS)(images).serialize())
