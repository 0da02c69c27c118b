"""One architecture as an ordinary Flax NNX module, made of Flax's own layers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnas.layers import EPSILON, AvgPool, ConvNorm, Identity, Params
from jaxnas.modules import ModuleOp
from jaxnas.spaces.cell_network import CellNetwork, reduction_ops, stem_op


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


class CellModule(nnx.Module):
    """A DAG of edges `(target, source)`; edges that are left out output zeros."""

    def __init__(self, edges: dict[tuple[int, int], nnx.Module], nodes: int):
        self.wiring, self.nodes = tuple(edges), nodes
        self.edges = nnx.List(edges.values())

    def __call__(self, x: jax.Array) -> jax.Array:
        values = [x] + [jnp.zeros_like(x)] * (self.nodes - 1)
        for (target, source), edge in zip(self.wiring, self.edges, strict=True):
            values[target] = values[target] + edge(values[source])
        return values[-1]


class Reduction(nnx.Module):
    """Residual block at stride 2."""

    def __init__(self, conv_a: ConvBatchNorm, conv_b: ConvBatchNorm, shortcut: ConvBatchNorm):
        self.conv_a, self.conv_b, self.shortcut = conv_a, conv_b, shortcut

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv_b(self.conv_a(x)) + self.shortcut(nnx.avg_pool(x, (2, 2), strides=(2, 2)))


class StandAlone(nnx.Module):
    """Images `[B, H, W, C]` to logits `[B, classes]`; `train()` and `eval()` switch the batch normalisations."""

    def __init__(self, blocks: list[nnx.Module], norm: nnx.BatchNorm | None, classifier: nnx.Linear):
        self.blocks, self.norm, self.classifier = nnx.List(blocks), norm, classifier

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in self.blocks:
            x = block(x)
        return self.classifier((x if self.norm is None else jax.nn.relu(self.norm(x))).mean((1, 2)))


def stand_alone(network: CellNetwork, params: nnx.State, arch: np.ndarray) -> StandAlone:
    """Return the module of `arch` `[E]` with its share of the network's `params`."""
    module: Any = network.module(params)
    config = network.config
    blocks: list[nnx.Module] = []
    if config.stem:
        blocks.append(ConvBatchNorm(stem_op(config), module.stem.take()))
    for stage in range(config.stages):
        if stage:
            weights = module.reductions[stage - 1]
            ops = reduction_ops(config, stage)
            blocks.append(Reduction(**{name: ConvBatchNorm(op, weights[name].take()) for name, op in ops.items()}))
        for cell in range(config.cells):
            edges: dict[tuple[int, int], nnx.Module] = {}
            for e, (edge, k) in enumerate(zip(network.cell.edges, arch, strict=True)):
                op, name = network.cell.ops(config.width(stage), config)[k], network.cell.names[k]
                weights = module.weights(("stages", stage, cell, e)).get(name, {})
                if isinstance(op, ConvNorm):
                    edges[edge] = ConvBatchNorm(op, weights)
                elif isinstance(op, ModuleOp):
                    edges[edge] = op.module(weights)
                elif isinstance(op, Identity | AvgPool):
                    edges[edge] = Skip() if isinstance(op, Identity) else Pool()
            blocks.append(CellModule(edges, 1 + max(t for t, _ in network.cell.edges)))
    return with_head(blocks, module.head.take())


def with_head(blocks: list[nnx.Module], head: Params) -> StandAlone:
    """Return the module of `blocks` and a head with these weights, those of a normalisation among them or not."""
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
