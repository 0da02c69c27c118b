"""TransNAS-Bench-101's micro space (Duan et al., CVPR 2021): 4,096 cells in the skeleton 41414.

Strings are `64-41414-CELL`. A module of the skeleton is two cells, of which the first one changes the shape: 1 plain, 2
twice the channels, 3 half the resolution, 4 both. A list of the ops of a cell (`[1, 0, 2, 3, 3, 3]`) is read, too; the
benchmark's indices are not.

#params and FLOPs are those of the network for object classification (256x256 images, 75 classes) or, in
`transnas101_micro:class_scene`, for scene classification (47 classes); the networks for the other five tasks have
decoders, which are not built.
"""

import functools
import itertools
from collections.abc import Collection, Hashable
from dataclasses import dataclass

import numpy as np

from jaxnas.errors import UserError
from jaxnas.network.network import Config, Network
from jaxnas.network.op import Op
from jaxnas.spaces.cell.network import Cell
from jaxnas.spaces.cell.space import CellSpace
from jaxnas.spaces.datasets import TRANSNAS
from jaxnas.spaces.transnas101.counts import (
    CONVENTION,
    Shape,
    classes_of,
    conv,
    counts_of,
    frame_counts,
    refuse_index,
    shapes,
)
from jaxnas.spaces.transnas101.network import (
    CHANNELS,
    EDGES,
    MICRO,
    MICRO_SKELETON,
    OPS,
    edge_ops,
    micro_network,
)

NONE, SKIP, CONV1, CONV3 = range(4)


def ops(channels: int, config: Config) -> tuple[Op, ...]:
    """The operations on `channels` channels, in the benchmark's order."""
    return tuple(edge_ops(channels, channels, config).values())


def encode_string(string: str) -> list[str]:
    """The six op names of `64-41414-a_bc_def`, each letter a digit of 0 to 3."""
    expected = f"expected {CHANNELS}-{MICRO_SKELETON}-a_bc_def with digits 0 to 3 ({', '.join(OPS)})"
    refuse_index(string, expected)
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


def decode_string(names: list[str]) -> str:
    """The official string of six op names."""
    digits = "".join(str(OPS.index(name)) for name in names)
    return f"{CHANNELS}-{MICRO_SKELETON}-{digits[0]}_{digits[1:3]}_{digits[3:]}"


@dataclass(frozen=True)
class MicroSpace(CellSpace):
    """Cells in the skeleton 41414; for `thin` and `patches`, which need them of one shape, in a cell-based network."""

    convention: str = CONVENTION
    dataset: str = "class_object"
    datasets = TRANSNAS

    @property
    def forms(self) -> Collection[str]:
        return (*MICRO, *self.configs)

    def network(self, form: str = "benchmark", group: Hashable = None, **changes) -> Network:  # type: ignore[override]
        """The space's network for `form`, with `changes` to its `Config` such as `bn` or `init`."""
        self.check_form(form)
        if form not in MICRO:
            return super().network(form, group, **changes)
        return micro_network(form, **classes_of(self, form) | changes)

    def canonical(self, archs: np.ndarray) -> np.ndarray:
        """Return `archs`: the benchmark has no classes, and a skip connection that changes the shape has weights."""
        return archs

    def params(self, archs: np.ndarray) -> np.ndarray:
        return self._counts(archs)[:, 0].astype(np.int64)

    def flops(self, archs: np.ndarray) -> np.ndarray:
        return self._counts(archs)[:, 1].astype(np.int64)

    def layers(self, archs: np.ndarray) -> np.ndarray:
        return self._counts(archs)[:, 2].astype(np.int64)

    def spectral_capacity(self, archs: np.ndarray) -> np.ndarray:
        return self._counts(archs)[:, 3]

    def _counts(self, archs: np.ndarray) -> np.ndarray:
        last, per_op = _micro_tables()
        fixed = frame_counts(last, self.datasets[self.dataset].classes)
        return fixed + per_op[np.arange(len(EDGES)), np.asarray(archs)].sum(1)


@functools.cache
def _micro_tables() -> tuple[Shape, np.ndarray]:
    """The shape of the last cell's output, and the counts of each edge and op, `[6, 4, 4]`.

    A skip connection that changes the shape is a factorised reduction: two 1x1 convolutions, each to half the channels.
    """
    cells, per_op = shapes(MICRO_SKELETON), np.zeros((len(EDGES), len(OPS), 4))
    for (edge, (_, source)), (before, after) in itertools.product(enumerate(EDGES), cells):
        before = after if source else before
        per_op[edge, CONV1] += counts_of(conv(before, after, 1))
        per_op[edge, CONV3] += counts_of(conv(before, after, 3))
        if before != after:
            per_op[edge, SKIP] += counts_of(*[conv(before, (after[0] // 2, after[1]), 1)] * 2)
    return cells[-1][1], per_op


TRANSNAS101_MICRO = MicroSpace(
    name="transnas101_micro",
    cell=Cell(EDGES, ops, OPS),
    zero=NONE,
    identity=SKIP,
    parametric=(CONV1, CONV3),
    configs={  # sizes of TE-NAS on NAS-Bench-201, whose cell has the same edges
        "thin": Config(channels=3, cells=1),
        "patches": Config(channels=1, cells=1, stages=1, stem=False, image=(3, 3, 1)),
    },
    encode_string=encode_string,
    decode_string=decode_string,
)
