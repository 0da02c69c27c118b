"""Operations with a hand-written backward pass; `apply_op.py` has the one primitive that runs them.

An `Op` is a pure function of (parameters, input) that also knows two adjoints: the ordinary one, and one that returns
its contribution to the NTK. `apply_op` chooses among several ops by an index that is data, so that one compiled program
serves every architecture; only the input and one tensor per choice are kept for the backward pass, whichever op runs.
"""

import math
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxnas.kernels import conv
from jaxnas.kernels.capacity import log_determinant
from jaxnas.kernels.gram import gram
from jaxnas.kernels.layout import Layout

Params = dict[str, jax.Array]
BatchNormMode = Literal["batch", "frozen", "identity"]
EPSILON = 1e-5  # of every batch normalisation


def is_weight(path: tuple[Any, ...]) -> bool:
    """Say whether a leaf at this tree path is a weight: its last name is not that of a bias."""
    names = [str(getattr(key, "name", getattr(key, "key", ""))).rpartition("/")[-1] for key in path]
    return not {"bias", "offset", "beta"} & set(names[-2:])


class Moments(NamedTuple):
    """Mean and variance `[C]` of one batch normalisation's input: biased to normalise by, unbiased to average."""

    mean: jax.Array
    variance: jax.Array


def moments(x: jax.Array, layout: Layout, bn: BatchNormMode = "batch") -> Moments:
    """The batch moments of `x` per channel; for `identity` those by which normalising changes nothing."""
    if bn == "identity":
        zeros = jnp.zeros(x.shape[layout.channel], x.dtype)
        return Moments(zeros, zeros + (1 - EPSILON))
    mean = x.mean(layout.all_but_channel)
    return Moments(mean, jnp.square(x - layout.per_channel(mean)).mean(layout.all_but_channel))


def normalise(x: jax.Array, by: Moments, layout: Layout) -> jax.Array:
    """Return (x - mean) / sqrt(variance + eps)."""
    return (x - layout.per_channel(by.mean)) * layout.per_channel(jax.lax.rsqrt(by.variance + EPSILON))


def through_norm(g: jax.Array, hat: jax.Array, gain: jax.Array, bn: BatchNormMode, layout: Layout) -> jax.Array:
    """Pull `g` back through `gain * normalise(x)`, whose value before the gain is `hat`.

    `batch`: gain (g - mean g - hat mean(g hat)), the derivative through the moments; `frozen`, `identity`: gain g.
    """
    axes = layout.all_but_channel
    return conv.through_moments(g, hat, gain, g.sum(axes), (g * hat).sum(axes), bn == "batch", layout)


def scale_gram(g: jax.Array, hat: jax.Array, layout: Layout) -> jax.Array:
    """The Gram matrix `[B, B]` of the per-sample gradients of a normalisation's scale."""
    per_sample = (g * hat).sum((layout.height, layout.width))
    return gram(per_sample, 0 if layout.batch == 0 else -1)


class Scaling(NamedTuple):
    """What follows an op's linear part, per channel `[C]`: (linear - center) * gain + shift."""

    center: jax.Array
    gain: jax.Array
    shift: jax.Array

    def __call__(self, linear: jax.Array, layout: Layout) -> jax.Array:
        center, gain, shift = map(layout.per_channel, self)
        return (linear - center) * gain + shift


class Saved(NamedTuple):
    """What an op keeps for its backward pass beside its input: the same shapes whichever op ran."""

    linear: jax.Array  # output of the op's linear part, before normalisation
    moments: Moments


class Observed(NamedTuple):
    """What scores see of an op in a forward pass.

    Attributes:
      output: in the op's layout.
      read: what its ReLUs read `[U, B]`; U is 0 if it has none.
      log_sigma: the sum `[]` over its batch normalisations of log sqrt(mean over channels of the batch's variance);
        that of a head is left out.
    """

    output: jax.Array
    read: jax.Array
    log_sigma: jax.Array


def log_sigma(variance: jax.Array) -> jax.Array:
    """Return log sqrt(mean of the variances `[C]`) `[]`; 0 of zeros, which nothing reaches."""
    mean = variance.mean()
    return jnp.log(jnp.where(mean > 0, mean, 1)) / 2


