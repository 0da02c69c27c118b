"""The networks of a normal and a reduction cell: stem, cells on the outputs of the two cells before them, head.

An op of a reduction cell halves the image if it is applied to one of the cell's inputs, and keeps it otherwise.
"""

import itertools
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.kernels.layout import Layout
from jaxnas.network.network import HEAD, Config, Init, Network, Ops, Path, Walk
from jaxnas.network.op import Op
from jaxnas.network.ops import ConvNorm, Head
from jaxnas.spaces.blocks.modules import cell_op, cropped_op, module_op
from jaxnas.spaces.blocks.parts import FACTORIZED, table
from jaxnas.spaces.blocks.stem import Frame, stem_ops
from jaxnas.spaces.nds.counts import FRAMES, reductions

INPUTS = 2  # nodes 0 and 1 of a cell
REFERENCE = 16, (8, 8)  # channels and image at which the ops' costs are compared


THIN = 1, 2  # width and depth of TE-NAS's networks: a normal cell, then a reduction cell


class Setting(NamedTuple):
    """A network for some form.

    Attributes:
      frame: what is around the cells.
      channels: of the image.
      init: of the weights.
      sizes: data set whose default width and depth it has, see `TwoCells.default`; None for `THIN`.
    """

    frame: Frame
    channels: int = 3
    init: Init = "kaiming"
    sizes: str | None = None


SETTINGS = {  # by form; for `benchmark`, by data set
    **{name: Setting(frame, sizes=name) for name, frame in FRAMES.items()},
    "thin": Setting(Frame(image=32, classes=10, stem=(2,), stride=1)),
    "patches": Setting(Frame(image=3, classes=10, stem=(), stride=1), channels=1),
    "taps": Setting(FRAMES["cifar10"], init="pytorch", sizes="cifar10"),
}


class Group(NamedTuple):
    """Networks of one size."""

    width: int
    depth: int


class Entry(NamedTuple):
    """One of the two inputs of a cell: its channels, and whether it has to be halved to fit the other one."""

    channels: int
    halve: bool


class CellShape(NamedTuple):
    """A cell's kind, channels and inputs."""

    reduction: bool
    channels: int
    entries: tuple[Entry, Entry]


