"""AG-Net's generator: from noise to the logits of a graph, node by node (Lukasik et al., ECCV 2022, section 3.1).

A graph network reads the graph so far; from what it reads and the noise come the next node's class, its state and its
edges from earlier nodes. Written for one graph and mapped over the batch, so that no graph sees its batch-mates (the
authors' code mixes them up).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxnas.spaces.graphs import INPUT, GraphCode

NOISE, STATE, GRAPH = 32, 32, 32  # sizes of the noise, of a node's and of a graph's state
HALF = STATE // 2  # of a node's state, for each direction
GATES = 3 * HALF
GIVEN_LOGIT = 20.0  # logit of what is given: the first node's class, and its edge into the second
THRESHOLD = 0.5  # logit above which the graph network sees an edge


class Logits(NamedTuple):
    """Of the nodes' classes `[..., V, A]`, the first node being an input, and of the edges `[..., V (V - 1) / 2]`."""

    ops: jax.Array
    edges: jax.Array

    @property
    def vectors(self) -> jax.Array:
        """In the order of `GraphCode.vectors`, `[..., size]`."""
        return jnp.concatenate([self.ops.reshape(*self.ops.shape[:-2], -1), self.edges], -1)


class Passing(nnx.Module):
    """Messages along the edges of a graph, forwards and backwards, each direction with half of a node's state.

    A layer's message is linear in the states at both ends of its edge; a gated recurrent unit takes in their sum. The
    weights of all layers and of both directions are stacked, `[layers, 2, ...]`: fewer, larger products.
    """

    def __init__(self, layers: int) -> None:
        def zeros(*shape: int) -> nnx.Param[jax.Array]:
            return nnx.Param(jnp.zeros((layers, 2, *shape)))

        self.message_kernel, self.message_bias = zeros(STATE, STATE), zeros(STATE)
        self.input_kernel, self.state_kernel, self.gates_bias = zeros(STATE, GATES), zeros(HALF, GATES), zeros(GATES)

    def __call__(self, states: jax.Array, edges: jax.Array) -> jax.Array:
        """The nodes' new states `[V, STATE]`; `edges` `[V, V]` is 1 at `[v, u]` for u -> v."""
        both = jnp.stack([edges, edges.T])
        degrees = both.sum(-1, keepdims=True)
        weights = (self.message_kernel, self.message_bias, self.input_kernel, self.state_kernel, self.gates_bias)

        def layer(halves: jax.Array, weights: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
            message, offset, from_input, from_state, bias = weights
            ends = jnp.concatenate([both @ halves, degrees * halves], -1)
            received = ends @ message + degrees * offset[:, None]
            return _gated(halves, received @ from_input + bias[:, None], halves @ from_state), None

        halves = jnp.stack(jnp.split(states, 2, -1))
        halves, _ = jax.lax.scan(layer, halves, tuple(weight[...] for weight in weights))
        return jnp.concatenate([halves[0], halves[1]], -1)


class Readouts(nnx.Module):
    """Two gated sums of the nodes' states: what decides about the next node, and what its state begins from."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.value, self.gate = nnx.Linear(STATE, 2 * GRAPH, rngs=rngs), nnx.Linear(STATE, 2, rngs=rngs)

    def __call__(self, states: jax.Array, present: jax.Array) -> jax.Array:
        """Return both of the graph's states `[2, GRAPH]`, of nodes `[V, STATE]` where they are `present` `[V, 1]`."""
        values = self.value(states).reshape(-1, 2, GRAPH)
        return (present[..., None] * values * nnx.sigmoid(self.gate(states))[..., None]).sum(0)


class Generator(nnx.Module):
    """The decoder of one cell's graph.

    Args:
      code: classes and number of nodes.
      layers: of the graph network (the authors: 2, on DARTS 4).
      first_edge: whether the second node reads the first; in every space all graphs do, or none.
      rngs: draws the weights.
    """

    def __init__(self, code: GraphCode, *, layers: int, first_edge: bool, rngs: nnx.Rngs) -> None:
        self.nodes, self.classes, self.first_edge = (
            code.nodes,
            len(code.classes),
            GIVEN_LOGIT if first_edge else -GIVEN_LOGIT,
        )
        both = STATE + GRAPH
        self.embed = _mlp(self.classes, STATE, STATE, rngs)
        self.start = _mlp(STATE + NOISE, both, STATE, rngs)
        self.passing, self.readouts = Passing(layers), Readouts(rngs=rngs)
        self.op = _mlp(GRAPH + NOISE, GRAPH, self.classes, rngs)
        self.state = _mlp(STATE + GRAPH + NOISE, both, STATE, rngs)
        self.edge = _mlp(2 * STATE + GRAPH + NOISE, both, 1, rngs)

    def __call__(self, noise: jax.Array) -> Logits:
        """The logits of B graphs from noise `[B, NOISE]`."""
        return jax.vmap(self._graph)(noise)

    def _graph(self, noise: jax.Array) -> Logits:
        start = jax.nn.one_hot(INPUT, self.classes)
        first = self.start(jnp.concatenate([self.embed(start), noise]))
        states = jnp.zeros((self.nodes, STATE)).at[0].set(first)
        none = jnp.zeros((self.nodes, self.nodes))

        def step(graph: tuple[jax.Array, jax.Array], place: jax.Array):
            return self._add(*graph, noise, place)

        _, (ops, into) = jax.lax.scan(step, (states, none), jnp.arange(1, self.nodes))
        targets, sources = np.tril_indices(self.nodes, -1)
        edges = into[targets - 1, sources].at[0].set(self.first_edge)
        return Logits(jnp.concatenate([GIVEN_LOGIT * start[None], ops]), edges)

    def _add(self, states: jax.Array, edges: jax.Array, noise: jax.Array, place: jax.Array):
        """Add the node at `place`; return the graph with it, the logits of its class and those of edges into it."""
        present = (jnp.arange(self.nodes) < place)[:, None]
        states = present * self.passing(states, edges)
        decide, begin = self.readouts(states, present)
        ops = self.op(jnp.concatenate([decide, noise]))
        new = self.state(jnp.concatenate([self.embed(ops), begin, noise]))
        into = self._edges_into(states, jnp.concatenate([new, decide, noise]))
        given = jnp.where(place == 1, self.first_edge, into[0])
        into = into.at[0].set(given)
        seen = present[:, 0] & (into > THRESHOLD)
        return (states.at[place].set(new), edges.at[place].set(seen.astype(edges.dtype))), (ops, into)

    def _edges_into(self, states: jax.Array, context: jax.Array) -> jax.Array:
        """The logits `[V]` of `edge` for each node's state with the context.

        The first layer is linear in both, so the context's part is computed once for all nodes.
        """
        first, _, last = self.edge.layers
        assert isinstance(first, nnx.Linear) and first.bias is not None
        of_node, of_all = jnp.split(first.kernel[...], [STATE])
        hidden = states @ of_node + (context @ of_all + first.bias[...])[None]
        return last(nnx.relu(hidden))[:, 0]


def reconstruction(logits: Logits, vectors: jax.Array) -> jax.Array:
    """Return `[B]` how far the logits are from graphs `[B, size]`: the mean cross entropies of nodes and of edges."""
    split = logits.ops.shape[-2] * logits.ops.shape[-1]
    ops, edges = vectors[:, :split].reshape(logits.ops.shape), vectors[:, split:]
    of_nodes = optax.softmax_cross_entropy(logits.ops, ops).mean(-1)
    return of_nodes + optax.sigmoid_binary_cross_entropy(logits.edges, edges).mean(-1)


def _gated(states: jax.Array, inputs: jax.Array, recurrent: jax.Array) -> jax.Array:
    """The next states `[..., HALF]` of a gated recurrent unit (Cho et al., 2014), given what its gates read."""
    reset, update, new = jnp.split(inputs, 3, -1)
    reset_by, update_by, new_by = jnp.split(recurrent, 3, -1)
    update = nnx.sigmoid(update + update_by)
    return (1 - update) * jnp.tanh(new + nnx.sigmoid(reset + reset_by) * new_by) + update * states


def _mlp(inputs: int, hidden: int, outputs: int, rngs: nnx.Rngs) -> nnx.Sequential:
    return nnx.Sequential(nnx.Linear(inputs, hidden, rngs=rngs), nnx.relu, nnx.Linear(hidden, outputs, rngs=rngs))
