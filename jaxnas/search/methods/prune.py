"""Pruning of a supernet, as TE-NAS does (`jaxnas.search.methods.pruning`) as a search method."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxnas.errors import UserError
from jaxnas.search.goal import Found, Goal, Scores
from jaxnas.search.method import Method, Task
from jaxnas.search.methods import pruning
from jaxnas.search.methods.ends import COUNTS, Ends, Guard, reach, within
from jaxnas.spaces import Space
from jaxnas.spaces.prunable import Preset, Supernet
from jaxnas.types import Status

TE_NAS = ("ntk", "regions")


@dataclass(frozen=True)
class PruneOptions:
    """Options of the method `prune`."""

    preset: str | None = None
    """Ops that an edge loses in a round, and images of the NTK unless --ntk.images says otherwise: on darts `cifar10`
    (3 ops, 14 images) or `imagenet` (2, 24); by default the first preset of the space."""


class Pruning(NamedTuple):
    """The state of a search.

    Attributes:
      supernet: with its rounds.
      scores: of the rounds so far; the last one scores what is left.
      end: where there are limits, one within them that the supernet can end in `[E, O]`.
    """

    supernet: pruning.State
    scores: tuple[Scores, ...] = ()
    end: np.ndarray | None = None


@dataclass(frozen=True)
class Prune:
    """Prune the supernet (`jaxnas.search.methods.pruning`): TE-NAS by `ntk` and `regions`, its ablation by one of them.

    Attributes:
      space: that has the supernet.
      signs: of the scores to go by, 1 where higher is better, -1 where lower is.
      preset: of the supernet.
      ends: what the supernet may end in, where there are limits. An op may go only if one of these is left.
    """

    space: Space
    signs: Mapping[str, int]
    preset: str | None = None
    ends: Ends | None = None

    @property
    def rounds(self) -> int:
        most, number = len(self._supernet.ops) - len(self._supernet.banned) - 1, self._setting.prune_number
        return -(-most // number) + len(self._large) + 1

    @property
    def batch(self) -> int:
        return len(self.ask(self.init()))

    @property
    def options(self) -> dict[str, Any]:
        return {"prune": {"prune_number": self._setting.prune_number}}

    def init(self) -> Pruning:
        net = self._supernet
        whole = pruning.init(len(net.edges), len(net.ops), banned=net.banned)
        return Pruning(whole, end=None if self.ends is None else self.ends.find(whole.mask))

    def ask(self, state: Pruning) -> np.ndarray:
        """The masks of the origin and of its candidates; at the end that of the only architecture left."""
        masks, _ = self._candidates(state.supernet)
        return np.concatenate([state.supernet.mask[None], masks])

    def step(self, state: Pruning, scores: Scores) -> Pruning:
        before = after = state.supernet
        guard = None if self.ends is None or state.end is None else Guard(self.ends, before.mask, state.end)
        may_go = guard or pruning.always
        if len(self._candidates(before)[1]):
            deltas = [pruning.deltas(scores[name].value, positive=name in TE_NAS) for name in self.signs]
            group, signs = self._group(before), [*self.signs.values()]
            if group is None:
                number = self._setting.prune_number
                after = pruning.step(before, *deltas, signs=signs, prune_number=number, may_go=may_go)
            else:
                keep = self._supernet.keep
                after = pruning.edge_step(before, group, *deltas, signs=signs, keep=keep, may_go=may_go)
        return Pruning(after, (*state.scores, scores), None if guard is None else guard.end)

    def done(self, state: Pruning) -> bool:
        return len(state.scores) == self.rounds

    def result(self, state: Pruning) -> Found:
        kept: dict[str, float] = {"feasible": True} if self.ends else {}
        return Found(self._supernet.to_arch(state.supernet.mask), _measured(state.scores[-1]), kept)

    def report(self, state: Pruning) -> list[dict[str, Any]]:
        records = pruning.to_json(state.supernet)["rounds"]
        return [{**record, "deltas": dict(zip(self.signs, record["deltas"], strict=True))} for record in records]

    def table(self, state: Pruning) -> list[dict[str, str]]:
        return [
            {
                "round": str(number),
                "candidates": str(len(record.candidates)),
                **{f"{name} before": f"{found.value[:, 0].mean():.4g}" for name, found in _measured(scores).items()},
                "pruned": ", ".join(self._name(*pair) for pair in sorted(record.pruned.tolist())),
            }
            for number, (record, scores) in enumerate(zip(state.supernet.history, state.scores, strict=False), start=1)
        ]

    def _name(self, edge: int, op: int) -> str:
        return f"{self._supernet.edges[edge]}:{self._supernet.ops[op]}"

    @property
    def _supernet(self) -> Supernet:
        assert self.space.supernet is not None
        return self.space.supernet

    @property
    def _setting(self) -> Preset:
        return self._supernet.preset(self.preset)

    @property
    def _large(self) -> list[tuple[int, ...]]:
        """The groups that lose edges in the end."""
        return [group for group in self._supernet.groups if len(group) > self._supernet.keep]

    def _group(self, state: pruning.State) -> tuple[int, ...] | None:
        """The group that loses edges now, or None while edges lose ops, and at the end."""
        if pruning.done(state):
            for group in self._large:
                if state.mask[list(group)].any(-1).sum() > self._supernet.keep:
                    return group
        return None

    def _candidates(self, state: pruning.State) -> tuple[np.ndarray, np.ndarray]:
        group = self._group(state)
        return pruning.candidates(state) if group is None else pruning.edge_candidates(state, group)


def make(task: Task, options: PruneOptions) -> Method:
    """Return the method for `task`, or raise a `UserError` if it cannot be done by pruning."""
    if task.space.supernet is None:
        raise UserError(
            f"--method prune needs a space of ops on the edges of a cell, and {task.space.name} is none: "
            "say --method evolve or --method random"
        )
    measured = {name for names in task.by_cost[1:] for name in names}
    unmeasured = [name for name in task.goal.signs if name not in measured]
    if unmeasured:
        raise UserError(
            f"--method prune goes by scores that are measured on a supernet, not by {', '.join(unmeasured)}: "
            "say --scorers ntk,regions, --method sift or --method evolve"
        )
    if others := sorted(task.goal.limited - {*COUNTS}):
        raise UserError(
            f"--method prune keeps limits on {' and '.join(COUNTS)}, not on {', '.join(others)}: "
            "say --method sift or --method evolve"
        )
    task.space.supernet.preset(options.preset)
    names = sorted(task.goal.signs, key=lambda name: name != TE_NAS[0])  # TE-NAS's first score decides where sums tie
    signs = {name: task.goal.signs[name] for name in names}
    if not task.goal.limited:
        return Prune(task.space, signs, options.preset)
    ends = within(task.space, task.space.supernet, task.goal.at_most, task.goal.at_least)
    method = Prune(task.space, signs, options.preset, ends)
    state = method.init()
    if state.end is None:
        raise _nothing_within(task.space, task.space.supernet, task.goal, state.supernet.mask)
    return method


def _measured(scores: Scores) -> Scores:
    """The scores without counts, which supernets have not."""
    return {name: found for name, found in scores.items() if (found.status != Status.skipped).any()}


def _nothing_within(space: Space, supernet: Supernet, goal: Goal, mask: np.ndarray) -> UserError:
    """The error that pruning the op mask `[E, O]` can end in nothing that keeps the limits."""
    limits = [
        f"{option} {name}={limit:.15g}"
        for option, of in (("--at-most", goal.at_most), ("--at-least", goal.at_least))
        for name, limit in of.items()
    ]
    reached = {name: reach(space, supernet, name, mask) for name in sorted(goal.limited)}
    return UserError(
        f"no architecture that --method prune can end in on {space.name} keeps {' '.join(limits)}: "
        f"it ends with {', '.join(f'{name} from {low:,} to {high:,}' for name, (low, high) in reached.items())}"
    )
