"""The network of a cell-based space: one Flax NNX module for every architecture, with the architecture as data.

Stem, stages of cells with a stride-2 residual block between them, head. A cell is a DAG: node 0 is its input, a node is
the sum of its incoming edges, the last node is its output. Which operation an edge applies is an argument:

* op indices `[E]`: one op each, only that op is computed;
* an op mask `[E, O]`: the mean of the active ops (the supernet that pruning searches).

Weights belong to (stage, cell, edge, op), never to an architecture: architectures share them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnas.kernels.conv import mean_pool2x2
from jaxnas.kernels.layout import Layout, from_nhwc, layout_for, to_nhwc
from jaxnas.layers import BatchNormMode, ConvNorm, Head, Moments, Op, Params, Zero, moments, run

Init = Literal["kaiming", "pytorch"]


@dataclass(frozen=True)
class Config:
    """Size and mode of a cell network.

    Attributes:
      channels: of the first stage; each later stage doubles them and halves the image.
      cells: per stage.
      stages: number of stages.
      stem: 3x3 convolution and normalisation from the image's channels; without it the image enters the first cell.
      image: (height, width, channels) of the input.
      classes: number of logits.
      affine_cells: the cells' normalisations have a scale and a bias.
      bn: `batch` differentiates through the batch moments, `frozen` holds them constant.
      init: `kaiming` = N(0, 2 / fan_in); `pytorch` = U(+-1 / sqrt(fan_in)), that library's default.
    """

    channels: int
    cells: int
    stages: int = 3
    stem: bool = True
    image: tuple[int, int, int] = (32, 32, 3)
    classes: int = 10
    affine_cells: bool = True
    bn: BatchNormMode = "batch"
    init: Init = "kaiming"

    @property
    def layout(self) -> Layout:
        return layout_for(self.channels)

    def width(self, stage: int) -> int:
        return self.channels * 2**stage

    def pixels(self, stage: int) -> int:
        return self.image[0] * self.image[1] // 4**stage


class Cell(NamedTuple):
    """The edges `(target node, source node)` of a cell and the ops that each of them chooses from."""

    edges: tuple[tuple[int, int], ...]
    ops: Callable[[int, Config], tuple[Op, ...]]  # (channels, config) -> ops in the space's order
    names: tuple[str, ...]


class Cost(NamedTuple):
    """Counts that are linear in the chosen ops: `fixed + sum over edges e of per_op[op of e]`."""

    fixed: int
    per_op: tuple[int, ...]


class _Weights(nnx.Module):
    """The parameters of one op."""

    def __init__(self, values: Params):
        for name, value in values.items():
            setattr(self, name, nnx.Param(value))

    def take(self) -> Params:
        return {name: leaf[...] for name, leaf in vars(self).items() if isinstance(leaf, nnx.Param)}


class _Draw:
    """Initial values, cut one after another from a single random vector.

    The vector is cut on the host: a network has hundreds of tensors, and a program for each would take longer to
    compile than all scores of a search.
    """

    def __init__(self, init: Init, key: jax.Array, size: int):
        self.init, self.used = init, 0
        vector = jax.random.normal(key, (size,)) if init == "kaiming" else jax.random.uniform(key, (size,), minval=-1)
        self.vector = vector if isinstance(vector, jax.core.Tracer) else np.asarray(vector)

    def __call__(self, op: Op, copies: tuple[int, ...] = ()) -> Params:
        """Return `copies` of the op's parameters, stacked."""
        shapes = {name: copies + shape for name, shape in op.shapes().items()}
        values: dict[str, Any] = {
            name: (np.ones if name == "scale" else np.zeros)(shape, np.float32) for name, shape in shapes.items()
        }
        for name in ("kernel", "offset"):
            if name in shapes and (name == "kernel" or self.init == "pytorch"):
                fan_in = math.prod(op.shapes()["kernel"][:-1])
                values[name] = self._next(shapes[name]) * ((2 if self.init == "kaiming" else 1) / fan_in) ** 0.5
        return values

    def _next(self, shape: tuple[int, ...]) -> Any:
        first, self.used = self.used, self.used + math.prod(shape)
        return self.vector[first : self.used].reshape(shape)


def _first(arch):
    return (arch.ravel()[0] < 0).astype(jnp.int32)


