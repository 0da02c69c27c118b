"""Some architectures of a space as a space of their own: those that a table of measurements knows."""

from collections.abc import Collection, Hashable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxnas.network.network import Network
from jaxnas.spaces.base import Space
from jaxnas.spaces.graphs import GraphCode
from jaxnas.spaces.sampling import check_number, generator

SAID = ("name", "dataset", "datasets", "convention", "example", "searched", "reads", "string_columns", "refusals")
TRIES = 1000  # mutations that lead outside, before one of the architectures is drawn instead


class Subspace(Space):
    """The architectures `archs` `[M, A]` of `space`; what is isomorphic to one of them is in it, too."""

    def __init__(self, space: Space, archs: np.ndarray):
        self.space, self.archs = space, np.asarray(archs, np.int32)
        for name in SAID:
            setattr(self, name, getattr(space, name))
        self._rows: dict[bytes, int] = {}
        for forms in (self.archs, space.canonical(self.archs)):
            for row, arch in enumerate(np.asarray(forms, np.int32)):
                self._rows.setdefault(arch.tobytes(), row)

    def rows(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the row of `self.archs` with each of `archs` `[N, A]`, or with its class; -1 if none."""
        exact = [self._rows.get(arch.tobytes(), -1) for arch in np.asarray(archs, np.int32)]
        missing = [place for place, row in enumerate(exact) if row < 0]
        if missing:
            for place, arch in zip(missing, self.space.canonical(np.asarray(archs)[missing]), strict=True):
                exact[place] = self._rows.get(np.asarray(arch, np.int32).tobytes(), -1)
        return np.array(exact, int)

    def on(self, dataset: str) -> "Subspace":
        return Subspace(self.space.on(dataset), self.archs)

    @property
    def counted(self) -> str:
        return self.space.counted

    @property
    def size(self) -> int:
        return len(self.archs)

    @property
    def graph_code(self) -> GraphCode | None:
        return self.space.graph_code

    def enumerate(self) -> np.ndarray:
        return self.archs

    def as_listed(self, archs: np.ndarray) -> np.ndarray:
        return self.space.as_listed(archs)

    def contains(self, archs: np.ndarray) -> np.ndarray:
        return self.rows(archs) >= 0

    def sample(self, key: jax.Array, n: int) -> np.ndarray:
        """Draw `n` different architectures `[n, A]`, all equally likely."""
        check_number("the table", n, self.size)
        return self.archs[generator(key).choice(self.size, n, replace=False)]

    def mutate(self, key: jax.Array, arch: np.ndarray) -> np.ndarray:
        """The first of the whole space's mutations of `arch` `[A]` that is in this one, and another one."""
        for number in range(TRIES):
            child = self.space.mutate(jax.random.fold_in(key, number) if number else key, arch)
            if (child != arch).any() and self.contains(child[None])[0]:
                return child
        return self.sample(key, 1)[0]

    def encode(self, string: str) -> np.ndarray:
        return self.space.encode(string)

    def decode(self, arch: np.ndarray) -> str:
        return self.space.decode(arch)

    def from_ids(self, ids: np.ndarray) -> np.ndarray:
        return self.space.from_ids(ids)

    def arch_ids(self, archs: np.ndarray) -> np.ndarray | None:
        return self.space.arch_ids(archs)

    def other_strings(self, arch: np.ndarray) -> dict[str, str]:
        return self.space.other_strings(arch)

    def from_table(self, columns: Mapping[str, Any]) -> np.ndarray:
        return self.space.from_table(columns)

    def canonical(self, archs: np.ndarray) -> np.ndarray:
        return self.space.canonical(archs)

    def is_disconnected(self, archs: np.ndarray) -> np.ndarray:
        return self.space.is_disconnected(archs)

    def without_dead_ends(self, archs: np.ndarray) -> np.ndarray:
        return self.space.without_dead_ends(archs)

    def live(self, archs: np.ndarray) -> np.ndarray:
        return self.space.live(archs)

    def layers(self, archs: np.ndarray) -> np.ndarray:
        return self.space.layers(archs)

    def spectral_capacity(self, archs: np.ndarray) -> np.ndarray:
        return self.space.spectral_capacity(archs)

    def groups(self, archs: np.ndarray, form: str) -> list[Hashable]:
        return self.space.groups(archs, form)

    def shrunk(self, width: int) -> int | None:
        return self.space.shrunk(width)

    def stage_width(self, width: int) -> int | None:
        return self.space.stage_width(width)

    def shallow(self, cells: int) -> int | None:
        return self.space.shallow(cells)

    @property
    def forms(self) -> Collection[str]:
        return self.space.forms

    def network(self, form: str = "benchmark", group: Hashable = None, **changes) -> Network:
        return self.space.network(form, group, **changes)

    def build(self, arch: np.ndarray | str, *, rngs: nnx.Rngs, form: str = "benchmark") -> nnx.Module:
        return self.space.build(arch, rngs=rngs, form=form)

    def params(self, archs: np.ndarray) -> np.ndarray:
        return self.space.params(archs)

    def flops(self, archs: np.ndarray) -> np.ndarray:
        return self.space.flops(archs)
