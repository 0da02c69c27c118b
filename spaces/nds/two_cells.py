"""Spaces of a normal and a reduction cell, NDS's (Radosavovic et al., ICCV 2019).

A cell's nodes 0 and 1 are the outputs of the two cells before it; each of its n own nodes is the sum of two ops on
earlier nodes; some of them, concatenated, are its output. An architecture is `[2 + 8 n]` or `[2 + 10 n]`:

    width, depth, then for the normal and the reduction cell and each node twice (op, source node),
    then, where not all nodes are output, for each cell and node whether it is (the nodes that no other node uses).

A width or depth of -1 is the default of the data set. `darts` is the space of NDS's ImageNet networks, `darts:cifar10`
that of its CIFAR-10 networks, which has other counts, default sizes and modules, and the same scores. Strings are
entries of NDS (JSON); `genotype` says what else is read.
"""

import math
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import numpy as np

from jaxnas.errors import UserError, unknown
from jaxnas.spaces.base import Space
from jaxnas.spaces.blocks.stem import Frame
from jaxnas.spaces.datasets import NDS
from jaxnas.spaces.graphs import GraphCode
from jaxnas.spaces.nds.code import graph_code
from jaxnas.spaces.nds.counts import FRAMES, Cells, capacity, count, layers, reductions
from jaxnas.spaces.nds.genotype import CELLS, COLUMNS, Genotype, Pair, parse, to_json
from jaxnas.spaces.nds.network import INPUTS, SETTINGS, THIN, GenotypeNetwork, Group, TwoCellNetwork, common
from jaxnas.spaces.sampling import distinct, generator
from jaxnas.spaces.strings import STRINGS

LARGEST = 1000  # width or depth
MOST_PARAMS = 6_000_000  # of what NDS drew on ImageNet
BENCHMARK = "benchmark"

Sizes = Mapping[str, tuple[int, int]]
"""By data set, width and depth."""
PUBLISHED: Sizes = {"imagenet": (48, 14), "cifar10": (36, 20)}  # of DARTS's own networks


