"""Score ordinary models, without any search space: three Flax networks of growing depth.

    python examples/model_zoo.py

An Equinox model works the same way: `params, static = equinox.partition(model, equinox.is_inexact_array)` and
`apply = lambda params, x: jax.vmap(equinox.combine(params, static))(x)`.
"""

import itertools

import jax
import numpy as np
from flax import nnx

from jaxnas import Status, data, scorers


class Convolutions(nnx.Module):
    """`depth` 3x3 convolutions with ReLUs, global average pooling, a linear classifier."""

    def __init__(self, depth: int, width: int, *, rngs: nnx.Rngs):
        sizes = [3] + [width] * depth
        pairs = itertools.pairwise(sizes)
        self.layers = nnx.List(nnx.Conv(before, after, (3, 3), rngs=rngs) for before, after in pairs)
        self.classifier = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = jax.nn.relu(layer(x))
        return self.classifier(x.mean((1, 2)))


def main() -> None:
    """Print a line for each model."""
    images = data.load("synthetic").images(np.random.default_rng(0), 1000)
    pixels = images[:, :1, :1]  # larger inputs would nearly all lie in regions of their own
    for depth in (1, 3, 5):
        graphdef, params = nnx.split(Convolutions(depth, 8, rngs=nnx.Rngs(0)))

        def apply(params: nnx.State, x: jax.Array, graphdef: nnx.GraphDef = graphdef) -> jax.Array:
            return nnx.merge(graphdef, params)(x)

        kappa = jax.jit(lambda params, apply=apply: scorers.ntk(apply, params, images[:16], independent=True))(params)
        found = jax.jit(lambda params, apply=apply: scorers.regions(apply, params, pixels))(params)
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        states = [Status(int(score.status)).name for score in (kappa, found)]
        print(f"depth {depth}: {size:6,} parameters", end=", ")
        print(f"kappa {kappa.value:10.1f} ({states[0]}), {found.value:3.0f} regions ({states[1]})")


if __name__ == "__main__":
    main()
