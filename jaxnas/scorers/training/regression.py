"""Regression of synthetic signals (GenNAS: Li et al., NeurIPS 2021).

One batch of images; one fixed target map for each of three feature maps (taps) of the network; a head of batch
normalisation and 1x1 convolution on every tap; 100 steps of SGD on the mean squared error, with fresh noise on the
images at each. The score is the weighted error in evaluation mode at the end: lower is better.

Training amplifies rounding: between two orders of the same sums (the kernels' gradients in two ways) 198 random
architectures of NAS-Bench-201 differ by .4 % in the median and 9.4 % at most, with Spearman's rho .985 and Kendall's
tau .92 between the two (`fast`, one repeat); as published, between XLA's CPU compiler dividing operations for two
threads or for one, 20 of them by 1.3 and 8.3 %, with .98 and .94. So the commands hold the order (see `devices.start`)
and record what it depends on; scores of two kinds of processor, or of a CPU and a GPU, do not belong in one ranking.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnas.data import Source
from jaxnas.data.image_files import SIDE
from jaxnas.data.images import shrunk
from jaxnas.errors import UserError
from jaxnas.kernels.layout import NHWC
from jaxnas.network.network import Network
from jaxnas.network.op import Moments, Params, moments, normalise
from jaxnas.network.recipe import Form, Recipe
from jaxnas.scorers.protocol import Scorer
from jaxnas.scorers.training.targets import TASK, Task, load_task, noise, targets, task_for
from jaxnas.types import Score, if_finite

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.1, 0.9, 4e-5
RUNNING = 0.1  # share of a new batch in the running moments
SCORE_WEIGHTS = (0.25, 0.5, 1.0)  # of the taps' errors, shallow to deep
Version = Literal["initial", "head"]
Fidelity = Literal["fast", "published"]
PUBLISHED_STEPS = 100
RESOLUTIONS = (SIDE, SIDE // 2, SIDE // 4)
TAPS: Form = "taps"


class Sizes(NamedTuple):
    """How large a training is: channels of the first stage, cells per stage, steps of SGD."""

    width: int
    cells: int
    steps: int


FAST = Sizes(4, 3, 30)
TRAIN_WEIGHTS: dict[Version, tuple[float, ...]] = {"initial": (1.0, 1.0, 1.0), "head": SCORE_WEIGHTS}

Taps = Callable[[Any, jax.Array, Any], tuple[Sequence[jax.Array], Any]]
"""`(params, x, running) -> (feature maps, moments)`; `running` is None in training."""


DrawNoise = Callable[[jax.Array, tuple[int, ...]], jax.Array]
"""`(key, shape) -> noise`"""


class Problem(NamedTuple):
    """What is regressed: a target `[B, S, S, C_l]` per tap from the noisy images `[steps + 1, B, H, W, C]` of each step
    and of the evaluation.

    `scale` is a factor on each tap's error, shallow to deep; of fewer taps the deepest keep theirs.
    """

    images: jax.Array
    targets: Sequence[jax.Array]
    scale: Sequence[Any] = (1.0, 1.0, 1.0)


def init_heads(key: jax.Array, widths: Sequence[int], channels: Sequence[int]) -> list[Params]:
    """Draw the heads: scale 1, bias 0, 1x1 kernel and offset U(+-1 / sqrt(C_in)), from C_in to C_l channels."""

    def head(key: jax.Array, width: int, out: int) -> Params:
        flat = jax.random.uniform(key, (width + 1, out), jnp.float32, minval=-1) * width**-0.5
        return {
            "scale": jnp.ones(width, jnp.float32),
            "bias": jnp.zeros(width, jnp.float32),
            "kernel": flat[:-1],
            "offset": flat[-1],
        }

    return [head(k, w, c) for k, w, c in zip(jax.random.split(key, len(widths)), widths, channels, strict=True)]


def rescale_head(head: Params, mask: jax.Array) -> Params:
    """A head for the channels of `mask` `[C]`, the others being zeros: as it would be drawn for these alone."""
    factor = jnp.sqrt(mask.size / mask.sum())
    return {**head, "kernel": head["kernel"] * (mask * factor)[:, None], "offset": head["offset"] * factor}


def fit(taps: Taps, params: Any, heads: list[Params], problem: Problem, version: Version) -> jax.Array:
    """Train `params` and `heads` on the problem and return the score `[]`."""
    optimiser = optax.chain(
        optax.add_decayed_weights(WEIGHT_DECAY, _is_kernel), optax.sgd(LEARNING_RATE, momentum=MOMENTUM)
    )

    def loss(weights, x, running, by):
        (params, heads), (inner, outer) = weights, running or (None, [None] * len(problem.targets))
        features, seen = taps(params, x, inner)
        maps = [_head(*each) for each in zip(heads, features, problem.targets, outer, strict=True)]
        errors = [jnp.square(y - target).mean() for (y, _), target in zip(maps, problem.targets, strict=True)]
        by = [w * s for w, s in zip(by, problem.scale, strict=True)]
        by = by[-len(errors) :]  # fewer taps: the deepest keep their weights
        return sum(w * e for w, e in zip(by, errors, strict=True)), (seen, [own for _, own in maps])

    def step(carry, images):
        weights, state, running = carry
        grads, seen = jax.grad(loss, has_aux=True)(weights, images, None, TRAIN_WEIGHTS[version])
        updates, state = optimiser.update(grads, state, weights)
        running = jax.tree.map(lambda old, new: (1 - RUNNING) * old + RUNNING * new, running, seen)
        return (optax.apply_updates(weights, updates), state, running), None

    weights = (params, heads)
    seen = jax.eval_shape(lambda: loss(weights, problem.images[0], None, SCORE_WEIGHTS)[1])
    running = jax.tree.map(
        lambda m: Moments(jnp.zeros_like(m.mean), jnp.ones_like(m.variance)), seen, is_leaf=_is_moments
    )
    start = (weights, optimiser.init(weights), running)
    (weights, _, running), _ = jax.lax.scan(step, start, problem.images[:-1])
    return loss(weights, problem.images[-1], running, SCORE_WEIGHTS)[0]


def regression(
    apply: Callable[[Any, jax.Array], Any],
    params: Any,
    x: jax.Array,
    target: Sequence[jax.Array],
    key: jax.Array,
    *,
    task: Task | None = None,
    steps: int = 100,
) -> Score:
    """Return GenNAS's regression error of any model.

    Pure; works under `jit` and `vmap`. Trains a copy: `params` are left alone.

    Args:
      apply: `(params, x) ->` a feature map `[B, H, W, C]`, logits `[B, K]` (a map of one pixel), or a sequence of up to
        three of them, shallow to deep.
      params: pytree of float arrays.
      x: images `[B, H, W, C]`.
      target: a map `[B, S, S, C_l]` for each output, for instance of `targets.targets`; S = 1 suits logits. Errors
        are summed in training and weighted by .25, .5, 1 in the score, the deepest output by 1 (version `initial`).
      key: draws the heads and the noise.
      task: where the noise's kind and level come from; no noise without it.
      steps: SGD steps.

    Raises:
      ValueError: the numbers of outputs and targets differ, or exceed three.
    """

    def taps(params: Any, x: jax.Array, running: Any) -> tuple[list[jax.Array], tuple[()]]:
        out = apply(params, x)
        outputs = [out] if isinstance(out, jax.Array) else list(out)
        return [o[:, None, None] if o.ndim == 2 else o for o in outputs], ()

    features, _ = jax.eval_shape(lambda: taps(params, x, None))
    if len(features) != len(target) or len(features) > len(SCORE_WEIGHTS):
        raise ValueError(
            f"apply returns {len(features)} outputs for {len(target)} targets; give one target to each of at most 3"
        )
    head_key, noise_key = jax.random.split(key)
    heads = init_heads(head_key, [f.shape[-1] for f in features], [t.shape[-1] for t in target])
    draw = functools.partial(noise, task) if task else lambda _, shape: jnp.zeros(shape)
    problem = Problem(_noisy(x, steps, noise_key, draw), target)
    return if_finite(fit(taps, params, heads, problem, "initial"))


@dataclass(frozen=True)
class Regression(Scorer):
    """Regression error of synthetic signals."""

    preset: Version = "initial"
    """Published version: `initial` (first commit, of the paper) trains on the sum of the taps' errors, `head` (last
    commit) weights them .25, .5, 1. Both score with .25, .5, 1."""
    task: str | None = None
    """Stored task: nb101, darts, resnet or combo; or a .json file of the same form. By default GenNAS's choice for the
    space: darts for NDS's cells, resnet for its AnyNets, otherwise nb101."""
    fidelity: Fidelity = "fast"
    """Sizes, where the options below do not give them. `published`: GenNAS's, 100 steps on the network that it takes.
    `fast`: 30 steps, width 4 or as near to it as networks of the space can be (of nasbench101, whose vertices share
    channels, 16), at most 3 cells per stage."""
    width: int | None = None
    """Channels of the first stage, where the architecture does not decide them."""
    cells: int | None = None
    """Cells per stage, where the architecture does not decide them."""
    steps: int | None = None
    """Steps of SGD."""
    images: int = 16
    """Images in the batch."""
    resolution: int = SIDE
    """Pixels of an image's side: 32, or 16 or 8, whose pixels are means over squares of the images."""

    name: ClassVar[str] = "regression"
    sign: ClassVar[int] = -1
    paper: ClassVar[str] = "GenNAS (Li et al., NeurIPS 2021)"
    cost: ClassVar[str] = "30 steps of training; as published, 100"
    option: ClassVar[str] = "--regression.images"

    def check(self) -> None:
        """Raise a `UserError` if the options make no sense together."""
        if self.images < 2 or self.updates < 1:
            raise UserError(f"regression: {self.images} images, {self.steps} steps; give at least 2 images and 1 step")
        for name, size in (("width", self.width), ("cells", self.cells)):
            if size is not None and size < 1:
                raise UserError(f"regression: {name} {size}; give at least 1")
        if self.resolution not in RESOLUTIONS:
            raise UserError(f"regression: resolution {self.resolution}; give one of {', '.join(map(str, RESOLUTIONS))}")
        self.stored()

    def check_data(self, source: Source) -> None:
        """Raise a `UserError` if `source` has too few images."""
        source.check(images=self.images, option=self.option)

    @property
    def archs_per_call(self) -> int:
        return 8 if self.fidelity == "fast" else 2

    @property
    def recipe(self) -> Recipe:
        image = (("image", (self.resolution, self.resolution, 3)),) if self.resolution != SIDE else ()
        return Recipe(TAPS, channels=self.width, cells=self.cells, others=image)

    def draw(self, source: Source, rng: np.random.Generator) -> tuple[Any, ...]:
        """One repeat's images `[B, H, W, C]` and targets, one `[B, 8, 8, C_l]` per tap."""
        images = self.draw_images(source, rng)
        return images, targets(self.stored(), images, rng)

    def draw_images(self, source: Source, rng: np.random.Generator) -> np.ndarray:
        """One repeat's images `[B, H, W, C]`, at the resolution."""
        return shrunk(source.images(rng, self.images), self.resolution)

    def for_all(self, inputs: Any, key: jax.Array) -> Any:
        """The inputs, with the noisy images `[steps + 1, B, H, W, C]` of each step in place of the images."""
        images, target = inputs
        return self._noisy(images, key, functools.partial(noise, self.stored())), target

    def check_network(self, network: Network) -> None:
        """Raise a `UserError` if the task has another number of taps than the network."""
        own, there = len(self.stored().taps), len(network.tap_widths)
        if own != there:
            raise UserError(
                f"task {self.task} has {own} taps, the networks of this space have {there}; give a task with as many"
            )

    def measure(self, network: Network, params: Any, arch: jax.Array, inputs: Any, key: jax.Array) -> jax.Array:
        """The error of one architecture, `[]`."""
        head_key, _ = jax.random.split(key)
        self.check_network(network)
        heads = self._heads(inputs, head_key, network.tap_widths)
        if (masks := network.tap_masks(arch)) is not None:
            heads = [rescale_head(*each) for each in zip(heads, masks, strict=True)]

        def taps(params: Any, x: jax.Array, running: Any) -> tuple[Sequence[jax.Array], Any]:
            return network.taps(params, arch, x, running)

        return fit(taps, network.rescale_to_fan_in(params, arch), heads, self._problem(inputs), self.preset)

    @property
    def updates(self) -> int:
        """Steps of SGD."""
        return self.steps if self.steps is not None else FAST.steps if self.fidelity == "fast" else PUBLISHED_STEPS

    def on(self, space: Any) -> Self:
        """The score with GenNAS's task for the space, if it names none, and sizes that its networks can have."""
        width, cells = self.width, self.cells
        if self.fidelity == "fast" and TAPS in space.forms:
            width = space.stage_width(FAST.width) if width is None else width
            cells = space.shallow(FAST.cells) if cells is None else cells
        task = self.task or task_for(space.name)
        return replace(self, task=task, width=width, cells=cells, steps=self.updates)

    def stored(self) -> Task:
        """The task; without a space's, `TASK`."""
        return load_task(self.task or TASK)

    def _heads(self, inputs: Any, key: jax.Array, widths: Sequence[int]) -> list[Params]:
        return init_heads(key, widths, self.stored().channels)

    def _problem(self, inputs: Any) -> Problem:
        return Problem(*inputs)

    def _noisy(self, images: jax.Array, key: jax.Array, draw: DrawNoise) -> jax.Array:
        _, noise_key = jax.random.split(key)
        return _noisy(images, self.updates, noise_key, draw)

    def floats(self, network: Network) -> int:
        """About how many floats the measurement of one architecture holds at once."""
        return network.activations(self.images)


def _head(head: Params, x: jax.Array, target: jax.Array, running: Moments | None) -> tuple[jax.Array, Moments]:
    """The head's output at the target's size, and the unbiased moments of its normalisation's input."""
    rows, columns = (np.arange(target.shape[1]) * n // target.shape[1] for n in x.shape[1:3])  # PyTorch's `nearest`
    x = x[:, rows][:, :, columns]
    by = moments(x, NHWC) if running is None else running
    count = x.size // x.shape[-1]
    scale, bias, offset = (NHWC.per_channel(head[name]) for name in ("scale", "bias", "offset"))
    return (normalise(x, by, NHWC) * scale + bias) @ head["kernel"] + offset, Moments(
        by.mean, by.variance * (count / max(count - 1, 1))
    )


def _noisy(images: jax.Array, steps: int, key: jax.Array, draw: DrawNoise) -> jax.Array:
    """The images with fresh noise, `[steps + 1, B, H, W, C]`."""
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(steps + 1))
    return jax.lax.map(lambda key: images + draw(key, images.shape), keys)


def _is_kernel(tree: Any) -> Any:
    """Mark what decays: tensors of two or more dimensions."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) >= 2, tree)


def _is_moments(node: Any) -> bool:
    return isinstance(node, Moments)