class Drawn(NamedTuple):
    """The widths and depths that NDS drew from for a data set."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]


DRAWN: Mapping[str, Drawn] = {
    "imagenet": Drawn((32, 48, 64, 80, 96), (6, 10, 14, 18, 22)),
    "cifar10": Drawn((16, 24, 32, 40, 48), (4, 8, 12, 16, 20)),
}


@dataclass(frozen=True)
class TwoCells(Space):
    """Networks of a normal and a reduction cell.

    Attributes:
      name: as given on the command line.
      ops: names from `parts.OPS`; an architecture holds positions in it.
      nodes: of a cell, without its inputs.
      loose_ends: a cell outputs the nodes that no other node uses; otherwise all nodes.
      default: width and depth where an architecture has none.
      drawn: what NDS drew them from, by data set.
      dataset: as in `Space`.
    """

    name: str
    ops: tuple[str, ...]
    nodes: int
    loose_ends: bool
    default: Sizes
    drawn: Mapping[str, Drawn] = field(default_factory=lambda: DRAWN)
    dataset: str = "imagenet"

    datasets = NDS
    convention = (
        "multiply-adds of the convolutions and the classifier, one operation for each input of a ReLU, a pooling's "
        "window for each of its outputs: NDS's own count (equal to its ImageNet tables on all rows at hand, and on "
        "CIFAR-10 to one of its entries)"
    )
    string_columns = (*STRINGS, *COLUMNS)
    reads = "an entry of NDS (JSON), Genotype(...) out of code or a log, a name such as DARTS_V2"

    @property
    def searched(self) -> str:  # type: ignore[override]
        sizes = ", width, depth" if len(self.widths) * len(self.depths) > 1 else ""
        return f"2 of {len(self.ops)} operations and their inputs at each of {self.nodes} nodes of 2 cells{sizes}"

    @property
    def example(self) -> str:  # type: ignore[override]
        """All ops in turn, at the default size."""
        ops = np.arange(4 * self.nodes).reshape(1, 2, -1) % len(self.ops)
        return self.decode(self.join(np.array([[-1, -1]]), ops, ops % self._choices)[0])

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths that NDS drew from."""
        return self.drawn[self.dataset].widths

    @property
    def depths(self) -> tuple[int, ...]:
        """Depths that NDS drew from."""
        return self.drawn[self.dataset].depths

    @property
    def size(self) -> int:
        cell = math.prod(self._choices.tolist()) * len(self.ops) ** (2 * self.nodes)
        return len(self.widths) * len(self.depths) * cell**2

    @property
    def graph_code(self) -> GraphCode:
        return graph_code(self.ops, self.nodes, split=self.split, join=self.join)

    def encode(self, string: str) -> np.ndarray:
        """The architecture `[A]` of a JSON entry of NDS, a `Genotype(...)` or a name (see `genotype`)."""
        try:
            return self._encode(parse(string))
        except UserError as error:
            raise UserError(f"malformed architecture {' '.join(string.split())!r}: {error}") from None

    def decode(self, arch: np.ndarray) -> str:
        """Return NDS's JSON of an architecture `[A]`."""
        return to_json(self.genotype(arch))

    def genotype(self, arch: np.ndarray) -> Genotype:
        """An architecture `[A]` in names; `genotype.to_call` makes DARTS's string of it."""
        ops, sources, outputs = (part[0] for part in self.split(np.asarray(arch)[None]))
        normal, reduce = (
            [(self.ops[op], source) for op, source in zip(*cell, strict=True)]
            for cell in zip(ops.tolist(), sources.tolist(), strict=True)
        )
        return Genotype(normal, _nodes(outputs[0]), reduce, _nodes(outputs[1]), int(arch[0]), int(arch[1]))

    def split(self, archs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ops and sources `[N, 2, 2 n]` of architectures `[N, A]`, and which nodes are output `[N, 2, n]`."""
        archs = np.asarray(archs)
        pairs = archs[:, 2 : 2 + 8 * self.nodes].reshape(len(archs), 2, 2 * self.nodes, 2)
        return pairs[..., 0], pairs[..., 1], self._outputs(pairs[..., 1])

    def join(self, sizes: np.ndarray, ops: np.ndarray, sources: np.ndarray) -> np.ndarray:
        """The architectures `[N, A]` of widths and depths `[N, 2]`, ops and sources `[N, 2, 2 n]`."""
        parts = [sizes, np.stack([ops, sources], -1).reshape(len(sizes), -1)]
        if self.loose_ends:
            parts.append(self._outputs(sources).reshape(len(sizes), -1))
        return np.concatenate(parts, 1).astype(np.int32)

    def sample(self, key: jax.Array, n: int) -> np.ndarray:
        """Draw `n` different architectures `[n, A]` as NDS did: all choices uniform, on ImageNet at most 6 million
        parameters.
        """
        rng = generator(key)

        def propose(draws: int) -> np.ndarray:
            sizes = np.stack([rng.choice(self.widths, draws), rng.choice(self.depths, draws)], 1)
            ops = rng.integers(len(self.ops), size=(draws, 2, 2 * self.nodes))
            archs = self.join(sizes, ops, rng.integers(self._choices, size=ops.shape))
            return archs[self._is_small(archs)]

        return distinct(self.name, self.size, n, propose)

    def mutate(self, key: jax.Array, arch: np.ndarray) -> np.ndarray:
        """Return `arch` `[A]` with another op or another source in one place; width and depth are kept.

        It is no larger than what `sample` draws, unless `arch` is.
        """
        rng, archs = generator(key), np.array(arch)[None]
        (limited,) = self._is_small(archs)
        while True:
            ops, sources, _ = self.split(archs.copy())
            cell, place = rng.integers(2), rng.integers(2 * self.nodes)
            part, choices = (ops, len(self.ops)) if rng.integers(2) else (sources, self._choices[place])
            part[0, cell, place] = (part[0, cell, place] + rng.integers(1, choices)) % choices
            child = self.join(archs[:, :2], ops, sources)
            if not limited or self._is_small(child)[0]:
                return child[0]

    def _is_small(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` whether NDS would draw networks of the sizes of `archs` `[N, A]`."""
        return (self.params(archs) <= MOST_PARAMS) | (self.dataset != "imagenet")

    def canonical(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N, A]` with the two inputs of each node in order of op, then source."""
        ops, sources, _ = self.split(archs)
        most = self.nodes + INPUTS
        pairs = np.sort((ops * most + sources).reshape(len(ops), 2, self.nodes, 2), -1).reshape(ops.shape)
        return self.join(np.asarray(archs)[:, :2], pairs // most, pairs % most)

    def is_disconnected(self, archs: np.ndarray) -> np.ndarray:
        leads = self._leads(archs)
        depths = self.sizes(archs)[:, 1]
        connected = np.ones(len(leads), bool)
        for depth in np.unique(depths).tolist():
            cells = leads[depths == depth]
            before = last = np.ones(len(cells), bool)
            for reduction in reductions(depth):
                reached = np.stack([before, last], -1) & cells[:, int(reduction)]
                before, last = last, reached.any(-1)
            connected[depths == depth] = last
        return ~connected

    def sizes(self, archs: np.ndarray, dataset: str | None = None) -> np.ndarray:
        """The widths and depths `[N, 2]` of architectures `[N, A]`, those of a data set where they are -1."""
        given = np.asarray(archs)[:, :2]
        return np.where(given == -1, self.default[dataset or self.dataset], given)

    def groups(self, archs: np.ndarray, form: str) -> list[Hashable]:
        """Return width and depth."""
        sizes = SETTINGS[self._setting(form)].sizes
        found = np.tile(THIN, (len(archs), 1)) if sizes is None else self.sizes(archs, sizes)
        return [Group(*size) for size in found.tolist()]

    @property
    def forms(self) -> Collection[str]:
        return (BENCHMARK, *(name for name in SETTINGS if name not in self.datasets))

    def shrunk(self, width: int) -> None:
        return None

    def network(self, form: str = "benchmark", group: Hashable = None, **changes) -> TwoCellNetwork:
        """The network of a group; without one that of `example`."""
        setting = self._setting(form)
        if group is None:
            (group,) = self.groups(self.encode(self.example)[None], form)
        assert isinstance(group, Group)
        return GenotypeNetwork(**common(self.ops, self.nodes, setting, group, **changes), loose_ends=self.loose_ends)

    def params(self, archs: np.ndarray) -> np.ndarray:
        return self.counts(archs)[:, 0]

    def flops(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the operations on one image, as NDS counts them (see `parts`)."""
        return self.counts(archs)[:, 1]

    def counts(self, archs: np.ndarray) -> np.ndarray:
        """The parameters and operations `[N, 2]`, without an auxiliary head."""
        return self._counted(archs, count, np.zeros((len(archs), 2), np.int64))

    def layers(self, archs: np.ndarray) -> np.ndarray:
        return self._counted(archs, layers, np.zeros(len(archs), np.int64))

    def spectral_capacity(self, archs: np.ndarray) -> np.ndarray:
        return self._counted(archs, capacity, np.zeros(len(archs)))

    def _counted(
        self, archs: np.ndarray, of: Callable[[Cells, int, int, Frame], np.ndarray], counts: np.ndarray
    ) -> np.ndarray:
        """Put what `of` counts of networks of one width and depth into `counts` `[N, ...]`."""
        sizes = self.sizes(archs)
        ops, sources, outputs = self.split(archs)
        for width, depth in np.unique(sizes, axis=0).tolist():
            rows = (sizes == (width, depth)).all(1)
            cells = Cells(self.ops, ops[rows], sources[rows], outputs[rows].sum(-1, dtype=np.int64))
            counts[rows] = of(cells, width, depth, FRAMES[self.dataset])
        return counts

    def _setting(self, form: str) -> str:
        """The name in `SETTINGS` of the network for `form`."""
        self.check_form(form)
        return self.dataset if form == BENCHMARK else form

    @property
    def _choices(self) -> np.ndarray:
        """Number of sources that each input of a node chooses from `[2 n]`."""
        return np.repeat(np.arange(self.nodes) + INPUTS, 2)

    def _outputs(self, sources: np.ndarray) -> np.ndarray:
        """Which nodes are output `[N, 2, n]`, given the sources `[N, 2, 2 n]`."""
        own = np.arange(self.nodes) + INPUTS
        used = (sources[..., None] == own).any(-2)
        return ~used if self.loose_ends else np.ones_like(used)

    def _leads(self, archs: np.ndarray) -> np.ndarray:
        """Whether an input of a cell reaches its output, `[N, 2 cells, 2 inputs]`."""
        ops, sources, outputs = self.split(archs)
        open_ = ops != self.ops.index("none") if "none" in self.ops else np.ones(ops.shape, bool)
        reached = np.zeros((*ops.shape[:2], INPUTS + self.nodes, INPUTS), bool)
        reached[:, :, range(INPUTS), range(INPUTS)] = True
        for place in range(2 * self.nodes):
            source = np.take_along_axis(reached, sources[:, :, place, None, None], 2)[:, :, 0]
            reached[:, :, INPUTS + place // 2] |= source & open_[:, :, place, None]
        return (reached[:, :, INPUTS:] & outputs[..., None]).any(2)

    def _encode(self, read: Genotype) -> np.ndarray:
        for name, value, step in (("width", read.width, 2), ("depth", read.depth, 1)):
            if value != -1 and value not in range(step, LARGEST + 1, step):
                raise UserError(f"{name} is {value}; choose a multiple of {step} from {step} to {LARGEST}")
        cells = [self._encode_cell(cell, getattr(read, cell)) for cell in CELLS]
        ops, sources = np.moveaxis(np.array(cells), -1, 0)
        for cell, outputs in zip(CELLS, self._outputs(sources[None])[0], strict=True):
            given, expected = getattr(read, f"{cell}_concat"), _nodes(outputs)
            if given is not None and sorted(given) != expected:
                rule = "the nodes that no other node uses" if self.loose_ends else "all nodes"
                raise UserError(f"{cell}_concat is {given}; in {self.name} it is {rule}: {expected}")
        return self.join(np.array([[read.width, read.depth]]), ops[None], sources[None])[0]

    def _encode_cell(self, cell: str, pairs: list[Pair]) -> list[tuple[int, int]]:
        if len(pairs) != 2 * self.nodes:
            raise UserError(f"{cell} has {len(pairs)} entries; {self.name} has {2 * self.nodes}, two per node")
        codes = []
        for place, (op, source) in enumerate(pairs):
            where = f"{cell}, entry {place} (node {INPUTS + place // 2})"
            if op not in self.ops:
                raise UserError(f"{where}: {unknown('operation', op, self.ops)}")
            if not 0 <= source < self._choices[place]:
                raise UserError(f"{where}: its source is node {source}; choose from 0 to {self._choices[place] - 1}")
            codes.append((self.ops.index(op), source))
        return codes


def _nodes(outputs: np.ndarray) -> list[int]:
    return (np.flatnonzero(outputs) + INPUTS).tolist()