@dataclass(frozen=True)
class TwoCellNetwork(Network):
    """What genotypes and the supernet have in common.

    Attributes:
      names: the ops.
      nodes: of a cell, without its inputs.
      frame: what is around the cells.
      reductions: whether each cell is a reduction cell.
      norm_before_head: batch normalisation and ReLU stand before the pooling.
      before_taps: cells before which a tap is; the last tap is the output of the last cell.
      config: sizes and modes; `channels` is the width, `cells` the depth.
    """

    names: tuple[str, ...]
    nodes: int
    frame: Frame
    reductions: tuple[bool, ...]
    norm_before_head: bool
    before_taps: tuple[int, ...]
    config: Config

    @property
    def output_nodes(self) -> list[int]:
        """How many nodes of the normal and of the reduction cell there is room for in its output."""
        return [self.nodes, self.nodes]

    @property
    def shapes(self) -> list[CellShape]:
        """The cells from the first to the last."""
        shapes, channels, (before, last) = [], self.config.channels, self._stem_outputs()
        for reduction in self.reductions:
            channels <<= reduction
            halve = before[1] < last[1]
            shapes.append(CellShape(reduction, channels, (Entry(before[0], halve), Entry(last[0], False))))
            before, last = last, (self.output_nodes[reduction] * channels, last[1] + reduction)
        return shapes

    @property
    def features_out(self) -> int:
        """Channels that the head gets."""
        return self.output_nodes[self.reductions[-1]] * self.shapes[-1].channels

    def ops(self) -> dict[Path, Ops]:
        places: dict[Path, Ops] = {("stem", i): op for i, op in enumerate(stem_ops(self.frame, self.config))}
        shapes = self.shapes
        for cell, shape in enumerate(shapes):
            for i, entry in enumerate(shape.entries):
                places["entries", cell, i] = entry_op(entry, shape.channels, self.config)
        for cell, shape in enumerate(shapes):
            for place, ops in self.cell_places(shape).items():
                places["cells", cell, place] = ops
        config, norm = self.config, self.norm_before_head
        return {**places, HEAD: Head(self.features_out, config.classes, config.layout, config.bn, norm, relu=norm)}

    def wire(self, apply: Walk, arch: jax.Array, x: jax.Array) -> list[jax.Array]:
        before, last, tapped = x, x, []
        for i in range(len(self.frame.stem)):
            before, last = last, apply.block(apply(("stem", i), last))
        if len(self.frame.stem) == 1:
            before = last
        for cell, shape in enumerate(self.shapes):
            tapped += [last] * self.before_taps.count(cell)
            entries = [apply(("entries", cell, i), entry) for i, entry in enumerate((before, last))]
            before, last = last, apply.block(self.cell(apply, cell, shape.reduction, arch, entries))
        return [*tapped, last]

    @abstractmethod
    def cell_places(self, shape: CellShape) -> Mapping[int, Ops]:
        """What can stand at the places of a cell, those with the same ops one after another."""

    @abstractmethod
    def cell(self, apply: Walk, cell: int, reduction: bool, arch: jax.Array, entries: list[jax.Array]) -> jax.Array:
        """The output of a cell."""

    def costs(self, archs: np.ndarray) -> np.ndarray:
        """Return something that grows with the FLOPs `[N]`: the chosen ops at one size, by the number of cells."""
        flops = table(self.names, *REFERENCE, 1)[:, 1]
        normal, reduction = self.op_costs(archs, flops)
        number = sum(self.reductions)
        return (len(self.reductions) - number) * normal + number * reduction

    @abstractmethod
    def op_costs(self, archs: np.ndarray, flops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sums `[N]` of the ops' `flops` `[O]` in the normal and in the reduction cell."""

    def concat(self, nodes: Any) -> jax.Array:
        return jnp.concatenate(list(nodes), self.config.layout.channel)

    def _stem_outputs(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return channels, and how often the image was halved, of the first cell's two inputs."""
        outputs = [(self.config.image[2], 0)]
        for i, op in enumerate(stem_ops(self.frame, self.config), start=1):
            outputs.append((op.out_channels, i * (self.frame.stride - 1)))
        return (outputs[-2], outputs[-1]) if len(outputs) > 2 else (outputs[-1], outputs[-1])


@dataclass(frozen=True)
class GenotypeNetwork(TwoCellNetwork):
    """The network of one genotype `[A]`; ops and their sources are data.

    Weights belong to (cell, place, op), whatever the source. In a reduction cell an op has other weights on the
    cell's inputs, where it halves the image, than on nodes.

    Attributes:
      loose_ends: the output of a cell is made of the nodes that the architecture's last numbers name, the others being
        zeros; otherwise of all nodes. The ops that read it have the weights that they would draw for those nodes alone.
    """

    loose_ends: bool

    @property
    def length(self) -> int:
        return 2 + (10 if self.loose_ends else 8) * self.nodes

    def specialised(self, arch: np.ndarray) -> "OneGenotypeNetwork":
        return OneGenotypeNetwork(**vars(self), genotype=tuple(map(int, arch)))

    def cell_places(self, shape: CellShape) -> Mapping[int, Ops]:
        config, stride = self.config, 1 + shape.reduction
        ops = {name: cell_op(name, shape.channels, config, stride) for name in self.names}
        if shape.reduction:
            ops |= {f"{name}_on_node": cropped_op(name, shape.channels, config) for name in self.names}
        return dict.fromkeys(range(2 * self.nodes), ops)

    def cell(self, apply: Walk, cell: int, reduction: bool, arch: jax.Array, entries: list[jax.Array]) -> jax.Array:
        places, layout = 2 * self.nodes, self.config.layout
        pairs = self._pairs(arch)[int(reduction)]
        blank = jnp.zeros((self.nodes, *entries[0].shape), entries[0].dtype)
        targets = INPUTS + jnp.arange(places) // 2

        def turn(run: Any, nodes: jax.Array, x: tuple[jax.Array, ...]) -> jax.Array:
            (op, source), target = x
            y = run(nodes[source], op + len(self.names) * (source >= INPUTS) if reduction else op)
            return nodes.at[target].add(pad_after(y, entries[0].shape, layout))

        paths: list[Path] = [("cells", cell, place) for place in range(places)]
        nodes = apply.each(paths, turn, jnp.concatenate([jnp.stack(entries), blank]), (pairs, targets))[INPUTS:]
        if reduction:
            nodes = jax.lax.slice(nodes, [0] * 5, [len(nodes), *halved(entries[0].shape, layout)])
        if self.loose_ends:
            nodes *= self._outputs(arch)[int(reduction)].reshape(-1, 1, 1, 1, 1).astype(nodes.dtype)
        return self.concat(nodes)

    def input_shares(self, arch: jax.Array) -> Mapping[Path, jax.Array]:
        if not self.loose_ends:
            return {}
        of_cell = self._outputs(arch).mean(-1)
        given = [of_cell[int(reduction)] for reduction in self.reductions]
        shares: dict[Path, jax.Array] = {HEAD: given[-1]}
        for cell in range(len(given)):
            shares |= {("entries", cell, i): given[cell - 2 + i] for i in range(INPUTS) if cell - 2 + i >= 0}
        return shares

    def tap_masks(self, arch: jax.Array) -> Sequence[jax.Array] | None:
        if not self.loose_ends:
            return None
        outputs, shapes = self._outputs(arch), self.shapes
        of_cells = [jnp.repeat(outputs[int(shape.reduction)], shape.channels) for shape in shapes]
        of_stem = jnp.ones(self.tap_widths[0], bool)
        return [of_cells[cell - 1] if cell else of_stem for cell in (*self.before_taps, len(shapes))]

    def _pairs(self, arch: Any) -> Any:
        """The ops and their sources, of the normal and of the reduction cell `[2, 2 n, 2]`."""
        return arch[2 : 2 + 8 * self.nodes].reshape(2, 2 * self.nodes, 2)

    def _outputs(self, arch: Any) -> Any:
        """Which nodes are output, of the normal and of the reduction cell `[2, n]`."""
        return arch[2 + 8 * self.nodes :].reshape(2, self.nodes) > 0

    def op_costs(self, archs: np.ndarray, flops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ops = np.asarray(archs)[:, 2 : 2 + 8 * self.nodes : 2].reshape(len(archs), 2, -1)
        normal, reduction = flops[ops].sum(-1).T
        return normal, reduction


@dataclass(frozen=True)
class OneGenotypeNetwork(GenotypeNetwork):
    """The network of one genotype: no choices, nothing padded, and of a cell's nodes only those that are output.

    Attributes:
      genotype: the architecture `[A]`.
    """

    genotype: tuple[int, ...]

    @property
    def output_nodes(self) -> list[int]:
        return self._are_output.sum(-1).tolist()

    def cell_places(self, shape: CellShape) -> Mapping[int, Ops]:
        pairs = self._pairs(np.array(self.genotype))[int(shape.reduction)].tolist()
        strides = [1 + (shape.reduction and source < INPUTS) for _, source in pairs]
        names = [self.names[op] for op, _ in pairs]
        ops = (cell_op(name, shape.channels, self.config, stride) for name, stride in zip(names, strides, strict=True))
        return dict(enumerate(ops))

    def cell(self, apply: Walk, cell: int, reduction: bool, arch: jax.Array, entries: list[jax.Array]) -> jax.Array:
        sources, nodes = self._pairs(np.array(self.genotype))[int(reduction), :, 1], list(entries)
        for place in range(0, len(sources), 2):
            one, other = (apply(("cells", cell, i), nodes[sources[i]]) for i in (place, place + 1))
            nodes.append(one + other)
        return self.concat(itertools.compress(nodes[INPUTS:], self._are_output[int(reduction)]))

    def input_shares(self, arch: jax.Array) -> Mapping[Path, jax.Array]:
        return {}

    def tap_masks(self, arch: jax.Array) -> Sequence[jax.Array] | None:
        return None

    @property
    def _are_output(self) -> np.ndarray:
        return self._outputs(np.array(self.genotype)) if self.loose_ends else np.ones((2, self.nodes), bool)


def common(names: tuple[str, ...], nodes: int, name: str, group: Group, **changes: Any) -> dict[str, Any]:
    """The attributes of `TwoCellNetwork` in the setting `name`, with `changes` to its `Config`."""
    setting = SETTINGS[name]
    frame, thin = setting.frame, setting.sizes is None
    config = Config(
        channels=group.width,
        cells=group.depth,
        stem=bool(frame.stem),
        image=(frame.image, frame.image, setting.channels),
        classes=frame.classes,
        init=setting.init,
    )
    return {
        "names": names,
        "nodes": nodes,
        "frame": frame,
        "reductions": (False, True) if thin else tuple(reductions(group.depth)),
        "norm_before_head": thin,
        "before_taps": () if thin else (group.depth // 3, 2 * group.depth // 3),
        "config": replace(config, **changes),
    }


def entry_op(entry: Entry, channels: int, config: Config) -> Op:
    """What brings an input of a cell to the cell's channels, and to the other input's size."""
    if entry.halve:
        return module_op((FACTORIZED,), entry.channels, channels, config, 2)
    return ConvNorm(entry.channels, channels, 1, config.layout, bn=config.bn)


def pad_after(x: jax.Array, shape: tuple[int, ...], layout: Layout) -> jax.Array:
    """Pad height and width with zeros, below and on the right, to those of `shape`."""
    widths = [(0, 0)] * 4
    for axis in (layout.height, layout.width):
        widths[axis] = (0, shape[axis] - x.shape[axis])
    return jnp.pad(x, widths)


def halved(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """The shape of an image of half the height and width, rounded up."""
    half = list(shape)
    for axis in (layout.height, layout.width):
        half[axis] = -(-shape[axis] // 2)
    return tuple(half)
