"""The networks of TransNAS-Bench-101: of its cells in the skeleton 41414, and of its skeletons of residual blocks.

`benchmark` is that for a classification of 256x256 images. Neither TE-NAS nor GenNAS was published on these spaces; the
others follow their recipes elsewhere. `taps`: 32x32 images, a stem of 16 channels at stride 1; the taps are the
cells' outputs at 16x16, 8x8 and 4x4 pixels, those of a skeleton its last three outputs before the shape changes or the
end. `thin` of a skeleton: three channels on 32x32 images. `patches`: one channel, doubled as in the skeleton, of 3x3
inputs that nothing halves, so that skeletons with as many doublings share a network.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.network.network import HEAD, Config, Init, Network, Ops, Path, Walk
from jaxnas.network.op import Op
from jaxnas.network.ops import ConvNorm, Head, Identity, Zero
from jaxnas.spaces.blocks.modules import module_op
from jaxnas.spaces.blocks.parts import FACTORIZED
from jaxnas.spaces.blocks.stem import Frame, stem_ops

EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
CHANNELS, IMAGE, TAPS = 64, 256, 3
MICRO_SKELETON = "41414"
CELLS_PER_MODULE = 2  # or residual blocks, in the macro space
PLAIN_CONVS = 2 * CELLS_PER_MODULE
MOST_MODULES = 6


class Setting(NamedTuple):
    """A network for some form.

    Attributes:
      frame: what is around the modules.
      channels: of the stem.
      init: of the weights.
      colours: channels of the image.
      halving: whether modules 3 and 4 halve the image.
      norm_before_head: batch normalisation and ReLU stand before the classifier, as in TE-NAS's networks.
    """

    frame: Frame
    channels: int
    init: Init = "kaiming"
    colours: int = 3
    halving: bool = True
    norm_before_head: bool = False

    def config(self, **changes: Any) -> Config:
        """The `Config` with `changes`."""
        image = (self.frame.image, self.frame.image, self.colours)
        stem = bool(self.frame.stem)
        config = Config(self.channels, cells=1, stem=stem, image=image, classes=self.frame.classes, init=self.init)
        return replace(config, **changes)

    def modules(self, archs: Any) -> Any:
        """Return modules `[...]` as the network has them: where nothing halves, 3 is plain and 4 is 2."""
        return archs if self.halving else archs - 2 * (archs > 2)


CIFAR = Frame(image=32, classes=10, stem=(2,), stride=1)
MICRO: Mapping[str, Setting] = {
    "benchmark": Setting(Frame(image=IMAGE, classes=75, stem=(1, 2), stride=2), CHANNELS),
    "taps": Setting(CIFAR, 16, "pytorch"),
}
MACRO: Mapping[str, Setting] = {
    **MICRO,
    "thin": Setting(CIFAR, 3, norm_before_head=True),
    "patches": Setting(
        Frame(image=3, classes=10, stem=(), stride=1), 1, colours=1, halving=False, norm_before_head=True
    ),
}


def doubles(module: str) -> bool:
    """Say whether a module doubles the channels."""
    return module in "24"


def halves(module: str) -> bool:
    """Say whether a module halves the image."""
    return module in "34"


def edge_ops(before: int, after: int, config: Config, stride: int = 1) -> dict[str, Op]:
    """The operations from `before` to `after` channels, in the benchmark's order.

    A skip connection that changes the shape is a factorised reduction: two 1x1 convolutions, each to half the channels.
    """
    skip: Op = Identity(after, config.layout)
    if (before, stride) != (after, 1):
        skip = module_op((FACTORIZED,), before, after, config, stride)

    def conv(size: int) -> ConvNorm:
        return ConvNorm(before, after, size, config.layout, stride, affine=config.affine_cells, bn=config.bn)

    return dict(zip(OPS, (Zero(after, config.layout, stride), skip, conv(1), conv(3)), strict=True))


@dataclass(frozen=True)
class MicroNetwork(Network):
    """Two cells in each module of the skeleton; an architecture is an op index `[6]`.

    In the first cell of a module that changes the shape, the edges from the cell's input do.

    Attributes:
      frame: what is around the cells.
      config: sizes and modes.
      skeleton: the modules.
    """

    frame: Frame
    config: Config
    skeleton: str = MICRO_SKELETON

    @property
    def length(self) -> int:
        return len(EDGES)

    def ops(self) -> dict[Path, Ops]:
        config, width = self.config, self.config.channels
        places: dict[Path, Ops] = {("stem", i): op for i, op in enumerate(stem_ops(self.frame, config))}
        for cell, module in self._cells():
            before, width = width, width << doubles(module)
            entering = edge_ops(before, width, config, 1 + halves(module))
            for edge, (_, source) in enumerate(EDGES):
                places["cells", cell, edge] = edge_ops(width, width, config) if source else entering
        return {**places, HEAD: Head(width, config.classes, config.layout, norm_first=False, relu=False)}

    def wire(self, apply: Walk, arch: jax.Array, x: jax.Array) -> list[jax.Array]:
        """The last outputs of cells of each size, without that of the stem."""
        for i in range(len(self.frame.stem)):
            x = apply(("stem", i), x)
        features, x = list[jax.Array](), apply.block(x)
        for cell, module in self._cells():
            if halves(module):
                features.append(x)
            x = apply.block(self._through_cell(apply, cell, arch, x))
        return [*features[1:], x]

    def _through_cell(self, apply: Walk, cell: int, arch: jax.Array, x: jax.Array) -> jax.Array:
        """Take `x` along a cell's edges; those with the same ops are compiled once."""
        places = self.ops()
        entering = [edge for edge, (_, source) in enumerate(EDGES) if source == 0]
        inner = [edge for edge in range(len(EDGES)) if edge not in entering]
        ops = places["cells", cell, entering[0]]
        assert isinstance(ops, dict)
        nodes = jnp.zeros((1 + EDGES[-1][0], *ops["none"].out_shape(x.shape)), x.dtype)

        def along(edges: list[int], nodes: jax.Array, only: jax.Array | None = None) -> jax.Array:
            def turn(run: Any, nodes: jax.Array, edge: tuple[jax.Array, ...]) -> jax.Array:
                target, source, op = edge
                return nodes.at[target].add(run(nodes[source] if only is None else only, op))

            targets, sources = np.array([EDGES[edge] for edge in edges]).T
            paths: list[Path] = [("cells", cell, edge) for edge in edges]
            return apply.each(paths, turn, nodes, (targets, sources, arch[np.array(edges)]))

        if ops != places["cells", cell, inner[0]]:
            return along(inner, along(entering, nodes, x))[-1]
        return along(list(range(len(EDGES))), nodes.at[0].set(x))[-1]

    def _cells(self) -> Iterator[tuple[int, str]]:
        """Yield the cells' numbers, each with its module if it is the first one there, otherwise with module 1."""
        rows = (module + "1" * (CELLS_PER_MODULE - 1) for module in self.skeleton)
        return enumerate(itertools.chain.from_iterable(rows))


