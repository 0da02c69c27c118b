"""Operations with a hand-written backward pass, and the one primitive that runs them.

An `Op` is a pure function of (parameters, input) that also knows two adjoints: the ordinary one, and one that returns
its contribution to the NTK. `run` chooses among several ops by an index that is data, so that one compiled program
serves every architecture; only the input and one tensor per choice are kept for the backward pass, whichever op runs.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxnas.kernels import conv
from jaxnas.kernels.dispatch import alone, choose
from jaxnas.kernels.gram import gram
from jaxnas.kernels.layout import Layout

Params = dict[str, jax.Array]
BatchNormMode = Literal["batch", "frozen"]
EPSILON = 1e-5  # of every batch normalisation


def is_weight(path: tuple[Any, ...]) -> bool:
    """Say whether a leaf at this tree path is a weight: its last name is not that of a bias."""
    names = [str(getattr(key, "name", getattr(key, "key", ""))).rpartition("/")[-1] for key in path]
    return not {"bias", "offset", "beta"} & set(names[-2:])


class Moments(NamedTuple):
    """Mean and variance `[C]` of one batch normalisation's input: biased to normalise by, unbiased to average."""

    mean: jax.Array
    variance: jax.Array


def moments(x: jax.Array, layout: Layout) -> Moments:
    """Return the batch moments of `x` per channel."""
    mean = x.mean(layout.all_but_channel)
    return Moments(mean, jnp.square(x - layout.per_channel(mean)).mean(layout.all_but_channel))


def normalise(x: jax.Array, by: Moments, layout: Layout) -> jax.Array:
    """Return (x - mean) / sqrt(variance + eps)."""
    return (x - layout.per_channel(by.mean)) * layout.per_channel(jax.lax.rsqrt(by.variance + EPSILON))


def through_norm(g: jax.Array, hat: jax.Array, gain: jax.Array, bn: BatchNormMode, layout: Layout) -> jax.Array:
    """Pull `g` back through `gain * normalise(x)`, whose value before the gain is `hat`.

    `batch`: gain (g - mean g - hat mean(g hat)), the derivative through the moments; `frozen`: gain g.
    """
    axes = layout.all_but_channel
    return conv.through_moments(g, hat, gain, g.sum(axes), (g * hat).sum(axes), bn == "batch", layout)


def scale_gram(g: jax.Array, hat: jax.Array, layout: Layout) -> jax.Array:
    """Return the Gram matrix `[B, B]` of the per-sample gradients of a normalisation's scale."""
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


