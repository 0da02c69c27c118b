"""A user's Flax NNX module as an operation of a network.

Any module from `[B, H, W, C_in]` to `[B, H', W', C_out]` will do. It is differentiated automatically, so it is slower
than the operations of `ops`, but it gets every score. Its batch normalisations must be `nnx.BatchNorm`.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from jaxnas.kernels.gram import gram
from jaxnas.kernels.layout import Layout, from_nhwc, to_nhwc
from jaxnas.kernels.relus import relu_inputs
from jaxnas.network.op import BatchNormMode, Observed, Op, Params, is_weight, log_sigma

Factory = Callable[[nnx.Rngs], nnx.Module]
"""`rngs -> module` from `[B, H, W, in_channels]` to `[B, H / stride, W / stride, out_channels]`."""


@dataclass(frozen=True)
class ModuleOp(Op):
    """What `make(rngs)` returns, as an op.

    Attributes:
      make: makes the module. Ops are equal if these are.
      stride: by which it shrinks height and width.
      bn: `batch` differentiates through the moments of its batch normalisations, `frozen` holds them constant,
        `identity` does not normalise (and runs the module in evaluation mode).
      own_init: the module's initialisers draw the weights (each a program to compile); if not, the network draws those
        called `kernel` as its own ops' weights, scales are 1 and biases 0.
    """

    make: Factory
    in_channels: int
    out_channels: int
    layout: Layout
    stride: int = 1
    bn: BatchNormMode = "batch"
    own_init: bool = True
    separable: ClassVar[bool] = False

    def init(self, key: jax.Array) -> Params:
        """Draw the module's parameters from `key`, by path."""
        state = nnx.state(self.make(nnx.Rngs(key)), nnx.Param)
        return {_name(path): leaf[...] for path, leaf in nnx.to_flat_state(state)}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: leaf.shape for name, leaf in self._abstract().items()}

    def matrices(self) -> list[tuple[int, int, int]]:
        """As `Op.matrices`; a kernel for one input channel is taken for a filter of its own for each output channel."""
        dense = super().matrices()
        one_input = [len(shape) == 4 and shape[2] == 1 for shape in self.shapes().values() if len(shape) > 1]
        return [(m[1], 1, m[2]) if own else m for m, own in zip(dense, one_input, strict=True)]

    def flops(self, pixels: int) -> int:
        """The multiply-adds of the module's convolutions and matrix products on one image of `pixels` pixels."""
        return _flops(self, pixels)

    def written(self, shape: tuple[int, int, int]) -> str:
        """What the module computes from an image of this shape, as JAX traces it."""
        return _written(self, shape)

    def output(self, params: Params, x: jax.Array) -> jax.Array:
        return from_nhwc(self._apply(self._module(), params, to_nhwc(x, self.layout)), self.layout)

    def pull(self, params: Params, x: jax.Array, g: jax.Array) -> tuple[jax.Array, Params]:
        @jax.custom_batching.sequential_vmap  # the kernel gradient of a grouped convolution has no batching rule
        def pulled(params: Params, x: jax.Array, g: jax.Array) -> tuple[jax.Array, Params]:
            apply, x, g = self._differentiable(params, x), to_nhwc(x, self.layout), to_nhwc(g, self.layout)
            dparams, dx = jax.vjp(apply, params, x)[1](g)
            return from_nhwc(dx, self.layout), dparams

        return pulled(params, x, g)

    def pull_gram(self, params: Params, x: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        apply, x, g = self._differentiable(params, x), to_nhwc(x, self.layout), to_nhwc(g, self.layout)

        def of_one(x: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
            dparams, dx = jax.vjp(apply, params, x[None])[1](g[None])
            leaves = [leaf.ravel() for path, leaf in jax.tree_util.tree_leaves_with_path(dparams) if is_weight(path)]
            return dx[0], jnp.concatenate([jnp.zeros(0), *leaves])

        dx, rows = jax.vmap(of_one)(x, g)
        return from_nhwc(dx, self.layout), gram(rows)

    def observe(self, params: Params, x: jax.Array) -> Observed:
        x = to_nhwc(x, self.layout)
        (output, variances), read = relu_inputs(self._observed, params, x)
        spread = sum(map(log_sigma, variances), jnp.zeros(()))
        return Observed(from_nhwc(output, self.layout), jnp.concatenate([jnp.zeros((len(x), 0)), *read], -1).T, spread)

    def _observed(self, params: Params, x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """The output in training mode, and the batch's variance `[C]` at each batch normalisation."""
        module = _filled(self._module(), params)
        norms = _keep_the_batch(module)
        return module(x), [norm.var[...] for norm in norms]

    def module(self, params: Params) -> nnx.Module:
        """The module with these parameters, its other variables as it makes them, to train or export."""
        graphdef, *states = nnx.split(self._module(), nnx.Param, ...)
        return nnx.merge(graphdef, _own(states[0], params), _others(self.make)())

    def _abstract(self) -> Params:
        shapes = nnx.state(self._module(), nnx.Param)
        return {_name(path): leaf.get_value() for path, leaf in nnx.to_flat_state(shapes)}

    def _module(self) -> nnx.Module:
        return _shapes_of(self.make)

    def _apply(self, abstract: nnx.Module, params: Params, x: jax.Array) -> jax.Array:
        """The output in training mode, or of `identity` normalisations."""
        module = _filled(abstract, params)
        if self.bn == "identity":
            for norm in _norms(module):
                norm.var[...] += 1 - norm.epsilon
            module.eval()
        return module(x)

    def _differentiable(self, params: Params, x: jax.Array) -> Callable[[Params, jax.Array], jax.Array]:
        """The function `(params, x)` to differentiate: with `frozen`, moments are those of this batch."""
        abstract = self._module()
        if self.bn != "frozen":
            return partial(self._apply, abstract)
        seen = _filled(abstract, params)
        _keep_the_batch(seen)
        seen(to_nhwc(x, self.layout))
        seen.eval()
        graphdef, *states = nnx.split(seen, nnx.Param, ...)
        rest = jax.lax.stop_gradient(states[1])

        def apply(params: Params, x: jax.Array) -> jax.Array:
            module = nnx.merge(graphdef, nnx.state(_filled(abstract, params), nnx.Param), rest)
            return module(x)

        return apply


@functools.lru_cache(maxsize=1024)  # a network asks for the same module hundreds of times
def _shapes_of(make: Factory) -> nnx.Module:
    """The module with shapes in place of arrays."""
    return nnx.eval_shape(lambda: make(nnx.Rngs(0)))


@functools.lru_cache(maxsize=1024)  # compiled once for equal modules
def _others(make: Factory) -> Callable[[], nnx.State]:
    """Makes the module's variables other than parameters; compiles nothing that draws weights."""
    return jax.jit(lambda: nnx.state(make(nnx.Rngs(0)), nnx.Not(nnx.Param)))


@functools.lru_cache(maxsize=1024)  # every launch of a program asks for them
def _flops(op: ModuleOp, pixels: int) -> int:
    side = round(pixels**0.5)
    x = jnp.zeros((1, side, side, op.in_channels))
    return _multiply_adds(jax.make_jaxpr(op.output)(op._abstract(), from_nhwc(x, op.layout)).jaxpr)


@functools.lru_cache(maxsize=1024)
def _written(op: ModuleOp, shape: tuple[int, int, int]) -> str:
    x = from_nhwc(jnp.zeros((1, *shape)), op.layout)
    return str(jax.make_jaxpr(op.output)(op._abstract(), x))


def _filled(abstract: nnx.Module, params: Params) -> Any:
    """The module with these parameters, its other variables zero, in training mode."""
    graphdef, *states = nnx.split(abstract, nnx.Param, ...)
    shapes, rest = states
    module = nnx.merge(
        graphdef, _own(shapes, params), jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), rest)
    )
    module.train()
    return module


def _norms(module: nnx.Module) -> list[nnx.BatchNorm]:
    return [found for _, found in nnx.iter_modules(module) if isinstance(found, nnx.BatchNorm)]


def _keep_the_batch(module: nnx.Module) -> list[nnx.BatchNorm]:
    """The module's batch normalisations, set so that their running moments become the batch's."""
    for norm in (norms := _norms(module)):
        norm.momentum = 0.0
    return norms


def _own(shapes: nnx.State, params: Params) -> nnx.State:
    return nnx.from_flat_state([(path, leaf.replace(params[_name(path)])) for path, leaf in nnx.to_flat_state(shapes)])


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(map(str, path))


def _multiply_adds(jaxpr: Any) -> int:
    total = 0
    for eqn in jaxpr.eqns:
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            total += _multiply_adds(inner) if hasattr(inner, "eqns") else 0
        if eqn.primitive.name in ("conv_general_dilated", "dot_general"):
            kernel = eqn.invars[1].aval.shape
            if eqn.primitive.name == "conv_general_dilated":
                features = eqn.params["dimension_numbers"].rhs_spec[0]
                total += eqn.outvars[0].aval.size * (eqn.invars[1].aval.size // kernel[features])
            else:
                contracted = eqn.params["dimension_numbers"][0][1]
                total += eqn.outvars[0].aval.size * math.prod(kernel[i] for i in contracted)
    return total
