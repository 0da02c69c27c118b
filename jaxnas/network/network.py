"""A network that takes the architecture as data.

A `Network` lists its places and says how feature maps flow from one to the next (see `walks`); everything else follows
from that: parameters, logits, feature maps, ReLU patterns, sizes. Weights belong to (place, op), never to an
architecture: architectures share them.
"""

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnas.kernels.layout import Layout, from_nhwc, layout_for, to_nhwc
from jaxnas.network.op import BatchNormMode, Moments, Observed, Op, moments
from jaxnas.network.ops import Head
from jaxnas.network.walks import HEAD as HEAD
from jaxnas.network.walks import CuttingWalk, ObservingWalk, ShapeWalk, SharedWalk, each_op
from jaxnas.network.walks import Ops as Ops
from jaxnas.network.walks import Path as Path
from jaxnas.network.walks import Walk as Walk
from jaxnas.network.weights import Draw, Weights, blank, drawn_at, nested, rescaled
from jaxnas.network.weights import Init as Init


@dataclass(frozen=True)
class Config:
    """Size and mode of a network.

    Attributes:
      channels: of the first stage; each later stage doubles them and halves the image.
      cells: per stage.
      stages: number of stages.
      stem: 3x3 convolution and normalisation from the image's channels; without it the image enters the first cell.
      image: (height, width, channels) of the input.
      classes: number of logits.
      affine_cells: the cells' normalisations have a scale and a bias.
      bn: `batch` differentiates through the batch moments, `frozen` holds them constant, `identity` does not normalise.
      init: `kaiming` = N(0, 2 / fan_in), `kaiming_fan_out` = N(0, 2 / (height width C_out)); `pytorch` =
        U(+-1 / sqrt(fan_in)), that library's default; `unit` = N(0, 1) before a normalisation and in modules,
        `kaiming` elsewhere.
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


@dataclass(frozen=True, eq=False)
class Cost:
    """Counts that are linear in the chosen ops.

    Attributes:
      fixed: whatever is chosen.
      per_choice: what each op adds, `[E, O]`, summed over the places that follow the same choice.
    """

    fixed: float
    per_choice: np.ndarray

    def total(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the sum for op indices `[N, E]`, or the sum over all active ops for op masks `[N, E, O]`."""
        if archs.ndim == 3:
            return self.fixed + (archs * self.per_choice).sum((-2, -1))
        return self.fixed + self.per_choice[np.arange(archs.shape[-1]), archs].sum(-1)


