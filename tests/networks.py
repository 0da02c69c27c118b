"""Networks wired by hand, of Flax's own layers: the oracle of the wiring that the spaces describe once."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnas.kernels.layout import NHWC
from jaxnas.network.module_op import ModuleOp
from jaxnas.network.network import HEAD, Network, Path, SharedNetwork
from jaxnas.network.op import EPSILON, Op, Params
from jaxnas.network.ops import AvgPool, ConvNorm, Identity, Zero
from jaxnas.spaces.blocks.modules import cell_op
from jaxnas.spaces.cell.network import CellNetwork, reduction_ops, stem_op
from jaxnas.spaces.nasbench101.dag import EDGES
from jaxnas.spaces.nasbench101.network import OPS, OUTPUT, NASBench101Network, vertex_channels
from jaxnas.spaces.nasbench101.network import edge as edge_number
from jaxnas.spaces.nds.network import INPUTS, TwoCellNetwork


def share(params: nnx.State, network: Network) -> nnx.State:
    """Those of `params` that `network` has, of the first channels."""
    leaves = dict(nnx.to_flat_state(params))
    own = nnx.to_flat_state(jax.eval_shape(network.init, jax.random.key(0)))
    first = {path: np.asarray(leaves[path][...])[tuple(map(slice, leaf.shape))] for path, leaf in own}
    return nnx.from_flat_state([(path, leaf.replace(first[path])) for path, leaf in own])


# --- layers -----------------------------------------------------------------------------------------------------------


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


def layer(op: Op, weights: Params) -> nnx.Module:
    """The module of an op."""
    if isinstance(op, ConvNorm):
        return ConvBatchNorm(op, weights)
    return op.module(weights) if isinstance(op, ModuleOp) else {Identity: Skip, AvgPool: Pool}[type(op)]()


# --- cells in stages -------------------------------------------------------------------------------------------------


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
                if not isinstance(op, Zero):
                    edges[edge] = layer(op, weights)
            blocks.append(CellModule(edges, 1 + max(t for t, _ in network.cell.edges)))
    return with_head(blocks, module.head.take())


# --- NAS-Bench-101 ----------------------------------------------------------------------------------------------------


class MaxPool(nnx.Module):
    """Square maximum pooling on `[B, H, W, C]`."""

    def __init__(self, size: int, stride: int):
        self.size, self.stride = size, stride

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.max_pool(x, (self.size, self.size), strides=(self.stride, self.stride), padding="SAME")


class NASBench101Cell(nnx.Module):
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


def nasbench101(network: NASBench101Network, params: nnx.State, arch: np.ndarray) -> StandAlone:
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


def _cell(module: SharedNetwork, path: Path, arch: np.ndarray, before: int, after: int) -> NASBench101Cell:
    channels = dict(enumerate([*vertex_channels(arch, after).tolist(), after], start=1))
    edges = [(source, target) for target, source in EDGES if arch[edge_number(source, target)]]
    projections: dict[int, nnx.Module] = {}
    for v in [target for source, target in edges if source == 0]:
        place = ("output", 0) if v == OUTPUT else ("projections", v - 1)
        projections[v] = _conv(1, before, channels[v], module.weights((*path, *place))["projection"])
    operations: dict[int, nnx.Module] = {}
    for v, op in enumerate(arch[len(EDGES) :], start=1):
        if op == OPS.index("maxpool3x3"):
            operations[v] = MaxPool(3, 1)
        elif op >= 0:
            weights = module.weights((*path, "vertices", v - 1))[OPS[op]]
            operations[v] = _conv(len(weights["kernel"]), channels[v], channels[v], weights)
    return NASBench101Cell(edges, projections, operations, channels)


def _conv(size: int, before: int, after: int, weights: Params) -> nnx.Sequential:
    """Return convolution, normalisation and ReLU with the `weights` of the first channels."""
    op = ConvNorm(before, after, size, NHWC, relu=False)
    own = {name: value[tuple(map(slice, op.shapes()[name]))] for name, value in weights.items()}
    return nnx.Sequential(ConvBatchNorm(op, own), jax.nn.relu)


# --- two cells -------------------------------------------------------------------------------------------------------


class TwoCells(nnx.Module):
    """Images `[B, H, W, C]` to logits `[B, classes]`.

    Args:
      network: of one genotype, with its `params`; of it the ops of the stem and at the cells' entries.
      names, sources: of the two cells `[2, 2 n]`.
      outputs: which nodes are output `[2, n]`.
    """

    def __init__(
        self,
        network: TwoCellNetwork,
        params: nnx.State,
        names: list[list[str]],
        sources: np.ndarray,
        outputs: np.ndarray,
    ):
        ops, weights = network.ops(), network.module(params).weights

        def at(*path: str | int) -> nnx.Module:
            return layer(ops[path], weights(path))

        self.stem = nnx.List(at("stem", i) for i in range(len(network.frame.stem)))
        self.cells, channels = nnx.List[nnx.Module]([]), network.config.channels
        for cell, reduction in enumerate(map(int, network.reductions)):
            channels <<= reduction
            edges: list[tuple[int, int, nnx.Module]] = []
            for place, (name, source) in enumerate(zip(names[reduction], sources[reduction].tolist(), strict=True)):
                if name != "none":
                    op = cell_op(name, channels, network.config, 1 + (reduction and source < INPUTS))
                    edges.append((INPUTS + place // 2, source, layer(op, weights(("cells", cell, place)))))
            kept = (np.flatnonzero(outputs[reduction]) + INPUTS).tolist()
            entries = [at("entries", cell, i) for i in range(INPUTS)]
            self.cells.append(TwoCellsCell(entries, edges, kept, network.nodes, 1 + reduction))
        self.head = with_head([], weights(HEAD))

    def __call__(self, x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """The logits and the outputs of all cells."""
        before, last, outputs = x, x, []
        for convolution in self.stem:
            before, last = last, convolution(last)
        if len(self.stem) == 1:
            before = last
        for cell in self.cells:
            before, last = last, cell(before, last)
            outputs.append(last)
        return self.head(last), outputs


class TwoCellsCell(nnx.Module):
    """A cell on the outputs of the two cells before it; edges are (target, source, module)."""

    def __init__(
        self,
        entries: list[nnx.Module],
        edges: list[tuple[int, int, nnx.Module]],
        outputs: list[int],
        nodes: int,
        stride: int,
    ):
        self.wiring, self.outputs = tuple(edge[:2] for edge in edges), tuple(outputs)
        self.nodes, self.stride = nodes, stride
        self.entries, self.edges = nnx.List(entries), nnx.List(module for _, _, module in edges)

    def __call__(self, before: jax.Array, last: jax.Array) -> jax.Array:
        nodes = [entry(x) for entry, x in zip(self.entries, (before, last), strict=True)]
        nodes += [jnp.zeros_like(nodes[0][:, :: self.stride, :: self.stride])] * self.nodes
        for (target, source), edge in zip(self.wiring, self.edges, strict=True):
            nodes[target] = nodes[target] + edge(nodes[source])
        return jnp.concatenate([nodes[node] for node in self.outputs], -1)


def small(space, stages=1):
    """The space with networks that compile fast: of one cell per stage."""

    class Small(type(space)):
        def __init__(self):
            vars(self).update(vars(space))

        def network(self, form="benchmark", group=None, **changes):
            return super().network(form, group, **changes | {"cells": 1, "stages": stages})

    return Small()
