"""DARTS's supernet form: in both cells an op, or several, on each of the 14 edges into the four nodes.

A genotype keeps two edges per node with one op each. The edges are `(node, source)` in order of the node, then of the
source; the cells are normal, reduction; the ops are in the order of `spaces.DARTS`.
"""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from jaxnas.errors import UserError
from jaxnas.spaces.nds.darts_network import SupernetNetwork
from jaxnas.spaces.nds.genotype import CELLS, to_call
from jaxnas.spaces.nds.network import INPUTS, THIN, Group, TwoCellNetwork, common
from jaxnas.spaces.nds.two_cells import PUBLISHED, TwoCells
from jaxnas.spaces.prunable import Preset, Supernet

NODES = 4
EDGES = tuple((node, source) for node in range(INPUTS, INPUTS + NODES) for source in range(node))
GROUPS = (slice(0, 2), slice(2, 5), slice(5, 9), slice(9, 14))  # the edges into each node
MASKS = "masks"  # the group of op masks
PRESETS = {  # of TE-NAS's launcher
    "cifar10": Preset(3, "frozen", {"batch": 14, "frozen": 14}),
    "imagenet": Preset(2, "frozen", {"batch": 24, "frozen": 24}),
}


@dataclass(frozen=True)
class Darts(TwoCells):
    """The space of DARTS, which also has a supernet: op masks `[N, 28, 8]`, the normal cell's edges first."""

    @property
    def supernet(self) -> Supernet:
        places = [(cell, *edge) for cell in CELLS for edge in EDGES]
        edges = [range(len(EDGES))[group] for group in GROUPS]
        return Supernet(
            edges=tuple(f"{cell} {node}<-{source}" for cell, node, source in places),
            ops=self.ops,
            banned=(NONE,),
            to_arch=lambda mask: from_edges(mask.reshape(1, len(CELLS), len(EDGES), -1))[0],
            one_by_one=self._one_by_one,
            presets=PRESETS,
            groups=tuple(
                tuple(first + edge for edge in group) for first in range(0, len(places), len(EDGES)) for group in edges
            ),
            keep=2,
        )

    def _one_by_one(self) -> np.ndarray:
        """`none` everywhere, and each op on each edge at the first of its node's places."""
        cells, edges, ops = np.indices((len(CELLS), len(EDGES), len(self.ops))).reshape(3, -1)
        nodes, froms = np.array(EDGES)[edges].T
        pairs = np.full((2, 1 + len(ops), len(CELLS), 2 * self.nodes), [[[[NONE]]], [[[0]]]])
        pairs[:, 1 + np.arange(len(ops)), cells, 2 * (nodes - INPUTS)] = ops, froms
        return self.join(np.full((1 + len(ops), 2), -1), *pairs)

    def other_strings(self, arch: np.ndarray) -> dict[str, str]:
        """The `genotype`, as DARTS's code reads it."""
        return {"genotype": to_call(self.genotype(arch))}

    def groups(self, archs: np.ndarray, form: str) -> list[Hashable]:
        return [MASKS] * len(archs) if np.ndim(archs) == 3 else super().groups(archs, form)

    def network(self, form: str = "benchmark", group: Hashable = None, **changes) -> TwoCellNetwork:
        if group != MASKS:
            return super().network(form, group, **changes)
        return SupernetNetwork(**common(self.ops, self.nodes, self._setting(form), Group(*THIN), **changes))

    def is_disconnected(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]`; of op masks, whether no path leads through a normal cell and a reduction cell after it."""
        if np.ndim(archs) == 2:
            return super().is_disconnected(archs)
        masks = np.asarray(archs).reshape(len(archs), len(CELLS), len(EDGES), -1) > 0
        open_: np.ndarray = np.any(np.delete(masks, NONE, -1), axis=-1)
        reached = np.zeros((len(archs), len(CELLS), INPUTS + NODES, INPUTS), bool)
        reached[:, :, range(INPUTS), range(INPUTS)] = True
        for edge, (node, source) in enumerate(EDGES):
            reached[:, :, node] |= reached[:, :, source] & open_[:, :, edge, None]
        ends: np.ndarray = np.any(reached[:, :, INPUTS:], axis=2)
        normal, reduction = np.moveaxis(ends, 1, 0)
        return ~(reduction[:, 0] | (reduction[:, 1] & normal.any(-1)))


# in the order of TE-NAS
OPS = "none skip_connect sep_conv_3x3 sep_conv_5x5 dil_conv_3x3 dil_conv_5x5 avg_pool_3x3 max_pool_3x3"
DARTS = Darts("darts", tuple(OPS.split()), NODES, loose_ends=False, default=PUBLISHED)
NONE = DARTS.ops.index("none")


def from_edges(weights: np.ndarray, width: int = -1, depth: int = -1) -> np.ndarray:
    """The architectures `[N, 34]` of the strongest ops: DARTS's rule (Liu et al., ICLR 2019, section 2.4).

    An edge is as strong as its strongest op, `none` excepted; a node keeps its two strongest edges, of equals those
    from earlier nodes, the stronger one first.

    Args:
      weights: of the ops on the edges `[N, 2, 14, 8]`, at least 0: softmaxed parameters, or an op mask.
      width: of the networks' first cells; -1 for the space's default.
      depth: number of cells; -1 for the space's default.

    Raises:
      UserError: a node has fewer than two edges with an op other than `none` whose weight is positive.
    """
    strength = np.array(weights, float)
    strength[..., NONE] = -np.inf
    edges, best = strength.max(-1), strength.argmax(-1)
    places = []
    for node, group in enumerate(GROUPS, start=INPUTS):
        if (np.count_nonzero(edges[..., group] > 0, -1) < 2).any():
            raise UserError(f"node {node} of a cell has fewer than two edges with an op other than none; leave two")
        places.append(group.start + np.argsort(-edges[..., group], -1, kind="stable")[..., :2])
    chosen = np.concatenate(places, -1)
    sources = np.array([source for _, source in EDGES])[chosen]
    sizes = np.broadcast_to([width, depth], (len(chosen), 2))
    return DARTS.join(sizes, np.take_along_axis(best, chosen, -1), sources)
