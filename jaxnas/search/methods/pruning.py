"""TE-NAS pruning rounds as pure functions on NumPy arrays; a network is nowhere in sight.

Every round scores the supernet (the origin) and, for each op that is still active on an edge with a choice, the
supernet without it (a candidate). The ops whose removal betters the scores most go first: in TE-NAS those whose removal
lowers the NTK's condition number most and the number of linear regions least.

    state = init(6, 5)
    while not done(state):
        masks, _ = candidates(state)
        kappa, regions = evaluate(np.concatenate([state.mask[None], masks]))  # [R, 1 + M] each, column 0 is the origin
        state = step(state, deltas(kappa), deltas(regions), signs=(-1, 1))
    arch = state.mask.argmax(1)

Where a node keeps only some of its edges, `edge_candidates` and `edge_step` do the same with whole edges, node by node.
There the official code compares with the condition number of the network before the first node; here the origin is
always the network that is left.

A failed value (not finite, or not positive where a score is at least 1, as both of TE-NAS are) neither stops the search
nor enters a mean. A repeat whose origin failed is left out for all candidates alike. A candidate that failed in any
other repeat has the delta NaN: its network counts as the worst, so its op is removed after those of all other
candidates of that edge. If every origin failed, all deltas are NaN, hence tied, and the other scores decide alone. The
history keeps these NaNs; `to_json` writes them as null.

Source: Chen, Gong and Wang, Neural Architecture Search on ImageNet in Four GPU Hours (TE-NAS), ICLR 2021, and its
official code.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxnas.types import nullable

SIGNIFICANT = 3  # figures of the sort key
Judged = tuple[np.ndarray, np.ndarray, np.ndarray]  # the first three fields of a `Round`
MayGo = Callable[[int, int], bool]
"""Whether the op on the edge may be removed. Who answers so can rely on its removal."""
SIGNS = (-1, 1)  # of the scores of TE-NAS: a lower condition number is better, and more linear regions


@dataclass(frozen=True, eq=False)
class Round:
    """What one round saw and did, by S scores, for the M candidates of the round.

    Attributes:
      candidates: (edge, op) removed by each candidate, `[M, 2]`.
      deltas: relative fall of each score when the op is removed, `[S, M]`; NaN where it failed.
      ranks: dense ranks by each score, `[M, S]`; 0 is pruned first.
      pruned: (edge, op) removed in this round, first to go first, `[K, 2]`.
      mask: active ops after the round, `[E, O]`.
    """

    candidates: np.ndarray
    deltas: np.ndarray
    ranks: np.ndarray
    pruned: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class State:
    """The ops that are still active, `mask` `[E, O]` bool, and the rounds that led there."""

    mask: np.ndarray
    history: tuple[Round, ...] = ()


def init(num_edges: int, num_ops: int, banned: Sequence[int] = (0,)) -> State:
    """The full supernet without the `banned` ops (op 0 is `none` in every cell space of the paper)."""
    mask = np.ones((num_edges, num_ops), bool)
    mask[:, list(banned)] = False
    return State(mask)


def candidates(state: State) -> tuple[np.ndarray, np.ndarray]:
    """The masks `[M, E, O]` that lack one more op each, and the removed (edge, op) pairs `[M, 2]`."""
    open_edges = state.mask.sum(axis=1, keepdims=True) > 1
    pairs = np.argwhere(state.mask & open_edges)
    masks = np.repeat(state.mask[None], len(pairs), axis=0)
    masks[np.arange(len(pairs)), pairs[:, 0], pairs[:, 1]] = False
    return masks, pairs


def edge_candidates(state: State, group: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The masks `[M, E, O]` that lack one more edge of `group`, and its (edge, op) pairs `[M, 2]`."""
    pairs = np.array([(edge, state.mask[edge].argmax()) for edge in group if state.mask[edge].any()])
    masks = np.repeat(state.mask[None], len(pairs), axis=0)
    masks[np.arange(len(pairs)), pairs[:, 0]] = False
    return masks, pairs


def relative_change(
    origin: np.ndarray, candidate: np.ndarray, decimals: int = 3, *, positive: bool = True
) -> np.ndarray:
    """Return `mean_r round((o_r - c_rm) / |o_r|, decimals)` `[M]`; positive where the candidate's value is lower.

    Args:
      origin: the supernet's value in each repeat, `[R]`.
      candidate: the candidates' values in the same repeats, `[R, M]`.
      decimals: digits kept of each repeat's change.
      positive: a value of 0 or less is a failure.
    """

    def valid(values: np.ndarray) -> np.ndarray:
        return np.isfinite(values) & (values > 0 if positive else values != 0)

    origin, candidate = np.asarray(origin, np.float64), np.asarray(candidate, np.float64)
    usable = valid(origin)
    if not usable.any():
        return np.full(candidate.shape[1], np.nan)
    origin, candidate = origin[usable, None], candidate[usable]
    candidate = np.where(valid(candidate), candidate, np.nan)
    change: np.ndarray = np.round((origin - candidate) / np.abs(origin), decimals).mean(axis=0)
    return change


def deltas(values: np.ndarray, decimals: int = 3, *, positive: bool = True) -> np.ndarray:
    """The relative changes `[M]` of values `[R, 1 + M]` whose column 0 is the origin."""
    values = np.asarray(values)
    return relative_change(values[:, 0], values[:, 1:], decimals, positive=positive)


def always(edge: int, op: int) -> bool:
    """Every op may go."""
    return True