class CellNetwork(nnx.Module):
    """See the module's docstring. Images go in as `[B, H, W, C]`."""

    def __init__(self, cell: Cell, config: Config, *, rngs: nnx.Rngs):
        self.cell, self.config = cell, config
        fixed, per_op = Network(cell, config).params_cost()
        draw = _Draw(config.init, rngs.params(), fixed + sum(per_op) * len(cell.edges))
        if config.stem:
            self.stem = _Weights(draw(stem_op(config)))
        self.stages = nnx.List(self._stage(stage, draw) for stage in range(config.stages))
        self.reductions = nnx.List(
            nnx.Dict({name: _Weights(draw(op)) for name, op in reduction_ops(config, stage).items()})
            for stage in range(1, config.stages)
        )
        self.head = _Weights(draw(head_op(config)))

    def _stage(self, stage: int, draw: "_Draw") -> nnx.List:
        """Return the parameters of a stage, by cell, edge and op."""
        cells, edges = self.config.cells, len(self.cell.edges)
        ops = zip(self.cell.names, self._ops(stage), strict=True)
        stacked = {name: draw(op, (cells, edges)) for name, op in ops if op.shapes()}

        def weights(cell: int, edge: int) -> nnx.Dict:
            return nnx.Dict(
                {name: _Weights({k: v[cell, edge] for k, v in values.items()}) for name, values in stacked.items()}
            )

        return nnx.List(nnx.List(weights(cell, edge) for edge in range(edges)) for cell in range(cells))

    def __call__(self, x: jax.Array, arch: jax.Array, probe: jax.Array | None = None) -> jax.Array:
        """Return the logits `[B, classes]` of images `[B, H, W, C]`."""
        features, _ = self._features(x, arch, probe)
        return run((head_op(self.config),), _first(arch), (self.head.take(),), features[-1], probe)[0]

    def taps(
        self, x: jax.Array, arch: jax.Array, running: list[Moments] | None = None
    ) -> tuple[list[jax.Array], list[Moments]]:
        """Return the stages' outputs `[B, H, W, C]` and the moments of the normalisations outside the cells.

        Variances are unbiased, for running averages; `running` moments, in the same order, replace the batch's
        (evaluation; cells always use the batch's).
        """
        features, stats = self._features(x, arch, None, running)
        return [to_nhwc(f, self.config.layout) for f in features], stats

    def patterns(self, x: jax.Array, arch: jax.Array) -> jax.Array:
        """Return the signs `[U, B]` of every ReLU output of a one-cell network; constant where no ReLU reads a node."""
        nodes = self._nodes(from_nhwc(x, self.config.layout), arch, 0, 0, None)
        relu = jnp.array([getattr(op, "relu", False) for op in self._ops(0)])
        chosen = relu[arch] if arch.ndim == 1 else (arch * relu[None]).any(-1)
        read = [jnp.zeros((), bool)] * len(nodes)
        for edge, (_, source) in enumerate(self.cell.edges):
            read[source] = read[source] | chosen[edge]
        _, last = head_op(self.config).activations(self.head.take(), nodes[-1], moments(nodes[-1], self.config.layout))
        signs = [(node > 0) & used for node, used in zip(nodes[:-1], read, strict=False)] + [last > 0]
        batch = self.config.layout.batch
        return jnp.concatenate([jnp.moveaxis(s, batch, -1).reshape(-1, x.shape[0]) for s in signs])

    def _ops(self, stage: int) -> tuple[Op, ...]:
        return self.cell.ops(self.config.width(stage), self.config)

    def _features(self, x, arch, probe, running=None):
        """Return each stage's output, and the moments of stem and reductions in order."""
        stats: list[Moments] = []

        def norm(op: ConvNorm, weights: _Weights, x: jax.Array) -> jax.Array:
            if running is not None:
                y, saved = op.forward(weights.take(), x, running[len(stats)])
                stats.append(saved.moments)
                return y
            y, seen = run((op,), _first(arch), (weights.take(),), x, probe)
            count = y.size // y.shape[self.config.layout.channel]
            stats.append(Moments(seen.mean, seen.variance * (count / (count - 1))))
            return y

        x = from_nhwc(x, self.config.layout)
        if self.config.stem:
            x = norm(stem_op(self.config), self.stem, x)
        features = []
        for stage in range(self.config.stages):
            if stage:
                ops, weights = reduction_ops(self.config, stage), self.reductions[stage - 1]
                main = norm(ops["conv_b"], weights["conv_b"], norm(ops["conv_a"], weights["conv_a"], x))
                pooled = mean_pool2x2(x, self.config.layout)
                x = main + run((ops["shortcut"],), _first(arch), (weights["shortcut"].take(),), pooled, probe)[0]
            for cell in range(self.config.cells):
                x = self._nodes(x, arch, stage, cell, probe)[-1]
            features.append(x)
        return features, stats

    def _nodes(self, x, arch, stage, cell, probe) -> list[jax.Array]:
        nodes: list[Any] = [x]
        for edge, (target, source) in enumerate(self.cell.edges):
            y = self._edge(nodes[source], arch[edge], stage, cell, edge, probe)
            if target == len(nodes):
                nodes.append(y)
            else:
                nodes[target] = nodes[target] + y
        return nodes

    def _edge(self, x, choice, stage, cell, edge, probe) -> jax.Array:
        ops = self._ops(stage)
        weights = tuple(
            self.stages[stage][cell][edge][name].take() if op.shapes() else {}
            for name, op in zip(self.cell.names, ops, strict=True)
        )
        if choice.ndim == 0:
            return run(ops, choice, weights, x, probe)[0]
        zero = Zero(self.config.width(stage), self.config.layout)
        total = jnp.zeros_like(x)
        for op, own, active in zip(ops, weights, choice > 0, strict=True):
            if not isinstance(op, Zero):
                total += active * run((zero, op), active.astype(jnp.int32), ({}, own), x, probe)[0]
        return total / jnp.maximum((choice > 0).sum(), 1)


