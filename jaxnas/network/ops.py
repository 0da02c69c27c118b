"""The operations that most networks are made of, with hand-written backward passes."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxnas.kernels import conv, pool
from jaxnas.kernels.gram import gram
from jaxnas.kernels.layout import Layout
from jaxnas.network.op import (
    EPSILON,
    BatchNormMode,
    Moments,
    Observed,
    Op,
    Params,
    Saved,
    Scaling,
    moments,
    normalise,
    scale_gram,
    through_norm,
)


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
        return pool.sum_pool3x3(x, self.layout) / pool.window_sizes(x, self.layout)

    def adjoint(self, x: jax.Array, g: jax.Array) -> jax.Array:
        return pool.sum_pool3x3(g / pool.window_sizes(g, self.layout), self.layout)


@dataclass(frozen=True)
class ConvNorm(Op):
    """[ReLU,] convolution without bias [, batch normalisation [with scale and bias]].

    Attributes:
      size: kernel height and width.
      stride: of the convolution.
      relu: apply a ReLU first.
      norm: normalise with the batch's moments.
      affine: the normalisation has a scale and a bias.
      bn: `batch` differentiates through the moments, `frozen` holds them constant, `identity` does not normalise.
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
        by = moments(linear, self.layout, self.bn) if by is None else by
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
    """[Batch normalisation,] [ReLU,] global average pooling and a linear classifier: `[B, classes]` logits."""

    in_channels: int
    out_channels: int
    layout: Layout
    bn: BatchNormMode = "batch"
    norm_first: bool = True
    relu: bool = True

    def shapes(self) -> dict[str, tuple[int, ...]]:
        c = self.in_channels
        norm: dict[str, tuple[int, ...]] = {"scale": (c,), "bias": (c,)} if self.norm_first else {}
        return {**norm, "kernel": (c, self.out_channels), "offset": (self.out_channels,)}

    def flops(self, pixels: int) -> int:
        return self.in_channels * self.out_channels

    def activations(self, params: Params, x: jax.Array, by: Moments) -> tuple[jax.Array, jax.Array]:
        """The normalised input and what is pooled."""
        hat, read = self._read(params, x, by)
        return hat, jax.nn.relu(read) if self.relu else read

    def forward(self, params: Params, x: jax.Array, by: Moments | None = None) -> tuple[jax.Array, Saved]:
        by = self._moments(x) if by is None or not self.norm_first else by
        _, active = self.activations(params, x, by)
        return self._pool(active) @ params["kernel"] + params["offset"][None], Saved(x, by)

    def observe(self, params: Params, x: jax.Array) -> Observed:
        _, read = self._read(params, x, self._moments(x))
        seen = read if self.relu else jax.lax.slice_in_dim(x, 0, 0, axis=self.layout.channel)
        return Observed(self.forward(params, x)[0], self.units(seen), jnp.zeros(()))

    def _moments(self, x: jax.Array) -> Moments:
        if not self.norm_first:
            return Moments(*[jnp.zeros(self.in_channels, x.dtype)] * 2)
        return moments(x, self.layout, self.bn)

    def _read(self, params: Params, x: jax.Array, by: Moments) -> tuple[jax.Array, jax.Array]:
        """The normalised input and what the ReLU reads, if there is one."""
        if not self.norm_first:
            return x, x
        hat = normalise(x, by, self.layout)
        scale, bias = self.layout.per_channel(params["scale"]), self.layout.per_channel(params["bias"])
        return hat, hat * scale + bias

    def backward(self, params: Params, x: jax.Array, saved: Saved, g: jax.Array) -> tuple[jax.Array, Params]:
        hat, active = self.activations(params, x, saved.moments)
        dz = self._unpool(params, active, g)
        axes = self.layout.all_but_channel
        grads = {"kernel": self._pool(active).T @ g, "offset": g.sum(0)}
        if not self.norm_first:
            return dz, grads
        grads |= {"scale": (dz * hat).sum(axes), "bias": dz.sum(axes)}
        return self._through_norm(params, saved, hat, dz), grads

    def backward_gram(self, params: Params, x: jax.Array, saved: Saved, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        hat, active = self.activations(params, x, saved.moments)
        dz, total = self._unpool(params, active, g), gram(self._pool(active)) * gram(g)
        if not self.norm_first:
            return dz, total
        return self._through_norm(params, saved, hat, dz), total + scale_gram(dz, hat, self.layout)

    def _pool(self, active: jax.Array) -> jax.Array:
        pooled = active.mean((self.layout.height, self.layout.width))
        return pooled if self.layout.batch == 0 else pooled.T

    def _unpool(self, params: Params, active: jax.Array, g: jax.Array) -> jax.Array:
        """Pull the logits' cotangent `[B, classes]` back to the input of the ReLU or, without one, of the pooling."""
        pooled = g @ params["kernel"].T / (active.shape[self.layout.height] * active.shape[self.layout.width])
        shape = [1] * 4
        shape[self.layout.batch], shape[self.layout.channel] = g.shape[0], self.in_channels
        spread = (pooled if self.layout.batch == 0 else pooled.T).reshape(shape)
        return jnp.where(active > 0, spread, 0.0) if self.relu else jnp.broadcast_to(spread, active.shape)

    def _through_norm(self, params: Params, saved: Saved, hat: jax.Array, dz: jax.Array) -> jax.Array:
        gain = params["scale"] * jax.lax.rsqrt(saved.moments.variance + EPSILON)
        return through_norm(dz, hat, gain, self.bn, self.layout)
