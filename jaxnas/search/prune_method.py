"""TE-NAS's pruning (`jaxnas.search.prune`) as a search method."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxnas.errors import UserError
from jaxnas.search import prune
from jaxnas.search.base import Found, Method, Scores, Task
from jaxnas.spaces import CellSpace

TE_NAS = ("ntk", "regions")


class Pruning(NamedTuple):
    """The supernet, and the scores of the rounds so far; the last one scores what is left of it."""

    supernet: prune.State
    scores: tuple[Scores, ...] = ()


@dataclass(frozen=True)
class Prune:
    """TE-NAS: prune the supernet (`jaxnas.search.prune`) by `ntk` and `regions`.

    Where one of the two is missing the other decides alone: the paper's ablation.
    """

    space: CellSpace

    @property
    def rounds(self) -> int:
        return len(self.space.ops) - 1

    @property
    def batch(self) -> int:
        return len(self.ask(self.init()))

    @property
    def options(self) -> dict[str, Any]:
        return {}

    def init(self) -> Pruning:
        return Pruning(prune.init(len(self.space.edges), len(self.space.ops), banned=(self.space.zero,)))

    def ask(self, state: Pruning) -> np.ndarray:
        """Return the masks of the origin and of its candidates; at the end that of the only architecture left."""
        masks, _ = prune.candidates(state.supernet)
        return np.concatenate([state.supernet.mask[None], masks])

    def step(self, state: Pruning, scores: Scores) -> Pruning:
        after = state.supernet
        if not prune.done(after):
            tied = np.zeros(len(prune.candidates(after)[1]))
            after = prune.step(after, *(prune.deltas(scores[s].value) if s in scores else tied for s in TE_NAS))
        return Pruning(after, (*state.scores, scores))

    def done(self, state: Pruning) -> bool:
        return len(state.scores) == self.rounds

    def result(self, state: Pruning) -> Found:
        return Found(prune.chosen(state.supernet), state.scores[-1], {})

    def report(self, state: Pruning) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = prune.to_json(state.supernet)["rounds"]
        return records

    def table(self, state: Pruning) -> list[dict[str, str]]:
        return [
            {
                "round": str(number),
                "candidates": str(len(record.candidates)),
                **{f"{name} before": f"{found.value[:, 0].mean():.4g}" for name, found in scores.items()},
                "pruned": ", ".join(self._name(*pair) for pair in sorted(record.pruned.tolist())),
            }
            for number, (record, scores) in enumerate(zip(state.supernet.history, state.scores, strict=False), start=1)
        ]

    def _name(self, edge: int, op: int) -> str:
        target, source = self.space.edges[edge]
        return f"{target}<-{source}:{self.space.ops[op]}"


def make(task: Task) -> Method:
    """Return the method for `task`, or raise a `UserError` if it cannot be done by pruning."""
    if set(task.signs) - set(TE_NAS):
        raise UserError(
            f"--method prune ranks by ntk and regions, or by one of them, not by {', '.join(task.signs)}: "
            "say --scorers ntk,regions, --method evolve or --method random"
        )
    if not isinstance(task.space, CellSpace):
        raise UserError(
            f"--method prune needs a space of ops on the edges of a cell, and {task.space.name} is none: "
            "say --method evolve or --method random"
        )
    return Prune(task.space)
