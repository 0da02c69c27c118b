"""One architecture of any network as an ordinary Flax NNX module: the network's wiring, a module at every place."""

from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxnas.kernels.layout import from_nhwc, to_nhwc
from jaxnas.network.module_op import ModuleOp
from jaxnas.network.network import HEAD, Network, Path, Walk
from jaxnas.network.op import Op, Params
from jaxnas.network.ops import ConvNorm, Head
from jaxnas.spaces.blocks.modules import Classifier
from jaxnas.spaces.blocks.plain import ConvBatchNorm, with_head


class ArchitectureModule(nnx.Module):
    """Images `[B, H, W, C]` to logits `[B, classes]`, with its share of the network's `params`.

    `train()` and `eval()` switch the batch normalisations.

    Attributes:
      network: whose wiring this is.
      arch: the architecture.
      modules: by path, the parts joined by `/`; of a choice only the chosen one.
    """

    def __init__(self, network: Network, params: nnx.State, arch: np.ndarray):
        self.network, self.arch = network, tuple(map(int, arch))
        modules, shared = {}, network.module(params)
        for path, ops in network.ops().items():
            weights = shared.weights(path)
            if isinstance(ops, dict):
                name, op = list(ops.items())[network.chosen(path, np.array(self.arch))]
                modules[_name(path)] = _module(op, weights.get(name, {}))
            else:
                modules[_name(path)] = _module(ops, weights)
        self.modules = nnx.Dict(modules)

    def __call__(self, x: jax.Array) -> jax.Array:
        arch: Any = np.array(self.arch)  # known when compiling
        layout = self.network.config.layout
        features = self.network.wire(ModuleWalk(self), arch, from_nhwc(x, layout))
        return self.modules[_name(HEAD)](to_nhwc(features[-1], layout))


class OpModule(nnx.Module):
    """An operation without parameters."""

    def __init__(self, op: Op):
        self.op = op

    def __call__(self, x: jax.Array) -> jax.Array:
        return to_nhwc(self.op.output({}, from_nhwc(x, self.op.layout)), self.op.layout)


class ModuleWalk(Walk):
    """Runs the modules."""

    def __init__(self, own: ArchitectureModule):
        self.own, self.layout = own, own.network.config.layout

    def __call__(self, path: Path, x: jax.Array, choice: jax.Array | None = None) -> jax.Array:
        return from_nhwc(self.own.modules[_name(path)](to_nhwc(x, self.layout)), self.layout)


def _name(path: Path) -> str:
    return "/".join(map(str, path))


def _module(op: Op, weights: Params) -> nnx.Module:
    if isinstance(op, ModuleOp):
        return op.module(weights)
    if isinstance(op, Head | Classifier):
        return with_head([], weights)
    if isinstance(op, ConvNorm):
        return ConvBatchNorm(op, weights)
    assert not op.num_params, f"no module for {type(op).__name__}"
    return OpModule(op)
