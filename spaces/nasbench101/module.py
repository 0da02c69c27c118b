"""One architecture of NAS-Bench-101 as an ordinary Flax NNX module: no choices, and no channel that is not used."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnas.kernels.layout import NHWC
from jaxnas.network.network import HEAD, Path, SharedNetwork
from jaxnas.network.op import Params
from jaxnas.network.ops import ConvNorm
from jaxnas.spaces.blocks.plain import ConvBatchNorm, StandAlone, with_head
from jaxnas.spaces.nasbench101.dag import EDGES
from jaxnas.spaces.nasbench101.network import MAX_POOL, OPS, OUTPUT, NASBench101Network, edge, vertex_channels


class MaxPool(nnx.Module):
    """Square maximum pooling on `[B, H, W, C]`."""

    def __init__(self, size: int, stride: int):
        self.size, self.stride = size, stride

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.max_pool(x, (self.size, self.size), strides=(self.stride, self.stride), padding="SAME")


class CellModule(nnx.Module):
    """A cell: operations at vertices, projections of the input to those that it feeds, the output one of them.

    Args:
      edges: (source, target); vertex 0 is the input, `OUTPUT` the output.
      projections: by target.
      operations: by vertex.
      channels: by vertex.
    """

    def __init__(
        self,
        edges: Iterable[tuple[int, int]],
        projections: dict[int, nnx.Module],
        operations: dict[int, nnx.Module],
        channels: dict[int, int],
    ):
        self.edges, self.projected, self.present = tuple(edges), tuple(projections), tuple(operations)
        self.channels = tuple(channels.items())
        self.projections, self.operations = nnx.List(projections.values()), nnx.List(operations.values())

    def __call__(self, x: jax.Array) -> jax.Array:
        projected = {v: make(x) for v, make in zip(self.projected, self.projections, strict=True)}
        channels = dict(self.channels)
        values: dict[int, jax.Array] = {}
        for v, operation in zip(self.present, self.operations, strict=True):
            terms = [values[u][..., : channels[v]] for u in self._sources(v)]
            values[v] = operation(sum(terms, start=projected.get(v, 0)))
        feeding = [values[u] for u in self._sources(OUTPUT)]
        output = projected.get(OUTPUT, 0)
        return jnp.concatenate(feeding, -1) + output if feeding else output

    def _sources(self, target: int) -> list[int]:
        return [u for u, v in self.edges if v == target and u]


def stand_alone(network: NASBench101Network, params: nnx.State, arch: np.ndarray) -> StandAlone:
    """The module of `arch` `[26]` with its share of the network's `params`."""
    config, module = network.config, network.module(params)
    blocks: list[nnx.Module] = []
    before = config.image[2]
    if config.stem:
        blocks.append(_conv(3, before, config.channels, module.weights(("stem",))))
        before = config.channels
    for stack in range(config.stages):
        after = config.width(stack)
        if stack:
            blocks.append(MaxPool(2, 2))
        for cell in range(config.cells):
            blocks.append(_cell(module, ("stacks", stack, cell), arch, before, after))
            before = after
    return with_head(blocks, module.weights(HEAD))


def _cell(module: SharedNetwork, path: Path, arch: np.ndarray, before: int, after: int) -> CellModule:
    channels = dict(enumerate([*vertex_channels(arch, after).tolist(), after], start=1))
    edges = [(source, target) for target, source in EDGES if arch[edge(source, target)]]
    projections: dict[int, nnx.Module] = {}
    for v in [target for source, target in edges if source == 0]:
        place = ("output", 0) if v == OUTPUT else ("projections", v - 1)
        projections[v] = _conv(1, before, channels[v], module.weights((*path, *place))["projection"])
    operations: dict[int, nnx.Module] = {}
    for v, op in enumerate(arch[len(EDGES) :], start=1):
        if op == MAX_POOL:
            operations[v] = MaxPool(3, 1)
        elif op >= 0:
            weights = module.weights((*path, "vertices", v - 1))[OPS[op]]
            operations[v] = _conv(len(weights["kernel"]), channels[v], channels[v], weights)
    return CellModule(edges, projections, operations, channels)


def _conv(size: int, before: int, after: int, weights: Params) -> nnx.Sequential:
    """Return convolution, normalisation and ReLU with the `weights` of the first channels."""
    op = ConvNorm(before, after, size, NHWC, relu=False)
    own = {name: value[tuple(map(slice, op.shapes()[name]))] for name, value in weights.items()}
    return nnx.Sequential(ConvBatchNorm(op, own), jax.nn.relu)
