"""TransNAS-Bench-101 (Duan et al., CVPR 2021): 4,096 cells and 3,256 macro skeletons.

Strings are `64-SKELETON-CELL`. A skeleton is a row of modules: 1 plain, 2 twice the channels, 3 half the resolution,
4 both; a module is two cells, of which the first one changes the shape. Lists of the ops of a cell
(`[1, 0, 2, 3, 3, 3]`) or of the modules of a skeleton (`[1, 2, 3, 4]`) are read, too; the benchmark's indices are not.

#params and FLOPs are those of the network for object classification (256x256 images, 75 classes) or, in
`transnas101_micro:class_scene`, for scene classification (47 classes); the networks for the other five tasks have
decoders, which are not built. Skeletons that change the shape alike share a network: there are 297, and 3 for
`regions`, where nothing halves.
"""

import functools
import itertools
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxnas.errors import UserError
from jaxnas.kernels.layout import NHWC
from jaxnas.layers import ConvNorm, Op
from jaxnas.network import Config, Network
from jaxnas.spaces import literals
from jaxnas.spaces.as_module import ArchitectureModule
from jaxnas.spaces.base import Space
from jaxnas.spaces.cell import CellSpace
from jaxnas.spaces.cell_network import Cell
from jaxnas.spaces.datasets import TRANSNAS
from jaxnas.spaces.draws import check_number, generator
from jaxnas.spaces.transnas101_network import (
    CELLS_PER_MODULE,
    CHANNELS,
    EDGES,
    IMAGE,
    MACRO,
    MICRO,
    MICRO_SKELETON,
    MOST_MODULES,
    OPS,
    MacroNetwork,
    doubles,
    edge_ops,
    halves,
    macro_network,
    micro_network,
    plain_modules,
)

NONE, SKIP, CONV1, CONV3 = range(4)
MODULES = range(4, MOST_MODULES + 1)  # numbers of modules of a macro skeleton,
HALVINGS, DOUBLINGS = range(1, 5), range(1, 4)  # of its modules 3 and 4, and of its modules 2 and 4

CONVENTION = (
    "multiply-adds of the convolutions and the classifier, jaxnas's own count, checked layer by layer: the benchmark's "
    "table of sizes is not at hand"
)

Shape = tuple[int, int]
"""Channels, and pixels of a side."""


def ops(channels: int, config: Config) -> tuple[Op, ...]:
    """Return the operations on `channels` channels, in the benchmark's order."""
    return tuple(edge_ops(channels, channels, config).values())


def encode_string(string: str) -> list[str]:
    """Return the six op names of `64-41414-a_bc_def`, each letter a digit of 0 to 3."""
    expected = f"expected {CHANNELS}-{MICRO_SKELETON}-a_bc_def with digits 0 to 3 ({', '.join(OPS)})"
    _refuse_index(string, expected)
    parts = string.strip().split("-")
    if parts[:-1] != [str(CHANNELS), MICRO_SKELETON]:
        raise UserError(f"malformed architecture {string!r}: it does not start with 64-{MICRO_SKELETON}-; {expected}")
    nodes = parts[-1].split("_")
    if [len(node) for node in nodes] != [1, 2, 3]:
        raise UserError(f"malformed architecture {string!r}: the nodes have not 1, 2 and 3 edges; {expected}")
    names = []
    for edge, digit in enumerate("".join(nodes)):
        if digit not in "0123":
            target, source = EDGES[edge]
            raise UserError(
                f"malformed architecture {string!r}: edge {edge} ({target}<-{source}) is {digit!r}; {expected}"
            )
        names.append(OPS[int(digit)])
    return names


def _refuse_index(string: str, expected: str) -> None:
    if literals.index(string) is not None:
        raise UserError(
            f"malformed architecture {string!r}: an index of TransNAS-Bench-101 is a place in its file, whose order is "
            f"not known here; {expected}"
        )


def decode_string(names: list[str]) -> str:
    """Return the official string of six op names."""
    digits = "".join(str(OPS.index(name)) for name in names)
    return f"{CHANNELS}-{MICRO_SKELETON}-{digits[0]}_{digits[1:3]}_{digits[3:]}"


