"""Weighted retraining of AG-Net's generator and surrogate on the architectures that were evaluated (section 3.2).

The better an architecture ranks, the more often it is drawn, and the more it counts: the generator moves to good
regions. The surrogate's gradient flows into the generator, whose logits it reads; if more is known of an architecture
than its graph (training-free scores), it reads the graph itself with that beside, and the generator learns from the
weights alone.
"""

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


class Models(NamedTuple):
    """What does not change in a search: the modules without their weights, and how they are trained."""

    generator: nnx.GraphDef[Generator]
    surrogate: nnx.GraphDef[Surrogate]
    alpha: float
    rate: float


class Learner(NamedTuple):
    """Weights of the generator and of the surrogate, and the optimiser's state."""

    params: tuple[nnx.State, nnx.State]
    moments: optax.OptState


class Known(NamedTuple):
    """What was evaluated, padded to a fixed M.

    Attributes:
      vectors: graphs `[M, size]`.
      features: what else is known of them `[M, F]`; F may be 0.
      targets: what the surrogate predicts `[M, T]`.
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


def start(pretrained: Pretrained, inputs: int, outputs: int, *, alpha: float, rate: float, seed: int):
    """Return `Models` and `Learner` before the first round.

    Args:
      pretrained: the generator.
      inputs: of the surrogate, the length of a graph's vector and the number of features.
      outputs: numbers that the surrogate predicts.
      alpha: share of the surrogate's loss; the rest is the generator's.
      rate: of Adam.
      seed: of the surrogate's weights.
    """
    graphdef, params = in_parts(partial(Surrogate, inputs, outputs), seed)
    both = (pretrained.params, params)
    return Models(pretrained.graphdef, graphdef, alpha, rate), Learner(both, _optimiser(rate).init(both))


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
        updates, moments = _optimiser(models.rate).update(gradient, learner.moments)
        return Learner(optax.apply_updates(learner.params, updates), moments)

    return jax.lax.fori_loop(0, steps, step, learner)


@partial(jax.jit, static_argnames="models")
def generate(models: Models, learner: Learner, noise: jax.Array) -> Logits:
    """The logits of graphs from noise `[B, NOISE]`."""
    return nnx.merge(models.generator, learner.params[0])(noise)


@partial(jax.jit, static_argnames="models")
def predict(models: Models, learner: Learner, inputs: jax.Array) -> jax.Array:
    """The surrogate's predictions `[B, T]` of inputs `[B, size + F]`: logits, or graphs and features."""
    return nnx.merge(models.surrogate, learner.params[1])(inputs)


def _loss(models: Models, params: tuple[nnx.State, nnx.State], known: Known, noise: jax.Array) -> jax.Array:
    """The mean of `w ((1 - alpha) R + alpha E)`: R the reconstruction's loss, E the mean of the squared errors.

    Each of them is divided by itself, as a constant, where it is above 1: the authors' form for several targets, which
    leaves accuracies between 0 and 1 alone and keeps outliers from deciding.
    """
    logits = nnx.merge(models.generator, params[0])(noise)
    inputs = jnp.concatenate([known.vectors, known.features], -1) if known.features.shape[1] else logits.vectors
    errors = (nnx.merge(models.surrogate, params[1])(inputs) - known.targets) ** 2
    reconstructed = _at_most_1(reconstruction(logits, known.vectors))
    losses = (1 - models.alpha) * reconstructed + models.alpha * _at_most_1(errors).mean(-1)
    return (known.weights * losses).mean()


def _at_most_1(loss: jax.Array) -> jax.Array:
    return loss / jax.lax.stop_gradient(jnp.maximum(loss, 1))


def _optimiser(rate: float) -> optax.GradientTransformation:
    return optax.adam(rate, *BETAS)
