"""Spaces whose architectures differ in the ops on the edges of one cell.

An architecture is an int array `[E]` of op indices, one per edge; a list of them is `[N, E]`. A space is data (edges,
op names, the ops' modules, sizes) plus its own string form.
"""

import functools
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, replace

import jax
import numpy as np

from jaxnas.errors import UserError, unknown
from jaxnas.network.network import Config
from jaxnas.pinned import under_pinned
from jaxnas.spaces.base import LISTABLE
from jaxnas.spaces.cell.network import Cell, CellNetwork
from jaxnas.spaces.graphs import GraphCode, ops_on_edges
from jaxnas.spaces.product import RowSpace
from jaxnas.spaces.prunable import Preset, Supernet
from jaxnas.spaces.sampling import check_number, distinct, generator

MULTIPLY_ADDS = "multiply-adds of the convolutions and matrix products"


@dataclass(frozen=True)
class CellSpace(RowSpace):
    """A space whose architectures differ in the ops on the edges of one cell.

    Attributes:
      name: as given on the command line.
      cell: edges `(target, source)`, op names and modules.
      zero: index of the op that outputs zeros, -1 if there is none.
      parametric: indices of the ops with weights: what the effective depth counts.
      configs: the sizes and modes of the network of each form.
      encode_string: string to op names, one per edge; raises `UserError`.
      decode_string: op names to string.
      identity: index of the op that copies its input, -1 if there is none.
      silent: ops with weights turn zeros into zeros, even once trained: they and their normalisations have no biases.
      convention: as in `Space`.
      dataset: as in `Space`.
      order: the positions in `enumerate()` of the benchmark's own indices; None where it has no indices.
    """

    name: str
    cell: Cell
    zero: int
    identity: int
    parametric: tuple[int, ...]
    configs: Mapping[str, Config]
    encode_string: Callable[[str], list[str]]
    decode_string: Callable[[list[str]], str]
    silent: bool = False
    convention: str = MULTIPLY_ADDS
    dataset: str = ""
    order: Callable[[], np.ndarray] | None = None

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        return self.cell.edges

    @property
    def ops(self) -> tuple[str, ...]:
        return self.cell.names

    @property
    def supernet(self) -> Supernet:
        return Supernet(
            edges=tuple(f"{target}<-{source}" for target, source in self.edges),
            ops=self.ops,
            banned=(self.zero,) if self.zero >= 0 else (),
            to_arch=lambda mask: mask.argmax(-1),
            one_by_one=self._one_by_one,
            presets={"default": Preset()},
        )

    @property
    def graph_code(self) -> GraphCode:
        return ops_on_edges(self.ops, self.edges)

    @property
    def places(self) -> int:  # type: ignore[override]
        """Number of edges."""
        return len(self.edges)

    @property
    def choices(self) -> int:  # type: ignore[override]
        """Number of ops."""
        return len(self.ops)

    @property
    def searched(self) -> str:  # type: ignore[override]
        return f"1 of {self.choices} operations on each of {self.places} edges of a cell"

    @property
    def reads(self) -> str:  # type: ignore[override]
        index = "" if self.order is None else ", the benchmark's index"
        return f"its string{index}, a list of {self.places} op indices"

    @property
    def example(self) -> str:  # type: ignore[override]
        """A chain of the last op."""
        return self.decode(np.full(len(self.edges), len(self.ops) - 1))

    def encode(self, string: str) -> np.ndarray:
        """The architecture `[E]` of a string, an index or a list of op indices.

        Raises:
          UserError: there is no such architecture; the message says which edge is wrong.
        """
        if (arch := self.from_numbers(string)) is not None:
            return arch
        names = self.encode_string(string)
        for edge, name in enumerate(names):
            if name not in self.ops:
                target, source = self.edges[edge]
                raise UserError(f"{string!r}: edge {edge} ({target}<-{source}): {unknown('operation', name, self.ops)}")
        return np.array([self.ops.index(name) for name in names], np.int32)

    def decode(self, arch: np.ndarray) -> str:
        """The official string of an architecture `[E]`."""
        return self.decode_string([self.ops[int(k)] for k in arch])

    @under_pinned
    def sample(self, key: jax.Array, n: int) -> np.ndarray:
        """Draw `n` different architectures `[n, E]` uniformly."""
        check_number(self.name, n, self.size)
        if self.size > LISTABLE:
            rng = generator(key)
            return distinct(
                self.name, self.size, n, lambda m: rng.integers(0, self._radix, (m, self.places), dtype=np.int32)
            )
        return self._at(np.asarray(jax.random.permutation(key, self.size))[:n])

    def neighbours(self, arch: np.ndarray) -> np.ndarray:
        """The architectures `[E (O - 1), E]` that differ from `arch` `[E]` in one edge."""
        rows = []
        for edge, chosen in enumerate(arch):
            for op in range(len(self.ops)):
                if op != chosen:
                    rows.append(np.array([*arch[:edge], op, *arch[edge + 1 :]], np.int32))
        return np.stack(rows)

    @under_pinned
    def mutate(self, key: jax.Array, arch: np.ndarray) -> np.ndarray:
        """One of the one-edge neighbours of `arch` `[E]`, uniformly."""
        neighbours = self.neighbours(arch)
        return neighbours[int(jax.random.randint(key, (), 0, len(neighbours)))]

    def to_mask(self, archs: np.ndarray) -> np.ndarray:
        """The op masks `[..., E, O]` of architectures `[..., E]`."""
        return np.eye(len(self.ops), dtype=bool)[np.asarray(archs)]

    def is_disconnected(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]`: no path without the zero op leads from input to output. Op masks `[N, E, O]` work too."""
        masks = (np.asarray(archs) if np.ndim(archs) == 3 else self.to_mask(archs)).astype(bool)
        open_ = self._open(masks)
        reached = np.zeros((len(masks), self._nodes), bool)
        reached[:, 0] = True
        for edge, (target, source) in enumerate(self.edges):
            reached[:, target] |= open_[:, edge] & reached[:, source]
        return ~reached[:, -1]

    def canonical(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N, E]` the first architecture, in enumeration order, of each one's isomorphism class."""
        if self.size > LISTABLE:
            return archs
        return self._at(self._representatives[self.index(archs)])

    def isomorphism_class(self, arch: np.ndarray) -> str:
        """A string that isomorphic architectures share: the output node's expression over the input.

        Copies are replaced by what they copy, zeros and ops that make zeros of them by `#`; sums are sorted. One op's
        output that is used twice, and two such ops, are one class. Source: the unique strings of NAS-Bench-201 (Dong
        and Yang, 2020), whose partition this is where ops are `silent`.
        """
        nodes = ["0"]
        for target in range(1, self._nodes):
            terms = []
            for (to, source), op in zip(self.edges, arch, strict=True):
                if to == target:
                    silent = self.silent or op not in self.parametric
                    if op == self.zero or (nodes[source] == "#" and silent):
                        terms.append("#")
                    else:
                        terms.append(nodes[source] if op == self.identity else f"({nodes[source]})@{self.ops[op]}")
            nodes.append("+".join(sorted(terms)))
        return nodes[-1]

    @property
    def forms(self) -> Collection[str]:
        return self.configs

    def shallow(self, cells: int) -> int | None:
        return min(cells, self.configs["taps"].cells) if "taps" in self.configs else None

    def network(self, form: str = "benchmark", group: Hashable = None, **changes) -> CellNetwork:
        """The space's network for `form`, with `changes` to its `Config` such as `bn` or `init`."""
        self.check_form(form)
        return CellNetwork(self.cell, replace(self.configs[form], **changes))

    def params(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the number of parameters of the benchmark's network."""
        return self.network().params_cost().total(np.asarray(archs))

    def flops(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the multiply-adds of the benchmark's network on one image."""
        return self.network().flops_cost().total(np.asarray(archs))

    def _one_by_one(self) -> np.ndarray:
        archs = np.zeros((self.places, self.choices, self.places), np.int32)
        for edge in range(self.places):
            archs[edge, :, edge] = range(self.choices)
        return np.concatenate([archs[0, :1], archs.reshape(-1, self.places)])

    @property
    def _nodes(self) -> int:
        return 1 + max(target for target, _ in self.edges)

    @functools.cached_property
    def _representatives(self) -> np.ndarray:
        """Position of each architecture's representative, by position."""
        first: dict[str, int] = {}
        classes = (self.isomorphism_class(arch) for arch in self.enumerate())
        return np.array([first.setdefault(c, i) for i, c in enumerate(classes)])

    def without_dead_ends(self, archs: np.ndarray) -> np.ndarray:
        """Return op indices `[N, E]` or op masks `[N, E, O]` with the zero op alone on edges that lead nowhere.

        The output is the same; the gradients with respect to what is left, too.
        """
        if self.zero < 0:
            return archs
        masks = (np.asarray(archs) if np.ndim(archs) == 3 else self.to_mask(archs)).astype(bool)
        open_ = self._open(masks)
        leads = np.zeros((len(masks), self._nodes), bool)
        leads[:, -1] = True
        for edge in reversed(range(len(self.edges))):
            target, source = self.edges[edge]
            leads[:, source] |= open_[:, edge] & leads[:, target]
        dead = ~leads[:, [target for target, _ in self.edges]]
        if np.ndim(archs) == 2:
            return np.where(dead, self.zero, archs)
        return np.where(dead[..., None], np.arange(len(self.ops)) == self.zero, archs)

    def live(self, archs: np.ndarray) -> np.ndarray:
        """Return op indices `[N, E]` with the zero op on the edges that are on no path from input to output."""
        if self.zero < 0:
            return archs
        kept = self.without_dead_ends(archs)
        reached = np.zeros((len(kept), self._nodes), bool)
        reached[:, 0] = True
        for edge, (target, source) in enumerate(self.edges):
            reached[:, target] |= (kept[:, edge] != self.zero) & reached[:, source]
        return np.where(reached[:, [source for _, source in self.edges]], kept, self.zero)

    def _open(self, masks: np.ndarray) -> np.ndarray:
        """Return `[N, E]`: an op other than the zero op is active."""
        return np.any(masks[..., [k for k in range(len(self.ops)) if k != self.zero]], axis=-1)