@dataclass(frozen=True)
class MacroNetwork(Network):
    """Skeletons that change the shape alike; where there are plain modules, and how many, is data.

    An architecture is the row of its modules `[6]`. Between blocks flow sums before their ReLU.

    Attributes:
      shape_changes: the modules that change the shape, in order.
      slots: room for plain modules before the first of them, after each one.
      setting: for which form.
      config: sizes and modes.
    """

    shape_changes: str
    slots: tuple[int, ...]
    setting: Setting
    config: Config

    @property
    def length(self) -> int:
        return MOST_MODULES

    def choice_index(self, path: Path) -> int:
        """Which module a place belongs to, in a network with room for no more modules than there are."""
        _, name, conv = path
        return int(name) + sum(self.slots[: int(name)]) + int(conv) // PLAIN_CONVS

    def chosen(self, path: Path, arch: np.ndarray) -> int:
        return super().chosen(path, self.setting.modules(arch))

    def specialised(self, arch: np.ndarray) -> "MacroNetwork":
        return replace(self, slots=tuple(self._plain_modules(arch).tolist()))

    def ops(self) -> dict[Path, Ops]:
        config, width = self.config, self.config.channels
        places: dict[Path, Ops] = {("stem", i): op for i, op in enumerate(stem_ops(self.setting.frame, config))}
        for stage, module in enumerate(["1", *self.shape_changes]):
            if stage:
                before, width = width, width << doubles(module)
                stride = 1 + (halves(module) and self.setting.halving)
                for name, op in self._change(before, width, stride).items():
                    places["changes", stage - 1, name] = op
            choice: dict[str, Op] = {"none": Zero(width, config.layout), "conv": self._conv(width, width)}
            places |= dict.fromkeys(self._plain_paths(stage), choice)
        return {**places, HEAD: Head(width, config.classes, config.layout, config.bn, self.setting.norm_before_head)}

    def wire(self, apply: Walk, arch: jax.Array, x: jax.Array) -> list[jax.Array]:
        """The last three of the outputs of the stem and before each change of shape, and at the end."""
        for i in range(len(self.setting.frame.stem)):
            x = apply(("stem", i), x)
        x = apply.block(x)
        counts, features = self._plain_modules(arch), [x]
        for stage in range(len(self.slots)):
            if stage:
                x = self._through_change(apply, stage - 1, x)
            x = self._through_plain(apply, stage, counts[stage], x)
            features.append(x)
        return features[-TAPS:]

    def costs(self, archs: np.ndarray) -> np.ndarray:
        """The FLOPs `[N]` of the plain modules: the others are those of all architectures."""
        places, inputs = self.ops(), self.flow.inputs
        flops = np.zeros(len(self.slots), np.int64)
        for path, ops in places.items():
            if isinstance(ops, dict):
                height, width, _ = inputs[path]
                flops[int(path[1])] = PLAIN_CONVS * ops["conv"].flops(height * width)
        return self._plain_modules(np.asarray(archs)) @ flops

    def _plain_modules(self, archs: Any) -> Any:
        return plain_modules(self.setting.modules(archs), len(self.shape_changes))

    def _conv(self, before: int, after: int, size: int = 3, stride: int = 1) -> ConvNorm:
        return ConvNorm(before, after, size, self.config.layout, stride, bn=self.config.bn)

    def _change(self, before: int, after: int, stride: int) -> dict[str, Op]:
        """The ops of a module that changes the shape; its first block does."""
        ops: dict[str, Op] = {"conv0": self._conv(before, after, stride=stride)}
        if (before, stride) != (after, 1):
            ops["shortcut"] = self._conv(before, after, 1, stride)
        return ops | {f"conv{i}": self._conv(after, after) for i in range(1, PLAIN_CONVS)}

    def _through_change(self, apply: Walk, number: int, x: jax.Array) -> jax.Array:
        y = apply(("changes", number, "conv1"), apply(("changes", number, "conv0"), x))
        shortcut: Path = ("changes", number, "shortcut")
        x = apply.block(y + (apply(shortcut, x) if shortcut in self.ops() else jax.nn.relu(x)))
        y = apply(("changes", number, "conv3"), apply(("changes", number, "conv2"), x))
        return apply.block(jax.nn.relu(x) + y)

    def _plain_paths(self, stage: int) -> list[Path]:
        return [("plain", str(stage), conv) for conv in range(PLAIN_CONVS * self.slots[stage])]

    def _through_plain(self, apply: Walk, stage: int, count: jax.Array, x: jax.Array) -> jax.Array:
        """Take `x` through so many plain modules."""
        paths = self._plain_paths(stage)
        if not paths:
            return x

        def turn(run: Any, carry: tuple[jax.Array, jax.Array], x: tuple[jax.Array, jax.Array]) -> Any:
            (before, y), (present, second) = carry, x
            y = run(y, present)
            block = jnp.where(present > 0, jax.nn.relu(before) + y, before)  # to a block's second convolution
            after = apply.block(jnp.where(second, block, before), (present > 0) & second)
            return after, jnp.where(second, after, y)

        present = jnp.arange(len(paths)) // PLAIN_CONVS < count
        seconds = np.arange(len(paths)) % 2 == 1
        return apply.each(paths, turn, (x, x), (present.astype(jnp.int32), seconds))[0]


def micro_network(form: str, **changes: Any) -> MicroNetwork:
    """The network of all cells for `form`, `benchmark` or `taps`, with `changes` to its `Config`."""
    setting = MICRO[form]
    return MicroNetwork(setting.frame, setting.config(**changes))


def macro_network(form: str, shape_changes: str, **changes: Any) -> MacroNetwork:
    """The network for `form` of the skeletons that are `shape_changes` without their plain modules.

    It has room for as many of these as a skeleton can have, everywhere. `changes` are to its `Config`.
    """
    slots = (MOST_MODULES - len(shape_changes),) * (len(shape_changes) + 1)
    return MacroNetwork(shape_changes, slots, MACRO[form], MACRO[form].config(**changes))


def plain_modules(archs: Any, changes: int) -> Any:
    """Return `[..., changes + 1]` how many modules 1 the rows of modules `[..., 6]` have before, between and after so
    many others.
    """
    stage = (archs > 1).cumsum(-1)[..., None] == np.arange(changes + 1).reshape((1,) * archs.ndim + (-1,))
    return (stage & (archs == 1)[..., None]).sum(-2)
