"""What every search space can do: strings, arrays, samples, neighbours, counts, networks.

An architecture is an int array `[A]` whose meaning its space knows; a list of them is `[N, A]`.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import jax
import numpy as np
from flax import nnx

from jaxnas.errors import UserError, spelt, unknown
from jaxnas.network.network import Network
from jaxnas.network.recipe import Recipe
from jaxnas.spaces.blocks.architecture import ArchitectureModule
from jaxnas.spaces.datasets import Dataset
from jaxnas.spaces.graphs import GraphCode
from jaxnas.spaces.prunable import Supernet
from jaxnas.spaces.strings import STRINGS, encode_rows, no_column

LISTABLE = 10**6  # architectures up to which a space may be written out


class Space(ABC):
    """A search space.

    Attributes:
      name: as given on the command line: `SPACE`, or `SPACE:DATASET` for another data set than the first.
      datasets: what the benchmark has networks for, by name, the default first; none where there is no choice.
      dataset: the one whose networks are counted and built (form `benchmark`). Scores do not depend on it.
      convention: whose way of counting `params` and `flops` follow, and on what they were checked.
      example: the string of an architecture, for messages.
      searched: what one architecture differs from another in, for people.
      reads: what `encode` takes, for people.
      string_columns: where a table has the strings of its architectures, the first that is there; the benchmark's last.
      supernet: what pruning needs; None where an architecture is not a choice of ops on edges.
      graph_code: what generative models and graph networks need; None where an architecture is no graph of ops.
      refusals: why the space has no network for a form, where there is more to say.
    """

    name: str
    datasets: ClassVar[Mapping[str, Dataset]] = {}
    dataset: str = ""
    convention: str
    example: str
    searched: str = "not stated"
    reads: str = "its string"
    string_columns: tuple[str, ...] = STRINGS
    refusals: ClassVar[Mapping[str, str]] = {"sequence": "its networks read images, not sequences"}

    @property
    def supernet(self) -> Supernet | None:
        return None

    @property
    def graph_code(self) -> GraphCode | None:
        return None

    def on(self, dataset: str) -> Self:
        """The space with the networks for another of its `datasets`; `UserError` where there is none."""
        if not self.datasets:
            raise UserError(f"{self.name} has no data sets to choose from; say --space {self.name}")
        dataset = spelt(dataset, self.datasets)
        if dataset not in self.datasets:
            raise unknown(f"data set of {self.name}", dataset, self.datasets)
        base, default = self.name.partition(":")[0], next(iter(self.datasets))
        other = copy.copy(self)
        object.__setattr__(other, "dataset", dataset)  # spaces may be frozen
        object.__setattr__(other, "name", base if dataset == default else f"{base}:{dataset}")
        return other

    @property
    def counted(self) -> str:
        """What `params` and `flops` are counts of, for people."""
        if not self.datasets:
            return self.convention
        return f"of the networks for {self.datasets[self.dataset]}: {self.convention}"

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of architectures."""

    @property
    def places(self) -> int:
        """How many numbers an architecture is."""
        return len(self.encode(self.example))

    @abstractmethod
    def encode(self, string: str) -> np.ndarray:
        """The architecture `[A]` of its official string, or of another form that the space reads.

        Raises:
          UserError: it is none; the message says what is wrong, and where.
        """

    def array(self, arch: np.ndarray | str) -> np.ndarray:
        """An architecture `[A]` that is given as such or as its string."""
        return self.encode(arch) if isinstance(arch, str) else np.asarray(arch)

    def arrays(self, archs: str | Sequence[str] | np.ndarray) -> np.ndarray:
        """The architectures `[N, A]` of a string, of several strings, or of an array `[A]` or `[N, A]`.

        Raises:
          UserError: they are none of this space; the message says what was expected.
        """
        if isinstance(archs, str):
            return self.encode(archs)[None]
        if np.iterable(archs) and len(archs) and all(isinstance(arch, str) for arch in archs):
            return encode_rows(self.encode, archs)
        try:
            found, length = np.asarray(archs), self.places
        except ValueError:  # rows of different lengths
            found, length = np.asarray(archs, object), self.places
        if found.ndim not in (1, 2) or found.shape[-1] != length or found.dtype.kind not in "iu":
            raise UserError(
                f"{self.name} has no architectures in an array {list(found.shape)} of {found.dtype}; give strings such "
                f"as {self.example}, or whole numbers [{length}] or [N, {length}]"
            )
        return np.atleast_2d(found).astype(np.int32)

    @abstractmethod
    def decode(self, arch: np.ndarray) -> str:
        """The official string, one line, of an architecture `[A]`."""

    def from_ids(self, ids: np.ndarray) -> np.ndarray:
        """The architectures `[N, A]` of the benchmark's own indices `[N]`; `UserError` if there are none."""
        raise UserError(f"{self.name} has no official indices; write an architecture as {self.example}")

    def arch_ids(self, archs: np.ndarray) -> np.ndarray | None:
        """The benchmark's own indices `[N]`; None where it has none, or where they take long to find."""
        return None

    def checked_ids(self, ids: np.ndarray) -> np.ndarray:
        """Return `ids` `[N]`, or raise a `UserError` unless they are numbers from 0 to `size` - 1."""
        wrong = (np.asarray(ids) < 0) | (np.asarray(ids) >= self.size)
        if wrong.any():
            raise UserError(f"{self.name} has no architecture {ids[wrong.argmax()]}; indices are 0 to {self.size - 1}")
        return ids

    def other_strings(self, arch: np.ndarray) -> dict[str, str]:
        """Return by name what else an architecture `[A]` is written as; a line each."""
        return {}

    def from_table(self, columns: Mapping[str, Any]) -> np.ndarray:
        """The architectures `[N, A]` of a table's rows, given its columns by name, each `[N]`.

        Raises:
          UserError: no column has architectures, or one is wrong; the message says which.
        """
        for name in self.string_columns:
            if name in columns:
                return encode_rows(self.encode, columns[name])
        raise no_column(" or ".join(map(repr, self.string_columns)), columns)

    def enumerate(self) -> np.ndarray:
        """Return all architectures `[size, A]`, or raise a `UserError` where there are too many.

        The order is the space's own; `arch_ids` are the benchmark's.
        """
        raise UserError(f"{self.name} has {self.size:.3g} architectures, too many to list; say random:1000, or a file")

    @abstractmethod
    def sample(self, key: jax.Array, n: int) -> np.ndarray:
        """Draw `n` different architectures `[n, A]`."""

    def sample_evenly(self, key: jax.Array, n: int) -> np.ndarray:
        """Draw `n` different architectures `[n, A]`, all equally likely: also where `sample` draws as a paper does."""
        return self.sample(key, n)

    @abstractmethod
    def mutate(self, key: jax.Array, arch: np.ndarray) -> np.ndarray:
        """A random neighbour of `arch` `[A]`."""

    def canonical(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N, A]` one architecture for all of an isomorphism class, where the benchmark has such classes."""
        return archs

    def as_listed(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N, A]` the one that the benchmark lists for each, where it lists a single one of each class."""
        return archs

    def contains(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]`: the space has this architecture; one that is `encode`d or drawn always is."""
        return np.ones(len(archs), bool)

    def is_disconnected(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]`: no path leads from input to output."""
        return np.zeros(len(archs), bool)

    def without_dead_ends(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N, A]` with less to compute, and the same output and gradients."""
        return archs

    def live(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N, A]` without the operations on no path from input to output, which a benchmark counts, too."""
        return archs

    def groups(self, archs: np.ndarray, form: str) -> list[Hashable]:
        """Return for each of `archs` `[N, A]` the group whose network it runs on: architectures of one size."""
        return [None] * len(archs)

    @property
    @abstractmethod
    def forms(self) -> Collection[str]:
        """The forms of network that the space has, see `Recipe`."""

    def shrunk(self, width: int) -> int | None:
        """The least number of channels, at least `width`, that networks of the space can have in their first stage.

        None where the widths are the architecture's own numbers, so that nothing can be thinner.
        """
        return width

    def stage_width(self, width: int) -> int | None:
        """The channels of a first stage whose narrowest convolution has at least `width`; None as for `shrunk`."""
        return self.shrunk(width)

    def shallow(self, cells: int) -> int | None:
        """The number of cells per stage, at most `cells`, of networks that repeat a cell; None for all others."""
        return None

    def networks(self, archs: np.ndarray, recipe: Recipe) -> list[tuple[Network, np.ndarray]]:
        """The networks that `archs` `[N, A]` run on, each with the rows that do."""
        grouped = self.by_group(archs, recipe.form)
        return [(self.network_for(recipe, group), rows) for group, rows in grouped]

    def network_for(self, recipe: Recipe, group: Hashable = None) -> Network:
        """The network of a group that comes nearest to what `recipe` asks for."""
        width = None if recipe.channels is None else self.shrunk(recipe.channels)
        return self.network(recipe.form, group, **replace(recipe, channels=width).changes())

    def by_group(self, archs: np.ndarray, form: str) -> list[tuple[Hashable, np.ndarray]]:
        """The groups of `archs` `[N, A]` in the order in which they occur, each with its rows."""
        rows: dict[Hashable, list[int]] = {}
        for row, group in enumerate(self.groups(archs, form)):
            rows.setdefault(group, []).append(row)
        return [(group, np.array(own)) for group, own in rows.items()]

    def check_form(self, form: str) -> None:
        """Raise a `UserError` unless the space has a network of this form."""
        if form not in self.forms:
            why = f" ({self.refusals[form]})" if form in self.refusals else ""
            names = ", ".join(sorted(self.forms))
            raise UserError(f"{self.name} has no network for {form!r}{why}; it has networks for {names}")

    @abstractmethod
    def network(self, form: str = "benchmark", group: Hashable = None, **changes) -> Network:
        """The network of a group for `form`, with `changes` to its `Config` such as `bn` or `init`.

        Raises:
          UserError: the space has no such network; the message lists those that it has.
        """

    def build(self, arch: np.ndarray | str, *, rngs: nnx.Rngs, form: str = "benchmark") -> nnx.Module:
        """One architecture as an ordinary Flax NNX module, to train, export or inspect: `ArchitectureModule`.

        It has the channels that the architecture uses, and the weights that `Network.specialised` draws from `rngs`.
        """
        arch = self.array(arch)
        (group,) = self.groups(arch[None], form)
        network = self.network(form, group).specialised(arch)
        return ArchitectureModule(network, network.init(rngs.params()), arch)

    @abstractmethod
    def params(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the number of parameters of the network for `dataset`."""

    @abstractmethod
    def flops(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the operations of the network for `dataset` on one image, multiply-adds counted once.

        What else counts is in `convention`.
        """

    def layers(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the weight tensors of convolutions and matrix products of the network for `dataset`."""
        layers = np.zeros(len(archs), np.int64)
        for network, rows in self.networks(np.asarray(archs), Recipe("benchmark")):
            layers[rows] = network.layers_cost().total(np.asarray(archs)[rows])
        return layers

    def spectral_capacity(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the sum of `kernels.capacity.log_determinant` over the matrices that `layers` counts.

        A convolution's matrix has a row for each output channel, one for each filter of a depthwise convolution.
        """
        capacity = np.zeros(len(archs))
        for network, rows in self.networks(np.asarray(archs), Recipe("benchmark")):
            capacity[rows] = network.capacity_cost().total(np.asarray(archs)[rows])
        return capacity
