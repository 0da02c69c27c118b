"""Training of the graph network on pairs of architectures: several models at once, in one compiled program."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxnas.learn.graph_net import HEAD, GraphNet, Inputs

CHUNK = 4096  # architectures that are predicted at once


@dataclass(frozen=True)
class Training:
    """Sizes and schedule of the graph network.

    Attributes:
      width: of a node's state.
      layers: of messages.
      steps: of AdamW, each with a batch of architectures, all their pairs.
      batch: architectures of a step.
      rate: learning rate at the start of the cosine; it ends at 0.
      decay: weight decay.
      margin: by which the better of two should lead (FLAN: .1).
      hold: penalty on the square of how far the structural residual goes from where it started, over the margin and
        the number of labels.
    """

    width: int = 32
    layers: int = 3
    steps: int = 200
    batch: int = 32
    rate: float = 2e-3
    decay: float = 1e-5
    margin: float = 0.1
    hold: float = 4.0


def initial(like: Inputs, start: np.ndarray, how: Training, *, seed: int, models: int) -> nnx.State:
    """The parameters of S models, `[S, ...]`, drawn without a program to compile.

    Matrices are normal with variance one over their number of inputs (LeCun), offsets 0, and so is the residual.

    Args:
      like: inputs of the right sizes.
      start: weights of the prior `[P]`, in units of the margin.
      seed: of the draws.
      models: S; the first ones do not depend on it.
    """
    shapes = nnx.state(_abstract(_sizes(like), how))
    rngs = [np.random.default_rng([seed, model]) for model in range(models)]

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if path[0].key == "prior":
            return jnp.tile(jnp.asarray(how.margin * start, leaf.dtype), (models, 1))
        random = len(leaf.shape) > 1 and path[0].key != "head"
        scale = leaf.shape[0] ** -0.5 if random else 0.0
        return jnp.asarray([scale * rng.normal(size=leaf.shape) for rng in rngs], leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def fit(
    params: nnx.State,
    inputs: Inputs,
    labels: np.ndarray,
    how: Training,
    keys: jax.Array,
    *,
    head_only: bool = False,
) -> nnx.State:
    """The parameters of S models after training, each one on its own rows; without labels they stay.

    Args:
      params: before the training, `[S, ...]`.
      inputs: of the rows with a label, `[S, n, ...]`.
      labels: `[S, n]`, higher is better; NaN is padding.
      keys: of the batches `[S]`.
      head_only: train the last layer and the prior alone.
    """
    trained: Any = (lambda path, _: path[0] in HEAD) if head_only else (lambda *_: True)
    learning, fixed = nnx.split_state(params, trained, ...)
    arrays = Inputs(*map(jnp.asarray, inputs)), jnp.asarray(labels, jnp.float32)
    learnt = _fit(learning, fixed, *arrays, keys, graphdef=_graphdef(inputs, how), how=how)
    return nnx.merge_state(learnt, fixed)


def predict(params: nnx.State, inputs: Inputs, how: Training) -> np.ndarray:
    """The scores `[S, N]` that S models give to N architectures, in units of the margin."""
    return np.asarray(_predict(params, Inputs(*map(jnp.asarray, inputs)), graphdef=_graphdef(inputs, how))) / how.margin


def hinge(scores: jax.Array, labels: jax.Array, margin: float) -> jax.Array:
    """The mean of max(0, margin - (s_i - s_j)) over the pairs `[n, n]` in which i has the higher label.

    A NaN label has no pair; without any pair it is 0.
    """
    better = labels[:, None] > labels[None]
    short = nnx.relu(margin - (scores[:, None] - scores[None]))
    return jnp.where(better, short, 0).sum() / jnp.maximum(better.sum(), 1)


def pad(rows: np.ndarray, labels: np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and labels `[S, n]` as `[S, capacity]`, so that more labels need no other program."""
    room = ((0, 0), (0, capacity - rows.shape[1]))
    return np.pad(rows, room), np.pad(labels, room, constant_values=np.nan)


