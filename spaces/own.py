"""A space of your own: edges, and named operations that are Flax NNX modules or one of those here."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxnas.errors import UserError
from jaxnas.network.module_op import ModuleOp
from jaxnas.network.network import Config
from jaxnas.network.op import Op
from jaxnas.network.ops import AvgPool, Identity, Zero
from jaxnas.spaces.base import Space
from jaxnas.spaces.blocks.conv_norm import Conv2d as Conv2d  # for modules of one's own, as is the next
from jaxnas.spaces.blocks.conv_norm import Depthwise as Depthwise
from jaxnas.spaces.cell.network import Cell
from jaxnas.spaces.cell.space import MULTIPLY_ADDS, CellSpace
from jaxnas.user_file import load_variable

Maker = Callable[[int, Config], Op]
Block = Callable[[int, nnx.Rngs], nnx.Module]
"""`(channels, rngs) -> module` from `[B, H, W, channels]` to the same shape. It may have a function `stax`, from
neural-tangents' module of that name to the layer that it is at infinite width, which ends in a convolution."""


def zero(channels: int, config: Config) -> Op:
    """Make the op that outputs zeros: no edge."""
    return Zero(channels, config.layout)


def identity(channels: int, config: Config) -> Op:
    """Make the op that copies its input."""
    return Identity(channels, config.layout)


def avg_pool_3x3(channels: int, config: Config) -> Op:
    """Make 3x3 average pooling at stride 1."""
    return AvgPool(channels, config.layout)


BUILT_IN: tuple[Any, ...] = (zero, identity, avg_pool_3x3)


def cell_space(
    name: str,
    *,
    edges: Sequence[Sequence[int]],
    ops: Mapping[str, Maker | Block],
    channels: int = 16,
    cells: int = 5,
    image: tuple[int, int, int] = (32, 32, 3),
    classes: int = 10,
) -> CellSpace:
    """The space of all choices of one of `ops` on each of `edges`.

    Strings are op names joined by `|`; lists of their positions (`[0, 2, 1]`) are read, too.

    Args:
      name: of the space.
      edges: `(target, source)`, sorted by target; node 0 is the cell's input, the last node its output.
      ops: by name: `zero`, `identity`, `avg_pool_3x3`, or `(channels, rngs) -> module`, see `Block`.
      channels: of the full network's first stage; the scores use the small networks of their papers.
      cells: per stage of the full network.
      image: (height, width, channels) of the full network; the scores' networks see 32x32x3.
      classes: number of logits.

    Raises:
      UserError: the edges do not lead from node 0 to the last one, there are fewer than two ops, an op does not run or
        changes the shape, or a number is out of range.
    """
    pairs = _pairs(name, edges)
    _check_sizes(name, channels=channels, cells=cells, image=image, classes=classes)
    _check_ops(name, ops)
    for op, make in ops.items():
        if make not in BUILT_IN:
            _check_block(f"space {name}: op {op!r}", make, channels)
    makers: list[Any] = [make if make in BUILT_IN else _Module(make) for make in ops.values()]
    names = tuple(ops)

    def made(width: int, config: Config) -> tuple[Op, ...]:
        return tuple(make(width, config) for make in makers)

    kinds = [type(op) for op in made(1, Config(1, 1))]
    full = Config(channels=channels, cells=cells, image=image, classes=classes)
    seen = f"{'x'.join(map(str, image))} images, {classes:,} classes"
    thin = Config(channels=1, cells=1, stages=1, stem=False, image=(3, 3, 1), classes=classes)
    return CellSpace(
        name=name,
        cell=Cell(pairs, made, names),
        zero=kinds.index(Zero) if Zero in kinds else -1,
        identity=kinds.index(Identity) if Identity in kinds else -1,
        parametric=tuple(i for i, kind in enumerate(kinds) if kind is ModuleOp),
        configs={
            "benchmark": full,
            "thin": Config(channels=3, cells=1, classes=classes),
            "patches": thin,
            "taps": Config(channels=channels, cells=cells, classes=classes, init="pytorch"),
        },
        encode_string=lambda string: _split(string, len(pairs), names),
        decode_string="|".join,
        convention=f"of the full network ({seen}): {MULTIPLY_ADDS}",
    )