def step(
    state: State,
    *deltas: np.ndarray,
    signs: Sequence[int] = SIGNS,
    prune_number: int = 1,
    may_go: MayGo = always,
) -> State:
    """The state after one round: on every edge the `prune_number` ops with the lowest rank sum are gone.

    Args:
      state: the state whose `candidates` were evaluated; left as it is.
      deltas: relative change of each score, `[M]` in the order of `candidates`.
      signs: of each score, 1 where higher is better, -1 where lower is; where rank sums are equal the first decides.
      prune_number: ops to remove per edge; at least one op stays.
      may_go: asked of the ops in turn; one that may not go is passed over.

    Raises:
      ValueError: the number of deltas is not that of the candidates, or nothing is left to prune.
    """
    _, pairs = candidates(state)
    if not len(pairs):
        raise ValueError("nothing to prune: every edge has one op left")
    order, judged = _judge(pairs, deltas, signs)
    quota = np.minimum(prune_number, state.mask.sum(axis=1) - 1)
    return _without(state, judged, _first(pairs[order], pairs[order, 0], quota, may_go))


def edge_step(
    state: State,
    group: Sequence[int],
    *deltas: np.ndarray,
    signs: Sequence[int] = SIGNS,
    keep: int,
    may_go: MayGo = always,
) -> State:
    """The state after the last step for one group: of its edges, `keep` with the highest rank sums are left.

    Args:
      state: the state whose `edge_candidates` were evaluated; left as it is.
      group: the edges into one node.
      deltas: relative change of each score, `[M]` in the order of the candidates.
      signs: as for `step`.
      keep: edges that stay.
      may_go: as for `step`.
    """
    _, pairs = edge_candidates(state, group)
    order, judged = _judge(pairs, deltas, signs)
    quota = np.array([len(pairs) - keep])
    return _without(state, judged, _first(pairs[order], np.zeros(len(pairs), int), quota, may_go))


def done(state: State) -> bool:
    """Whether no edge has a choice left."""
    return bool((state.mask.sum(axis=1) <= 1).all())


def to_json(state: State) -> dict[str, Any]:
    """The state as lists, ints and floats, ready for `json.dumps`; failed deltas are None."""
    return {"mask": state.mask.astype(int).tolist(), "rounds": [_round_json(r) for r in state.history]}


def _round_json(record: Round) -> dict[str, Any]:
    return {
        "candidates": record.candidates.tolist(),
        "deltas": [nullable(delta) for delta in record.deltas],
        "ranks": record.ranks.tolist(),
        "pruned": record.pruned.tolist(),
        "mask": record.mask.astype(int).tolist(),
    }


def _judge(pairs: np.ndarray, deltas: Sequence[np.ndarray], signs: Sequence[int]) -> tuple[np.ndarray, Judged]:
    """The order `[M]` in which candidates go, and the first three fields of their `Round`."""
    shapes = [np.shape(delta) for delta in deltas]
    if len(signs) != len(shapes) or set(shapes) != {(len(pairs),)}:
        raise ValueError(f"expected {len(pairs)} deltas of each of {len(signs)} scores, got {shapes}")
    falls = np.array(deltas, np.float64)
    order, ranks = _priority(falls, signs)
    return order, (pairs, falls, ranks)


def _without(state: State, judged: Judged, pruned: np.ndarray) -> State:
    """The state after a round in which the (edge, op) pairs `pruned` `[K, 2]` went."""
    mask = state.mask.copy()
    mask[pruned[:, 0], pruned[:, 1]] = False
    return State(mask, (*state.history, Round(*judged, pruned, mask)))


def _priority(deltas: np.ndarray, signs: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The order `[M]` in which the candidates' ops go, and their ranks `[M, S]`.

    Equal rank sums go in the order by the first score; a failure goes behind whatever did not fail.
    """
    orders, ranks = zip(*(_dense_ranks(sign * delta) for sign, delta in zip(signs, deltas, strict=True)), strict=True)
    failures = (~np.isfinite(deltas)).sum(axis=0)
    order = np.lexsort((np.argsort(orders[0]), np.sum(ranks, axis=0), failures))
    return order, np.stack(ranks, axis=1)


def _dense_ranks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ascending order and the dense ranks of values `[M]`; those that are not finite share the last rank.

    As in the official code the sort sees rounded values and the test for ties exact ones: values that differ only
    beyond the third significant figure keep the candidates' order, yet have different ranks.
    """
    values = np.where(np.isfinite(values), values, np.inf)
    order = np.argsort([_round_significant(v) for v in values.tolist()], kind="stable")
    ordered = values[order]
    ranks = np.empty(len(values), int)
    ranks[order] = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
    return order, ranks


def _round_significant(value: float) -> float:
    """Return `value` with `SIGNIFICANT` figures; the official code's 1e-8 sends halves away from zero."""
    nudged = value + math.copysign(1e-8, value) if value else 0.0
    return float(f"{nudged:.{SIGNIFICANT - 1}e}")


def _first(pairs: np.ndarray, groups: np.ndarray, quota: np.ndarray, may_go: MayGo) -> np.ndarray:
    """Return of the ordered pairs `[M, 2]` that may go the first `quota[group]` of each group `[M]`, `[K, 2]`."""
    left = quota.copy()
    gone = []
    for (edge, op), group in zip(pairs.tolist(), groups.tolist(), strict=True):
        if left[group] > 0 and may_go(edge, op):
            left[group] -= 1
            gone.append((edge, op))
    return np.array(gone, int).reshape(-1, 2)
