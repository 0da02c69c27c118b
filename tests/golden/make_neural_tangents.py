"""Write `neural_tangents.json`: NTKs of networks with frozen batch normalisation, by the package neural-tangents.

The package is unmaintained; its last release runs unmodified on jax <= 0.5.3:

    python -m venv oracle
    oracle/bin/pip install jax==0.5.3 jaxlib==0.5.3 neural-tangents==0.6.5 tensorflow-cpu
    oracle/bin/python tests/golden/make_neural_tangents.py

Half a minute. The network is a function of (weights, images) of its own, in float64, that imports nothing from
jaxnas; weights and images are drawn again from `inputs.py` by the seeds in the file.
"""

import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

HERE = Path(__file__).parent
EDGES = [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]  # (to, from)
ARCHS = {
    "all_conv3x3": [3, 3, 3, 3, 3, 3],
    "mixed": [3, 1, 2, 4, 3, 2],
    "dead_node": [0, 1, 3, 2, 4, 3],
    "pool_heavy": [4, 1, 4, 3, 4, 1],
    "skip_heavy": [1, 1, 2, 1, 4, 1],
}
SETTINGS = {"channels": 3, "cells": 1, "weights_seed": 10, "inputs_seed": 11, "images": [16, 32, 32, 3]}

Weights = Mapping[str, Any]
Moments = tuple[Any, Any]


class Forward:
    """One pass of an architecture over `[B, H, W, C]`; normalises with `held` moments, or records the batch's there."""

    def __init__(self, weights: Weights, arch: list[int], held: dict[str, Moments], *, record: bool):
        self.weights, self.arch, self.held, self.record = weights, arch, held, record

    def conv_norm(self, x, conv: str, norm: str | None, index=(), *, stride: int = 1, relu: bool = True):
        kernel = self.weights[f"{conv}/kernel"][index]
        pad = [(len(kernel) // 2,) * 2] * 2
        x = jnp.maximum(x, 0) if relu else x
        x = lax.conv_general_dilated(x, kernel, (stride,) * 2, pad, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return x if norm is None else self.norm(x, norm, index)

    def norm(self, x, name: str, index=()):
        place = f"{name}{list(index)}"
        if self.record:
            self.held[place] = x.mean((0, 1, 2)), x.var((0, 1, 2))
        mean, variance = self.held[place]
        scale, bias = (self.weights[f"{name}/{leaf}"][index] for leaf in ("scale", "bias"))
        return (x - mean) / jnp.sqrt(variance + 1e-5) * scale + bias

    def cell(self, x, stage: int, cell: int):
        nodes = [x, 0.0, 0.0, 0.0]
        for edge, ((to, source), op) in enumerate(zip(EDGES, self.arch, strict=True)):
            if op == 1:
                y = nodes[source]
            elif op == 4:
                y = mean_pool(nodes[source], 3, 1, "SAME")
            elif op in (2, 3):
                conv, norm = (f"stages/{stage}/{part}{'1x1' if op == 2 else '3x3'}" for part in ("conv", "norm"))
                y = self.conv_norm(nodes[source], conv, norm, (cell, edge))
            else:
                y = jnp.zeros_like(x)
            nodes[to] = nodes[to] + y
        return nodes[3]

    def reduction(self, x, r: int):
        y = self.conv_norm(x, f"reductions/{r}/conv_a", f"reductions/{r}/norm_a", stride=2)
        y = self.conv_norm(y, f"reductions/{r}/conv_b", f"reductions/{r}/norm_b")
        return y + self.conv_norm(mean_pool(x, 2, 2, "VALID"), f"reductions/{r}/shortcut", None, relu=False)

    def summed_logits(self, x):
        """Return `[B, 1]`."""
        x = self.conv_norm(x, "stem/conv", "stem/norm", relu=False)
        for stage in range(3):
            x = self.reduction(x, stage - 1) if stage else x
            for cell in range(len(self.weights[f"stages/{stage}/conv3x3/kernel"])):
                x = self.cell(x, stage, cell)
        x = jnp.maximum(self.norm(x, "norm"), 0).mean((1, 2))
        return (x @ self.weights["classifier/kernel"] + self.weights["classifier/bias"]).sum(1, keepdims=True)


def mean_pool(x, size: int, stride: int, padding: str):
    """Average over the pixels of each window that lie inside the image."""

    def total(x):
        return lax.reduce_window(x, 0.0, lax.add, (1, size, size, 1), (1, stride, stride, 1), padding)

    return total(x) / total(np.ones((1, *x.shape[1:3], 1), x.dtype))


def frozen_gram(neural_tangents: ModuleType, flat: Weights, arch: list[int], images: np.ndarray) -> np.ndarray:
    """Return the NTK `[B, B]` of the summed logits for kernels and scales, the moments of `images` held constant.

    The moments are computed with the same weights first. Vectorised over independent samples, as the package allows.
    """
    held: dict[str, Moments] = {}
    Forward(flat, arch, held, record=True).summed_logits(images)
    biases = {name: value for name, value in flat.items() if name.endswith("bias")}
    weights = {name: value for name, value in flat.items() if name not in biases}

    def apply(weights, x):
        return Forward(weights | biases, arch, held, record=False).summed_logits(x)

    kernel = neural_tangents.empirical_ntk_fn(apply, trace_axes=(), vmap_axes=0)
    return np.asarray(jax.jit(lambda weights: kernel(images, None, weights))(weights))[:, :, 0, 0]


def draw() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return weights and images of `SETTINGS`, float32."""
    spec = importlib.util.spec_from_file_location("inputs", HERE / "inputs.py")
    inputs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(inputs)
    shapes = inputs.classifier_shapes(SETTINGS["channels"], SETTINGS["cells"])
    images = inputs.golden_inputs({"images": SETTINGS["images"]}, SETTINGS["inputs_seed"])["images"]
    return inputs.golden_weights(shapes, SETTINGS["weights_seed"]), images


def summary(gram: np.ndarray) -> dict[str, Any]:
    """Return what the tests compare of a Gram matrix."""
    spectrum = np.linalg.eigvalsh(gram)
    return {"kappa": spectrum[-1] / spectrum[0], "diagonal": np.diag(gram).tolist(), "first_row": gram[0].tolist()}


def golden() -> dict[str, Any]:
    """Return the contents of `neural_tangents.json`."""
    import neural_tangents

    flat, images = draw()
    flat = {name: value.astype(np.float64) for name, value in flat.items()}
    grams = {name: frozen_gram(neural_tangents, flat, arch, images.astype(np.float64)) for name, arch in ARCHS.items()}
    return {
        "versions": {"neural-tangents": neural_tangents.__version__, "jax": jax.__version__, "numpy": np.__version__},
        "recipe": "python tests/golden/make_neural_tangents.py",
        "dtype": "float64",
        "settings": SETTINGS,
        "archs": ARCHS,
        "ntk": {name: summary(gram) for name, gram in grams.items()},
    }


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    text = json.dumps(golden(), indent=1)
    (HERE / "neural_tangents.json").write_text(text + "\n")
    print(f"wrote neural_tangents.json, {len(text) / 1000:.0f} kB", file=sys.stderr)
