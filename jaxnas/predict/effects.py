"""What a predictor learnt, for people: what each choice adds to the prediction, and each pair of choices.

The predictions are taken apart by least squares into a mean, an effect of the choice at each place, and what a pair of
choices adds to both. On all architectures of a space of independent choices these are the terms of first and second
order of the functional analysis of variance (Hoeffding, Annals of Mathematical Statistics 1948). Where an architecture
is no row of choices, the number of times that it uses an operation counts as one.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from jaxnas.spaces import Space
from jaxnas.spaces.product import RowSpace

PAIRS = 12  # pairs that are kept, the largest effects
RARE = 5  # architectures with a choice, or a pair, below which its effect is not told


class Factor(NamedTuple):
    """A place of an architecture, and what stands there.

    Attributes:
      name: of the place.
      levels: what can stand there.
      values: what does `[N]`, numbers of levels.
    """

    name: str
    levels: tuple[str, ...]
    values: np.ndarray


class Effects(NamedTuple):
    """Effects in units of the target, and by how much they move with the labels that are held out.

    Attributes:
      single: place, choice, effect, its standard error and the architectures that have it.
      pairs: two of each of the former, then the same.
      explained: share of the predictions' variance by the single effects, and with all pairs of two places.
    """

    single: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    explained: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """The effects for JSON."""
        return {"single": self.single, "pairs": self.pairs, "explained": list(self.explained)}


def factors(space: Space, archs: np.ndarray) -> list[Factor]:
    """The places of architectures `[N, A]` at which they differ."""
    code = space.graph_code
    if code is None or not len(archs) or not code.fits(archs).all():
        return []
    if isinstance(space, RowSpace):
        edges = space.supernet.edges if space.supernet else [f"place {k + 1}" for k in range(space.places)]
        found = [Factor(name, code.classes[2:], archs[:, k]) for k, name in enumerate(edges)]
    else:
        found = _numbers(code, code.encode(space.live(archs)).ops)
    return [factor for factor in found if np.ptp(factor.values)]


def _numbers(code: Any, ops: np.ndarray) -> list[Factor]:
    """How often each cell of `ops` `[N, C, V]` has each operation."""
    found = []
    for cell in range(code.cells):
        where = f"cell {cell + 1}: " if code.cells > 1 else ""
        for k, name in enumerate(code.classes):
            if k > 1 and not name.startswith("input"):
                numbers = (ops[:, cell] == k).sum(1)
                found.append(Factor(where + name, tuple(map(str, range(numbers.max() + 1))), numbers))
    return found


def effects(given: Sequence[Factor], predicted: np.ndarray, held_out: np.ndarray) -> Effects | None:
    """Take predictions `[N]` apart; None where there is nothing to tell.

    Args:
      given: the factors of the architectures.
      predicted: by the model of all labels.
      held_out: by those of all folds but one `[K, N]`, behind the standard errors (the jackknife of the folds).
    """
    given = [factor for factor in given if len(predicted) >= RARE]
    if not given or not np.ptp(predicted):
        return None
    outputs = np.concatenate([predicted[None], held_out]).T
    design = np.concatenate([_one_hot(factor) for factor in given], 1)
    single, rest = _additive(design, outputs)
    table, start = [], 0
    for factor in given:
        count = np.bincount(factor.values, minlength=len(factor.levels))
        own = single[start : start + len(count)]
        own = own - count @ own / count.sum()  # a mean of 0 over the architectures
        start += len(count)
        table += [
            {"place": factor.name, "choice": level, **_row(own[k], count[k])}
            for k, level in enumerate(factor.levels)
            if count[k] >= RARE
        ]
    pairs, left = _pairs(given, rest)
    total = outputs[:, 0].var()
    explained = 1 - rest[:, 0].var() / total, 1 - left.var() / total
    return Effects(table, pairs, (float(explained[0]), float(max(explained))))


def _one_hot(factor: Factor) -> np.ndarray:
    return np.eye(len(factor.levels))[factor.values]


def _additive(design: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The coefficients `[P, K]` of least norm of one-hot factors `[N, P]`, and what they leave of outputs `[N, K]`."""
    centred = outputs - outputs.mean(0)
    middle = design - design.mean(0)
    weights = np.linalg.pinv(middle.T @ middle, rcond=1e-9, hermitian=True) @ (middle.T @ centred)
    return weights, centred - middle @ weights


def _pairs(given: Sequence[Factor], rest: np.ndarray) -> tuple[list[dict[str, Any]], np.ndarray]:
    """The largest pair effects, means of what single ones leave `[N, K]`, and what pairs leave of the first `[N]`."""
    found, left = [], rest[:, 0].copy()
    for a, b in combinations(given, 2):
        cell = a.values * len(b.levels) + b.values
        count = np.bincount(cell, minlength=len(a.levels) * len(b.levels))
        sums = np.stack([np.bincount(cell, weights=column, minlength=len(count)) for column in rest.T], 1)
        means = sums / np.maximum(count, 1)[:, None]
        left -= means[cell, 0]
        for k in np.flatnonzero(count >= RARE):
            of = [
                {"place": factor.name, "choice": factor.levels[level]}
                for factor, level in zip((a, b), divmod(k, len(b.levels)), strict=True)
            ]
            found.append({"of": of, **_row(means[k], count[k])})
    found.sort(key=lambda row: -abs(row["effect"]))
    return found[:PAIRS], left


def _row(effect: np.ndarray, count: int) -> dict[str, Any]:
    """An effect `[1 + K]`, first that of the whole model, as JSON."""
    parts = effect[1:]
    error = np.sqrt((len(parts) - 1) * parts.var()) if len(parts) > 1 else 0.0
    return {"effect": float(effect[0]), "error": float(error), "architectures": int(count)}
