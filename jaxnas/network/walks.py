"""Walks through the wiring of a network: `ShapeWalk` notes shapes, `SharedWalk` runs an architecture on shared weights,
`ObservingWalk` does so for what can be seen on the way.

What stands at a place is one of

* a single op;
* a choice by op index `[]`: one of several ops, only that one is computed;
* a choice by op mask `[O]`: the mean of the active ops (the supernet that pruning searches).
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnas.kernels.dispatch import alone, choose
from jaxnas.kernels.layout import Layout
from jaxnas.kernels.pool import mean_pool2x2
from jaxnas.network.apply_op import apply_op
from jaxnas.network.module_op import ModuleOp
from jaxnas.network.op import Moments, Observed, Op, Params
from jaxnas.network.ops import Zero

Path = tuple[str | int, ...]
Ops = Op | dict[str, Op]
"""One op, or several to choose from, by name and in the order of their indices."""
HEAD: Path = ("head",)
Body = Callable[[Callable[[jax.Array, jax.Array], jax.Array], Any, Any], Any]
"""`(run_op, carry, x) -> carry`, see `Walk.each`."""


class Walk(ABC):
    """Goes along a network's wiring: what `Network.wire` calls at each place."""

    @abstractmethod
    def __call__(self, path: Path, x: jax.Array, choice: jax.Array | None = None) -> jax.Array:
        """The output of the op at `path`, or of that or those which `choice` (index or mask) names."""

    def block(self, x: jax.Array, present: jax.Array | bool = True) -> jax.Array:
        """Return `x`, the output of a block: a stem, a cell or a residual unit; not of one that is not `present`."""
        return x

    def halved(self, x: jax.Array, layout: Layout) -> jax.Array:
        """Return `x`, averaged over disjoint 2x2 windows."""
        return mean_pool2x2(x, layout)

    def each(self, paths: Sequence[Path], body: Body, carry: Any, xs: Any) -> Any:
        """The last of `carry = body(run_op, carry, x)`, for the places at `paths` and the slices `x` of `xs`.

        The places have the same choice of ops, which `run_op(y, choice)` runs; a network compiles them once, as a loop.
        """
        for i, path in enumerate(paths):
            carry = body(functools.partial(self, path), carry, jax.tree.map(lambda x, i=i: x[i], xs))
        return carry


class ShapeWalk(Walk):
    """Notes the shapes that enter the places."""

    def __init__(self, ops: Mapping[Path, Ops], layout: Layout):
        self.ops, self.layout = ops, layout
        self.inputs: dict[Path, tuple[int, int, int]] = {}
        self.blocks: list[tuple[int, int, int]] = []

    def __call__(self, path: Path, x: jax.Array, choice: jax.Array | None = None) -> jax.Array:
        self.inputs[path] = self._shape(x)
        return jnp.zeros(next(each_op(self.ops[path])).out_shape(x.shape))

    def block(self, x: jax.Array, present: jax.Array | bool = True) -> jax.Array:
        self.blocks.append(self._shape(x))
        return x

    def _shape(self, x: jax.Array) -> tuple[int, int, int]:
        return x.shape[self.layout.height], x.shape[self.layout.width], x.shape[self.layout.channel]


