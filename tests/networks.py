"""Networks wired by hand, of Flax's own layers: the oracle of the wiring that the spaces describe once."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnas.network.module_op import ModuleOp
from jaxnas.network.ops import AvgPool, ConvNorm, Identity
from jaxnas.spaces.blocks.plain import ConvBatchNorm, Pool, Skip, StandAlone, with_head
from jaxnas.spaces.cell.network import CellNetwork, reduction_ops, stem_op


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


def stand_alone(network: CellNetwork, params: nnx.State, arch: np.ndarray) -> StandAlone:
    """The module of `arch` `[E]` with its share of the network's `params`."""
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
