"""The one primitive that runs an operation, and gives its share of the NTK as a cotangent."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxnas.kernels.dispatch import alone, choose
from jaxnas.network.op import Moments, Op, Params, Saved


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def apply_op(
    ops: tuple[Op, ...],
    index: jax.Array,
    params: tuple[Params, ...],
    x: jax.Array,
    probe: jax.Array | None = None,
) -> tuple[jax.Array, Moments | None]:
    """Run the op of `ops` that `index` `[]` names on `x` and return its output and its batch moments.

    Under `lax.map` only that op is computed. With a `probe` `[B, B]` of zeros, the cotangent of `probe` is the Gram
    matrix of the op's per-sample weight gradients and parameters get no gradient: as cotangents add up over all uses,
    the gradient of the summed outputs with respect to one shared probe is the whole NTK, no Jacobian being stored.
    It needs independent samples: batch normalisations with `bn="frozen"`. Where an op is not separable, there are no
    moments, and the backward pass runs the forward pass of the op again.
    """
    y, saved = _forward(ops, index, params, x)
    return y, None if saved is None else saved.moments


def _choose(
    ops: tuple[Op, ...], index: jax.Array, call: Callable[[int, Op], Callable[..., Any]], *operands: Any
) -> Any:
    branches = [call(i, op) for i, op in enumerate(ops)]
    return alone(index, branches[0], *operands) if len(ops) == 1 else choose(index, branches, *operands)


def _forward(ops, index, params, x):
    if not all(op.separable for op in ops):
        return _choose(ops, index, lambda i, op: lambda params, x: op.output(params[i], x), params, x), None
    if len(ops) == 1:
        return ops[0].forward(params[0], x)

    def parts(i: int, op: Op):
        def branch(params, x):
            linear = op.linear(params[i], x)
            return linear, *op.scaling(params[i], linear)

        return branch

    linear, scaling, seen = choose(index, [parts(i, op) for i, op in enumerate(ops)], params, x)
    return scaling(linear, ops[0].layout), Saved(linear, seen)


def _run_forward(ops, index, params, x, probe):
    y, saved = _forward(ops, index, params, x)
    return (y, None if saved is None else saved.moments), (index, params, x, saved, probe is None)


def _run_backward(ops, residuals, cotangents):
    index, params, x, saved, wants_params = residuals
    g, _ = cotangents

    def with_params(i: int, op: Op):
        def branch(params, x, saved, g):
            dx, own = op.pull(params[i], x, g) if saved is None else op.backward(params[i], x, saved, g)
            return dx, tuple(own if j == i else jax.tree.map(jnp.zeros_like, p) for j, p in enumerate(params))

        return branch

    def with_gram(i: int, op: Op):
        def branch(params, x, saved, g):
            return op.pull_gram(params[i], x, g) if saved is None else op.backward_gram(params[i], x, saved, g)

        return branch

    if wants_params:
        dx, dparams = _choose(ops, index, with_params, params, x, saved, g)
        return None, dparams, dx, None
    dx, dprobe = _choose(ops, index, with_gram, params, x, saved, g)
    return None, None, dx, dprobe


apply_op.defvjp(_run_forward, _run_backward)