@dataclass(frozen=True)
class MicroSpace(CellSpace):
    """Cells in the skeleton 41414; for `ntk` and `regions`, which need them of one shape, in a cell-based network."""

    convention: str = CONVENTION
    dataset: str = "class_object"
    datasets = TRANSNAS

    def network(self, purpose: str = "benchmark", group: Hashable = None, **changes) -> Network:  # type: ignore[override]
        """Return the space's network for `purpose`, with `changes` to its `Config` such as `bn` or `init`."""
        self.check_purpose(purpose, (*MICRO, *self.networks))
        if purpose not in MICRO:
            return super().network(purpose, group, **changes)
        return micro_network(purpose, **_classes(self, purpose) | changes)

    def build(self, arch: np.ndarray | str, *, rngs: nnx.Rngs, purpose: str = "benchmark") -> nnx.Module:  # type: ignore[override]
        """Return one architecture as an ordinary Flax NNX module, to train, export or inspect.

        Its weights are those that the space's shared network draws from `rngs`.
        """
        if purpose not in MICRO:
            return super().build(arch, rngs=rngs, purpose=purpose)
        network, arch = self.network(purpose), self.array(arch)
        return ArchitectureModule(network, network.init(rngs.params()), arch)

    def canonical(self, archs: np.ndarray) -> np.ndarray:
        """Return `archs`: the benchmark has no classes, and a skip connection that changes the shape has weights."""
        return archs

    def params(self, archs: np.ndarray) -> np.ndarray:
        return self._counts(archs)[:, 0]

    def flops(self, archs: np.ndarray) -> np.ndarray:
        return self._counts(archs)[:, 1]

    def _counts(self, archs: np.ndarray) -> np.ndarray:
        last, per_op = _micro_tables()
        fixed = _frame(last, self.datasets[self.dataset].classes)
        return fixed + per_op[np.arange(len(EDGES)), np.asarray(archs)].sum(1)


class MacroSpace(Space):
    """Skeletons of residual blocks; an architecture is the row of its modules `[6]`, padded with -1."""

    name = "transnas101_macro"
    datasets = TRANSNAS
    dataset = "class_object"
    convention = CONVENTION
    example = "64-1234-basic"

    @property
    def size(self) -> int:
        return len(_skeletons())

    def encode(self, string: str) -> np.ndarray:
        expected = (
            f"expected {CHANNELS}-MODULES-basic with 4 to 6 modules of 1 to 4, of them 1 to 4 that halve the resolution"
            " (3, 4) and 1 to 3 that double the channels (2, 4)"
        )
        _refuse_index(string, expected)
        parts = string.strip().split("-")
        if (row := literals.row(string)) and set(row) <= {-1, 1, 2, 3, 4}:
            parts = [str(CHANNELS), _to_skeleton(np.array(row)), "basic"]
        if len(parts) != 3 or parts[::2] != [str(CHANNELS), "basic"]:
            raise UserError(f"malformed architecture {string!r}: {expected}")
        skeleton = parts[1]
        for place, module in enumerate(skeleton, start=1):
            if module not in "1234":
                raise UserError(f"malformed architecture {string!r}: module {place} is {module!r}; {expected}")
        if not _is_member(skeleton):
            raise UserError(
                f"{string!r} is not in the space: {len(skeleton)} modules, {_halvings(skeleton)} that halve and "
                f"{_doublings(skeleton)} that double; {expected}"
            )
        return _to_arch(skeleton)

    def decode(self, arch: np.ndarray) -> str:
        return f"{CHANNELS}-{_to_skeleton(arch)}-basic"

    def enumerate(self) -> np.ndarray:
        """Return all architectures `[3256, 6]`, their strings in ascending order."""
        return np.stack([_to_arch(skeleton) for skeleton in _skeletons()])

    def sample(self, key: jax.Array, n: int) -> np.ndarray:
        check_number(self.name, n, self.size)
        return self.enumerate()[generator(key).choice(self.size, n, replace=False)]

    def mutate(self, key: jax.Array, arch: np.ndarray) -> np.ndarray:
        """Return, uniformly, a skeleton of the space with one module replaced, added or taken out."""
        parent, changed = _to_skeleton(arch), set[str]()
        for place in range(len(parent) + 1):
            before, after = parent[:place], parent[place:]
            changed |= {before + module + after for module in "1234"}
            changed |= {before + module + after[1:] for module in ("", *"1234")}
        neighbours = sorted(skeleton for skeleton in changed - {parent} if _is_member(skeleton))
        return _to_arch(str(generator(key).choice(neighbours)))

    def groups(self, archs: np.ndarray, purpose: str) -> list[Hashable]:
        """Return for each of `archs` `[N, 6]` the modules that change the shape: `244` for 64-124141-basic.

        Where nothing halves the image, as for `regions`, these are the doublings: `222`.
        """
        self.check_purpose(purpose, MACRO)
        return [_to_skeleton(arch).replace("1", "") for arch in MACRO[purpose].modules(np.asarray(archs))]

    def network(self, purpose: str = "benchmark", group: Hashable = None, **changes) -> MacroNetwork:
        """Return the network of a group for `purpose`, with `changes` to its `Config` such as `bn` or `init`."""
        self.check_purpose(purpose, MACRO)
        if not isinstance(group, str) or not set(group) <= set("234" if MACRO[purpose].halving else "2"):
            raise UserError(f"{self.name} has a network for each change of shape; give one of `groups` as group")
        return macro_network(purpose, group, **_classes(self, purpose) | changes)

    def build(self, arch: np.ndarray | str, *, rngs: nnx.Rngs, purpose: str = "benchmark") -> ArchitectureModule:
        """Return one architecture as an ordinary Flax NNX module, with weights of its own drawn from `rngs`."""
        (walk,) = self.groups(self.array(arch)[None], purpose)
        modules = MACRO[purpose].modules(self.array(arch))
        slots = plain_modules(modules, len(str(walk))).tolist()
        network = macro_network(purpose, str(walk), tuple(slots), **_classes(self, purpose))
        return ArchitectureModule(network, network.init(rngs.params()), modules)

    def params(self, archs: np.ndarray) -> np.ndarray:
        return self._counts(archs)[:, 0]

    def flops(self, archs: np.ndarray) -> np.ndarray:
        return self._counts(archs)[:, 1]

    def _counts(self, archs: np.ndarray) -> np.ndarray:
        classes = self.datasets[self.dataset].classes
        return np.array([_macro_counts(_to_skeleton(arch), classes) for arch in archs])


