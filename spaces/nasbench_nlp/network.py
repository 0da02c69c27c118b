"""A recurrent network whose cell is data: the regression network of GenNAS (Li et al., 2021) on NAS-Bench-NLP.

A cell is a program: rows `(slot, op, input, input, input)` that are run in turn, each of which writes one slot of a
buffer `[SLOTS, B, H]`. One compiled program thus runs every cell. The adjoint is written by hand: a loop over the rows
from the last to the first, and all weights' gradients after it as products over time and batch at once; JAX's own
would keep a copy of the buffer and of the weights per row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

OPS = (
    "linear",
    "blend",
    "elementwise_prod",
    "elementwise_sum",
    "activation_tanh",
    "activation_sigm",
    "activation_leaky_relu",
)
LINEAR, BLEND, PROD, SUM, TANH, SIGM, LEAKY = range(len(OPS))
INPUTS, MAX_NODES, MAX_HIDDEN, MAX_LINEARS = 3, 25, 3, 12  # of a row; and what the benchmark's generator can reach
SLOT_NAMES = (
    "x",
    *(f"h_prev_{i}" for i in range(MAX_HIDDEN)),
    *(f"node_{i}" for i in range(MAX_NODES)),
    *(f"h_new_{i}" for i in range(MAX_HIDDEN)),
)
X, PREV, NODE, NEW, SLOTS = 0, 1, 1 + MAX_HIDDEN, 1 + MAX_HIDDEN + MAX_NODES, len(SLOT_NAMES)
PAD, COLUMNS = -1, 2 + INPUTS
SLOPE = 0.01  # of the leaky ReLU
ELEMENTWISE: Mapping[int, Callable[..., jax.Array]] = {  # of at least the inputs that it takes
    BLEND: lambda a, b, c: a * b + (1 - a) * c,
    PROD: lambda a, b, *_: a * b,
    SUM: lambda a, b, *_: a + b,
    TANH: lambda a, *_: jnp.tanh(a),
    SIGM: lambda a, *_: jax.nn.sigmoid(a),
    LEAKY: lambda a, *_: jnp.where(a > 0, a, SLOPE * a),
}

Params = dict[str, Any]


@dataclass(frozen=True)
class RNN:
    """Linear layer, recurrent layers of the same cell, linear layer.

    Attributes:
      features: of the sequences.
      sizes: of the first recurrent layer's input, and of the layers' hidden states.
      linears: most linear nodes of a cell. Fewer take less memory and change nothing else.
      weight_drop: `as_published` gives the hidden-to-hidden matrices no gradient: the benchmark's and GenNAS's code
        wraps them anew at every pass, so that its optimiser never sees a gradient. `trained` trains them.
      drop_between, drop_last: locked dropout (one mask for all times) between the layers, and after the last.
      drop_weights: dropout of the hidden-to-hidden matrices, drawn anew at every pass.
    """

    features: int = 48
    sizes: tuple[int, ...] = (400, 600, 600, 400)
    linears: int = MAX_LINEARS
    weight_drop: Literal["as_published", "trained"] = "as_published"
    drop_between: float = 0.25
    drop_last: float = 0.1
    drop_weights: float = 0.1

    def init(self, key: jax.Array) -> Params:
        """Draw the weights: layers U(+-1 / sqrt(H)), encoder and decoder U(+-0.1), their offsets U(+-1 / sqrt(D)), 0.

        A weight depends on the key, its layer and its linear node, not on `linears`.
        """
        encoder_key, decoder_key, *keys = jax.random.split(key, len(self.sizes) + 1)
        first, last = self.sizes[0], self.sizes[-1]
        encoder = _uniform(encoder_key, 1.0, self.features + 1, first)
        return {
            "encoder": {"kernel": 0.1 * encoder[:-1], "offset": self.features**-0.5 * encoder[-1]},
            "layers": [self._init_layer(*each) for each in zip(keys, self.sizes[:-1], self.sizes[1:], strict=True)],
            "decoder": {"kernel": _uniform(decoder_key, 0.1, last, self.features), "offset": jnp.zeros(self.features)},
        }

    def apply(self, params: Params, arch: jax.Array, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """Run the cell `arch` `[A]` over the sequence `x` `[T, B, D]` from hidden states of zero.

        Args:
          params: from `init`.
          arch: the cell's rows, flattened and padded with -1.
          x: the sequence.
          key: draws the dropout of a training pass; without it, evaluation.

        Returns:
          The decoder's output at every time, `[T, B, D]`.
        """
        rows, layers = jnp.asarray(arch).reshape(MAX_NODES, COLUMNS), params["layers"]
        x = x @ params["encoder"]["kernel"] + params["encoder"]["offset"][None, None]
        for place, layer in enumerate(layers):
            if key is not None:
                drop_key, weights_key = jax.random.split(jax.random.fold_in(key, place))
                layer = layer | {"recurrent": self._drop_recurrent(weights_key, layer["recurrent"], rows)}
            x = run_cell(layer, rows, x)
            if key is not None:
                rate = self.drop_last if place == len(layers) - 1 else self.drop_between
                x = x * _mask(drop_key, rate, (1, *x.shape[1:]))
        return x @ params["decoder"]["kernel"] + params["decoder"]["offset"][None, None]

    def costs(self, archs: np.ndarray) -> np.ndarray:
        """What cells `[N, A]` cost `[N]`, up to a constant: their number of linear nodes."""
        return (np.asarray(archs).reshape(len(archs), -1, COLUMNS)[:, :, 1] == LINEAR).sum(1)

    def activations(self, samples: int, length: int = 8) -> int:
        """About how many floats training on `samples` sequences holds: buffers, and weights four times."""
        weights = 2 * self.linears * sum(a * b for a, b in zip(self.sizes[:-1], self.sizes[1:], strict=True))
        return samples * length * SLOTS * sum(self.sizes[1:]) + 4 * weights

    def split(self, params: Params) -> tuple[Params, list[Params]]:
        """What is trained of `params`, and per layer what is not: `weight_drop` decides."""
        frozen = ["recurrent"] if self.weight_drop == "as_published" else []
        kept = [{name: layer[name] for name in layer if name not in frozen} for layer in params["layers"]]
        return params | {"layers": kept}, [{name: layer[name] for name in frozen} for layer in params["layers"]]

    def join(self, trained: Params, frozen: list[Params]) -> Params:
        """Undo `split`."""
        return trained | {"layers": [a | b for a, b in zip(trained["layers"], frozen, strict=True)]}

    def _init_layer(self, key: jax.Array, inputs: int, hidden: int) -> Params:
        def draw(number: jax.Array) -> jax.Array:
            return _uniform(jax.random.fold_in(key, number), hidden**-0.5, inputs + 1 + INPUTS * hidden, hidden)

        flat = jax.vmap(draw)(jnp.arange(self.linears))
        recurrent = flat[:, inputs + 1 :].reshape(self.linears, INPUTS, hidden, hidden)
        return {"input": flat[:, :inputs], "bias": flat[:, inputs], "recurrent": recurrent}

    def _drop_recurrent(self, key: jax.Array, weights: jax.Array, rows: jax.Array) -> jax.Array:
        """Drop entries of the matrices that the cell uses."""
        _, inputs = _linear_nodes(rows, self.linears)
        flat = weights.reshape(-1, *weights.shape[2:])

        def drop(each: tuple[jax.Array, ...]) -> jax.Array:
            weight, source, place = each
            mask_key = jax.random.fold_in(key, place)
            return jax.lax.cond(
                source > X, lambda: weight * _mask(mask_key, self.drop_weights, weight.shape), lambda: weight
            )

        return jax.lax.map(drop, (flat, inputs.ravel(), jnp.arange(len(flat)))).reshape(weights.shape)


@jax.custom_vjp
def run_cell(layer: Params, rows: jax.Array, x: jax.Array) -> jax.Array:
    """Return `h_new_0` at every time, `[T, B, H]`, of the cell `rows` `[MAX_NODES, COLUMNS]` over `x` `[T, B, I]`.

    Args:
      layer: for each linear node and each of its inputs a matrix `recurrent` `[L, 3, H, H]`, and in place of that of
        the input x, `input` `[L, I, H]`; `bias` `[L, H]`. Linear nodes are numbered as they come in `rows`.
      rows: the cell.
      x: the layer's input.
    """
    return _forward(layer, rows, x)[:, NEW]


def _forward(layer: Params, rows: jax.Array, x: jax.Array) -> jax.Array:
    """The buffers of all times `[T, SLOTS, B, H]`."""
    ordinals = jnp.cumsum(rows[:, 1] == LINEAR) - 1

    def step(hidden: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
        buffer = jnp.zeros((SLOTS, *hidden.shape[1:]), x.dtype).at[PREV : PREV + MAX_HIDDEN].set(hidden)

        def node(i: jax.Array, buffer: jax.Array) -> jax.Array:
            inputs = rows[i, 2:]
            a, b, c = (buffer[source] for source in inputs)
            branches: list[Callable[[], jax.Array]] = [
                lambda: _linear(layer, ordinals[i], inputs, now, (a, b, c)),
                *(partial(ELEMENTWISE[op], a, b, c) for op in range(LINEAR + 1, len(OPS))),
            ]
            return buffer.at[rows[i, 0]].set(jax.lax.switch(rows[i, 1], branches))

        buffer = jax.lax.fori_loop(0, _count(rows), node, buffer)
        return buffer[NEW:], buffer

    hidden = jnp.zeros((MAX_HIDDEN, x.shape[1], layer["bias"].shape[-1]), x.dtype)
    return jax.lax.scan(step, hidden, x)[1]


def _linear(layer: Params, ordinal: jax.Array, inputs: jax.Array, x: jax.Array, values: tuple[jax.Array, ...]):
    batch, hidden = values[0].shape

    def term(place: int) -> jax.Array:
        terms = [
            lambda: jnp.zeros((batch, hidden), x.dtype),
            lambda: x @ layer["input"][ordinal],
            lambda: values[place] @ layer["recurrent"][ordinal, place],
        ]
        return jax.lax.switch(jnp.clip(inputs[place], PAD, X + 1) - PAD, terms)

    return sum(map(term, range(INPUTS)), layer["bias"][ordinal][None])


def _run_forward(layer: Params, rows: jax.Array, x: jax.Array):
    buffers = _forward(layer, rows, x)
    return buffers[:, NEW], (layer, rows, x, buffers)


def _run_backward(saved: tuple[Params, jax.Array, jax.Array, jax.Array], g: jax.Array):
    layer, rows, x, buffers = saved
    grads = _through_time(layer, rows, buffers, g)
    dx, dlayer = _through_linears(layer, rows, x, buffers, grads)
    return dlayer, None, dx


def _through_time(layer: Params, rows: jax.Array, buffers: jax.Array, g: jax.Array) -> jax.Array:
    """The gradients with respect to every node at every time `[T, SLOTS, B, H]`."""
    ordinals, count = jnp.cumsum(rows[:, 1] == LINEAR) - 1, _count(rows)

    def step(later: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        buffer, g = now
        start = jnp.zeros_like(buffer).at[NEW:].set(later).at[NEW].add(g)

        def node(k: jax.Array, grads: jax.Array) -> jax.Array:
            i = count - 1 - k
            inputs = rows[i, 2:]
            g, y, zero = grads[rows[i, 0]], buffer[rows[i, 0]], jnp.zeros_like(grads[0])
            a, b, c = (buffer[source] for source in inputs)
            branches = [
                lambda: _linear_adjoint(layer, ordinals[i], inputs, g),
                lambda: (g * (b - c), g * a, g * (1 - a)),
                lambda: (g * b, g * a, zero),
                lambda: (g, g, zero),
                lambda: (g * (1 - y * y), zero, zero),
                lambda: (g * y * (1 - y), zero, zero),
                lambda: (jnp.where(a > 0, g, SLOPE * g), zero, zero),
            ]
            for source, dsource in zip(inputs, jax.lax.switch(rows[i, 1], branches), strict=True):
                grads = grads.at[source].add(dsource)  # a source that is not there gets zeros
            return grads

        grads = jax.lax.fori_loop(0, count, node, start)
        return grads[PREV : PREV + MAX_HIDDEN], grads

    return jax.lax.scan(step, jnp.zeros_like(buffers[0, NEW:]), (buffers, g), reverse=True)[1]


def _linear_adjoint(layer: Params, ordinal: jax.Array, inputs: jax.Array, g: jax.Array) -> tuple[jax.Array, ...]:
    """The gradients with respect to the hidden inputs of a linear node; zeros for the input x."""

    def through(place: int) -> jax.Array:
        return jax.lax.cond(
            inputs[place] > X, lambda: g @ layer["recurrent"][ordinal, place].T, lambda: jnp.zeros_like(g)
        )

    return tuple(through(place) for place in range(INPUTS))


def _through_linears(layer: Params, rows: jax.Array, x: jax.Array, buffers: jax.Array, grads: jax.Array):
    """The gradients with respect to `x` and to the weights, from those with respect to the nodes."""
    flat_x = x.reshape(-1, x.shape[-1])

    def linear(dx: jax.Array, each: tuple[jax.Array, ...]) -> tuple[jax.Array, Params]:
        slot, inputs, weight = each
        g = jnp.where(slot != PAD, _over_time(grads, slot), 0.0)
        uses_x = jnp.any(inputs == X)
        dx = jax.lax.cond(uses_x, lambda: dx + g @ weight.T, lambda: dx)
        dinput = jax.lax.cond(uses_x, lambda: flat_x.T @ g, lambda: jnp.zeros_like(weight))
        recurrent = jnp.stack([recurrent_grad(source, g) for source in inputs])
        return dx, {"input": dinput, "bias": g.sum(0), "recurrent": recurrent}

    def recurrent_grad(source: jax.Array, g: jax.Array) -> jax.Array:
        hidden = g.shape[-1]
        return jax.lax.cond(
            source > X, lambda: _over_time(buffers, source).T @ g, lambda: jnp.zeros((hidden, hidden), g.dtype)
        )

    slots, inputs = _linear_nodes(rows, len(layer["bias"]))
    dx, dlayer = jax.lax.scan(linear, jnp.zeros_like(flat_x), (slots, inputs, layer["input"]))
    return dx.reshape(x.shape), dlayer


run_cell.defvjp(_run_forward, _run_backward)


def _over_time(buffers: jax.Array, slot: jax.Array) -> jax.Array:
    """One slot at all times, `[T B, H]`."""
    return buffers[:, slot].reshape(-1, buffers.shape[-1])


def _linear_nodes(rows: jax.Array, most: int) -> tuple[jax.Array, jax.Array]:
    """The slots `[most]` of the linear nodes, in their order, and their inputs `[most, 3]`; padded."""
    first = rows[jnp.argsort(rows[:, 1] != LINEAR, stable=True)[:most]]
    first = jnp.where(first[:, 1:2] == LINEAR, first, PAD)
    return first[:, 0], first[:, 2:]


def _count(rows: jax.Array) -> jax.Array:
    return (rows[:, 0] != PAD).sum()


def _mask(key: jax.Array, rate: float, shape: tuple[int, ...]) -> jax.Array:
    """A dropout mask: 0 with probability `rate`, else 1 / (1 - rate)."""
    return jax.random.bernoulli(key, 1 - rate, shape) / (1 - rate)


def _uniform(key: jax.Array, bound: float, *shape: int) -> jax.Array:
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)
