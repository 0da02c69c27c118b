"""Weights and inputs of the golden values, drawn in NumPy from a seed so that both programs get the same ones.

Nothing here depends on PyTorch or JAX. Every array is float32; names are drawn in sorted order from one generator.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]


def norm(prefix: str, channels: int, *, lead: Shape = (), suffix: str = "") -> dict[str, Shape]:
    """Return the shapes of a batch norm's scale and bias."""
    return {f"{prefix}norm{suffix}/{leaf}": (*lead, channels) for leaf in ("scale", "bias")}


def stage_shapes(stage: int, channels: int, cells: int, *, affine: bool) -> dict[str, Shape]:
    """Return the shapes of one stage's cell weights: leading axes cell and edge."""
    prefix, lead, shapes = f"stages/{stage}/", (cells, 6), dict[str, Shape]()
    for size in (1, 3):
        shapes[f"{prefix}conv{size}x{size}/kernel"] = (*lead, size, size, channels, channels)
        bias = {f"{prefix}conv{size}x{size}/bias": (*lead, channels)}
        shapes |= norm(prefix, channels, lead=lead, suffix=f"{size}x{size}") if affine else bias
    return shapes


def reduction_shapes(index: int, channels: int) -> dict[str, Shape]:
    """Return the shapes of the block that doubles `channels`."""
    prefix, wide = f"reductions/{index}/", 2 * channels
    kernels = {
        f"{prefix}conv_a/kernel": (3, 3, channels, wide),
        f"{prefix}conv_b/kernel": (3, 3, wide, wide),
        f"{prefix}shortcut/kernel": (1, 1, channels, wide),
    }
    return kernels | norm(prefix, wide, suffix="_a") | norm(prefix, wide, suffix="_b")


def backbone_shapes(channels: int, cells: int, *, stages: int = 3, affine: bool = True) -> dict[str, Shape]:
    """Return the shapes of stages and reductions, and of the stem where there is more than one stage."""
    shapes: dict[str, Shape] = {}
    if stages > 1:
        shapes = {"stem/conv/kernel": (3, 3, 3, channels)} | norm("stem/", channels)
    for stage in range(stages):
        shapes |= stage_shapes(stage, channels * 2**stage, cells, affine=affine)
    for index in range(stages - 1):
        shapes |= reduction_shapes(index, channels * 2**index)
    return shapes


def classifier_shapes(channels: int, cells: int, *, stages: int = 3) -> dict[str, Shape]:
    """Return the shapes of a classification network: `(3, 1)` is the NTK's, `(1, 1, stages=1)` the regions'."""
    width = channels * 2 ** (stages - 1)
    head = {"classifier/kernel": (width, 10), "classifier/bias": (10,)}
    return backbone_shapes(channels, cells, stages=stages) | norm("", width) | head


def regression_shapes(channels: int, cells: int, targets: Sequence[int]) -> dict[str, Shape]:
    """Return the shapes of the regression network with `targets` channels per head."""
    shapes = backbone_shapes(channels, cells, affine=False)
    for tap, wanted in enumerate(targets):
        width = channels * 2**tap
        shapes |= norm(f"heads/{tap}/", width)
        shapes |= {f"heads/{tap}/conv/kernel": (1, 1, width, wanted), f"heads/{tap}/conv/bias": (wanted,)}
    return shapes


def golden_weights(shapes: Mapping[str, Shape], seed: int) -> dict[str, Array]:
    """Draw weights: kernels N(0, 2 / fan_in), scales 1 + 0.1 N(0, 1), biases 0.1 N(0, 1)."""
    rng = np.random.default_rng(seed)

    def draw(name: str, shape: Shape) -> Array:
        sample = rng.standard_normal(shape)
        if name.endswith("kernel"):
            return sample * math.sqrt(2 / math.prod(shape[-4:-1]))
        return 0.1 * sample + name.endswith("scale")

    return {name: draw(name, shapes[name]).astype(np.float32) for name in sorted(shapes)}


def golden_inputs(shapes: Mapping[str, Shape], seed: int) -> dict[str, Array]:
    """Draw standard normal arrays."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shapes[name]).astype(np.float32) for name in sorted(shapes)}


def golden_regression(seed: int, *, batch: int, steps: int, targets: Sequence[int]) -> tuple[Array, list[Array], Array]:
    """Draw images `[B, 32, 32, 3]`, one target `[B, 8, 8, C_l]` per tap, and noise `[steps + 1, B, 32, 32, 3]`.

    A target repeats the colours of every 4th pixel, which can be learned, and adds half a normal map per channel that
    all images share. With twice the amplitude, float32 rounding alone moved the loss after 20 steps by up to 2 %.
    """
    names = [f"map{tap}" for tap in range(len(targets))]
    shapes: dict[str, Shape] = {name: (8, 8, wanted) for name, wanted in zip(names, targets, strict=True)}
    drawn = golden_inputs(shapes | {"images": (batch, 32, 32, 3), "noise": (steps + 1, batch, 32, 32, 3)}, seed)
    pixels = drawn["images"][:, ::4, ::4]
    half, tenth = np.float32(0.5), np.float32(0.1)
    maps = [
        pixels[..., np.arange(wanted) % 3] + half * drawn[name] for name, wanted in zip(names, targets, strict=True)
    ]
    return drawn["images"], maps, tenth * drawn["noise"]