class SharedWalk(Walk):
    """Runs the places for one architecture.

    Attributes:
      weights: the parameters at a path, of its op or of each op by name.
      moments: unbiased moments of the normalisations at places without a choice, by path.
      read: with `records`, the tensors that places read, each once, and whether a ReLU does.
      signs: with `records`, the signs `[U, B]` of ReLUs inside users' modules.
    """

    def __init__(
        self,
        ops: Mapping[Path, Ops],
        layout: Layout,
        weights: Callable[[Path], Any],
        arch: jax.Array,
        *,
        probe: jax.Array | None = None,
        running: Mapping[str, Moments] | None = None,
        records: bool = False,
    ):
        self.ops, self.layout, self.weights = ops, layout, weights
        self.probe, self.running, self.records = probe, running, records
        self.first = _unforeseen_zero(arch)
        self.moments: dict[str, Moments] = {}
        self.read: dict[int, tuple[jax.Array, Any]] = {}
        self.signs: list[jax.Array] = []

    def __call__(self, path: Path, x: jax.Array, choice: jax.Array | None = None) -> jax.Array:
        ops, weights = self.ops[path], self.weights(path)
        if self.records:
            self._record(x, ops, choice, weights)
        if isinstance(ops, Op):
            return self._single("/".join(map(str, path)), ops, weights, x)
        assert choice is not None
        return self._chosen(ops, weights, x, choice)

    def each(self, paths: Sequence[Path], body: Body, carry: Any, xs: Any) -> Any:
        ops = self.ops[paths[0]]
        assert isinstance(ops, dict)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(self.weights, paths))
        outside = self.signs

        def step(carry: Any, turn: tuple[Any, Any]) -> tuple[Any, list[jax.Array]]:
            weights, x = turn
            self.signs = []

            def run_op(y: jax.Array, choice: jax.Array) -> jax.Array:
                if self.records:
                    self._record_modules(y, ops, choice, weights)
                return self._chosen(ops, weights, y, choice)

            return body(run_op, carry, x), self.signs

        carry, inside = jax.lax.scan(step, carry, (stacked, xs))
        self.signs = outside + [signs.reshape(-1, signs.shape[-1]) for signs in inside]
        return carry

    def _chosen(self, ops: dict[str, Op], weights: Mapping[str, Params], x: jax.Array, choice: jax.Array) -> jax.Array:
        every = tuple(weights.get(name, {}) for name in ops)
        if choice.ndim == 0:
            return apply_op(tuple(ops.values()), choice, every, x, self.probe)[0]
        return self._mean(tuple(ops.values()), choice > 0, every, x)

    def _single(self, name: str, op: Op, weights: Params, x: jax.Array) -> jax.Array:
        if not getattr(op, "norm", False):
            return apply_op((op,), self.first, (weights,), x, self.probe)[0]
        if self.running is not None:
            y, saved = op.forward(weights, x, self.running[name])
            self.moments[name] = saved.moments
            return y
        y, seen = apply_op((op,), self.first, (weights,), x, self.probe)
        assert seen is not None
        count = y.size // y.shape[self.layout.channel]
        self.moments[name] = Moments(seen.mean, seen.variance * (count / (count - 1)))
        return y

    def _mean(self, ops: tuple[Op, ...], active: jax.Array, weights: tuple[Params, ...], x: jax.Array) -> jax.Array:
        """The mean of the active ops' outputs; of none, zeros."""
        zero = Zero(ops[0].out_channels, self.layout, ops[0].stride)
        total = jnp.zeros(zero.out_shape(x.shape), x.dtype)
        for op, own, on in zip(ops, weights, active, strict=True):
            if not isinstance(op, Zero):
                total += on * apply_op((zero, op), on.astype(jnp.int32), ({}, own), x, self.probe)[0]
        return total / jnp.maximum(active.sum(), 1)

    def _record(self, x: jax.Array, ops: Ops, choice: jax.Array | None, weights: Any) -> None:
        if any(isinstance(op, ModuleOp) for op in each_op(ops)):
            self._record_modules(x, ops, choice, weights)
            return
        relu = jnp.array([getattr(op, "relu", False) for op in each_op(ops)])
        used = relu[0] if choice is None else relu[choice] if choice.ndim == 0 else (choice * relu).any()
        before = self.read.get(id(x), (x, False))[1]
        self.read[id(x)] = (x, before | used)

    def _record_modules(self, x: jax.Array, ops: Ops, choice: jax.Array | None, weights: Any) -> None:
        """Record the signs inside the ops, which differ in number: those of an op that is not chosen are constant."""
        named = {"": ops} if isinstance(ops, Op) else ops
        own = {"": weights} if isinstance(ops, Op) else weights

        def of(name: str, op: Op) -> Callable[[Any, jax.Array], jax.Array]:
            return lambda weights, x: op.observe(weights.get(name, {}), x).read > 0

        branches = [of(name, op) for name, op in named.items()]
        units = [jax.eval_shape(branch, own, x).shape[0] for branch in branches]

        def padded(branch: Callable[..., jax.Array], count: int) -> Callable[..., jax.Array]:
            return lambda weights, x: jnp.pad(branch(weights, x), ((0, max(units) - count), (0, 0)))

        same = list(map(padded, branches, units))
        if choice is not None and choice.ndim:
            self.signs += [branch(own, x) & (on > 0) for branch, on in zip(branches, choice, strict=True)]
        else:
            self.signs.append(choose(0 if choice is None else choice, same, own, x))


class CuttingWalk(SharedWalk):
    """Runs the places for one architecture, with a backward pass that begins anew at the output of every block.

    Attributes:
      cuts: of the blocks that are still to come, in order, the cotangent with which it begins and zeros, whose gradient
        is the cotangent that arrives there.
      present: of the blocks so far, whether the architecture has them.
    """

    def __init__(self, *where: Any, cuts: Sequence[tuple[jax.Array, jax.Array]]):
        super().__init__(*where)
        self.cuts, self.present = list(cuts), list[jax.Array]()

    def block(self, x: jax.Array, present: jax.Array | bool = True) -> jax.Array:
        self.present.append(jnp.asarray(present))
        return _cut(x, *self.cuts.pop(0), self.present[-1])

    def each(self, paths: Sequence[Path], body: Body, carry: Any, xs: Any) -> Any:
        return Walk.each(self, paths, body, carry, xs)  # no loop: each block has a cut of its own


@jax.custom_vjp
def _cut(x: jax.Array, begin: jax.Array, arrives: jax.Array, present: jax.Array) -> jax.Array:
    return x