def load(spec: str) -> Space:
    """Return the space that `path/to/file.py:variable` names, or raise a `UserError`."""
    found = load_variable(spec, "--space", "space", lambda value: isinstance(value, Space))
    assert isinstance(found, Space)
    return found


@dataclass(frozen=True)
class _Module:
    """Makes the op of a user's module; equal for equal modules, so that the op is."""

    block: Any

    def __call__(self, channels: int, config: Config) -> Op:
        return ModuleOp(_At(self.block, channels), channels, channels, config.layout, bn=config.bn)


@dataclass(frozen=True)
class _At:
    block: Block
    channels: int

    @property
    def stax(self) -> Any:
        """What `block` says that it is at infinite width: `stax -> layer`, None if nothing."""
        return getattr(self.block, "stax", None)

    def __call__(self, rngs: nnx.Rngs) -> nnx.Module:
        return self.block(self.channels, rngs)


def _pairs(name: str, edges: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    """The edges, checked, as tuples."""
    try:
        pairs = tuple((operator.index(target), operator.index(source)) for target, source in edges)
    except (TypeError, ValueError):
        pairs = ()
    targets = [target for target, _ in pairs]
    whole = bool(pairs) and targets == sorted(targets) and set(targets) == set(range(1, max(targets) + 1))
    if not whole or any(source >= target or source < 0 for target, source in pairs):
        raise UserError(
            f"space {name}: edges {edges} must be (target, source) pairs sorted by target, with every node from 1 on a "
            "target and sources before their targets; say for instance ((1, 0), (2, 0), (2, 1))"
        )
    return pairs


def _check_ops(name: str, ops: Mapping[str, Maker | Block]) -> None:
    if len(ops) < 2 or any("|" in op for op in ops):
        raise UserError(f"space {name}: give at least two ops, with names without '|'; got {', '.join(ops) or 'none'}")


def _check_block(what: str, make: Any, channels: int) -> None:
    """Run a module without numbers; it must keep the shape."""
    shape = 2, 8, 8, channels
    advice = "give own.zero, own.identity, own.avg_pool_3x3 or (channels, rngs) -> module"
    if not callable(make):
        raise UserError(f"{what} is {make!r}; {advice}")
    try:
        out = jax.eval_shape(lambda x: make(channels, nnx.Rngs(0))(x), jnp.zeros(shape))
    except Exception as error:
        says = f"{type(error).__name__}: {error}".split("\n")[0]
        raise UserError(f"{what} does not run on {list(shape)}: {says}; {advice}") from error
    if getattr(out, "shape", None) != shape:
        found = list(out.shape) if hasattr(out, "shape") else type(out).__name__
        raise UserError(f"{what} turns {list(shape)} into {found}; an op must keep the shape")


def _check_sizes(name: str, image: Sequence[int], **numbers: int) -> None:
    """The image is halved twice."""
    for what, value in {**numbers, **dict(zip(("height", "width", "colours"), image, strict=False))}.items():
        if not isinstance(value, int) or value < 1:
            raise UserError(f"space {name}: {what} is {value!r}; it must be a whole number from 1 on")
    if len(image) != 3 or image[0] % 4 or image[1] % 4:
        raise UserError(f"space {name}: image is {image}; give (height, width, channels), both sides multiples of 4")


def _split(string: str, edges: int, names: tuple[str, ...]) -> list[str]:
    found = string.strip().split("|")
    if len(found) != edges:
        raise UserError(
            f"malformed architecture {string!r}: {len(found)} ops instead of {edges}; join {edges} of "
            f"{', '.join(names)} by '|'"
        )
    return found