def capacity(n: int) -> int:
    """The next power of two from `n`, at least 16."""
    return 1 << max(4, (n - 1).bit_length())


Sizes = tuple[int, int, int]


def _sizes(inputs: Inputs) -> Sizes:
    """Return K, C and P."""
    return inputs.ops.shape[-1], inputs.ops.shape[-3], inputs.prior.shape[-1]


def _abstract(sizes: Sizes, how: Training) -> GraphNet:
    classes, cells, features = sizes
    return nnx.eval_shape(
        lambda: GraphNet(classes, cells, features, width=how.width, layers=how.layers, rngs=nnx.Rngs(0))
    )


def _graphdef(inputs: Inputs, how: Training) -> nnx.GraphDef[GraphNet]:
    graphdef: nnx.GraphDef[GraphNet] = nnx.graphdef(_abstract(_sizes(inputs), how))
    return graphdef


@partial(jax.jit, static_argnames=("graphdef", "how"))
def _fit(
    learning: nnx.State,
    fixed: nnx.State,
    inputs: Inputs,
    labels: jax.Array,
    keys: jax.Array,
    *,
    graphdef: nnx.GraphDef[GraphNet],
    how: Training,
) -> nnx.State:
    return jax.vmap(partial(_fit_one, graphdef=graphdef, how=how))(learning, fixed, inputs, labels, keys)


def _fit_one(
    learning: nnx.State,
    fixed: nnx.State,
    inputs: Inputs,
    labels: jax.Array,
    key: jax.Array,
    *,
    graphdef: nnx.GraphDef[GraphNet],
    how: Training,
) -> nnx.State:
    def scores(learning: nnx.State, chosen: Inputs) -> tuple[jax.Array, jax.Array]:
        found: tuple[jax.Array, jax.Array] = jax.vmap(nnx.merge(graphdef, learning, fixed))(chosen)
        return found

    anchor = scores(learning, inputs)[1]
    known = jnp.isfinite(labels)

    def loss(learning: nnx.State, rows: jax.Array) -> jax.Array:
        score, residual = scores(learning, jax.tree.map(lambda part: part[rows], inputs))
        squares = jnp.where(known[rows], (residual - anchor[rows]) ** 2, 0)
        moved = squares.sum() / jnp.maximum(known[rows].sum(), 1) / how.margin
        return hinge(score, labels[rows], how.margin) + how.hold / jnp.maximum(known.sum(), 1) * moved

    optimiser = optax.adamw(optax.cosine_decay_schedule(how.rate, how.steps), weight_decay=how.decay)
    return _descend(loss, learning, optimiser, _batches(known, how, key))


def _batches(known: jax.Array, how: Training, key: jax.Array) -> jax.Array:
    """The rows of each step `[steps, batch]`, drawn without replacement, those with a label first."""
    size = min(how.batch, len(known))
    order = jax.random.uniform(key, (how.steps, len(known))) + known[None]
    return jax.lax.top_k(order, size)[1]


def _descend(
    loss: Callable[[nnx.State, jax.Array], jax.Array],
    params: nnx.State,
    optimiser: optax.GradientTransformation,
    batches: jax.Array,
) -> nnx.State:
    def step(state: tuple[nnx.State, optax.OptState], rows: jax.Array):
        params, moments = state
        updates, moments = optimiser.update(jax.grad(loss)(params, rows), moments, params)
        return (optax.apply_updates(params, updates), moments), None

    (params, _), _ = jax.lax.scan(step, (params, optimiser.init(params)), batches)
    return params


@partial(jax.jit, static_argnames=("graphdef",))
def _predict(params: nnx.State, inputs: Inputs, *, graphdef: nnx.GraphDef[GraphNet]) -> jax.Array:
    def of_model(own: nnx.State) -> jax.Array:
        network = nnx.merge(graphdef, own)
        return jax.lax.map(lambda one: network(one)[0], inputs, batch_size=CHUNK)

    return jax.lax.map(of_model, params)