def _cut_forward(x: jax.Array, begin: jax.Array, arrives: jax.Array, present: jax.Array) -> Any:
    return x, (begin, present)


def _cut_backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, None, jax.Array, None]:
    begin, present = saved
    return jnp.where(present, begin, g), None, g, None


_cut.defvjp(_cut_forward, _cut_backward)


class ObservingWalk(Walk):
    """Runs the places forward for one architecture, for what can be seen of ops and blocks.

    Attributes:
      weights: as of `SharedWalk`.
      total: the sum of `look(observed)`, a pytree of arrays, over the ops so far.
      blocks: of the blocks so far, in order, `look_at_block(output)` and whether it is present, with a leading axis.
    """

    def __init__(
        self,
        ops: Mapping[Path, Ops],
        layout: Layout,
        weights: Callable[[Path], Any],
        arch: jax.Array,
        look: Callable[[Observed], Any],
        look_at_block: Callable[[jax.Array], Any],
    ):
        self.ops, self.layout, self.weights, self.look, self.look_at_block = ops, layout, weights, look, look_at_block
        self.first = _unforeseen_zero(arch)
        self.total: Any = None
        self.blocks: list[Any] = []

    def __call__(self, path: Path, x: jax.Array, choice: jax.Array | None = None) -> jax.Array:
        return self._run(self.ops[path], self.weights(path), x, choice)

    def block(self, x: jax.Array, present: jax.Array | bool = True) -> jax.Array:
        seen = self.look_at_block(x), jnp.asarray(present)
        self.blocks.append(jax.tree.map(lambda leaf: leaf[None], seen))
        return x

    def each(self, paths: Sequence[Path], body: Body, carry: Any, xs: Any) -> Any:
        ops = self.ops[paths[0]]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(self.weights, paths))
        outside = self.total, self.blocks

        def step(carry: Any, turn: tuple[Any, Any]) -> tuple[Any, Any]:
            weights, x = turn
            self.total, self.blocks = None, []
            carry = body(lambda y, choice: self._run(ops, weights, y, choice), carry, x)
            return carry, (self.total, self.blocks)

        carry, (seen, blocks) = jax.lax.scan(step, carry, (stacked, xs))
        self.total, self.blocks = outside
        self._add(jax.tree.map(lambda leaf: leaf.sum(0), seen))
        if blocks:
            every = jax.tree.map(lambda *of_step: jnp.stack(of_step, 1), *blocks)  # [steps, blocks of a step, 1, ...]
            self.blocks = [*self.blocks, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[3:]), every)]
        return carry

    def _run(self, ops: Ops, weights: Any, x: jax.Array, choice: jax.Array | None) -> jax.Array:
        if isinstance(ops, Op):
            y, seen = alone(self.first, self._looked(ops), weights, x)
        elif choice is not None and choice.ndim:
            y, seen = self._mean(ops, weights, x, choice > 0)
        else:
            assert choice is not None
            every = tuple(weights.get(name, {}) for name in ops)
            y, seen = choose(choice, self._branches(tuple(ops.values())), every, x)
        self._add(seen)
        return y

    def _mean(self, ops: dict[str, Op], weights: Any, x: jax.Array, active: jax.Array) -> tuple[jax.Array, Any]:
        """The mean of the active ops' outputs, of none zeros, and the sum of what is seen of them."""
        first, *_ = ops.values()
        zero = Zero(first.out_channels, self.layout, first.stride)
        total, seen = self._looked(zero)({}, x)
        for (name, op), on in zip(ops.items(), active, strict=True):
            own: tuple[Params, Params] = {}, weights.get(name, {})
            added = choose(on.astype(jnp.int32), self._branches((zero, op)), own, x)
            total, seen = jax.tree.map(jnp.add, (total, seen), added)
        return total / jnp.maximum(active.sum(), 1), seen

    def _branches(self, ops: Sequence[Op]) -> list[Callable[..., Any]]:
        def of(i: int, run: Callable[..., tuple[jax.Array, Any]]) -> Callable[..., tuple[jax.Array, Any]]:
            return lambda weights, x: run(weights[i], x)

        return [of(i, self._looked(op)) for i, op in enumerate(ops)]

    def _looked(self, op: Op) -> Callable[..., tuple[jax.Array, Any]]:
        def run(weights: Params, x: jax.Array) -> tuple[jax.Array, Any]:
            observed = op.observe(weights, x)
            return observed.output, self.look(observed)

        return run

    def _add(self, seen: Any) -> None:
        self.total = seen if self.total is None else jax.tree.map(jnp.add, self.total, seen)


def _unforeseen_zero(arch: jax.Array) -> jax.Array:
    """A 0 that XLA cannot foresee, see `dispatch.alone`."""
    return (arch.ravel()[0] < -1).astype(jnp.int32)


def each_op(ops: Ops) -> Iterator[Op]:
    """Yield what can stand at a place."""
    yield from (ops,) if isinstance(ops, Op) else ops.values()
