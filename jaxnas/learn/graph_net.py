"""A graph network that scores architectures: a linear prior on training-free scores plus a structural residual.

Messages go along the edges and against them. A layer is half the sum, over the two directions, of

    relu(sigmoid(e G + c) * D^-1 A h M + h W + b)

with h the nodes' states, e the embeddings of their ops, A the edges that lead into a node, D their number. The two
directions with separate weights and D^-1 are those of Wen et al. (Neural Predictor for NAS, ECCV 2020), the gate by the
op is that of FLAN's dense graph flow (Akhauri and Abdelfattah, ICML 2024). Written for one architecture and mapped.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnas.learn.features import Pool
from jaxnas.spaces.graphs import adjacency

HEAD = ("head", "prior")  # the parts of the network that the mode `head` trains
DIRECTIONS = 2


class Inputs(NamedTuple):
    """What the network reads of N architectures; a single one has no leading axis.

    Attributes:
      ops: class of each node, one-hot `[N, C, V, K]`.
      edges: D^-1 A along the edges and against them `[N, C, 2, V, V]`.
      read: weight of each node in the read-out `[N, C, V]`, of sum 1; 0 where it has no source.
      prior: `Pool.prior` `[N, P]`.
    """

    ops: jax.Array
    edges: jax.Array
    read: jax.Array
    prior: jax.Array

    def at(self, rows: np.ndarray) -> "Inputs":
        """Those of `rows`, of any shape."""
        return Inputs(*(part[rows] for part in self))


def inputs_of(pool: Pool) -> Inputs:
    """Return the inputs of a pool, or raise a `UserError` if its space has no graphs."""
    code, graphs = pool.graphs_or_refuse()
    matrix = adjacency(graphs)
    edges = np.stack([matrix, np.swapaxes(matrix, -1, -2)], -3)
    reads = matrix.any(-1)  # has a source: no input, and no padding
    parts: list[Any] = [  # on the host, where rows are picked
        np.eye(len(code.classes), dtype=np.float32)[graphs.ops],
        edges / np.maximum(edges.sum(-1, keepdims=True), 1),
        (reads / np.maximum(reads.sum(-1, keepdims=True), 1)).astype(np.float32),
        pool.prior.astype(np.float32),
    ]
    return Inputs(*parts)


class Layer(nnx.Module):
    """The messages of both directions."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.gate = nnx.Linear(width, DIRECTIONS * width, rngs=rngs)
        self.message = nnx.Linear(width, DIRECTIONS * width, use_bias=False, rngs=rngs)
        self.own = nnx.Linear(width, DIRECTIONS * width, rngs=rngs)

    def __call__(self, states: jax.Array, table: jax.Array, ops: jax.Array, edges: jax.Array) -> jax.Array:
        """Return new states `[V, W]` from `states`; `table` `[K, W]` embeds the ops."""
        shape = (len(states), DIRECTIONS, states.shape[1])
        received = jnp.einsum("dvu,udw->vdw", edges, self.message(states).reshape(shape))
        gates = ops @ nnx.sigmoid(self.gate(table))  # of the few classes, then of the many nodes
        return nnx.relu(gates.reshape(shape) * received + self.own(states).reshape(shape)).mean(1)


class GraphNet(nnx.Module):
    """The score of an architecture.

    Args:
      classes: K, of nodes.
      cells: C, whose read-outs are concatenated.
      features: P, of the prior.
      width: W, of the nodes' states.
      layers: of messages.
      rngs: draws the weights.
    """

    def __init__(self, classes: int, cells: int, features: int, *, width: int, layers: int, rngs: nnx.Rngs) -> None:
        self.embedding = nnx.Linear(classes, width, use_bias=False, rngs=rngs)
        self.layers = nnx.List([Layer(width, rngs=rngs) for _ in range(layers)])
        self.hidden = nnx.Linear(cells * width, width, rngs=rngs)
        self.head = nnx.Linear(width, 1, use_bias=False, rngs=rngs)
        self.prior = nnx.Param(jnp.zeros(features))

    def __call__(self, inputs: Inputs) -> tuple[jax.Array, jax.Array]:
        """The score of one architecture and the residual in it."""
        cells = jax.vmap(self._cell)(inputs.ops, inputs.edges, inputs.read)
        residual = self.head(nnx.relu(self.hidden(cells.reshape(-1))))[0]
        return jnp.asarray(inputs.prior) @ self.prior[...] + residual, residual

    def _cell(self, ops: jax.Array, edges: jax.Array, read: jax.Array) -> jax.Array:
        """The mean state `[W]` of a cell's nodes, but for the inputs and what pads it."""
        table = self.embedding.kernel[...]
        states = jnp.asarray(ops) @ table
        for layer in self.layers:
            states = layer(states, table, ops, edges)
        return jnp.asarray(read) @ states
