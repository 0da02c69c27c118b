"""A network that takes the architecture as data: its places, the operations that can stand there, and a way through.

A `Network` lists its places and says how feature maps flow from one to the next; everything else follows from that:
parameters, logits, feature maps, ReLU patterns, sizes. What stands at a place is one of

* a single op;
* a choice by op index `[]`: one of several ops, only that one is computed;
* a choice by op mask `[O]`: the mean of the active ops (the supernet that pruning searches).

Weights belong to (place, op), never to an architecture: architectures share them.
"""

import functools
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnas.kernels.dispatch import choose
from jaxnas.kernels.layout import Layout, from_nhwc, layout_for, to_nhwc
from jaxnas.layers import BatchNormMode, Head, Moments, Op, Params, Zero, moments, run
from jaxnas.modules import ModuleOp

Init = Literal["kaiming", "kaiming_fan_out", "pytorch"]
Path = tuple[str | int, ...]
Ops = Op | dict[str, Op]
"""One op, or several to choose from, by name and in the order of their indices."""
HEAD: Path = ("head",)
Body = Callable[[Callable[[jax.Array, jax.Array], jax.Array], Any, Any], Any]
"""`(at, carry, x) -> carry`, see `Place.each`."""


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
      bn: `batch` differentiates through the batch moments, `frozen` holds them constant.
      init: `kaiming` = N(0, 2 / fan_in), `kaiming_fan_out` = N(0, 2 / (height width C_out)); `pytorch` =
        U(+-1 / sqrt(fan_in)), that library's default.
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

    fixed: int
    per_choice: np.ndarray

    def total(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the sum for op indices `[N, E]`, or the sum over all active ops for op masks `[N, E, O]`."""
        if archs.ndim == 3:
            return self.fixed + (archs * self.per_choice).sum((-2, -1))
        return self.fixed + self.per_choice[np.arange(archs.shape[-1]), archs].sum(-1)


class Place(ABC):
    """What a network's `features` runs its places with."""

    @abstractmethod
    def __call__(self, path: Path, x: jax.Array, choice: jax.Array | None = None) -> jax.Array:
        """Return the output of the op at `path`, or of that or those which `choice` (index or mask) names."""

    def each(self, paths: Sequence[Path], body: Body, carry: Any, xs: Any) -> Any:
        """Return the last of `carry = body(at, carry, x)`, for the places at `paths` and the slices `x` of `xs`.

        The places have the same choice of ops, which `at(y, choice)` runs; a network compiles them once, as a loop.
        """
        for i, path in enumerate(paths):
            carry = body(functools.partial(self, path), carry, jax.tree.map(lambda x, i=i: x[i], xs))
        return carry


class Network(ABC):
    """A network as pure functions of its parameters; what scorers take. Subclasses are frozen dataclasses.

    Attributes:
      config: sizes and modes.
    """

    config: Config

    @property
    @abstractmethod
    def length(self) -> int:
        """Numbers in an architecture."""

    @abstractmethod
    def places(self) -> dict[Path, Ops]:
        """Return what can stand where; `("head",)` is the head. The order is that in which weights are drawn."""

    @abstractmethod
    def features(self, at: Place, arch: jax.Array, x: jax.Array) -> list[jax.Array]:
        """Take `x`, in the config's layout, through the places; return the taps, the last of which the head gets.

        `arch` holds one number or, in the supernet, one mask for each choice.
        """

    def number(self, path: Path) -> int:
        """Return which number of an architecture the choice at `path` follows: the last one of the path."""
        assert isinstance(path[-1], int)
        return path[-1]

    def init(self, key: jax.Array) -> nnx.State:
        """Draw the parameters from `key`."""
        return jax.tree.map(jnp.asarray, nnx.state(SharedNetwork(self, rngs=nnx.Rngs(params=key)), nnx.Param))

    def module(self, params: nnx.State) -> "SharedNetwork":
        """Return the NNX module with these parameters."""
        return nnx.merge(_graphdef(self), params)

    def apply(self, params: nnx.State, arch: jax.Array, x: jax.Array, probe: jax.Array | None = None) -> jax.Array:
        """Return the logits `[B, classes]` of images `[B, H, W, C]`; for `probe` see `layers.run`."""
        return self.module(params)(x, arch, probe)

    def taps(
        self, params: nnx.State, arch: jax.Array, x: jax.Array, running: Mapping[str, Moments] | None = None
    ) -> tuple[list[jax.Array], dict[str, Moments]]:
        """Return the taps `[B, H, W, C]` and the moments of the normalisations at places without a choice.

        Variances are unbiased, for running averages; `running` moments replace the batch's (evaluation; places with a
        choice always use the batch's).
        """
        at = _Run(self, self.module(params), arch, running=running)
        features = self.features(at, arch, from_nhwc(x, self.config.layout))
        return [to_nhwc(f, self.config.layout) for f in features], at.moments

    def patterns(self, params: nnx.State, arch: jax.Array, x: jax.Array) -> jax.Array:
        """Return the signs `[U, B]` of what ReLUs read, each tensor once; constant where no chosen op has a ReLU."""
        layout, module = self.config.layout, self.module(params)
        at = _Run(self, module, arch, records=True)
        last = self.features(at, arch, from_nhwc(x, layout))[-1]
        head = self.places()[HEAD]
        assert isinstance(head, Head)
        _, active = head.activations(module.weights(HEAD), last, moments(last, layout))
        signs = [(tensor > 0) & used for tensor, used in at.read.values()] + [active > 0]
        return jnp.concatenate([jnp.moveaxis(s, layout.batch, -1).reshape(-1, x.shape[0]) for s in signs] + at.signs)

    def activations(self, images: int) -> int:
        """Return the floats that a forward pass of `images` images keeps for the backward pass: two for each choice."""
        inputs, places = self.flow.inputs, self.places()
        return 2 * images * sum(math.prod(shape) for path, shape in inputs.items() if isinstance(places[path], dict))

    def costs(self, archs: np.ndarray) -> np.ndarray:
        """Return the FLOPs `[N]` of architectures or, summed over active ops, of op masks `[N, ...]`."""
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
        """Return the number of parameters (weights, scales, biases)."""
        return self._cost(lambda path, op: op.num_params)

    def flops_cost(self) -> Cost:
        """Return the operations per image, multiply-adds counted once."""
        inputs = self.flow.inputs
        return self._cost(lambda path, op: op.flops(math.prod(inputs[path][:2])))

    def _cost(self, count: Callable[[Path, Op], int]) -> Cost:
        """Return the sum of `count` over the places, by the numbers of the arch that their choices follow."""
        places = self.places()
        fixed = sum(count(path, ops) for path, ops in places.items() if isinstance(ops, Op))
        choices = {path: ops for path, ops in places.items() if isinstance(ops, dict)}
        per_choice = np.zeros((self.length, max(map(len, choices.values()), default=0)), np.int64)
        for path, ops in choices.items():
            per_choice[self.number(path), : len(ops)] += [count(path, op) for op in ops.values()]
        return Cost(fixed, per_choice)


class SharedNetwork(nnx.Module):
    """The Flax module of a `Network`: its weights, nested by path and op name."""

    def __init__(self, network: Network, *, rngs: nnx.Rngs | None = None):
        """Draw the weights; without `rngs` they are zeros."""
        self.network = network
        places = network.places()
        size = sum(op.num_params for ops in places.values() for op in _each(ops))
        draw = _blank if rngs is None else _Draw(network.config.init, rngs.params(), size)
        for name, tree in _nested(_drawn(places, draw)).items():
            setattr(self, str(name), tree)

    def __call__(self, x: jax.Array, arch: jax.Array, probe: jax.Array | None = None) -> jax.Array:
        """Return the logits `[B, classes]` of images `[B, H, W, C]`."""
        at = _Run(self.network, self, arch, probe=probe)
        features = self.network.features(at, arch, from_nhwc(x, self.network.config.layout))
        return at(HEAD, features[-1])

    def weights(self, path: Path) -> Any:
        """Return the parameters at `path`: of its op, or of each op by name."""
        node: Any = getattr(self, str(path[0]))
        for key in path[1:]:
            node = node[key]
        return node.take() if isinstance(node, _Weights) else {name: own.take() for name, own in node.items()}


class Flow(NamedTuple):
    """The shapes `(height, width, channels)` of what enters each place, and of the taps."""

    inputs: dict[Path, tuple[int, int, int]]
    taps: tuple[tuple[int, int, int], ...]


@functools.lru_cache(maxsize=64)
def _graphdef(network: Network) -> nnx.GraphDef:
    return nnx.graphdef(nnx.eval_shape(lambda: SharedNetwork(network)))


@functools.lru_cache(maxsize=64)
def _flow(network: Network) -> Flow:
    config = network.config
    trace = _Trace(network)

    def through(arch: jax.Array, x: jax.Array) -> list[jax.Array]:
        return [to_nhwc(f, config.layout) for f in network.features(trace, arch, from_nhwc(x, config.layout))]

    arch = jax.ShapeDtypeStruct((network.length,), jnp.int32)
    shapes = jax.eval_shape(through, arch, jax.ShapeDtypeStruct((1, *config.image), jnp.float32))
    taps = tuple(shape.shape[1:] for shape in shapes)
    return Flow({**trace.inputs, HEAD: taps[-1]}, taps)


class _Trace(Place):
    """Notes the shapes that enter the places."""

    def __init__(self, network: Network):
        self.places, self.layout = network.places(), network.config.layout
        self.inputs: dict[Path, tuple[int, int, int]] = {}

    def __call__(self, path: Path, x: jax.Array, choice: jax.Array | None = None) -> jax.Array:
        layout, op = self.layout, next(_each(self.places[path]))
        self.inputs[path] = x.shape[layout.height], x.shape[layout.width], x.shape[layout.channel]
        return jnp.zeros(op.out_shape(x.shape))


class _Run(Place):
    """Runs the places for one architecture.

    Attributes:
      moments: unbiased moments of the normalisations at places without a choice, by path.
      read: with `records`, the tensors that places read, each once, and whether a ReLU does.
      signs: with `records`, the signs `[U, B]` of ReLUs inside users' modules.
    """

    def __init__(
        self,
        network: Network,
        module: "SharedNetwork",
        arch: jax.Array,
        *,
        probe: jax.Array | None = None,
        running: Mapping[str, Moments] | None = None,
        records: bool = False,
    ):
        self.places, self.layout, self.module = network.places(), network.config.layout, module
        self.probe, self.running, self.records = probe, running, records
        self.first = (arch.ravel()[0] < -1).astype(jnp.int32)  # a 0 that XLA cannot foresee: see `dispatch.alone`
        self.moments: dict[str, Moments] = {}
        self.read: dict[int, tuple[jax.Array, Any]] = {}
        self.signs: list[jax.Array] = []

    def __call__(self, path: Path, x: jax.Array, choice: jax.Array | None = None) -> jax.Array:
        ops, weights = self.places[path], self.module.weights(path)
        if self.records:
            self._record(x, ops, choice, weights)
        if isinstance(ops, Op):
            return self._single("/".join(map(str, path)), ops, weights, x)
        assert choice is not None
        return self._chosen(ops, weights, x, choice)

    def each(self, paths: Sequence[Path], body: Body, carry: Any, xs: Any) -> Any:
        ops = self.places[paths[0]]
        assert isinstance(ops, dict)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(self.module.weights, paths))
        outside = self.signs

        def step(carry: Any, turn: tuple[Any, Any]) -> tuple[Any, list[jax.Array]]:
            weights, x = turn
            self.signs = []

            def at(y: jax.Array, choice: jax.Array) -> jax.Array:
                if self.records:
                    self._record_modules(y, ops, choice, weights)
                return self._chosen(ops, weights, y, choice)

            return body(at, carry, x), self.signs

        carry, inside = jax.lax.scan(step, carry, (stacked, xs))
        self.signs = outside + [signs.reshape(-1, signs.shape[-1]) for signs in inside]
        return carry

    def _chosen(self, ops: dict[str, Op], weights: Mapping[str, Params], x: jax.Array, choice: jax.Array) -> jax.Array:
        every = tuple(weights.get(name, {}) for name in ops)
        if choice.ndim == 0:
            return run(tuple(ops.values()), choice, every, x, self.probe)[0]
        return self._mean(tuple(ops.values()), choice > 0, every, x)

    def _single(self, name: str, op: Op, weights: Params, x: jax.Array) -> jax.Array:
        if not getattr(op, "norm", False):
            return run((op,), self.first, (weights,), x, self.probe)[0]
        if self.running is not None:
            y, saved = op.forward(weights, x, self.running[name])
            self.moments[name] = saved.moments
            return y
        y, seen = run((op,), self.first, (weights,), x, self.probe)
        assert seen is not None
        count = y.size // y.shape[self.layout.channel]
        self.moments[name] = Moments(seen.mean, seen.variance * (count / (count - 1)))
        return y

    def _mean(self, ops: tuple[Op, ...], active: jax.Array, weights: tuple[Params, ...], x: jax.Array) -> jax.Array:
        """Return the mean of the active ops' outputs; of none, zeros."""
        zero = Zero(ops[0].out_channels, self.layout, ops[0].stride)
        total = jnp.zeros(zero.out_shape(x.shape), x.dtype)
        for op, own, on in zip(ops, weights, active, strict=True):
            if not isinstance(op, Zero):
                total += on * run((zero, op), on.astype(jnp.int32), ({}, own), x, self.probe)[0]
        return total / jnp.maximum(active.sum(), 1)

    def _record(self, x: jax.Array, ops: Ops, choice: jax.Array | None, weights: Any) -> None:
        if any(isinstance(op, ModuleOp) for op in _each(ops)):
            self._record_modules(x, ops, choice, weights)
            return
        relu = jnp.array([getattr(op, "relu", False) for op in _each(ops)])
        used = relu[0] if choice is None else relu[choice] if choice.ndim == 0 else (choice * relu).any()
        before = self.read.get(id(x), (x, False))[1]
        self.read[id(x)] = (x, before | used)

    def _record_modules(self, x: jax.Array, ops: Ops, choice: jax.Array | None, weights: Any) -> None:
        """Record the signs inside the ops, which differ in number: those of an op that is not chosen are constant."""
        named = {"": ops} if isinstance(ops, Op) else ops
        own = {"": weights} if isinstance(ops, Op) else weights

        def of(name: str, op: Op) -> Callable[[Any, jax.Array], jax.Array]:
            return lambda weights, x: op.signs(weights.get(name, {}), x)

        branches = [of(name, op) for name, op in named.items()]
        units = [jax.eval_shape(branch, own, x).shape[0] for branch in branches]

        def padded(branch: Callable[..., jax.Array], count: int) -> Callable[..., jax.Array]:
            return lambda weights, x: jnp.pad(branch(weights, x), ((0, max(units) - count), (0, 0)))

        same = list(map(padded, branches, units))
        if choice is not None and choice.ndim:
            self.signs += [branch(own, x) & (on > 0) for branch, on in zip(branches, choice, strict=True)]
        else:
            self.signs.append(choose(0 if choice is None else choice, same, own, x))


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
        self.init, self.key, self.used = init, key, 0
        vector = jax.random.uniform(key, (size,), minval=-1) if init == "pytorch" else jax.random.normal(key, (size,))
        self.vector = vector if isinstance(vector, jax.core.Tracer) else np.asarray(vector)

    def __call__(self, op: Op, copies: int) -> Params:
        """Return `copies` of the op's parameters, stacked."""
        if isinstance(op, ModuleOp) and op.own_init:
            self.key, key = jax.random.split(self.key)
            return jax.vmap(op.init)(jax.random.split(key, copies))
        shapes = op.shapes()
        return {name: self._value(name, (copies, *shape), shapes) for name, shape in shapes.items()}

    def _value(self, name: str, shape: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]]) -> Any:
        leaf = name.rpartition("/")[-1]
        if leaf == "kernel" or (leaf == "offset" and self.init == "pytorch"):
            *inputs, outputs = shapes[name.removesuffix(leaf) + "kernel"]
            fan = math.prod(inputs[:-1]) * outputs if self.init == "kaiming_fan_out" else math.prod(inputs)
            return self._next(shape) * ((1 if self.init == "pytorch" else 2) / fan) ** 0.5
        return (np.ones if leaf == "scale" else np.zeros)(shape, np.float32)

    def _next(self, shape: tuple[int, ...]) -> Any:
        first, self.used = self.used, self.used + math.prod(shape)
        return self.vector[first : self.used].reshape(shape)


