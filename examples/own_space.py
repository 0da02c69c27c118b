"""A search space of your own: operations as Flax modules, edges, names.

python -m jaxnas.score --space examples/own_space.py:space --scorers te_nas --out runs/own
python -m jaxnas.search --space examples/own_space.py:space
python -m jaxnas.search --space examples/own_space.py:space --method evolve --scorers regression
"""

import jax
from flax import nnx

from jaxnas.spaces import cell_space, own


class SeparableConv(nnx.Module):
    """ReLU, 3x3 depthwise and 1x1 convolution, batch normalisation."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        self.depthwise = own.Depthwise(channels, (3, 3), rngs=rngs)
        self.pointwise = own.Conv2d(channels, channels, (1, 1), rngs=rngs)
        self.norm = nnx.BatchNorm(channels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.pointwise(self.depthwise(jax.nn.relu(x))))


class Gate(nnx.Module):
    """Each channel times a sigmoid of its mean: squeeze and excitation without the squeeze."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        self.linear = nnx.Linear(channels, channels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x * jax.nn.sigmoid(self.linear(x.mean((1, 2))))[:, None, None]


space = cell_space(
    "own",
    edges=((1, 0), (2, 0), (2, 1), (3, 1), (3, 2)),
    ops={"none": own.zero, "skip": own.identity, "separable": SeparableConv, "gate": Gate},
)
