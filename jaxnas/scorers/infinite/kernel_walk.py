"""Walks a network of infinite width through its wiring: covariances of feature maps in place of feature maps.

At infinite width the channels of a feature map are independent draws of one Gaussian process over images and pixels.
Its covariance (NNGP; Lee et al., ICLR 2018) and the neural tangent kernel (NTK; Jacot et al., NeurIPS 2018) follow from
layer to layer in closed form; neural-tangents (Novak et al., ICLR 2020) has the layers. Its sums take what they add for
independent. Operations without weights make it dependent, a skip connection beside a pooling adds two functions of one
feature map, so here a `Field` remembers what it is made of.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxnas.errors import UserError
from jaxnas.kernels.dispatch import choose
from jaxnas.kernels.layout import Layout, from_nhwc, to_nhwc
from jaxnas.kernels.pool import mean_pool2x2
from jaxnas.network.network import Network
from jaxnas.network.op import EPSILON, Op
from jaxnas.network.ops import AvgPool, ConvNorm, Head, Identity, Zero
from jaxnas.network.walks import Ops, Path, Walk
from jaxnas.scorers.infinite import neural_tangents

Norm = Literal["none", "pixel", "layer", "batch"]
AXES = {"pixel": (3,), "layer": (1, 2, 3), "batch": (0, 1, 2, 3)}
WEIGHTLESS = (Zero, Identity, AvgPool)  # linear maps between the pixels of every channel
GAIN = math.sqrt(2)  # what ReLUs halve


class Kernels(NamedTuple):
    """Covariance and tangent kernel, between images and pixels `[B, B, H, H, W, W]` or between images `[B, B]`."""

    nngp: jax.Array
    ntk: jax.Array

    @classmethod
    def of(cls, images: jax.Array) -> "Kernels":
        """Those of images `[B, H, W, C]` themselves."""
        nngp = jnp.einsum("ahwc,bijc->abhiwj", images, images) / images.shape[-1]
        return cls(nngp, jnp.zeros_like(nngp))

    def through(self, by: jax.Array) -> "Kernels":
        """Those after the linear map `by` `[H' W', H W]` between the pixels of square images."""
        side = math.isqrt(len(by))

        def both(kernel: jax.Array) -> jax.Array:
            b, _, h, _, w, _ = kernel.shape
            pixels = kernel.transpose(0, 1, 2, 4, 3, 5).reshape(b, b, h * w, h * w)
            mapped = jnp.einsum("pq,abqr,sr->abps", by, pixels, by)
            return mapped.reshape(b, b, side, side, side, side).transpose(0, 1, 2, 4, 3, 5)

        return Kernels(*map(both, self))


class Field:
    """A feature map as a sum of independent Gaussian ones, each through a linear map between pixels.

    Attributes:
      terms: the kernels of each, by identity, and the map `[H' W', H W]`, None for the identity.
    """

    def __init__(self, terms: Mapping[int, tuple[Kernels, jax.Array | None]]):
        self.terms = terms

    @classmethod
    def drawn(cls, kernels: Kernels) -> "Field":
        """A feature map that nothing else depends on."""
        return cls({id(kernels): (kernels, None)})

    def __add__(self, other: "Field") -> "Field":
        terms = dict(self.terms)
        for key, (kernels, by) in other.terms.items():
            if key in terms:
                one = jnp.eye(math.prod(kernels.nngp.shape[2::2]), dtype=kernels.nngp.dtype)
                before = terms[key][1]
                by = (one if before is None else before) + (one if by is None else by)
            terms[key] = kernels, by
        return Field(terms)

    def through(self, by: jax.Array) -> "Field":
        """The feature map after a linear map between pixels."""
        return Field({key: (kernels, by if own is None else by @ own) for key, (kernels, own) in self.terms.items()})

    @functools.cached_property
    def kernels(self) -> Kernels:
        """The kernels of the sum."""
        parts = [kernels if by is None else kernels.through(by) for kernels, by in self.terms.values()]
        return jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *parts)


class KernelWalk(Walk):
    """Runs the places for one architecture at infinite width; what flows is a `Field`, what the head returns `Kernels`.

    Args:
      ops: the network's places.
      norm: what the covariances after convolutions are divided by.
    """

    def __init__(self, ops: Mapping[Path, Ops], norm: Norm):
        self.ops, self.norm = ops, norm

    def __call__(self, path: Path, x: Any, choice: jax.Array | None = None) -> Any:
        ops = self.ops[path]
        if isinstance(ops, Op):
            found = self._run(ops, x.kernels)
            return found if isinstance(ops, Head) else Field.drawn(found)
        assert choice is not None
        return self._mean(ops.values(), x, _shares(choice, len(ops)))

    def halved(self, x: Any, layout: Layout) -> Any:
        return x.through(_matrix(lambda image: mean_pool2x2(image, layout), x.kernels, layout, 1))

    def _mean(self, ops: Iterable[Op], x: Field, shares: jax.Array) -> Field:
        """The sum of the ops' outputs times their shares `[O]`."""
        parts, by = list[Field](), []
        for op, share in zip(ops, shares.astype(x.kernels.nngp.dtype), strict=True):
            if isinstance(op, WEIGHTLESS):
                by.append(share * _matrix(functools.partial(op.linear, {}), x.kernels, op.layout, op.out_channels))
            else:
                found = choose((share > 0).astype(jnp.int32), [_nothing, functools.partial(self._run, op)], x.kernels)
                parts.append(Field.drawn(jax.tree.map(functools.partial(jnp.multiply, share**2), found)))
        weightless = [x.through(sum(by[1:], by[0]))] if by else []
        return functools.reduce(operator.add, weightless + parts)

    def _run(self, op: Op, x: Kernels) -> Kernels:
        """The kernels behind an op with weights."""
        package = neural_tangents.load()
        _, _, kernel_fn = layer(op, self.norm, package.stax)
        images, _, height, _, width, _ = x.nngp.shape
        shape = images, height, width, op.out_channels
        before = package.Kernel(
            nngp=x.nngp,
            ntk=x.ntk,
            cov1=jnp.einsum("aahiwj->ahiwj", x.nngp),
            cov2=None,
            x1_is_x2=jnp.array(True),
            is_gaussian=True,
            is_reversed=False,
            is_input=False,
            diagonal_batch=True,
            diagonal_spatial=False,
            shape1=shape,
            shape2=shape,
            batch_axis=0,
            channel_axis=3,
        )
        after = kernel_fn(before)
        if not after.is_gaussian:
            raise UserError(f"what `stax` says of {_maker(op)} ends in no convolution, so its output is not Gaussian")
        after = after.reverse() if after.is_reversed else after
        return Kernels(after.nngp, after.ntk)


