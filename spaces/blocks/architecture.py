"""One architecture of any network as an ordinary Flax NNX module: the network's wiring, a module at every place."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnas.kernels.layout import from_nhwc, to_nhwc
from jaxnas.network.module_op import ModuleOp
from jaxnas.network.network import HEAD, Network, Path, Walk
from jaxnas.network.op import Op, Params
from jaxnas.network.ops import AvgPool, ConvNorm, Head, Identity, Zero
from jaxnas.spaces.blocks.plain import ConvBatchNorm, Pool, Skip, with_head


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
                name, op = list(ops.items())[self.arch[network.choice_index(path)]]
                modules[_name(path)] = _module(op, weights.get(name, {}))
            else:
                modules[_name(path)] = _module(ops, weights)
        self.modules = nnx.Dict(modules)

    def __call__(self, x: jax.Array) -> jax.Array:
        layout = self.network.config.layout
        features = self.network.wire(ModuleWalk(self), jnp.asarray(self.arch), from_nhwc(x, layout))
        return self.modules[_name(HEAD)](to_nhwc(features[-1], layout))


class Nothing(nnx.Module):
    """Zeros."""

    def __init__(self, op: Zero):
        self.channels, self.stride = op.out_channels, op.stride

    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, _ = x.shape
        return jnp.zeros((batch, -(-height // self.stride), -(-width // self.stride), self.channels), x.dtype)


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
    if isinstance(op, Head):
        return with_head([], weights)
    if isinstance(op, Identity | AvgPool):
        return Skip() if isinstance(op, Identity) else Pool()
    if isinstance(op, Zero):
        return Nothing(op)
    assert isinstance(op, ConvNorm), f"no module for {type(op).__name__}"
    return ConvBatchNorm(op, weights)
