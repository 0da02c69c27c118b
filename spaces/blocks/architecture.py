"""One architecture of any network as an ordinary Flax NNX module: the network's wiring, a module at every place."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxnas.kernels.layout import from_nhwc, to_nhwc
from jaxnas.network.module_op import ModuleOp
from jaxnas.network.network import HEAD, Network, Path, Walk
from jaxnas.network.op import Op, Params
from jaxnas.network.ops import ConvNorm, Head
from jaxnas.spaces.blocks.conv_norm import Conv2d, ConvBatchNorm, batch_norm


class ArchitectureModule(nnx.Module):
    """Images `[B, H, W, C]` to logits `[B, classes]`, with its share of the network's `params`.

    `train()` and `eval()` switch the batch normalisations. The module consists of plain `lax` and `nnx` operations;
    on a CPU, training may be faster after `set_attributes(plain=False)`, which leaves first derivatives only.

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
                modules[_name(path)] = module_of(op, weights.get(name, {}))
            else:
                modules[_name(path)] = module_of(ops, weights)
        self.modules = nnx.Dict(modules)
        self.set_attributes(plain=True, raise_if_not_found=False)

    def __call__(self, x: jax.Array) -> jax.Array:
        arch: Any = np.array(self.arch)  # known when compiling
        layout = self.network.config.layout
        features = self.network.wire(ModuleWalk(self), arch, from_nhwc(x, layout))
        return self.modules[_name(HEAD)](to_nhwc(features[-1], layout))


class HeadModule(nnx.Module):
    """[Batch normalisation,] [ReLU,] global average pooling and a linear classifier: `[B, classes]` logits."""

    def __init__(self, op: Head, weights: Params):
        self.relu, self.norm = op.relu, _norm(op.in_channels, weights) if op.norm_first else None
        inits: dict[str, Any] = {"kernel_init": _given(weights["kernel"]), "bias_init": _given(weights["offset"])}
        self.classifier = nnx.Linear(op.in_channels, op.out_channels, **inits, rngs=nnx.Rngs(0))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x if self.norm is None else self.norm(x)
        return self.classifier((jax.nn.relu(y) if self.relu else y).mean((1, 2)))


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


def _norm(features: int, weights: Params) -> nnx.BatchNorm:
    """The batch normalisation with these weights, or without any."""
    if "scale" not in weights:
        return batch_norm(features, nnx.Rngs(0), use_scale=False, use_bias=False)
    inits = {"scale_init": _given(weights["scale"]), "bias_init": _given(weights["bias"])}
    return batch_norm(features, nnx.Rngs(0), **inits)


def _given(value: jax.Array) -> Callable[..., jax.Array]:
    """The initialiser that returns `value`."""
    return lambda *_: value


def _name(path: Path) -> str:
    return "/".join(map(str, path))


def module_of(op: Op, weights: Params) -> nnx.Module:
    """The module `[B, H, W, C]` to `[B, H', W', C']` of an operation with these weights."""
    if isinstance(op, ModuleOp):
        return op.module(weights)
    if isinstance(op, Head):
        return HeadModule(op, weights)
    if isinstance(op, ConvNorm):
        _, _, inputs, outputs = op.shapes()["kernel"]  # of each group
        rest: dict[str, Any] = {"strides": (op.stride, op.stride), "kernel_init": _given(weights["kernel"])}
        conv = Conv2d(inputs, outputs, (op.size, op.size), **rest, rngs=nnx.Rngs(0))
        return ConvBatchNorm(conv, _norm(outputs, weights) if op.norm else None, relu_before=op.relu)
    assert not op.num_params, f"no module for {type(op).__name__}"
    return OpModule(op)
