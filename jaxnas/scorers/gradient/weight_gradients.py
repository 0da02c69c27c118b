"""Scores of the weights' gradients: one pass, two batches of images with labels drawn at random, cross-entropy.

With g the gradient of a batch's loss with respect to a tensor of weights w (of convolutions and matrix products alone,
but for `intrain_health`):

* `zico` (Li et al., ICLR 2023): sum over tensors of log sum |g| / s, with the mean of |g| and the standard deviation s
  of g over the batches; of two batches that is (|g1| + |g2|) / |g1 - g2|. Weights with s = 0 are left out;
* `intrain_health` (the second factor of InTrain, CVPR 2026): sum over all tensors of min(1, std(g) / max |g|);
* `snip`: sum |w g|; `grad_norm`: sum over tensors of ||g||; `plain`: sum w g; `l2_norm`: sum over tensors of ||w||
  (Abdelfattah et al., ICLR 2021).

All but `zico` are means over both batches. Weights that get no gradient, those of operations and channels that an
architecture does not have, are in none of them.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.data import Source
from jaxnas.network.network import Network
from jaxnas.network.recipe import Recipe
from jaxnas.scorers.gradient.ntk import Apply
from jaxnas.scorers.protocol import Pass
from jaxnas.scorers.thin import ImageScorer
from jaxnas.types import Score, if_finite

BATCHES = 2


class Statistics(NamedTuple):
    """The scores of one network `[]`, by name."""

    zico: jax.Array
    intrain_health: jax.Array
    snip: jax.Array
    grad_norm: jax.Array
    plain: jax.Array
    l2_norm: jax.Array


def statistics(apply: Apply, params: Any, x: jax.Array, labels: jax.Array) -> Statistics:
    """The scores of `apply(params, x)`.

    Args:
      apply: `(params, x [B, ...]) -> logits [B, K]`.
      params: any pytree; its leaves of more than one axis are weights.
      x: two batches of inputs `[2, B, ...]`.
      labels: their classes `[2, B]`, whole numbers from 0 on; of numbers from K on, the rest of their division by K.
    """

    def loss(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
        logits = apply(params, x)
        own = jax.nn.one_hot(labels % logits.shape[-1], logits.shape[-1])
        return -(own * jax.nn.log_softmax(logits)).sum(-1).mean()

    gradients = jax.lax.map(lambda batch: jax.grad(loss)(params, *batch), (x, labels))
    tensors = list(zip(jax.tree.leaves(params), jax.tree.leaves(gradients), strict=True))
    rows = [_of_tensor(w, g) for w, g in tensors if w.ndim > 1]
    zico, snip, grad_norm, plain, l2_norm = (jnp.stack(column).sum() for column in zip(*rows, strict=True))
    health = jnp.stack([_health(g) for _, g in tensors]).sum()
    return Statistics(zico, health, snip, grad_norm, plain, l2_norm)


def _of_tensor(w: jax.Array, g: jax.Array) -> tuple[jax.Array, ...]:
    """One tensor's share in `zico`, `snip`, `grad_norm`, `plain` and `l2_norm`, from its gradients `[2, ...]`."""
    first, second = g
    spread = jnp.abs(first - second)
    ratios = jnp.where(spread > 0, (jnp.abs(first) + jnp.abs(second)) / jnp.where(spread > 0, spread, 1), 0).sum()
    zico = jnp.where((spread > 0).any(), jnp.log(jnp.where(ratios > 0, ratios, 1)), 0)
    flow = w[None] * g
    norms = jnp.sqrt(jnp.square(g).sum(tuple(range(1, g.ndim))))
    used = (first != 0) | (second != 0)
    l2_norm = jnp.sqrt(jnp.square(jnp.where(used, w, 0)).sum())
    return zico, jnp.abs(flow).sum() / BATCHES, norms.mean(), flow.sum() / BATCHES, l2_norm