def _classes(space: Space, purpose: str) -> dict[str, Any]:
    """Return the change to the `Config` of the network for `purpose` that the space's data set makes."""
    return {"classes": space.datasets[space.dataset].classes} if purpose == "benchmark" else {}


def _halvings(skeleton: str) -> int:
    return sum(map(halves, skeleton))


def _doublings(skeleton: str) -> int:
    return sum(map(doubles, skeleton))


def _is_member(skeleton: str) -> bool:
    return len(skeleton) in MODULES and _halvings(skeleton) in HALVINGS and _doublings(skeleton) in DOUBLINGS


@functools.cache
def _skeletons() -> list[str]:
    rows = ("".join(row) for count in MODULES for row in itertools.product("1234", repeat=count))
    return sorted(filter(_is_member, rows))


def _to_arch(skeleton: str) -> np.ndarray:
    modules = [int(module) for module in skeleton]
    return np.array(modules + [-1] * (MODULES[-1] - len(modules)), np.int32)


def _to_skeleton(arch: np.ndarray) -> str:
    return "".join(str(module) for module in arch if module > 0)


# #params and FLOPs: `[2]` each


def _count(*ops: tuple[Op, int]) -> np.ndarray:
    """Return the counts of ops with inputs of so many pixels a side."""
    return np.array([sum(op.num_params for op, _ in ops), sum(op.flops(side**2) for op, side in ops)])


def _conv(before: Shape, after: Shape, size: int, relu: bool = True) -> tuple[Op, int]:
    op = ConvNorm(before[0], after[0], size, layout=NHWC, stride=before[1] // after[1], relu=relu)
    return op, before[1]


def _shapes(skeleton: Iterable[str]) -> list[tuple[Shape, Shape]]:
    """Return the shapes before and after every cell."""
    channels, side, cells = CHANNELS, IMAGE // 4, []
    for module in skeleton:
        before = channels, side
        channels, side = channels << doubles(module), side >> halves(module)
        cells += [(before, (channels, side))] + [((channels, side),) * 2] * (CELLS_PER_MODULE - 1)
    return cells


def _frame(last: Shape, classes: int) -> np.ndarray:
    """Return the counts of the stem (two 3x3 convolutions at stride 2) and the classifier."""
    half, first = (CHANNELS // 2, IMAGE // 2), (CHANNELS, IMAGE // 4)
    channels, _ = last
    head = [(channels + 1) * classes, channels * classes]
    return _count(_conv((3, IMAGE), half, 3, relu=False), _conv(half, first, 3)) + head


@functools.cache
def _residual_block(before: Shape, after: Shape) -> np.ndarray:
    block = [_conv(before, after, 3), _conv(after, after, 3)]
    return _count(*block, *([] if before == after else [_conv(before, after, 1, relu=False)]))


def _macro_counts(skeleton: str, classes: int) -> np.ndarray:
    cells = _shapes(skeleton)
    return sum((_residual_block(*cell) for cell in cells), _frame(cells[-1][1], classes))


@functools.cache
def _micro_tables() -> tuple[Shape, np.ndarray]:
    """Return the shape of the last cell's output, and the counts of each edge and op, `[6, 4, 2]`.

    A skip connection that changes the shape is a factorised reduction: two 1x1 convolutions, each to half the channels.
    """
    cells, per_op = _shapes(MICRO_SKELETON), np.zeros((len(EDGES), len(OPS), 2), np.int64)
    for (edge, (_, source)), (before, after) in itertools.product(enumerate(EDGES), cells):
        before = after if source else before
        per_op[edge, CONV1] += _count(_conv(before, after, 1))
        per_op[edge, CONV3] += _count(_conv(before, after, 3))
        if before != after:
            per_op[edge, SKIP] += _count(_conv(before, after, 1))
    return cells[-1][1], per_op


TRANSNAS101_MICRO = MicroSpace(
    name="transnas101_micro",
    cell=Cell(EDGES, ops, OPS),
    zero=NONE,
    identity=SKIP,
    parametric=(CONV1, CONV3),
    networks={  # sizes of TE-NAS on NAS-Bench-201, whose cell has the same edges
        "ntk": Config(channels=3, cells=1),
        "regions": Config(channels=1, cells=1, stages=1, stem=False, image=(3, 3, 1)),
    },
    encode_string=encode_string,
    decode_string=decode_string,
)
TRANSNAS101_MACRO = MacroSpace()
