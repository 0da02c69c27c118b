"""Weighted retraining of AG-Net's generator and surrogate on the architectures that were evaluated (section 3.2).

The better an architecture ranks, the more often it is drawn: the generator moves to good regions. As published, it also
counts more in the loss, and a perceptron is trained along, whose gradient flows into the generator, whose logits it
reads; if more is known of an architecture than its graph (training-free scores), it reads the graph itself with that
beside, and the generator learns from the weights alone.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxnas.learn.agnet.generator import NOISE, Generator, Logits, reconstruction
from jaxnas.learn.agnet.pretrain import BETAS, Pretrained, in_parts
from jaxnas.learn.agnet.surrogate import Surrogate

BATCH = 16
KAPPA = 0.01  # of the weights: the smaller, the more the best count


@dataclass(frozen=True)
class Retraining:
    """How generator and perceptron learn.

    Attributes:
      rate: of Adam.
      decay: L2 penalty, as PyTorch's `weight_decay`.
      alpha: share of the perceptron's loss, if there is one; the rest is the generator's.
      soft: the perceptron reads the generator's logits of fresh noise, not the graphs themselves.
      weighed: the weights count in the loss, too, and not only in what is drawn.
      capped: a loss above 1 counts as 1 (the authors' form for several targets).
    """

    rate: float = 1e-3
    decay: float = 0.0
    alpha: float = 0.9
    soft: bool = True
    weighed: bool = False
    capped: bool = False


class Models(NamedTuple):
    """What does not change in a search: the modules without their weights, and how they are trained."""

    generator: nnx.GraphDef[Generator]
    surrogate: nnx.GraphDef[Surrogate] | None
    how: Retraining


class Learner(NamedTuple):
    """Weights of the generator and of the perceptron, if there is one, and the optimiser's state."""

    params: tuple[nnx.State, nnx.State | None]
    moments: optax.OptState


class Known(NamedTuple):
    """What was evaluated, padded to a fixed M.

    Attributes:
      vectors: graphs `[M, size]`.
      features: what else is known of them `[M, F]`; F may be 0.
      targets: what the perceptron predicts `[M, T]`; without one T is 0.
      weights: `[M]`, 0 for padding and for what has no scores.
    """

    vectors: jax.Array
    features: jax.Array
    targets: jax.Array
    weights: jax.Array


def rank_weights(ranks: np.ndarray) -> np.ndarray:
    """The weights `1 / (KAPPA N + rank)` of ranks `[N]` from 0; 0 for those without (NaN).

    Of 16 the best has 6.25, the next .86, .46, .32.
    """
    known = np.isfinite(ranks)
    return np.where(known, 1 / (KAPPA * known.sum() + np.where(known, ranks, 1)), 0.0)


def start(pretrained: Pretrained, inputs: int, outputs: int, how: Retraining, *, seed: int) -> tuple[Models, Learner]:
    """Return what does not change, and the learner before the first round.

    Args:
      pretrained: the generator.
      inputs: of the perceptron, the length of a graph's vector and the number of features.
      outputs: numbers that the perceptron predicts; 0: there is none.
      how: they learn.
      seed: of the perceptron's weights.
    """
    graphdef, params = in_parts(partial(Surrogate, inputs, outputs), seed) if outputs else (None, None)
    both = (pretrained.params, params)
    return Models(pretrained.graphdef, graphdef, how), Learner(both, _optimiser(how).init(both))


@partial(jax.jit, static_argnames="models")
def retrain(models: Models, learner: Learner, known: Known, key: jax.Array, steps: int) -> Learner:
    """The learner after so many batches of 16, drawn with replacement by the weights; compiled once for an M."""

    def step(number: int, learner: Learner) -> Learner:
        rows_key, noise_key = jax.random.split(jax.random.fold_in(key, number))
        rows = jax.random.categorical(rows_key, jnp.log(known.weights), shape=(BATCH,))
        chosen = jax.tree.map(lambda column: column[rows], known)
        gradient = jax.grad(_loss, argnums=1)(
            models, learner.params, chosen, jax.random.normal(noise_key, (BATCH, NOISE))
        )
        updates, moments = _optimiser(models.how).update(gradient, learner.moments, learner.params)
        return Learner(optax.apply_updates(learner.params, updates), moments)

    return jax.lax.fori_loop(0, steps, step, learner)


@partial(jax.jit, static_argnames="models")
def generate(models: Models, learner: Learner, noise: jax.Array) -> Logits:
    """The logits of graphs from noise `[B, NOISE]`."""
    return nnx.merge(models.generator, learner.params[0])(noise)


@partial(jax.jit, static_argnames="models")
def predict(models: Models, learner: Learner, inputs: jax.Array) -> jax.Array:
    """The perceptron's predictions `[B, T]` of inputs `[B, size + F]`: logits, or graphs and features."""
    assert models.surrogate is not None
    assert learner.params[1] is not None
    return nnx.merge(models.surrogate, learner.params[1])(inputs)


def _loss(models: Models, params: tuple[nnx.State, nnx.State | None], known: Known, noise: jax.Array) -> jax.Array:
    """The mean of `w ((1 - alpha) R + alpha E)`: R the reconstruction's loss, E the mean of the squared errors."""
    how = models.how
    logits = nnx.merge(models.generator, params[0])(noise)
    loss = _capped(reconstruction(logits, known.vectors), how)
    if models.surrogate is not None:
        hard = jnp.concatenate([known.vectors, known.features], -1)
        inputs = hard if known.features.shape[1] or not how.soft else logits.vectors
        errors = (nnx.merge(models.surrogate, params[1])(inputs) - known.targets) ** 2
        loss = (1 - how.alpha) * loss + how.alpha * _capped(errors, how).mean(-1)
    return (known.weights * loss if how.weighed else loss).mean()


def _capped(loss: jax.Array, how: Retraining) -> jax.Array:
    """The loss divided by itself, as a constant, where it is above 1, if that is how."""
    return loss / jax.lax.stop_gradient(jnp.maximum(loss, 1)) if how.capped else loss


def _optimiser(how: Retraining) -> optax.GradientTransformation:
    return optax.chain(optax.add_decayed_weights(how.decay), optax.adam(how.rate, *BETAS))
