"""Training of a supernet: SGD on one or a few sub-nets a step, an epoch as one compiled scan."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnas.errors import UserError
from jaxnas.network.network import Network
from jaxnas.supernet.arms import Arm, Sample
from jaxnas.supernet.batches import Images, centred, random_crops, shuffled

MOMENTUM, CLIP, LEAST_RATE = 0.9, 5.0, 1e-3


@dataclass(frozen=True)
class SGD:
    """How weights are trained; the defaults are those of Yu et al. for NAS-Bench-201."""

    epochs: int = 400
    """Epochs over the training images."""
    batch: int = 256
    """Images in a batch."""
    learning_rate: float = 0.025
    """Of SGD with momentum 0.9 at the beginning; it falls along a cosine to 0.001. Gradients are clipped to norm 5."""
    weight_decay: float = 5e-4
    """Of all weights."""

    def check(self) -> None:
        """Raise a `UserError` if the options make no sense."""
        if self.epochs < 1 or self.batch < 2:
            raise UserError(f"{self.epochs} epochs with batches of {self.batch}; give at least 1 epoch and 2 images")
        if not LEAST_RATE <= self.learning_rate < math.inf or not 0 <= self.weight_decay < math.inf:
            raise UserError(
                f"learning rate {self.learning_rate}, weight decay {self.weight_decay}; the learning rate falls to"
                f" {LEAST_RATE}, so give at least that, and a weight decay of 0 or more"
            )

    def optimiser(self, steps: int) -> optax.GradientTransformation:
        """Return SGD for an epoch of `steps` steps."""
        rate = optax.cosine_decay_schedule(
            self.learning_rate, self.epochs * steps, alpha=LEAST_RATE / self.learning_rate
        )
        return optax.chain(
            optax.clip_by_global_norm(CLIP),
            optax.add_decayed_weights(self.weight_decay),
            optax.sgd(rate, momentum=MOMENTUM),
        )


class State(NamedTuple):
    """Weights and what the optimiser knows."""

    params: Any
    optimiser: Any


class Turns(NamedTuple):
    """What S steps run: `archs` `[S, K, A]`, `sign` `[S]`; of P splits `rows` `[S, P, B]`, `crops` `[S, P, B, 3]`."""

    archs: Any
    sign: Any
    rows: Any
    crops: Any


class Trainer:
    """Trains a network's shared weights; every draw depends on (seed, epoch) alone, so a resumed run is the same.

    Args:
      network: takes the architectures.
      images: on the device.
      parts: positions of the splits `train` and `hinge`.
      arm: what a step trains on.
      sgd: how.
      sample: draws architectures.
      seed: of weights and draws.

    Attributes:
      steps: in an epoch.
      compiled: the jitted epoch.
    """

    def __init__(
        self,
        network: Network,
        images: Images,
        parts: Mapping[str, np.ndarray],
        arm: Arm,
        sgd: SGD,
        *,
        sample: Sample,
        seed: int,
    ):
        self.network, self.images, self.parts, self.arm, self.sgd = network, images, parts, arm, sgd
        self.sample, self.seed = sample, seed
        self.steps = len(parts["train"]) // sgd.batch
        if self.steps == 0:
            raise UserError(f"{len(parts['train'])} training images make no batch of {sgd.batch}; give a smaller one")
        self.optimiser = sgd.optimiser(self.steps)
        self.compiled = jax.jit(self._epoch)

    def init(self) -> State:
        """The state before the first epoch."""
        params = self.network.init(jax.random.key(self.seed))
        return State(params, self.optimiser.init(params))

    def epoch(self, state: State, number: int) -> tuple[State, dict[str, float]]:
        """Train for epoch `number`, from 0, and return the new state and what to tell of it.

        Raises:
          UserError: the loss is no longer finite.
        """
        started, strength = time.perf_counter(), self.arm.strength(number)
        state, losses, totals = self.compiled(state, self.images, self._turns(number), jnp.float32(strength))
        losses, totals = np.asarray(losses), np.asarray(totals)
        if not np.isfinite(totals).all():
            raise UserError(f"training diverged in epoch {number}; give a smaller learning rate or rank loss")
        rank = totals - losses[:, np.array(self.arm.always)].sum(1)
        return state, {
            "epoch": number + 1,
            "loss": float(losses[:, 0].mean()),
            "rank_loss": float(rank.mean()),
            "rank_active": float((rank > 0).mean()),
            "strength": strength,
            "seconds": time.perf_counter() - started,
        }

    def passes(self, number: int) -> int:
        """The forward and backward passes of a step of epoch `number`."""
        return sum(always or self.arm.strength(number) > 0 for always in self.arm.always)

    def _turns(self, number: int) -> Turns:
        """Draw what epoch `number` runs."""
        key = jax.random.fold_in(jax.random.key(self.seed), number + 1)
        rng = np.random.default_rng([self.seed, number])
        pad, size = self.images.pad, (self.steps, self.sgd.batch)
        archs, sign = self.arm.draw(key, self.steps, self.sample)
        rows, crops = [shuffled(rng, self.parts["train"], *size)], [random_crops(rng, pad, *size)]
        if "hinge" in self.arm.splits:
            rows.append(shuffled(rng, self.parts["hinge"], *size))
            crops.append(centred(pad, *size))
        return Turns(archs.astype(np.int32), sign, np.stack(rows, 1), np.stack(crops, 1))

    def _epoch(
        self, state: State, images: Images, turns: Turns, strength: jax.Array
    ) -> tuple[State, jax.Array, jax.Array]:
        """The new state, the cross-entropies `[S, K]` and the objectives `[S]`."""
        split = jnp.array([("train", "hinge").index(name) for name in self.arm.splits])
        active = jnp.array(self.arm.always) | (strength > 0)

        def step(state: State, turn: Turns) -> tuple[State, tuple[jax.Array, jax.Array]]:
            x, y = jax.vmap(images.take)(turn.rows, turn.crops)

            def one(net: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, Any]:
                arch, place, on = net
                return jax.lax.cond(on, self._gradient, _nothing, state.params, arch, x[place], y[place])

            losses, grads = jax.lax.map(one, (turn.archs, split, active))
            total, by = jax.value_and_grad(self.arm.objective)(losses, strength, turn.sign)
            summed = jax.tree.map(lambda g: jnp.tensordot(by, g, 1), grads)
            updates, memory = self.optimiser.update(summed, state.optimiser, state.params)
            return State(optax.apply_updates(state.params, updates), memory), (losses, total)

        state, (losses, totals) = jax.lax.scan(step, state, turns)
        return state, losses, totals

    def _gradient(self, params: Any, arch: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Any]:
        def loss(params: Any) -> jax.Array:
            logits = self.network.apply(params, arch, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        return jax.value_and_grad(loss)(params)


def _nothing(params: Any, *_: Any) -> tuple[jax.Array, Any]:
    return jnp.float32(0), jax.tree.map(jnp.zeros_like, params)