class Op:
    """A differentiable operation: a linear part, then a factor and a shift per channel.

    `forward(params, x) -> (y, Saved)`, `backward(params, x, saved, g) -> (dx, dparams)` and
    `backward_gram(params, x, saved, g) -> (dx, K)`, where K `[B, B]` is the Gram matrix of the per-sample
    gradients with respect to the op's weights (no biases). The base class has no parameters and shifts nothing.

    Attributes:
      separable: it is a linear part and such a factor and shift; if not, `module_op.ModuleOp` says what it is.
    """

    separable: ClassVar[bool] = True
    out_channels: int
    layout: Layout
    stride: int = 1

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters."""
        return {}

    @property
    def num_params(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes().values())

    @property
    def num_layers(self) -> int:
        """Number of weight tensors of convolutions and matrix products."""
        return sum(len(shape) > 1 for shape in self.shapes().values())

    @property
    def capacity(self) -> float:
        """The expected log det(I + W W') of the matrices of convolutions and matrix products, summed."""
        return sum(number * float(log_determinant(outputs, inputs)) for number, outputs, inputs in self.matrices())

    def matrices(self) -> list[tuple[int, int, int]]:
        """How many matrices of so many outputs and inputs each weight tensor consists of."""
        return [(1, shape[-1], math.prod(shape[:-1])) for shape in self.shapes().values() if len(shape) > 1]

    def out_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the output for an input of `shape`, both in the op's layout."""
        out, layout = list(shape), self.layout
        out[layout.channel] = self.out_channels
        for axis in (layout.height, layout.width):
            out[axis] = -(-shape[axis] // self.stride)
        return tuple(out)

    def flops(self, pixels: int) -> int:
        """The multiply-adds of the op's convolutions and matrix products on one image of `pixels` pixels."""
        return 0

    def linear(self, params: Params, x: jax.Array) -> jax.Array:
        raise NotImplementedError

    def scaling(self, params: Params, linear: jax.Array, by: Moments | None = None) -> tuple[Scaling, Moments]:
        """What follows `linear`, and its moments; `by` replaces those of the batch."""
        zeros, ones = jnp.zeros(self.out_channels, linear.dtype), jnp.ones(self.out_channels, linear.dtype)
        return Scaling(zeros, ones, zeros), Moments(zeros, zeros)

    def forward(self, params: Params, x: jax.Array, by: Moments | None = None) -> tuple[jax.Array, Saved]:
        """Return (y, saved); `by` replaces the batch's moments (evaluation with running statistics)."""
        linear = self.linear(params, x)
        scaling, seen = self.scaling(params, linear, by)
        return scaling(linear, self.layout), Saved(linear, seen)

    def adjoint(self, x: jax.Array, g: jax.Array) -> jax.Array:
        raise NotImplementedError

    def observe(self, params: Params, x: jax.Array) -> Observed:
        """Run the op and tell what scores see of it."""
        read = x if getattr(self, "relu", False) else jax.lax.slice_in_dim(x, 0, 0, axis=self.layout.channel)
        if not self.separable:
            return Observed(self.output(params, x), self.units(read), jnp.zeros(()))
        output, saved = self.forward(params, x)
        norm = log_sigma(saved.moments.variance) if getattr(self, "norm", False) else jnp.zeros(())
        return Observed(output, self.units(read), norm)

    def units(self, x: jax.Array) -> jax.Array:
        """Every number that an image has in `x`, `[U, B]`."""
        return jnp.moveaxis(x, self.layout.batch, -1).reshape(-1, x.shape[self.layout.batch])

    def output(self, params: Params, x: jax.Array) -> jax.Array:
        """What `forward` does, and nothing else."""
        return self.forward(params, x)[0]

    def pull(self, params: Params, x: jax.Array, g: jax.Array) -> tuple[jax.Array, Params]:
        """Do what `backward` does with nothing kept but the input."""
        return self.backward(params, x, self.forward(params, x)[1], g)

    def pull_gram(self, params: Params, x: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Do what `backward_gram` does with nothing kept but the input."""
        return self.backward_gram(params, x, self.forward(params, x)[1], g)

    def backward(self, params: Params, x: jax.Array, saved: Saved, g: jax.Array) -> tuple[jax.Array, Params]:
        return self.adjoint(x, g), jax.tree.map(jnp.zeros_like, params)

    def backward_gram(self, params: Params, x: jax.Array, saved: Saved, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        batch = x.shape[self.layout.batch]
        return self.adjoint(x, g), jnp.zeros((batch, batch), g.dtype)