def _blank(op: Op, copies: int) -> Params:
    """Return zeros in place of `copies` of the op's parameters."""
    return {name: jnp.zeros((copies, *shape)) for name, shape in op.shapes().items()}


def _drawn(places: Mapping[Path, Ops], draw: Callable[[Op, int], Params]) -> dict[Path, Any]:
    """Return the weights of every place; those of equal neighbours are drawn op by op."""
    drawn: dict[Path, Any] = {}
    for _, group in itertools.groupby(places.items(), key=lambda item: item[1]):
        paths, (ops, *_) = zip(*group, strict=True)
        if isinstance(ops, Op):
            stacked = draw(ops, len(paths))
            drawn |= {path: _taken(stacked, i) for i, path in enumerate(paths)}
        else:
            by_name = {name: draw(op, len(paths)) for name, op in ops.items() if op.num_params}
            for i, path in enumerate(paths):
                drawn[path] = nnx.Dict({name: _taken(stacked, i) for name, stacked in by_name.items()})
    return drawn


def _taken(stacked: Params, i: int) -> _Weights:
    return _Weights({name: values[i] for name, values in stacked.items()})


def _nested(leaves: Mapping[Path, Any]) -> dict[str | int, Any]:
    """Return what the paths spell, from the top: modules by attribute name, below them lists and dictionaries."""
    top: dict[str | int, dict[Path, Any]] = {}
    for path, leaf in leaves.items():
        top.setdefault(path[0], {})[path[1:]] = leaf
    return {key: below[()] if () in below else _container(_nested(below)) for key, below in top.items()}


def _container(items: dict[Any, Any]) -> nnx.List | nnx.Dict:
    return nnx.List(items[i] for i in range(len(items))) if 0 in items else nnx.Dict(items)


def _each(ops: Ops) -> Iterator[Op]:
    yield from (ops,) if isinstance(ops, Op) else ops.values()
