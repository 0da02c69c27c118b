"""NAS-Bench-101 (Ying et al., ICML 2019): cells of up to seven vertices, nine edges, three operations; 423,624 classes.

An architecture is `[26]`: 21 edges, 0 or 1, in the order of `EDGES` (edge x -> y at `x + y (y - 1) / 2`), then the
operations of vertices 1 to 5. Vertex 0 is the input, 6 the output. It is pruned: every vertex lies on a path from input
to output. Where there are fewer vertices, the last ones before the output are absent: operation -1 and no edges.

The network for `taps` is GenNAS's, but of the normalisations only the stem's uses running moments in evaluation,
the others the batch's. TE-NAS was not published on this space; `thin` and `patches` follow its recipe elsewhere: one
cell per stack, here of four channels, the fewest of which every vertex gets one; for `patches` a single cell without
stem on 3x3 inputs.
"""

import functools
import json
from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import jax
import numpy as np

from jaxnas.errors import UserError
from jaxnas.kernels.capacity import log_determinant
from jaxnas.network.network import Config
from jaxnas.spaces import literals
from jaxnas.spaces.base import Space
from jaxnas.spaces.datasets import CIFAR10, Dataset
from jaxnas.spaces.graphs import GraphCode
from jaxnas.spaces.nasbench101 import dag
from jaxnas.spaces.nasbench101.code import graph_code
from jaxnas.spaces.nasbench101.dag import EDGES, INTERIOR, VERTICES
from jaxnas.spaces.nasbench101.hashes import module_hashes
from jaxnas.spaces.nasbench101.network import OPS, NASBench101Network, edge, feeds_output, vertex_channels
from jaxnas.spaces.nasbench101.table import COLUMNS, from_table, numbers_of
from jaxnas.spaces.nasbench101.text import parse, together
from jaxnas.spaces.sampling import check_number, generator
from jaxnas.spaces.strings import RowError, encode_rows, no_column

KERNEL_AREA = np.array([9, 1, 0, 0])  # of the ops' convolutions; the last one is that of an absent vertex, -1
MAX_EDGES = 9
MAX_FEEDERS = MAX_EDGES // 2  # vertices that feed the output: each of them needs an edge to it, too
CHANNELS, STACKS, CELLS, IMAGE, CLASSES = 128, 3, 3, 32, 10
NETWORKS: Mapping[str, Config] = {
    "benchmark": Config(channels=CHANNELS, cells=CELLS),
    "thin": Config(channels=MAX_FEEDERS, cells=1),
    "patches": Config(channels=MAX_FEEDERS, cells=1, stages=1, stem=False, image=(3, 3, 1)),
    "taps": Config(channels=16, cells=CELLS, init="pytorch"),
}


