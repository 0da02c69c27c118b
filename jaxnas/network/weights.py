"""The weights of a network: drawn from one random vector, and nested by path."""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnas.network.module_op import ModuleOp
from jaxnas.network.op import Op, Params
from jaxnas.network.walks import Ops, Path

Init = Literal["kaiming", "kaiming_fan_out", "pytorch", "unit"]


class Weights(nnx.Module):
    """The parameters of one op."""

    def __init__(self, values: Params):
        for name, value in values.items():
            setattr(self, name, nnx.Param(value))

    def take(self) -> Params:
        return {name: leaf[...] for name, leaf in vars(self).items() if isinstance(leaf, nnx.Param)}


class Draw:
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
        unit = self.init == "unit" and (getattr(op, "norm", False) or isinstance(op, ModuleOp))
        return {name: self._value(name, (copies, *shape), shapes, unit) for name, shape in shapes.items()}

    def _value(self, name: str, shape: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]], unit: bool) -> Any:
        leaf = name.rpartition("/")[-1]
        if leaf == "kernel" and unit:
            return self._next(shape)
        if leaf == "kernel" or (leaf == "offset" and self.init == "pytorch"):
            *inputs, outputs = shapes[name.removesuffix(leaf) + "kernel"]
            fan = math.prod(inputs[:-1]) * outputs if self.init == "kaiming_fan_out" else math.prod(inputs)
            return self._next(shape) * ((1 if self.init == "pytorch" else 2) / fan) ** 0.5
        return (np.ones if leaf == "scale" else np.zeros)(shape, np.float32)

    def _next(self, shape: tuple[int, ...]) -> Any:
        first, self.used = self.used, self.used + math.prod(shape)
        return self.vector[first : self.used].reshape(shape)


def blank(op: Op, copies: int) -> Params:
    """Return zeros in place of `copies` of the op's parameters."""
    return {name: jnp.zeros((copies, *shape)) for name, shape in op.shapes().items()}


def drawn_at(places: Mapping[Path, Ops], draw: Callable[[Op, int], Params]) -> dict[Path, Any]:
    """The weights of every place; those of equal neighbours are drawn op by op."""
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


def rescaled(params: nnx.State, shares: Mapping[Path, jax.Array]) -> nnx.State:
    """The weights at the paths of `shares` times 1 / sqrt(share): as if drawn for that share of the inputs."""
    if not shares:
        return params
    leaves: dict[Any, Any] = dict(nnx.to_flat_state(params))
    kernels = [path for path in leaves if str(path[-1]).rpartition("/")[-1] in ("kernel", "offset")]
    assert shares.keys() <= {path[:-1] for path in kernels}, "a share of the inputs of what has no weights"
    for path in kernels:
        if path[:-1] in shares:
            leaves[path] = leaves[path].replace(leaves[path][...] * jax.lax.rsqrt(shares[path[:-1]]))
    return nnx.from_flat_state(list(leaves.items()))


def _taken(stacked: Params, i: int) -> Weights:
    return Weights({name: values[i] for name, values in stacked.items()})


def nested(leaves: Mapping[Path, Any]) -> dict[str | int, Any]:
    """What the paths spell, from the top: modules by attribute name, below them lists and dictionaries."""
    top: dict[str | int, dict[Path, Any]] = {}
    for path, leaf in leaves.items():
        top.setdefault(path[0], {})[path[1:]] = leaf
    return {key: below[()] if () in below else _container(nested(below)) for key, below in top.items()}


def _container(items: dict[Any, Any]) -> nnx.List | nnx.Dict:
    return nnx.List(items[i] for i in range(len(items))) if 0 in items else nnx.Dict(items)
