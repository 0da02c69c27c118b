"""Regression of sequences (GenNAS: Li et al., NeurIPS 2021): the score of recurrent networks.

A network reads one synthetic signal and learns to write another one: 100 steps of Adam on the mean squared error, with
fresh noise on the input at each. The score is the error in evaluation mode at the end: lower is better.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnas.data import Source
from jaxnas.errors import UserError
from jaxnas.network.recipe import Recipe
from jaxnas.scorers.protocol import Scorer
from jaxnas.scorers.training.targets import Task, load_task, noise, sequences
from jaxnas.types import Score, if_finite

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
    """The error of `apply` after training it to turn `x` into `target`.

    Args:
      apply: the network.
      params: its initial weights, all of which are trained: what is to stay as it is belongs into `apply`.
      x: input sequence `[T, B, D]`, such as `targets.sequences` draws.
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
    return if_finite(loss(params, jnp.asarray(steps), None))


@dataclass(frozen=True)
class Sequences(Scorer):
    """Error of regressing synthetic sequences, for spaces of recurrent networks."""

    weight_drop: Literal["as_published", "trained"] = "as_published"
    """`as_published`: the hidden-to-hidden matrices stay as they were drawn, as in the benchmark's and GenNAS's code.
    `trained`: they learn too."""
    task: str = "nlp"
    """Stored task with two taps, input and target; or a .json file of the same form."""
    samples: int = BATCH
    """Sequences in the batch."""
    steps: int = STEPS
    """Steps of Adam."""

    name: ClassVar[str] = "sequence"
    sign: ClassVar[int] = -1
    paper: ClassVar[str] = "GenNAS (Li et al., NeurIPS 2021)"
    archs_per_call: ClassVar[int] = 2
    cost: ClassVar[str] = "100 steps of training"

    def check(self) -> None:
        """Raise a `UserError` if the options make no sense together."""
        if self.samples < 1 or self.steps < 1:
            raise UserError(f"sequence: {self.samples} samples, {self.steps} steps; give at least 1 of each")
        sequences(load_task(self.task), 1, np.random.default_rng(0))

    @property
    def recipe(self) -> Recipe:
        features = load_task(self.task).channels[0]
        return Recipe("sequence", others=(("features", features), ("weight_drop", self.weight_drop)))

    def draw(self, source: Source, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One repeat's input and target `[T, B, D]`; no images are used."""
        return sequences(load_task(self.task), self.samples, rng)

    def measure(self, network: Any, params: Any, arch: jax.Array, inputs: Any, key: jax.Array) -> jax.Array:
        """The error of one architecture, `[]`."""
        x, target = inputs
        trained, frozen = network.split(params)

        def apply(trained: Any, x: jax.Array, key: jax.Array | None) -> jax.Array:
            return network.apply(network.join(trained, frozen), arch, x, key=key)

        score = sequence_regression(apply, trained, x, target, key=key, task=load_task(self.task), steps=self.steps)
        return score.value

    def floats(self, network: Any) -> int:
        """About how many floats the measurement of one architecture holds at once."""
        return network.activations(self.samples)