class NASBench101(Space):
    """Cells given by an upper triangular matrix and the operations at its vertices.

    The string form is JSON, `{"matrix": [[...], ...], "ops": ["input", ..., "output"]}`: the arguments of the
    benchmark's own `ModelSpec`. Read as well are calls of `ModelSpec`, Python literals and prints of arrays, the keys
    `module_adjacency` and `module_operations` of the benchmark's files, the names of its constants (`CONV3X3`), and
    indices in the order of `enumerate()`, of which the first one takes half a minute. Other keys do not matter.
    """

    name = "nasbench101"
    searched = "up to 9 edges among 7 vertices of a cell, 1 of 3 operations at each inner one"
    reads = "matrix and ops (JSON, Python, ModelSpec(...)), the benchmark's index"
    datasets: ClassVar[Mapping[str, Dataset]] = {"cifar10": CIFAR10}
    dataset = "cifar10"
    convention = (
        "multiply-adds of the convolutions and the classifier, jaxnas's own count, as the benchmark publishes none "
        "(#params equal to its table on 42,362 cells)"
    )
    example = '{"matrix":[[0,1,1],[0,0,1],[0,0,0]],"ops":["input","conv3x3-bn-relu","output"]}'

    @property
    def size(self) -> int:
        """Number of isomorphism classes."""
        return 423_624

    @property
    def graph_code(self) -> GraphCode:
        return graph_code(OPS, MAX_EDGES)

    def encode(self, string: str) -> np.ndarray:
        """The architecture `[26]` of a string or an index, pruned; `UserError` says which entry is wrong."""
        if (index := literals.index(string)) is not None:
            return self.from_ids(np.array([index]))[0]
        matrix, ops = parse(string)
        bits = sum(matrix[x][y] << (x + y * (y - 1) // 2) for y in range(len(ops)) for x in range(y))
        labels = np.full((1, INTERIOR), -1)
        labels[0, : len(ops) - 2] = [OPS.index(op) for op in ops[1:-1]]
        graph = dag.prune(_pack(from_table(np.array([len(ops)]), np.array([bits]), labels)))
        if not graph.all():
            raise UserError(f"{string!r}: no path leads from input to output; add edges")
        if (edges := int(dag.edge_count(graph)[0])) > MAX_EDGES:
            raise UserError(
                f"{string!r}: {edges} edges on paths from input to output; at most {MAX_EDGES} are allowed, remove some"
            )
        return _unpack(graph)[0]

    def decode(self, arch: np.ndarray) -> str:
        present = [0, *(1 + np.flatnonzero(arch[len(EDGES) :] >= 0)), VERTICES - 1]
        matrix = np.zeros((VERTICES, VERTICES), int)
        matrix[tuple(np.array(EDGES).T[::-1])] = arch[: len(EDGES)]
        ops = ["input", *(OPS[op] for op in arch[len(EDGES) :] if op >= 0), "output"]
        return json.dumps({"matrix": matrix[np.ix_(present, present)].tolist(), "ops": ops}, separators=(",", ":"))

    def from_table(self, columns: Mapping[str, Any]) -> np.ndarray:
        """The architectures `[N, 26]` of rows with strings, with matrices and operations, or with numbers.

        Raises:
          UserError: neither is there, or one is no cell of the space; the message says which.
        """
        if any(name in columns for name in self.string_columns):
            return super().from_table(columns)
        if (strings := together(columns)) is not None:
            return encode_rows(self.encode, strings)
        if missing := [name for name in COLUMNS if name not in columns]:
            raise no_column(f"'arch' or {missing[0]!r}", columns)
        numbers = numbers_of(columns)
        graphs = dag.prune(_pack(from_table(numbers[:, 0], numbers[:, 1], numbers[:, 2:])))
        wrong = np.flatnonzero((graphs == 0) | (dag.edge_count(graphs) > MAX_EDGES))
        if len(wrong):
            problem = f"no path from input to output, or more than {MAX_EDGES} edges on such paths"
            raise RowError(int(wrong[0]), problem)
        return _unpack(graphs)

    def enumerate(self) -> np.ndarray:
        """One architecture of each class `[423624, 26]`, in the order of the benchmark's hashes.

        It is the first one that the benchmark generates, so the one in its table. The hashes take half a minute, once
        in a process.
        """
        return _unpack(_by_hash())

    def from_ids(self, ids: np.ndarray) -> np.ndarray:
        """The architectures `[N, 26]` of indices `[N]` in `enumerate()`; the first call takes half a minute."""
        return _unpack(_by_hash()[self.checked_ids(ids)])

    def sample(self, key: jax.Array, n: int) -> np.ndarray:
        """Draw architectures of `n` different classes `[n, 26]`, as the benchmark's random search and GenNAS do.

        That is, as if seven-vertex matrices with every edge and operation equally likely were drawn and pruned until
        there are `n` different valid ones. It is not uniform over the classes: small cells are drawn more often.
        """
        check_number(self.name, n, self.size)
        classes, draws = _classes()
        return _unpack(generator(key).choice(classes, n, replace=False, p=draws / draws.sum()))

    def sample_evenly(self, key: jax.Array, n: int) -> np.ndarray:
        """Draw architectures of `n` different classes `[n, 26]`, all classes being equally likely."""
        check_number(self.name, n, self.size)
        return _unpack(generator(key).choice(_classes()[0], n, replace=False))

    def mutate(self, key: jax.Array, arch: np.ndarray) -> np.ndarray:
        """Return `arch` `[26]` with each edge flipped with probability 1/7 and each operation changed with 1/5, pruned.

        This is repeated until the result is valid; it may be `arch` itself. Source: the benchmark's regularised
        evolution, which GenNAS uses. There a cell keeps the vertices that pruning hides; here an absent vertex starts
        without edges and with a random operation.
        """
        rng = generator(key)
        while True:
            edges = arch[: len(EDGES)] ^ (rng.random(len(EDGES)) < 1 / VERTICES)
            ops = np.where(arch[len(EDGES) :] < 0, rng.integers(len(OPS), size=INTERIOR), arch[len(EDGES) :])
            changed = rng.random(INTERIOR) < 1 / INTERIOR
            ops = (ops + changed * rng.integers(1, len(OPS), size=INTERIOR)) % len(OPS)
            graph = dag.prune(dag.pack(edges[None], ops[None]))
            if graph.all() and dag.edge_count(graph)[0] <= MAX_EDGES:
                return _unpack(graph)[0]

    def canonical(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N, 26]` the architecture of `enumerate()` that is isomorphic to each one."""
        return _unpack(dag.canonical(_pack(archs)))

    def as_listed(self, archs: np.ndarray) -> np.ndarray:
        return self.canonical(archs)

    def is_disconnected(self, archs: np.ndarray) -> np.ndarray:
        return dag.prune(_pack(archs)) == 0

    def groups(self, archs: np.ndarray, form: str) -> list[Hashable]:
        """Return for each of `archs` `[N, 26]` the number of vertices that feed the output, without the input."""
        return feeds_output(np.asarray(archs)).sum(-1).tolist()

    @property
    def forms(self) -> Collection[str]:
        return NETWORKS

    def stage_width(self, width: int) -> int:
        """Four times the width: vertices that feed the output share its channels."""
        return MAX_FEEDERS * width

    def shallow(self, cells: int) -> int:
        return min(cells, NETWORKS["taps"].cells)

    def network(self, form: str = "benchmark", group: Hashable = None, **changes) -> NASBench101Network:
        """The network for `form` of architectures in which `group`, 0 to 4, vertices feed the output.

        `changes` are to its `Config`, such as `bn`, `init` or `channels`.
        """
        self.check_form(form)
        if not isinstance(group, int) or group not in range(MAX_FEEDERS + 1):
            raise UserError(
                f"{self.name} has a network for each number of vertices that feed the output; group is {group!r}, "
                f"give 0 to {MAX_FEEDERS}"
            )
        return NASBench101Network(group, replace(NETWORKS[form], **changes))

    def params(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the trainable parameters, with scale and shift of the normalisations, as in the table."""
        fixed = (27 + 2) * CHANNELS + (_width(STACKS - 1) + 1) * CLASSES  # stem and classifier
        cells = [_convolutions(archs, before, after) for before, after, _ in _cells()]
        return fixed + np.sum([weights + 2 * normalised for weights, normalised in cells], 0)

    def flops(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the multiply-adds of the convolutions and the classifier for one 32x32 image.

        The benchmark's table has no such column. As for the other spaces, sums, ReLUs, normalisations and maximum
        pooling are not counted.
        """
        fixed = 27 * CHANNELS * IMAGE**2 + _width(STACKS - 1) * CLASSES
        cells = [_convolutions(archs, before, after)[0] * pixels for before, after, pixels in _cells()]
        return fixed + np.sum(cells, 0)

    def layers(self, archs: np.ndarray) -> np.ndarray:
        projections = np.asarray(archs)[:, [edge(0, y) for y in range(1, VERTICES)]].sum(1)
        operations = (KERNEL_AREA[np.asarray(archs)[:, len(EDGES) :]] > 0).sum(1)
        return 2 + STACKS * CELLS * (projections + operations)  # with stem and classifier

    def spectral_capacity(self, archs: np.ndarray) -> np.ndarray:
        fixed = log_determinant(CHANNELS, 27) + log_determinant(CLASSES, _width(STACKS - 1))
        return fixed + np.sum([_capacity(np.asarray(archs), before, after) for before, after, _ in _cells()], 0)


def _convolutions(archs: np.ndarray, before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `[N]` the weights of the convolutions of a cell, and `[N]` their output channels, all normalised.

    Beside the operations, 1x1 convolutions project the input to every vertex that reads it, the output included.
    """
    channels = np.pad(vertex_channels(archs, after), ((0, 0), (0, 1)), constant_values=after)
    projected = archs[:, [edge(0, y) for y in range(1, VERTICES)]] * channels
    areas, inner = KERNEL_AREA[archs[:, len(EDGES) :]], channels[:, :-1]
    weights = before * projected.sum(1) + (areas * inner**2).sum(1)
    return weights, projected.sum(1) + ((areas > 0) * inner).sum(1)


def _capacity(archs: np.ndarray, before: int, after: int) -> np.ndarray:
    """Return `[N]` the capacity of the convolutions of a cell, those of `_convolutions`."""
    channels = np.pad(vertex_channels(archs, after), ((0, 0), (0, 1)), constant_values=after)
    projected = archs[:, [edge(0, y) for y in range(1, VERTICES)]] * channels
    areas, inner = KERNEL_AREA[archs[:, len(EDGES) :]], channels[:, :-1]
    return log_determinant(projected, before).sum(1) + log_determinant(inner, areas * inner).sum(1)


def _cells() -> Iterator[tuple[int, int, int]]:
    """Yield the channels before and after each cell, and its pixels: width doubles where resolution is halved."""
    before = CHANNELS
    for stack in range(STACKS):
        for _ in range(CELLS):
            yield before, _width(stack), (IMAGE >> stack) ** 2
            before = _width(stack)


def _width(stack: int) -> int:
    return CHANNELS << stack


def _pack(archs: np.ndarray) -> np.ndarray:
    archs = np.asarray(archs)
    return dag.pack(archs[:, : len(EDGES)], archs[:, len(EDGES) :])


def _unpack(graphs: np.ndarray) -> np.ndarray:
    return np.concatenate(dag.unpack(graphs), 1).astype(np.int32)


@functools.cache
def _classes() -> tuple[np.ndarray, np.ndarray]:
    return dag.enumerate_classes(MAX_EDGES)


@functools.cache
def _by_hash() -> np.ndarray:
    """The classes `[423624]` in the order of their hashes."""
    classes, _ = _classes()
    hashes: list[str] = []
    for same in np.split(classes, np.flatnonzero(np.diff(classes >> dag.LABEL_BITS)) + 1):
        hashes += _hashes(same)
    return classes[np.argsort(hashes)]


def _hashes(graphs: np.ndarray) -> list[str]:
    """The hashes of graphs `[M]` that differ in their labels only."""
    _, labels = dag.unpack(graphs)
    interior = labels.T[labels[0] >= 0].tolist()
    present = [*range(len(interior) + 1), VERTICES - 1]
    masks = [int(dag.sources(graphs[:1], y)[0]) for y in present]
    sources = [[place for place, x in enumerate(present) if mask >> x & 1] for mask in masks]
    return module_hashes(sources, [[-1] * len(graphs), *interior, [-2] * len(graphs)])


NASBENCH101 = NASBench101()
