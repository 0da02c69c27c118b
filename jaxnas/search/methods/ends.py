"""Where the pruning of a supernet can end: in an architecture that keeps limits on its counts, or not.

A count adds up over the ops of an architecture. So what a supernet can end in follows group by group, a group being an
edge, or the edges into a node: what its choices add, to each of the sums of the groups before. Left out is what breaks
a limit whatever follows, and what another sum betters in all respects.

Sums better one another unless a number has limits from both sides. Then there may be too many, and `MOST` of them are
followed, spread evenly: an end may be overlooked where there is next to no room between the two.
"""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jaxnas.ranks import front
from jaxnas.spaces import Space
from jaxnas.spaces.prunable import Supernet

COUNTS = ("params", "flops")  # methods of a space that add up over the ops
MOST = 1000  # sums


@dataclass(frozen=True, eq=False)
class Ends:
    """What a supernet can end in, within limits.

    Attributes:
      groups: the edges, of each group of which `keep` stay in the end, with one op each.
      keep: see `groups`.
      costs: what an op on an edge adds to each number that has a limit `[K, E, O]`; negated where that is from below.
      room: what they may add up to `[K]`.
      opposed: a number has limits from both sides.
    """

    groups: Sequence[tuple[int, ...]]
    keep: int
    costs: np.ndarray
    room: np.ndarray
    opposed: bool

    def find(self, mask: np.ndarray, must: np.ndarray | None = None) -> np.ndarray | None:
        """An end `[E, O]` of the supernet `mask` `[E, O]` that keeps the limits; None if there is none.

        Args:
          mask: active ops.
          must: ops that the end has to have `[E, O]`.
        """
        choices = self._choices(mask, must)
        if not all(map(len, choices)):
            return None
        sums = [self._sums(of_group) for of_group in choices]
        least = np.cumsum([added.min(0) for added in sums[::-1]], 0)[::-1]
        total, picked = np.zeros((1, len(self.room))), np.empty((1, 0), int)
        for added, rest in zip(sums, [*least[1:], 0], strict=True):
            before, now = np.indices((len(total), len(added))).reshape(2, -1)
            found = total[before] + added[now]
            rows = np.flatnonzero((found + rest <= self.room).all(1))
            rows = rows[self._different(found[rows])]
            if not len(rows):
                return None
            total, picked = found[rows], np.concatenate([picked[before[rows]], now[rows, None]], 1)
        end = np.zeros_like(mask)
        for of_group, choice in zip(choices, picked[0], strict=True):
            end[tuple(of_group[choice].T)] = True
        return end

    def least(self, mask: np.ndarray) -> np.ndarray:
        """The least that each number `[K]` of the supernet `mask` `[E, O]` can end in, as in `room`."""
        least: np.ndarray = np.sum([self._sums(of_group).min(0) for of_group in self._choices(mask)], 0)
        return least

    @functools.cached_property
    def _of_groups(self) -> list[np.ndarray]:
        """The (edge, op) pairs `[M, keep, 2]` of whatever each group could end in."""
        ops = range(self.costs.shape[-1])
        return [
            np.array(
                [
                    [*zip(edges, chosen, strict=True)]
                    for edges in itertools.combinations(group, self.keep)
                    for chosen in itertools.product(ops, repeat=self.keep)
                ]
            )
            for group in self.groups
        ]

    def _choices(self, mask: np.ndarray, must: np.ndarray | None = None) -> list[np.ndarray]:
        """Of `_of_groups` what the supernet has, with all that it must have; of those that add the same, one."""
        found = []
        for group, pairs in zip(self.groups, self._of_groups, strict=True):
            edges, ops = np.moveaxis(pairs, -1, 0)
            there = mask[edges, ops].all(-1)
            if must is not None:
                there &= must[edges, ops].sum(-1) == must[list(group)].sum()
            found.append(pairs[there][self._different(self._sums(pairs[there]))])
        return found

    def _sums(self, choices: np.ndarray) -> np.ndarray:
        """What choices `[M, keep, 2]` add `[M, K]`."""
        edges, ops = np.moveaxis(choices, -1, 0)
        sums: np.ndarray = self.costs[:, edges, ops].sum(-1).T
        return sums

    def _different(self, sums: np.ndarray) -> np.ndarray:
        """The rows of `sums` `[N, K]` that are worth following."""
        _, rows = np.unique(sums, axis=0, return_index=True)
        if not self.opposed:
            rows = rows[front(-sums[rows])]
        return rows if len(rows) <= MOST else rows[np.linspace(0, len(rows) - 1, MOST).astype(int)]


class Guard:
    """Says of one op after another whether it may go: what is left must have an end within the limits.

    Attributes:
      end: one such end `[E, O]` of what is left.

    Args:
      ends: what a supernet can end in.
      mask: active ops `[E, O]`.
      end: an end of `mask`.
    """

    def __init__(self, ends: Ends, mask: np.ndarray, end: np.ndarray):
        self.end, self._ends, self._left, self._must = end, ends, mask.copy(), np.zeros_like(mask)

    def __call__(self, edge: int, op: int) -> bool:
        """Whether the op may go; if so, it is gone."""
        left = self._left.copy()
        left[edge, op] = False
        end = self._ends.find(left, self._must) if self.end[edge, op] else self.end
        if end is None:
            self._must[edge, op] = True
            return False
        self._left, self.end = left, end
        return True


def reach(space: Space, supernet: Supernet, name: str, mask: np.ndarray) -> tuple[int, int]:
    """The least and the greatest of one of `COUNTS` that the supernet `mask` `[E, O]` can end in."""
    ends = within(space, supernet, {name: 0}, {name: 0})
    low, high = ends.least(mask) - ends.room
    return int(low), int(-high)


def within(space: Space, supernet: Supernet, at_most: Mapping[str, float], at_least: Mapping[str, float]) -> Ends:
    """What a supernet of the space can end in, within limits on `COUNTS`."""
    costs = {name: supernet.cost(getattr(space, name)) for name in {*at_most, *at_least}}
    above = [(costs[name].per_choice, math.floor(limit) - costs[name].fixed) for name, limit in at_most.items()]
    below = [(-costs[name].per_choice, costs[name].fixed - math.ceil(limit)) for name, limit in at_least.items()]
    per_choice, room = zip(*above, *below, strict=True)
    groups = supernet.groups or tuple((edge,) for edge in range(len(supernet.edges)))
    opposed = bool(at_most.keys() & at_least.keys())
    return Ends(groups, supernet.keep or 1, np.array(per_choice), np.array(room), opposed)
