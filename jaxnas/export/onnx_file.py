"""ONNX, for any number of images, through jax2onnx."""

import logging
from pathlib import Path

import jax
from flax import nnx

from jaxnas.export.winner import Winner


def write(winner: Winner, path: Path) -> None:
    """Write the graph from images `[B, H, W, C]` to logits `[B, classes]`, its weights within."""
    import jax2onnx  # of the extra `export`

    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it warns of shapes that nobody asks for
    graphdef, state = nnx.split(winner.module)

    def logits(images: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, state)(images)

    try:
        jax2onnx.to_onnx(logits, [("B", *winner.image)], return_mode="file", output_path=str(path))
    finally:
        jax.clear_caches()  # of functions that were traced with the exporter's operations, which JAX cannot run