class Network(ABC):
    """A network as pure functions of its parameters; what scorers take. Subclasses are frozen dataclasses.

    Attributes:
      config: sizes and modes.
      adds_only: between places, `wire` adds feature maps and halves them (`Walk.halved`), nothing else; so what flows
        need not be arrays.
    """

    config: Config
    adds_only: ClassVar[bool] = False

    @property
    @abstractmethod
    def length(self) -> int:
        """Numbers in an architecture."""

    @abstractmethod
    def ops(self) -> dict[Path, Ops]:
        """What can stand where; `("head",)` is the head. The order is that in which weights are drawn."""

    @abstractmethod
    def wire(self, apply: Walk, arch: jax.Array, x: jax.Array) -> list[jax.Array]:
        """Take `x`, in the config's layout, through the places; return the taps, the last of which the head gets.

        `arch` holds one number or, in the supernet, one mask for each choice.
        """

    def choice_index(self, path: Path) -> int:
        """Which number of an architecture the choice at `path` follows: the last one of the path."""
        assert isinstance(path[-1], int)
        return path[-1]

    def chosen(self, path: Path, arch: np.ndarray) -> int:
        """Which of the ops to choose from at `path` the architecture has."""
        return int(arch[self.choice_index(path)])

    def specialised(self, arch: np.ndarray) -> "Network":
        """The network of one architecture, of the channels that it uses; this network where all use the same channels.

        Its parameters are its own; from the same weights it computes the same.
        """
        return self

    def input_shares(self, arch: jax.Array) -> Mapping[Path, jax.Array]:
        """Which share of an op's inputs `arch` has, by path; the others are zeros. Ops not named have all."""
        return {}

    def tap_masks(self, arch: jax.Array) -> Sequence[jax.Array] | None:
        """Which channels `[C]` of each tap `arch` has, the others being zeros; None if it has all."""
        return None

    def rescale_to_fan_in(self, params: nnx.State, arch: jax.Array) -> nnx.State:
        """The parameters as `arch` would draw them, whose ops have fewer inputs; scores begin with these."""
        by_fan_in = self.config.init not in ("kaiming_fan_out", "unit")
        return rescaled(params, self.input_shares(arch)) if by_fan_in else params

    def init(self, key: jax.Array) -> nnx.State:
        """Draw the parameters from `key`."""
        return jax.tree.map(jnp.asarray, nnx.state(SharedNetwork(self, rngs=nnx.Rngs(params=key)), nnx.Param))

    def module(self, params: nnx.State) -> "SharedNetwork":
        """The NNX module with these parameters."""
        return nnx.merge(_graphdef(self), params)

    def walk(self, module: "SharedNetwork", arch: jax.Array, **how: Any) -> SharedWalk:
        """The way of one architecture through the places; `how` as for `walks.SharedWalk`."""
        return SharedWalk(self.ops(), self.config.layout, module.weights, arch, **how)

    def apply(self, params: nnx.State, arch: jax.Array, x: jax.Array, probe: jax.Array | None = None) -> jax.Array:
        """The logits `[B, classes]` of images `[B, H, W, C]`; for `probe` see `apply_op`."""
        return self.module(params)(x, arch, probe)

    def taps(
        self, params: nnx.State, arch: jax.Array, x: jax.Array, running: Mapping[str, Moments] | None = None
    ) -> tuple[list[jax.Array], dict[str, Moments]]:
        """The taps `[B, H, W, C]` and the moments of the normalisations at places without a choice.

        Variances are unbiased, for running averages; `running` moments replace the batch's (evaluation; places with a
        choice always use the batch's).
        """
        walk = self.walk(self.module(params), arch, running=running)
        features = self.wire(walk, arch, from_nhwc(x, self.config.layout))
        return [to_nhwc(f, self.config.layout) for f in features], walk.moments

    def observe(
        self,
        params: nnx.State,
        arch: jax.Array,
        x: jax.Array,
        look: Callable[[Observed], Any],
        look_at_block: Callable[[jax.Array], Any],
    ) -> "Observation":
        """What images `[B, H, W, C]` show on their way, of ops by `look` and of blocks by `look_at_block`.

        Both return pytrees of arrays; what they look at is in the config's layout.
        """
        module, layout = self.module(params), self.config.layout
        walk = ObservingWalk(self.ops(), layout, module.weights, arch, look, look_at_block)
        last = self.wire(walk, arch, from_nhwc(x, layout))[-1]
        walk(HEAD, last)
        blocks, present = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *walk.blocks)
        return Observation(to_nhwc(last, layout), walk.total, blocks, present)

    def block_cotangents(
        self, params: nnx.State, arch: jax.Array, x: jax.Array, begin: Sequence[jax.Array]
    ) -> tuple[list[jax.Array], list[jax.Array]]:
        """What a cotangent at each block's output becomes at its input, for images `[B, H, W, C]`.

        Args:
          begin: the cotangents of the blocks' outputs, `[B, *flow.blocks[i]]`.

        Returns:
          The cotangents `[B, *flow.blocks[i]]` that arrive at each block's output from the blocks that read it, nothing
          that is known at the last one's; and whether the architecture has the block, `[]` each. One that it does not
          have lets through what arrives.
        """
        layout, module = self.config.layout, self.module(params)

        def last(arrive: list[jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
            cuts = [(from_nhwc(r, layout), from_nhwc(q, layout)) for r, q in zip(begin, arrive, strict=True)]
            walk = CuttingWalk(self.ops(), layout, module.weights, arch, cuts=cuts)
            return self.wire(walk, arch, from_nhwc(x, layout))[-1].sum(), walk.present

        return jax.grad(last, has_aux=True)([jnp.zeros_like(cotangent) for cotangent in begin])

    def patterns(self, params: nnx.State, arch: jax.Array, x: jax.Array) -> tuple[list[jax.Array], jax.Array]:
        """The signs `[U, B]` of what ReLUs read, each tensor once, and whether the network is finite `[]`.

        Signs are constant where no chosen op has a ReLU. NaN and infinity are looked for in the moments of the last
        tensor and, of the first sample, in all: weights that are not finite show in every sample, and what overflows in
        one spoils the moments of its batch.
        """
        layout, module = self.config.layout, self.module(params)
        walk = self.walk(module, arch, records=True)
        last = self.wire(walk, arch, from_nhwc(x, layout))[-1]
        head, by = self.ops()[HEAD], moments(last, layout, self.config.bn)
        assert isinstance(head, Head)
        _, active = head.activations(module.weights(HEAD), last, by)
        signs = [(tensor > 0) & used for tensor, used in walk.read.values()] + [(active > 0) & head.relu]
        firsts = [jnp.where(used, _first(tensor, layout), 0) for tensor, used in walk.read.values()]
        finite = jnp.isfinite(jnp.concatenate([*firsts, _first(active, layout), *by])).all()
        return [jnp.moveaxis(s, layout.batch, -1).reshape(-1, x.shape[0]) for s in signs] + walk.signs, finite

    def activations(self, images: int) -> int:
        """The floats that a forward pass of `images` images keeps for the backward pass: two for each choice."""
        inputs, places = self.flow.inputs, self.ops()
        return 2 * images * sum(math.prod(shape) for path, shape in inputs.items() if isinstance(places[path], dict))

    def costs(self, archs: np.ndarray) -> np.ndarray:
        """The FLOPs `[N]` of architectures or, summed over active ops, of op masks `[N, ...]`."""
        return self.flops_cost().total(archs)

    @property
    def tap_widths(self) -> tuple[int, ...]:
        """Channels of the taps."""
        return tuple(shape[-1] for shape in self.flow.taps)

    @property
    def flow(self) -> "Flow":
        """Shapes that flow through the network."""
        return _flow(self)

    def params_cost(self) -> Cost:
        """The number of parameters (weights, scales, biases)."""
        return self.cost(lambda path, op: op.num_params)

    def layers_cost(self) -> Cost:
        """The number of weight tensors of convolutions and matrix products."""
        return self.cost(lambda path, op: op.num_layers)

    def capacity_cost(self) -> Cost:
        """The expected log det(I + W W') of the matrices of convolutions and matrix products."""
        return self.cost(lambda path, op: op.capacity, np.float64)

    def flops_cost(self) -> Cost:
        """The multiply-adds of the convolutions and matrix products on one image."""
        inputs = self.flow.inputs
        return self.cost(lambda path, op: op.flops(math.prod(inputs[path][:2])))

    def cost(self, count: Callable[[Path, Op], float], kind: type = np.int64) -> Cost:
        """The sum of `count` over the places, by the numbers of the arch that their choices follow."""
        places = self.ops()
        fixed = sum(count(path, ops) for path, ops in places.items() if isinstance(ops, Op))
        choices = {path: ops for path, ops in places.items() if isinstance(ops, dict)}
        per_choice: np.ndarray = np.zeros((self.length, max(map(len, choices.values()), default=0)), kind)
        for path, ops in choices.items():
            per_choice[self.choice_index(path), : len(ops)] += [count(path, op) for op in ops.values()]
        return Cost(fixed, per_choice)


class SharedNetwork(nnx.Module):
    """The Flax module of a `Network`: its weights, nested by path and op name."""

    def __init__(self, network: Network, *, rngs: nnx.Rngs | None = None):
        """Draw the weights; without `rngs` they are zeros."""
        self.network = network
        places = network.ops()
        size = sum(op.num_params for ops in places.values() for op in each_op(ops))
        draw = blank if rngs is None else Draw(network.config.init, rngs.params(), size)
        for name, tree in nested(drawn_at(places, draw)).items():
            setattr(self, str(name), tree)

    def __call__(self, x: jax.Array, arch: jax.Array, probe: jax.Array | None = None) -> jax.Array:
        """The logits `[B, classes]` of images `[B, H, W, C]`."""
        walk = self.network.walk(self, arch, probe=probe)
        features = self.network.wire(walk, arch, from_nhwc(x, self.network.config.layout))
        return walk(HEAD, features[-1])

    def weights(self, path: Path) -> Any:
        """The parameters at `path`: of its op, or of each op by name."""
        node: Any = getattr(self, str(path[0]))
        for key in path[1:]:
            node = node[key]
        return node.take() if isinstance(node, Weights) else {name: own.take() for name, own in node.items()}


class Flow(NamedTuple):
    """The shapes `(height, width, channels)` of what enters each place, of the taps and of blocks' outputs."""

    inputs: dict[Path, tuple[int, int, int]]
    taps: tuple[tuple[int, int, int], ...]
    blocks: tuple[tuple[int, int, int], ...]


class Observation(NamedTuple):
    """What a forward pass shows.

    Attributes:
      last: the last feature map `[B, H, W, C]`, which the head gets.
      total: the sum over all ops that run, the head included.
      blocks: of each block (stem, cells, residual units), in order `[L, ...]`.
      present: whether the architecture has that block `[L]`.
    """

    last: jax.Array
    total: Any
    blocks: Any
    present: jax.Array


def _first(x: jax.Array, layout: Layout) -> jax.Array:
    """The first sample, flat."""
    return jax.lax.index_in_dim(x, 0, layout.batch).ravel()


@functools.lru_cache(maxsize=64)
def _graphdef(network: Network) -> nnx.GraphDef:
    return nnx.graphdef(nnx.eval_shape(lambda: SharedNetwork(network)))


@functools.lru_cache(maxsize=64)
def _flow(network: Network) -> Flow:
    config = network.config
    trace = ShapeWalk(network.ops(), config.layout)

    def through(arch: jax.Array, x: jax.Array) -> list[jax.Array]:
        return [to_nhwc(f, config.layout) for f in network.wire(trace, arch, from_nhwc(x, config.layout))]

    arch = jax.ShapeDtypeStruct((network.length,), jnp.int32)
    shapes = jax.eval_shape(through, arch, jax.ShapeDtypeStruct((1, *config.image), jnp.float32))
    taps = tuple(shape.shape[1:] for shape in shapes)
    return Flow({**trace.inputs, HEAD: taps[-1]}, taps, tuple(trace.blocks))