def layer(op: Op, norm: Norm, stax: Any) -> Any:
    """The layer of `stax` that an op with weights is at infinite width."""
    normed = [] if norm == "none" else [stax.LayerNorm(AXES[norm], eps=EPSILON)]
    if isinstance(op, ConvNorm):
        relu = [stax.Relu()] if op.relu else []
        window = [_window(op.size, stax)] if op.size > 1 else []
        conv = stax.Conv(1, (1, 1), W_std=GAIN)
        strided = [stax.Index(stax.Slice[:, :: op.stride, :: op.stride])] if op.stride > 1 else []
        return stax.serial(*relu, *window, conv, *strided, *(normed if op.norm else []))
    if isinstance(op, Head):
        relu = [stax.Relu()] if op.relu else []
        return stax.serial(*(normed if op.norm_first else []), *relu, stax.GlobalAvgPool(), stax.Dense(1, W_std=GAIN))
    return _maker(op).stax(stax)


def _window(size: int, stax: Any) -> Any:
    """The layer that makes the 1x1 convolution behind it one of `size`: covariances averaged over its window.

    It is part of `stax.Conv`, which takes 20 times as long on a CPU, by convolutions of one channel.
    """

    def averaged(kernel: jax.Array) -> jax.Array:
        for axis in (kernel.ndim - 4, kernel.ndim - 2):
            both = axis, axis + 1
            padded = jnp.pad(kernel, [(size // 2 * (i in both),) * 2 for i in range(kernel.ndim)])
            rows = [jax.lax.slice_in_dim(padded, i, i + kernel.shape[axis], axis=axis) for i in range(size)]
            shifted = [
                jax.lax.slice_in_dim(row, i, i + kernel.shape[axis], axis=axis + 1) for i, row in enumerate(rows)
            ]
            kernel = sum(shifted[1:], shifted[0]) / size
        return kernel

    def kernel_fn(kernel: Any, **_: Any) -> Any:
        return kernel.replace(**{name: averaged(getattr(kernel, name)) for name in ("cov1", "nngp", "ntk")})

    def window() -> Any:
        return lambda rng, shape: (shape, ()), lambda params, x, **_: x, kernel_fn

    return stax.layer(window)()


def refusal(network: Network) -> str | None:
    """Why the network has no kernels of infinite width; None if it has."""
    places = network.ops().items()
    choices = [pair for _, ops in places if isinstance(ops, dict) for pair in ops.items()]
    fixed = [(str(path[0]), op) for path, op in places if isinstance(op, Op)]
    lacking = [[*dict.fromkeys(name for name, op in named if not _has_kernels(op))] for named in (choices, fixed)]
    if names := lacking[0] or lacking[1]:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"neural-tangents has no kernel of {names[0]}{more}"
    return None if network.adds_only else "there are ReLUs or masks between its operations"


def _has_kernels(op: Op) -> bool:
    return isinstance(op, (*WEIGHTLESS, ConvNorm, Head)) or getattr(_maker(op), "stax", None) is not None


def _maker(op: Op) -> Any:
    """What makes the module of a user's operation."""
    return getattr(op, "make", None)


def _shares(choice: jax.Array, ops: int) -> jax.Array:
    """The share `[O]` of each op in the output, for an op index `[]` or an op mask `[O]`."""
    if choice.ndim == 0:
        return (jnp.arange(ops) == choice).astype(jnp.float32)
    return choice / jnp.maximum(choice.sum(), 1)


def _nothing(x: Kernels) -> Kernels:
    return jax.tree.map(jnp.zeros_like, x)


def _matrix(linear: Callable[[jax.Array], jax.Array], x: Kernels, layout: Layout, channels: int) -> jax.Array:
    """The matrix `[H' W', H W]` of what an op without weights does to each channel of images such as those of `x`."""
    _, _, height, _, width, _ = x.nngp.shape
    basis = jnp.eye(height * width, dtype=x.nngp.dtype).reshape(-1, height, width, 1)
    images = jnp.broadcast_to(basis, (*basis.shape[:3], channels))
    found = to_nhwc(linear(from_nhwc(images, layout)), layout)[..., 0]
    return found.reshape(len(basis), -1).T
