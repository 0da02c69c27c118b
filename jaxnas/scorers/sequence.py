"""Regression of sequences (GenNAS: Li et al., NeurIPS 2021): the score of recurrent networks.

A network reads one synthetic signal and learns to write another one: 100 steps of Adam on the mean squared error, with
fresh noise on the input at each. The score is the error in evaluation mode at the end: lower is better.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxnas.scorers.signals import Task, noise
from jaxnas.types import Score, Status

LEARNING_RATE, WEIGHT_DECAY = 1e-3, 1.2e-6  # the decay is an L2 term of the gradient
BATCH, STEPS = 16, 100

Apply = Callable[[Any, jax.Array, jax.Array | None], jax.Array]
"""`(params, x [T, B, D], key) -> [T, B, D]`; a key means training, with the dropout that it draws, None evaluation."""


def sequence_regression(
    apply: Apply,
    params: Any,
    x: jax.Array,
    target: jax.Array,
    *,
    key: jax.Array,
    task: Task | None = None,
    steps: int = STEPS,
) -> Score:
    """Return the error of `apply` after training it to turn `x` into `target`.

    Args:
      apply: the network.
      params: its initial weights, all of which are trained: what is to stay as it is belongs into `apply`.
      x: input sequence `[T, B, D]`, such as `signals.sequences` draws.
      target: what to write, `[T, B, D]`.
      key: draws noise and dropout.
      task: whose noise is added to `x`, at every step and at the evaluation; without it, none is.
      steps: steps of Adam.

    References: `evaluate_nlp` in GenNAS's `builder_evaluator.py`; learning rate of its first commit.
    """
    optimiser = optax.chain(optax.add_decayed_weights(WEIGHT_DECAY), optax.adam(LEARNING_RATE))
    noise_key, drop_key = jax.random.split(key)

    def loss(params: Any, step: jax.Array, key: jax.Array | None) -> jax.Array:
        inputs = x if task is None else x + noise(task, jax.random.fold_in(noise_key, step), x.shape)
        return jnp.square(apply(params, inputs, key) - target).mean()

    def update(carry: tuple[Any, Any], step: jax.Array) -> tuple[tuple[Any, Any], None]:
        params, state = carry
        grads = jax.grad(loss)(params, step, jax.random.fold_in(drop_key, step))
        updates, state = optimiser.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(update, (params, optimiser.init(params)), jnp.arange(steps))
    value = loss(params, jnp.asarray(steps), None)
    status = jnp.where(jnp.isfinite(value), Status.ok, Status.nonfinite).astype(jnp.int32)
    return Score(jnp.where(status == Status.ok, value, jnp.nan), status, {})