def _health(g: jax.Array) -> jax.Array:
    """The mean over batches of std(g) / max |g| of one tensor's gradients `[2, ...]`, over those that are not zero."""
    used, g = g.reshape(BATCHES, -1) != 0, g.reshape(BATCHES, -1)
    count = jnp.maximum(used.sum(1, keepdims=True), 1)
    deviation = jnp.where(used, g - g.sum(1, keepdims=True) / count, 0)
    std, most = jnp.sqrt(jnp.square(deviation).sum(1) / count[:, 0]), jnp.abs(g).max(1)
    return jnp.where(most > 0, jnp.minimum(1, std / jnp.where(most > 0, most, 1)), 0).mean()


def zico(apply: Apply, params: Any, x: jax.Array, labels: jax.Array) -> Score:
    """The score of any model, with the others of this file in `info`.

    Pure; works under `jit` and `vmap`. Arguments as of `statistics`.
    """
    found = statistics(apply, params, x, labels)
    return if_finite(found.zico, found._asdict())


@dataclass(frozen=True)
class WeightGradients(Pass):
    """The pass that all these scores read."""

    width: int | None
    images: int
    name: ClassVar[str] = "weight_gradients"
    archs_per_call: ClassVar[int] = 16

    @property
    def recipe(self) -> Recipe:
        return Recipe("taps", channels=self.width, bn="batch", init="kaiming")

    def check_data(self, source: Source) -> None:
        source.check(images=BATCHES * self.images, option="two batches of --zico.images")

    def draw(self, source: Source, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One repeat's images `[2, B, H, W, C]` and labels `[2, B]`."""
        images = source.images(rng, BATCHES * self.images)
        labels = rng.integers(2**31, size=(BATCHES, self.images), dtype=np.int32)
        return images.reshape(BATCHES, self.images, *images.shape[1:]), labels

    def measure(self, network: Network, params: Any, arch: jax.Array, inputs: Any, key: jax.Array) -> Statistics:
        params = network.rescale_to_fan_in(params, arch)
        return statistics(lambda params, x: network.apply(params, arch, x), params, *inputs)

    def floats(self, network: Network) -> int:
        return network.activations(self.images)


@dataclass(frozen=True)
class WeightGradientScore(ImageScorer):
    """A score that reads `WeightGradients`."""

    images: int = 64
    """Images in each of two batches."""

    sign: ClassVar[int] = 1
    paper: ClassVar[str] = "Abdelfattah et al. (ICLR 2021)"
    cost: ClassVar[str] = "two backward passes, of a thin network of full depth"

    @property
    def reads(self) -> WeightGradients:
        return WeightGradients(self.width, self.images)

    def read(self, seen: Statistics) -> jax.Array:
        """The score of one architecture."""
        value: jax.Array = getattr(seen, self.name)
        return value


@dataclass(frozen=True)
class Zico(WeightGradientScore):
    """Mean over deviation of the weights' gradients."""

    name: ClassVar[str] = "zico"
    paper: ClassVar[str] = "ZiCo (Li et al., ICLR 2023)"


@dataclass(frozen=True)
class InTrainHealth(WeightGradientScore):
    """Evenness of the gradient within each tensor, one factor of InTrain."""

    name: ClassVar[str] = "intrain_health"
    paper: ClassVar[str] = "InTrain (CVPR 2026)"


@dataclass(frozen=True)
class Snip(WeightGradientScore):
    """Sum of |weight x gradient|."""

    name: ClassVar[str] = "snip"
    paper: ClassVar[str] = "SNIP (Lee et al., ICLR 2019); Abdelfattah et al. (ICLR 2021)"


@dataclass(frozen=True)
class GradNorm(WeightGradientScore):
    """Sum over tensors of the gradient's norm."""

    name: ClassVar[str] = "grad_norm"


@dataclass(frozen=True)
class Plain(WeightGradientScore):
    """Sum of weight x gradient."""

    name: ClassVar[str] = "plain"


@dataclass(frozen=True)
class L2Norm(WeightGradientScore):
    """Sum over tensors of the weights' norm."""

    name: ClassVar[str] = "l2_norm"
