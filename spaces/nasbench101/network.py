"""The network of NAS-Bench-101: stem, three stacks of equal cells with 2x2 maximum pooling between them, classifier.

A vertex's channels follow from the edges. With k vertices feeding the output, of the cell's C channels the first
C mod k of them get C // k + 1 and the others C // k; any other vertex gets what the widest vertex that it feeds has. So
within a cell channels differ by at most one, and k alone decides the shapes: every vertex is computed on the larger
number, and where it has one channel less, the last one is kept at zero. A zero neither adds to a value nor receives a
gradient, so values, gradients and NTK are those of the smaller network, from weights of its own fan-in
(`rescale_to_fan_in`).
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.kernels.pool import max_pool2x2
from jaxnas.network.network import HEAD, Config, Network, Ops, Path, Walk
from jaxnas.network.op import Op
from jaxnas.network.ops import ConvNorm, Head, Zero
from jaxnas.spaces.nasbench101.dag import EDGES, INTERIOR, VERTICES
from jaxnas.spaces.nasbench101.ops import MaxPool, Rectifier

CONVS = ("conv3x3-bn-relu", "conv1x1-bn-relu")
OPS = (*CONVS, "maxpool3x3")
ABSENT = len(OPS)  # the choice of an absent vertex, -1 in an architecture
OUTPUT = VERTICES - 1
RELU: Path = ("relu",)


def edge(source: int, target: int) -> int:
    """Which number of an architecture is the edge."""
    return source + target * (target - 1) // 2


def feeds_output(archs):
    """Return `[..., 5]` which of vertices 1 to 5 feed the output, for architectures `[..., 26]` of NumPy or JAX."""
    return archs[..., edge(1, OUTPUT) : edge(OUTPUT, OUTPUT)] > 0


def vertex_channels(archs, width: int):
    """Return `[..., 5]` the channels of vertices 1 to 5 in a cell of `width` channels; 0 where absent.

    The vertices that feed the output share its channels equally, the first ones getting the remainder, one each. Any
    other vertex has as many channels as the widest one that it feeds, so a source may have one channel too many for
    its target, which then reads all but the last.

    Args:
      archs: `[..., 26]`, of NumPy or JAX.
      width: channels of the cell's output.
    """
    xp, feeds = archs.__array_namespace__(), feeds_output(archs)
    count = xp.maximum(feeds.sum(-1, keepdims=True), 1)
    share = feeds * (width // count + (feeds.cumsum(-1) <= width % count))
    channels = [share[..., v] for v in range(INTERIOR)]
    for x in reversed(range(INTERIOR)):
        for y in range(x + 1, INTERIOR):
            passes = (archs[..., edge(x + 1, y + 1)] > 0) & ~feeds[..., x]
            channels[x] = xp.maximum(channels[x], passes * channels[y])
    return xp.stack(channels, -1)


@dataclass(frozen=True)
class NASBench101Network(Network):
    """The network of the architectures `[26]` in which so many vertices feed the output.

    Attributes:
      feeders: vertices beside the input that feed the output, 0 to 4; of none, the cell is a projection of its input.
      config: sizes and modes.
    """

    feeders: int
    config: Config

    @property
    def length(self) -> int:
        return len(EDGES) + INTERIOR

    @property
    def vertices(self) -> range:
        """The vertices between input and output."""
        return range(1, OUTPUT if self.feeders else 1)

    def specialised(self, arch: np.ndarray) -> "OneCellNetwork":
        return OneCellNetwork(self.feeders, self.config, tuple(map(int, arch)))

    def ops(self) -> dict[Path, Ops]:
        config, before = self.config, self.config.image[2]
        places: dict[Path, Ops] = {RELU: Rectifier(config.layout)}
        if config.stem:
            places["stem",] = self._conv(3, before, config.channels)
            before = config.channels
        for stack in range(config.stages):
            for cell in range(config.cells):
                path, after = ("stacks", stack, cell), config.width(stack)
                rooms = self.rooms(stack)
                places |= {(*path, "projections", v - 1): self._projection(before, rooms[v - 1]) for v in self.vertices}
                places[*path, "output", 0] = self._projection(before, after)
                places |= {(*path, "vertices", v - 1): self._choices(rooms[v - 1]) for v in self.vertices}
                before = after
        return {**places, HEAD: Head(before, config.classes, config.layout, norm_first=False)}  # the ReLU does nothing

    def choice_index(self, path: Path) -> int:
        *_, kind, index = path
        assert isinstance(index, int)
        return {"projections": edge(0, index + 1), "output": edge(0, OUTPUT), "vertices": len(EDGES) + index}[str(kind)]

    def input_shares(self, arch: jax.Array) -> Mapping[Path, jax.Array]:
        config = self.config
        shares: dict[Path, jax.Array] = {}
        for stack in range(config.stages):
            own = jnp.maximum(vertex_channels(arch, config.width(stack)), 1) / np.array(self.rooms(stack))
            for cell, v, op in itertools.product(range(config.cells), self.vertices, CONVS):
                shares["stacks", stack, cell, "vertices", v - 1, op] = own[v - 1]
        return shares

    def wire(self, apply: Walk, arch: jax.Array, x: jax.Array) -> list[jax.Array]:
        """The stacks' outputs, before the pooling."""
        config = self.config
        if config.stem:
            x = apply.block(apply(RELU, apply(("stem",), x)))
        features = []
        for stack in range(config.stages):
            if stack:
                x = max_pool2x2(x, config.layout)
            for cell in range(config.cells):
                x = apply.block(self._cell(apply, arch, x, ("stacks", stack, cell)))
            features.append(x)
        return features

    def _cell(self, apply: Walk, arch: jax.Array, x: jax.Array, path: Path) -> jax.Array:
        width = self.config.width(int(path[1]))
        output = apply(RELU, apply((*path, "output", 0), x, arch[edge(0, OUTPUT)]))
        if not self.feeders:
            return output
        values: list[jax.Array] = []
        for v in self.vertices:
            channels = vertex_channels(arch, width)[v - 1]
            projected = apply((*path, "projections", v - 1), x, arch[edge(0, v)])
            total = apply(RELU, self.first(projected, channels))
            for u, value in enumerate(values, start=1):
                total += self.along(arch[edge(u, v)], value, channels)
            y = apply((*path, "vertices", v - 1), total, arch[len(EDGES) + v - 1] % (ABSENT + 1))
            values.append(apply(RELU, self.first(y, channels)))
        return output + self.concatenated(arch, values, width)

    def rooms(self, stack: int) -> list[int]:
        """The channels that each vertex has room for `[5]`."""
        return [-(-self.config.width(stack) // max(self.feeders, 1))] * INTERIOR

    def first(self, x: jax.Array, channels: jax.Array) -> jax.Array:
        """Return `x` with zeros in place of all but its first channels."""
        axis = self.config.layout.channel
        return x * self.config.layout.per_channel(jnp.arange(x.shape[axis]) < channels)

    def along(self, edge: jax.Array, value: jax.Array, channels: jax.Array) -> jax.Array:
        """The first channels of a vertex's value at the end of an edge, zeros where there is none."""
        return edge * self.first(value, channels)

    def concatenated(self, arch: jax.Array, values: list[jax.Array], width: int) -> jax.Array:
        """The values of the vertices that feed the output side by side.

        Which vertex comes `i`-th is data; how many channels it has is not.
        """
        axis, position = self.config.layout.channel, feeds_output(arch).cumsum()
        parts = []
        for i in range(self.feeders):
            candidates = values[i : INTERIOR - self.feeders + i + 1]  # as many others come before and after it
            chosen = jnp.stack(candidates)[jnp.argmax(position > i) - i]
            share = width // self.feeders + (i < width % self.feeders)
            parts.append(jax.lax.slice_in_dim(chosen, 0, share, axis=axis))
        return jnp.concatenate(parts, axis)

    def _conv(self, size: int, before: int, after: int) -> ConvNorm:
        return ConvNorm(before, after, size, self.config.layout, relu=False, bn=self.config.bn)

    def _projection(self, before: int, after: int) -> dict[str, Op]:
        return {"none": Zero(after, self.config.layout), "projection": self._conv(1, before, after)}

    def _choices(self, width: int) -> dict[str, Op]:
        layout = self.config.layout
        ops = (self._conv(3, width, width), self._conv(1, width, width), MaxPool(width, layout), Zero(width, layout))
        return dict(zip((*OPS, "absent"), ops, strict=True))


@dataclass(frozen=True)
class OneCellNetwork(NASBench101Network):
    """The network of one architecture: every vertex has its own channels, and no others.

    Attributes:
      arch: the architecture `[26]`.
    """

    arch: tuple[int, ...]

    @property
    def vertices(self) -> range:
        return range(1, 1 + sum(op >= 0 for op in self.arch[len(EDGES) :]))

    def input_shares(self, arch: jax.Array) -> Mapping[Path, jax.Array]:
        return {}

    def wire(self, apply: Walk, arch: jax.Array, x: jax.Array) -> list[jax.Array]:
        known: Any = np.array(self.arch)
        return super().wire(apply, known, x)

    def rooms(self, stack: int) -> list[int]:
        return vertex_channels(np.array(self.arch), self.config.width(stack)).tolist()

    def first(self, x: jax.Array, channels: jax.Array) -> jax.Array:
        return jax.lax.slice_in_dim(x, 0, int(channels), axis=self.config.layout.channel)

    def along(self, edge: jax.Array, value: jax.Array, channels: jax.Array) -> jax.Array:
        return self.first(value, channels) if edge else jnp.zeros(())

    def concatenated(self, arch: jax.Array, values: list[jax.Array], width: int) -> jax.Array:
        feeding = [values[v - 1] for v in self.vertices if arch[edge(v, OUTPUT)]]
        return jnp.concatenate(feeding, self.config.layout.channel)
