"""Layers of one architecture as Flax's own modules, with weights that a shared network drew."""

from typing import Any

import jax
from flax import nnx

from jaxnas.network.op import EPSILON, Params
from jaxnas.network.ops import ConvNorm


def blank() -> dict[str, Any]:
    """Return arguments of a Flax layer whose weights are put in afterwards."""
    return {"kernel_init": nnx.initializers.zeros_init(), "rngs": nnx.Rngs(0)}


class ConvBatchNorm(nnx.Module):
    """[ReLU,] convolution [, batch normalisation] on `[B, H, W, C]`."""

    def __init__(self, op: ConvNorm, weights: Params):
        self.relu = op.relu
        self.conv = nnx.Conv(
            op.in_channels,
            op.out_channels,
            (op.size, op.size),
            strides=op.stride,
            padding=(op.size - 1) // 2,
            feature_group_count=op.in_channels // weights["kernel"].shape[2],
            use_bias=False,
            **blank(),
        )
        self.conv.kernel = nnx.Param(weights["kernel"])
        self.norm = _norm(op.out_channels, weights if op.affine else {}) if op.norm else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv(jax.nn.relu(x) if self.relu else x)
        return y if self.norm is None else self.norm(y)


class Pool(nnx.Module):
    """3x3 average pooling that does not count the padding."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.avg_pool(x, (3, 3), strides=(1, 1), padding="SAME", count_include_pad=False)


class Skip(nnx.Module):
    """Identity."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return x


class StandAlone(nnx.Module):
    """Images `[B, H, W, C]` to logits `[B, classes]`; `train()` and `eval()` switch the batch normalisations."""

    def __init__(self, blocks: list[nnx.Module], norm: nnx.BatchNorm | None, classifier: nnx.Linear):
        self.blocks, self.norm, self.classifier = nnx.List(blocks), norm, classifier

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in self.blocks:
            x = block(x)
        return self.classifier((x if self.norm is None else jax.nn.relu(self.norm(x))).mean((1, 2)))


def with_head(blocks: list[nnx.Module], head: Params) -> StandAlone:
    """The module of `blocks` and a head with these weights, those of a normalisation among them or not."""
    classifier = nnx.Linear(*head["kernel"].shape, **blank())
    classifier.kernel, classifier.bias = nnx.Param(head["kernel"]), nnx.Param(head["offset"])
    norm = _norm(len(head["scale"]), head) if "scale" in head else None
    return StandAlone(blocks, norm, classifier)


def _norm(features: int, weights: dict[str, Any]) -> nnx.BatchNorm:
    affine = bool(weights)
    norm = nnx.BatchNorm(features, momentum=0.9, epsilon=EPSILON, use_bias=affine, use_scale=affine, rngs=nnx.Rngs(0))
    if affine:
        norm.scale, norm.bias = nnx.Param(weights["scale"]), nnx.Param(weights["bias"])
    return norm