@dataclass(frozen=True)
class Network:
    """A cell network as pure functions of its parameters; what scorers take.

    Attributes:
      cell: the space's cell.
      config: sizes and modes.
    """

    cell: Cell
    config: Config

    def init(self, key: jax.Array) -> nnx.State:
        """Draw the parameters from `key`."""
        module = CellNetwork(self.cell, self.config, rngs=nnx.Rngs(params=key))
        return jax.tree.map(jnp.asarray, nnx.state(module, nnx.Param))

    def module(self, params: nnx.State) -> CellNetwork:
        """Return the NNX module with these parameters."""
        abstract = nnx.eval_shape(lambda: CellNetwork(self.cell, self.config, rngs=nnx.Rngs(params=0)))
        return nnx.merge(nnx.graphdef(abstract), params)

    def apply(self, params: nnx.State, arch: jax.Array, x: jax.Array, probe: jax.Array | None = None) -> jax.Array:
        """Return logits; see `CellNetwork.__call__` and, for `probe`, `layers.run`."""
        return self.module(params)(x, arch, probe)

    def taps(self, params: nnx.State, arch: jax.Array, x: jax.Array, running: list[Moments] | None = None):
        """See `CellNetwork.taps`."""
        return self.module(params).taps(x, arch, running)

    def patterns(self, params: nnx.State, arch: jax.Array, x: jax.Array) -> jax.Array:
        """See `CellNetwork.patterns`."""
        return self.module(params).patterns(x, arch)

    def activations(self, images: int) -> int:
        """Return the floats that a forward pass of `images` images keeps for the backward pass: two for each edge."""
        config = self.config
        sizes = [config.cells * config.width(stage) * config.pixels(stage) for stage in range(config.stages)]
        return 2 * len(self.cell.edges) * images * sum(sizes)

    def params_cost(self) -> Cost:
        """Return the number of parameters (weights, scales, biases), by op."""
        return self._cost(lambda op, pixels: sum(math.prod(shape) for shape in op.shapes().values()))

    def flops_cost(self) -> Cost:
        """Return the operations per image by op, multiply-adds counted once, as in the tables of NAS-Bench-201."""
        return self._cost(lambda op, pixels: op.flops(pixels), pooling=4)

    def _cost(self, count: Callable[[Op, int], int], pooling: int = 0) -> Cost:
        config = self.config
        fixed = count(stem_op(config), config.pixels(0)) if config.stem else 0
        per_op = [0] * len(self.cell.names)
        for stage in range(config.stages):
            if stage:
                ops, pixels = reduction_ops(config, stage), config.pixels(stage)
                fixed += count(ops["conv_a"], config.pixels(stage - 1))
                fixed += count(ops["conv_b"], pixels) + count(ops["shortcut"], pixels)
                fixed += pooling * pixels * config.width(stage - 1)
            for k, op in enumerate(self.cell.ops(config.width(stage), config)):
                per_op[k] += config.cells * count(op, config.pixels(stage))
        fixed += count(head_op(config), config.pixels(config.stages - 1))
        return Cost(fixed, tuple(per_op))


def stem_op(config: Config) -> ConvNorm:
    return ConvNorm(config.image[2], config.channels, 3, config.layout, relu=False, bn=config.bn)


def reduction_ops(config: Config, stage: int) -> dict[str, ConvNorm]:
    """Return the residual block at stride 2 that leads into `stage`; its shortcut follows a 2x2 average pooling."""
    before, after = config.width(stage - 1), config.width(stage)
    return {
        "conv_a": ConvNorm(before, after, 3, config.layout, stride=2, bn=config.bn),
        "conv_b": ConvNorm(after, after, 3, config.layout, bn=config.bn),
        "shortcut": ConvNorm(before, after, 1, config.layout, relu=False, norm=False),
    }


def head_op(config: Config) -> Head:
    return Head(config.width(config.stages - 1), config.classes, config.layout, config.bn)
