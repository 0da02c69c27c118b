"""What pruning a supernet needs to know of a space."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

from jaxnas.errors import unknown
from jaxnas.network.network import Cost


class Preset(NamedTuple):
    """A published setting of TE-NAS's pruning.

    Attributes:
      prune_number: ops that an edge loses in a round.
      bn: derivative of batch normalisation in the NTK, as `NTK.bn`: `batch` where a search takes but minutes with it.
      images: in the batch of the NTK, by `bn`.
    """

    prune_number: int = 1
    bn: Literal["batch", "frozen"] = "batch"
    images: Mapping[str, int] = MappingProxyType(
        {
            "batch": 32,  # the paper's appendix; with 72 it takes about five times as long
            "frozen": 72,  # the official launcher
        }
    )


@dataclass(frozen=True)
class Supernet:
    """All choices of a space at once: an op mask `[E, O]` says which ops are active on which edge.

    Attributes:
      edges: names, for tables.
      ops: names.
      banned: ops that are inactive from the beginning, by index.
      presets: by name; the first one is the default.
      to_arch: the architecture `[A]` of a mask with at most one op on each edge.
      one_by_one: returns architectures `[1 + E O, A]`: a first one, and what it becomes by each op on each edge; where
        edges share a node's places, all places have the same op on one edge at first.
      groups: edges into one node each, of which only `keep` stay in the end; none where all edges do.
      keep: see `groups`.
    """

    edges: tuple[str, ...]
    ops: tuple[str, ...]
    banned: tuple[int, ...]
    to_arch: Callable[[np.ndarray], np.ndarray]
    one_by_one: Callable[[], np.ndarray]
    presets: Mapping[str, Preset]
    groups: tuple[tuple[int, ...], ...] = ()
    keep: int = 0

    def cost(self, count: Callable[[np.ndarray], np.ndarray]) -> Cost:
        """The `Cost` by op masks of a count `[N]` of architectures `[N, A]` that adds up over their ops."""
        first, *others = count(self.one_by_one()).tolist()
        return Cost(first, (np.array(others) - first).reshape(len(self.edges), len(self.ops)))

    def preset(self, name: str | None) -> Preset:
        """The preset called `name`, or without a name the first one; `UserError` where there is none."""
        if name is not None and name not in self.presets:
            raise unknown("preset", name, self.presets)
        return self.presets[next(iter(self.presets)) if name is None else name]
