"""Global average pooling and a linear classifier as a Flax NNX module."""

from dataclasses import dataclass

import jax
from flax import nnx


class Classifier(nnx.Module):
    """[ReLU,] global average pooling and a linear classifier: `[B, classes]` logits."""

    def __init__(self, channels: int, classes: int, relu: bool, rngs: nnx.Rngs):
        self.relu = relu
        self.linear = nnx.Linear(channels, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.linear((jax.nn.relu(x) if self.relu else x).mean((1, 2)))


@dataclass(frozen=True)
class MakeClassifier:
    """Makes the classifier."""

    channels: int
    classes: int
    relu: bool = True

    def __call__(self, rngs: nnx.Rngs) -> nnx.Module:
        return Classifier(self.channels, self.classes, self.relu, rngs)