class Op:
    """A differentiable operation: a linear part, then a factor and a shift per channel.

    `forward(params, x) -> (y, Saved)`, `backward(params, x, saved, g) -> (dx, dparams)` and
    `backward_gram(params, x, saved, g) -> (dx, K)`, where K `[B, B]` is the Gram matrix of the per-sample
    gradients with respect to the op's weights (no biases). The base class has no parameters and shifts nothing.

    Attributes:
      separable: it is a linear part and such a factor and shift; if not, `modules.Whole` says what it is.
    """

    separable: ClassVar[bool] = True
    out_channels: int
    layout: Layout
    stride: int = 1

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the parameters."""
        return {}

    @property
    def num_params(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes().values())

    def out_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the output for an input of `shape`, both in the op's layout."""
        out, layout = list(shape), self.layout
        out[layout.channel] = self.out_channels
        for axis in (layout.height, layout.width):
            out[axis] = -(-shape[axis] // self.stride)
        return tuple(out)

    def flops(self, pixels: int) -> int:
        """Return the multiply-adds of the op's convolutions and matrix products on one image of `pixels` pixels."""
        return 0

    def linear(self, params: Params, x: jax.Array) -> jax.Array:
        raise NotImplementedError

    def scaling(self, params: Params, linear: jax.Array, by: Moments | None = None) -> tuple[Scaling, Moments]:
        """Return what follows `linear`, and its moments; `by` replaces those of the batch."""
        zeros, ones = jnp.zeros(self.out_channels, linear.dtype), jnp.ones(self.out_channels, linear.dtype)
        return Scaling(zeros, ones, zeros), Moments(zeros, zeros)

    def forward(self, params: Params, x: jax.Array, by: Moments | None = None) -> tuple[jax.Array, Saved]:
        """Return (y, saved); `by` replaces the batch's moments (evaluation with running statistics)."""
        linear = self.linear(params, x)
        scaling, seen = self.scaling(params, linear, by)
        return scaling(linear, self.layout), Saved(linear, seen)

    def adjoint(self, x: jax.Array, g: jax.Array) -> jax.Array:
        raise NotImplementedError

    def signs(self, params: Params, x: jax.Array) -> jax.Array:
        """Return the signs `[U, B]` of what the op's ReLUs read; U is 0 if it has none."""
        read = jnp.moveaxis(x, self.layout.batch, -1).reshape(-1, x.shape[self.layout.batch])
        return read > 0 if getattr(self, "relu", False) else read[:0] > 0

    def output(self, params: Params, x: jax.Array) -> jax.Array:
        """Return what `forward` does, and nothing else."""
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


@dataclass(frozen=True)
class Zero(Op):
    """`none`: an output of zeros."""

    out_channels: int
    layout: Layout
    stride: int = 1

    def linear(self, params: Params, x: jax.Array) -> jax.Array:
        return jnp.zeros(self.out_shape(x.shape), x.dtype)

    def adjoint(self, x: jax.Array, g: jax.Array) -> jax.Array:
        return jnp.zeros_like(x)


@dataclass(frozen=True)
class Identity(Op):
    """`skip_connect`."""

    out_channels: int
    layout: Layout

    def linear(self, params: Params, x: jax.Array) -> jax.Array:
        return x

    def adjoint(self, x: jax.Array, g: jax.Array) -> jax.Array:
        return g


@dataclass(frozen=True)
class AvgPool(Op):
    """3x3 average pooling at stride 1 that does not count the padding."""

    out_channels: int
    layout: Layout

    def linear(self, params: Params, x: jax.Array) -> jax.Array:
        return conv.sum_pool3x3(x, self.layout) / conv.window_sizes(x, self.layout)

    def adjoint(self, x: jax.Array, g: jax.Array) -> jax.Array:
        return conv.sum_pool3x3(g / conv.window_sizes(g, self.layout), self.layout)


@dataclass(frozen=True)
class ConvNorm(Op):
    """[ReLU,] convolution without bias [, batch normalisation [with scale and bias]].

    Attributes:
      size: kernel height and width.
      stride: of the convolution.
      relu: apply a ReLU first.
      norm: normalise with the batch's moments.
      affine: the normalisation has a scale and a bias.
      bn: `batch` differentiates through the moments, `frozen` holds them constant.
    """

    in_channels: int
    out_channels: int
    size: int
    layout: Layout
    stride: int = 1
    relu: bool = True
    norm: bool = True
    affine: bool = True
    bn: BatchNormMode = "batch"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"kernel": (self.size, self.size, self.in_channels, self.out_channels)}
        if self.norm and self.affine:
            shapes |= {"scale": (self.out_channels,), "bias": (self.out_channels,)}
        return shapes

    def flops(self, pixels: int) -> int:
        return self.size**2 * self.in_channels * self.out_channels * (pixels // self.stride**2)

    def linear(self, params: Params, x: jax.Array) -> jax.Array:
        return conv.conv2d(jax.nn.relu(x) if self.relu else x, params["kernel"], self.stride, self.layout)

    def scaling(self, params: Params, linear: jax.Array, by: Moments | None = None) -> tuple[Scaling, Moments]:
        if not self.norm:
            return super().scaling(params, linear)
        by = moments(linear, self.layout) if by is None else by
        shift = params["bias"] if self.affine else jnp.zeros_like(by.mean)
        return Scaling(by.mean, self._gain(params, by), shift), by

    def backward(self, params: Params, x: jax.Array, saved: Saved, g: jax.Array) -> tuple[jax.Array, Params]:
        active = jax.nn.relu(x) if self.relu else x
        if not self.norm:
            grads = {"kernel": conv.conv2d_kernel_grad(active, g, self.size, self.stride, self.layout)}
            return self._through_conv(params, x, g), grads
        hat = normalise(saved.linear, saved.moments, self.layout)
        gain, coupled = self._gain(params, saved.moments), self.bn == "batch"
        pulled = conv.conv2d_norm_grads(active, hat, gain, g, self.size, self.stride, coupled, self.layout)
        grads = {"kernel": pulled.kernel}
        if self.affine:
            grads |= {"scale": pulled.scale, "bias": pulled.bias}
        return self._through_conv(params, x, pulled.linear), grads

    def backward_gram(self, params: Params, x: jax.Array, saved: Saved, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        batch = x.shape[self.layout.batch]
        total = jnp.zeros((batch, batch), g.dtype)
        if self.norm:
            hat = normalise(saved.linear, saved.moments, self.layout)
            if self.affine:
                total += scale_gram(g, hat, self.layout)
            g = through_norm(g, hat, self._gain(params, saved.moments), self.bn, self.layout)
        active = jax.nn.relu(x) if self.relu else x
        total += conv.conv2d_kernel_gram(active, g, self.size, self.stride, self.layout)
        return self._through_conv(params, x, g), total

    def _gain(self, params: Params, by: Moments) -> jax.Array:
        inverse = jax.lax.rsqrt(by.variance + EPSILON)
        return inverse * params["scale"] if self.affine else inverse

    def _through_conv(self, params: Params, x: jax.Array, g: jax.Array) -> jax.Array:
        dx = conv.conv2d_input_grad(g, params["kernel"], self.stride, x.shape, self.layout)
        return jnp.where(x > 0, dx, 0.0) if self.relu else dx


@dataclass(frozen=True)
class Head(Op):
    """Batch normalisation, ReLU, global average pooling and a linear classifier: `[B, classes]` logits."""

    in_channels: int
    out_channels: int
    layout: Layout
    bn: BatchNormMode = "batch"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        c = self.in_channels
        return {"scale": (c,), "bias": (c,), "kernel": (c, self.out_channels), "offset": (self.out_channels,)}

    def flops(self, pixels: int) -> int:
        return self.in_channels * self.out_channels

    def activations(self, params: Params, x: jax.Array, by: Moments) -> tuple[jax.Array, jax.Array]:
        """Return the normalised input and the ReLU's output."""
        hat = normalise(x, by, self.layout)
        scale, bias = self.layout.per_channel(params["scale"]), self.layout.per_channel(params["bias"])
        return hat, jax.nn.relu(hat * scale + bias)

    def forward(self, params: Params, x: jax.Array, by: Moments | None = None) -> tuple[jax.Array, Saved]:
        by = moments(x, self.layout) if by is None else by
        _, active = self.activations(params, x, by)
        return self._pool(active) @ params["kernel"] + params["offset"][None], Saved(x, by)

    def backward(self, params: Params, x: jax.Array, saved: Saved, g: jax.Array) -> tuple[jax.Array, Params]:
        hat, active = self.activations(params, x, saved.moments)
        dz = self._unpool(params, active, g)
        axes = self.layout.all_but_channel
        grads = {"kernel": self._pool(active).T @ g, "offset": g.sum(0)}
        grads |= {"scale": (dz * hat).sum(axes), "bias": dz.sum(axes)}
        return self._through_norm(params, saved, hat, dz), grads

    def backward_gram(self, params: Params, x: jax.Array, saved: Saved, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        hat, active = self.activations(params, x, saved.moments)
        dz = self._unpool(params, active, g)
        total = gram(self._pool(active)) * gram(g) + scale_gram(dz, hat, self.layout)
        return self._through_norm(params, saved, hat, dz), total

    def _pool(self, active: jax.Array) -> jax.Array:
        pooled = active.mean((self.layout.height, self.layout.width))
        return pooled if self.layout.batch == 0 else pooled.T

    def _unpool(self, params: Params, active: jax.Array, g: jax.Array) -> jax.Array:
        """Pull the logits' cotangent `[B, classes]` back to the ReLU's input."""
        pooled = g @ params["kernel"].T / (active.shape[self.layout.height] * active.shape[self.layout.width])
        shape = [1] * 4
        shape[self.layout.batch], shape[self.layout.channel] = g.shape[0], self.in_channels
        spread = (pooled if self.layout.batch == 0 else pooled.T).reshape(shape)
        return jnp.where(active > 0, spread, 0.0)

    def _through_norm(self, params: Params, saved: Saved, hat: jax.Array, dz: jax.Array) -> jax.Array:
        gain = params["scale"] * jax.lax.rsqrt(saved.moments.variance + EPSILON)
        return through_norm(dz, hat, gain, self.bn, self.layout)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def run(
    ops: tuple[Op, ...],
    index: jax.Array,
    params: tuple[Params, ...],
    x: jax.Array,
    probe: jax.Array | None = None,
) -> tuple[jax.Array, Moments | None]:
    """Run the op of `ops` that `index` `[]` names on `x` and return its output and its batch moments.

    Under `lax.map` only that op is computed. With a `probe` `[B, B]` of zeros, the cotangent of `probe` is the Gram
    matrix of the op's per-sample weight gradients and parameters get no gradient: as cotangents add up over all uses,
    the gradient of the summed outputs with respect to one shared probe is the whole NTK, no Jacobian being stored.
    It needs independent samples: batch normalisations with `bn="frozen"`. Where an op is not separable, there are no
    moments, and the backward pass runs the forward pass of the op again.
    """
    y, saved = _forward(ops, index, params, x)
    return y, None if saved is None else saved.moments


def _choose(
    ops: tuple[Op, ...], index: jax.Array, call: Callable[[int, Op], Callable[..., Any]], *operands: Any
) -> Any:
    branches = [call(i, op) for i, op in enumerate(ops)]
    return alone(index, branches[0], *operands) if len(ops) == 1 else choose(index, branches, *operands)


def _forward(ops, index, params, x):
    if not all(op.separable for op in ops):
        return _choose(ops, index, lambda i, op: lambda params, x: op.output(params[i], x), params, x), None
    if len(ops) == 1:
        return ops[0].forward(params[0], x)

    def parts(i: int, op: Op):
        def branch(params, x):
            linear = op.linear(params[i], x)
            return linear, *op.scaling(params[i], linear)

        return branch

    linear, scaling, seen = choose(index, [parts(i, op) for i, op in enumerate(ops)], params, x)
    return scaling(linear, ops[0].layout), Saved(linear, seen)


def _run_forward(ops, index, params, x, probe):
    y, saved = _forward(ops, index, params, x)
    return (y, None if saved is None else saved.moments), (index, params, x, saved, probe is None)


def _run_backward(ops, residuals, cotangents):
    index, params, x, saved, wants_params = residuals
    g, _ = cotangents

    def with_params(i: int, op: Op):
        def branch(params, x, saved, g):
            dx, own = op.pull(params[i], x, g) if saved is None else op.backward(params[i], x, saved, g)
            return dx, tuple(own if j == i else jax.tree.map(jnp.zeros_like, p) for j, p in enumerate(params))

        return branch

    def with_gram(i: int, op: Op):
        def branch(params, x, saved, g):
            return op.pull_gram(params[i], x, g) if saved is None else op.backward_gram(params[i], x, saved, g)

        return branch

    if wants_params:
        dx, dparams = _choose(ops, index, with_params, params, x, saved, g)
        return None, dparams, dx, None
    dx, dprobe = _choose(ops, index, with_gram, params, x, saved, g)
    return None, None, dx, dprobe


run.defvjp(_run_forward, _run_backward)
