"""AG-Net's surrogate: from the vector of a graph, or of its logits, to what the search is after."""

import jax
from flax import nnx

HIDDEN = 4  # layers, as wide as the input


class Surrogate(nnx.Module):
    """A perceptron of four hidden layers.

    Args:
      inputs: length of the vector, with whatever else is known of an architecture.
      outputs: number of objectives.
      rngs: draws the weights.
    """

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.List([nnx.Linear(inputs, inputs, rngs=rngs) for _ in range(HIDDEN)])
        self.last = nnx.Linear(inputs, outputs, rngs=rngs)

    def __call__(self, vectors: jax.Array) -> jax.Array:
        """Return predictions `[B, outputs]` for `[B, inputs]`."""
        for layer in self.hidden:
            vectors = nnx.relu(layer(vectors))
        return self.last(vectors)
