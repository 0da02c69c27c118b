"""Finding the ReLUs of any function, in its jaxpr."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend import core


def relu_inputs(apply: Callable[[Any, jax.Array], Any], params: Any, x: jax.Array) -> tuple[Any, list[jax.Array]]:
    """What `apply(params, x)` returns, and what `[B, U]` each ReLU (`max(., 0)`) in it reads, of a batch `[B, ...]`.

    Raises:
      ValueError: a ReLU is inside a loop or a branch, where it cannot be seen from outside.
    """
    closed, shapes = jax.make_jaxpr(apply, return_shape=True)(params, x)
    found: list[jax.Array] = []
    outputs = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves((params, x)), found)
    read = [relu.reshape(x.shape[0], -1) for relu in found if relu.ndim and relu.shape[0] == x.shape[0]]
    return jax.tree.unflatten(jax.tree.structure(shapes), outputs), read


def _evaluate(jaxpr: core.Jaxpr, consts: list[Any], args: list[Any], found: list[jax.Array]) -> list[Any]:
    """Evaluate a jaxpr, appending what every `max(., 0)` reads; calls are followed, loops and branches are not."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
    zeros = set()

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    def is_zero(atom: Any) -> bool:
        return (isinstance(atom, core.Literal) and np.ndim(atom.val) == 0 and atom.val == 0) or (
            not isinstance(atom, core.Literal) and atom in zeros
        )

    for eqn in jaxpr.eqns:
        inner = _called(eqn)
        if inner is not None:
            outputs = _evaluate(inner.jaxpr, inner.consts, [read(atom) for atom in eqn.invars], found)
        else:
            if eqn.primitive.name in ("scan", "while", "cond") and " max " in str(eqn):
                raise ValueError(
                    f"a ReLU inside lax.{eqn.primitive.name} cannot be seen; unroll that loop or branch in apply"
                )
            result = eqn.primitive.bind(*map(read, eqn.invars), **eqn.params)
            outputs = result if eqn.primitive.multiple_results else [result]
            if eqn.primitive.name == "max" and any(map(is_zero, eqn.invars)):
                found.append(read(next((atom for atom in eqn.invars if not is_zero(atom)), eqn.invars[0])))
            if eqn.primitive.name in ("broadcast_in_dim", "convert_element_type") and is_zero(eqn.invars[0]):
                zeros.add(eqn.outvars[0])
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _called(eqn: Any) -> core.ClosedJaxpr | None:
    """The function that a call equation calls, whatever its transformation rules."""
    if eqn.primitive.name in ("jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint"):
        inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
        return inner if isinstance(inner, core.ClosedJaxpr) else core.ClosedJaxpr(inner, ())
    if eqn.primitive.name in ("custom_jvp_call", "custom_vjp_call"):
        return eqn.params["call_jaxpr"]
    return None
