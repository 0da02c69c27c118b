"""One recurrent cell of NAS-Bench-NLP as ordinary Flax NNX modules, without the benchmark's dropout."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxnas.spaces.nasbench_nlp.network import ELEMENTWISE, LINEAR, MAX_HIDDEN, NEW, PREV, SLOT_NAMES, X
from jaxnas.spaces.nasbench_nlp.slots import Graph


class RecurrentLayer(nnx.Module):
    """Sequences `[T, B, inputs]` to `h_new_0` at every time, `[T, B, hidden]`, from hidden states of zero.

    Attributes:
      linears: by the name of a linear node, a matrix for each of its inputs; the first one has the node's offset.
    """

    def __init__(self, graph: Graph, inputs: int, hidden: int, *, rngs: nnx.Rngs):
        self.nodes = tuple((slot, op, tuple(sources)) for slot, (op, sources) in graph.items())
        self.hidden = hidden
        draw = _uniform(hidden**-0.5)

        def linear(place: int, source: int) -> nnx.Linear:
            width = inputs if source == X else hidden
            return nnx.Linear(width, hidden, use_bias=place == 0, kernel_init=draw, bias_init=draw, rngs=rngs)

        self.linears = nnx.Dict(
            {
                SLOT_NAMES[slot]: nnx.List([linear(*each) for each in enumerate(sources)])
                for slot, op, sources in self.nodes
                if op == LINEAR
            }
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        def step(hidden: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
            values = {X: now, **{PREV + i: state for i, state in enumerate(hidden)}}
            for slot, op, sources in self.nodes:
                values[slot] = self._node(slot, op, [values[source] for source in sources])
            new = jnp.stack([values.get(NEW + i, jnp.zeros_like(hidden[0])) for i in range(MAX_HIDDEN)])
            return new, new[0]

        return jax.lax.scan(step, jnp.zeros((MAX_HIDDEN, x.shape[1], self.hidden), x.dtype), x)[1]

    def _node(self, slot: int, op: int, values: Sequence[jax.Array]) -> jax.Array:
        if op != LINEAR:
            return ELEMENTWISE[op](*values)
        first, *others = (layer(value) for layer, value in zip(self.linears[SLOT_NAMES[slot]], values, strict=True))
        return sum(others, first)


class LanguageModel(nnx.Module):
    """The benchmark's: words `[T, B]` to logits `[T, B, vocabulary]`; the output's matrix is that of the embedding."""

    def __init__(self, graph: Graph, vocabulary: int, sizes: Sequence[int], *, rngs: nnx.Rngs):
        self.embed = nnx.Embed(vocabulary, sizes[0], embedding_init=_uniform(0.1), rngs=rngs)
        self.layers = _layers(graph, sizes, rngs)
        self.offset = nnx.Param(jnp.zeros(vocabulary))

    def __call__(self, words: jax.Array) -> jax.Array:
        x = self.embed(words)
        for layer in self.layers:
            x = layer(x)
        return self.embed.attend(x) + self.offset[None, None]


class SequenceModel(nnx.Module):
    """GenNAS's: sequences `[T, B, features]` to sequences of the same shape."""

    def __init__(self, graph: Graph, features: int, sizes: Sequence[int], *, rngs: nnx.Rngs):
        draw = _uniform(0.1)
        offsets = _uniform(features**-0.5)
        self.encoder = nnx.Linear(features, sizes[0], kernel_init=draw, bias_init=offsets, rngs=rngs)
        self.layers = _layers(graph, sizes, rngs)
        self.decoder = nnx.Linear(sizes[-1], features, kernel_init=draw, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.encoder(x)
        for layer in self.layers:
            x = layer(x)
        return self.decoder(x)


def _layers(graph: Graph, sizes: Sequence[int], rngs: nnx.Rngs) -> nnx.List[RecurrentLayer]:
    return nnx.List([RecurrentLayer(graph, *pair, rngs=rngs) for pair in itertools.pairwise(sizes)])


def _uniform(bound: float) -> nnx.Initializer:
    """The initialiser that draws from [-bound, bound]."""

    def draw(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw
