"""The predictors by name: from a pool, and labels of some of its rows, to a prediction for all of it.

Each one is asked for S predictions at once, from S lists of rows of its own, and answers `[S, N]`: in units of the
labels, or the zero-label score where a list has no two different ones.
"""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from jaxnas.learn import ridge
from jaxnas.learn.features import Pool
from jaxnas.learn.graph_net import inputs_of
from jaxnas.learn.training import Training, capacity, fit, initial, pad, predict
from jaxnas.ranks import midranks, ordering

SLOPE, HELD = 0.8, 5  # of ranked labels along the zero-label score before there are any, and the labels it is worth

Model = Callable[..., np.ndarray]
"""`(pool, rows [S, n], labels [S, n], *, seed) -> [S, N]`; a NaN among the labels, higher is better, is padding."""

One = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""`(rows [n], ranks of their labels [n]) -> [N]`."""


def ridge_on_scores(pool: Pool, rows: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Predict by ridge regression on the ranks of the scores and their squares; `seed` has no effect."""
    return one_by_one(pool, rows, labels, partial(ridge.fit_predict, pool.prior))


def boosted_trees(pool: Pool, rows: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Predict by boosted trees on the ranks of the scores and features of the graphs."""
    from jaxnas.learn import trees  # whose package is of the extra `learn`

    return one_by_one(pool, rows, labels, partial(trees.fit_predict, pool.described, seed=seed))


def gaussian_process(pool: Pool, rows: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Predict by a Gaussian process around the zero-label score, on live structure and the ranks of the scores."""
    from jaxnas.learn import gaussian  # whose package is of the extra `learn`

    return one_by_one(pool, rows, labels, partial(gaussian.fit_predict, gaussian.leaves(pool.described, seed=seed)))


def graph_network(
    pool: Pool, rows: np.ndarray, labels: np.ndarray, *, seed: int = 0, how: Training | None = None
) -> np.ndarray:
    """Predict by the graph network: the zero-label score, and what the labels add to it."""
    how = how or Training()
    inputs = inputs_of(pool)
    rows, labels = pad(rows, labels, capacity(rows.shape[1]))
    params = initial(inputs, prior_start(pool), how, seed=seed, models=len(rows))
    scores = predict(fit(params, inputs.at(rows), labels, how, keys(seed, len(rows))), inputs, how)
    return in_units(scores, rows, labels)


def in_units(scores: np.ndarray, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return `scores` `[S, N]` moved and stretched so that mean and deviation over the rows are those of the labels.

    A list of rows without two different labels leaves its scores as they are.
    """

    def one(own: np.ndarray, own_rows: np.ndarray, own_labels: np.ndarray) -> np.ndarray:
        known = np.isfinite(own_labels)
        if not known.any() or not np.ptp(own_labels[known]):
            return own
        seen, wanted = own[own_rows[known]], own_labels[known]
        return wanted.mean() + wanted.std() * (own - seen.mean()) / (seen.std() or 1.0)

    return np.stack([one(s, r, y) for s, r, y in zip(scores, rows, labels, strict=True)])


def keys(seed: int, models: int) -> jax.Array:
    """The keys `[S]` of the batches of S models."""
    return jax.random.split(jax.random.key(seed), models)


def prior_start(pool: Pool) -> np.ndarray:
    """The weights `[P]` of `Pool.prior` that make the zero-label score."""
    return np.eye(1, pool.prior.shape[1])[0]


def one_by_one(pool: Pool, rows: np.ndarray, labels: np.ndarray, predict_one: One) -> np.ndarray:
    """The predictions `[S, N]` of S lists of rows: the zero-label score, and what the ranks of the labels add to it.

    A few architectures that hardly work would decide the fit of the labels themselves.
    """
    prior = pool.zero_label / (pool.zero_label.std() or 1.0)

    def of(own_rows: np.ndarray, own_labels: np.ndarray) -> np.ndarray:
        known = np.isfinite(own_labels)
        own_rows, ranks = own_rows[known], unit_ranks(own_labels[known])
        if not ranks.any():
            return pool.zero_label
        along = slope(prior[own_rows], ranks) * prior
        return along + predict_one(own_rows, ranks - along[own_rows])

    return in_units(np.stack([of(r, y) for r, y in zip(rows, labels, strict=True)]), rows, labels)


def slope(prior: np.ndarray, ranks: np.ndarray) -> float:
    """The slope of ranks `[n]` along the prior `[n]`, by least squares held to `SLOPE` as by `HELD` labels."""
    prior = prior - prior.mean()
    return float((prior @ ranks + HELD * SLOPE) / (prior @ prior + HELD))


def unit_ranks(labels: np.ndarray) -> np.ndarray:
    """The ranks of labels `[n]` with mean 0 and deviation 1, ties sharing theirs; zeros if all are equal."""
    if not len(labels):
        return labels
    ranks = midranks(ordering(labels))
    return ranks / (ranks.std() or 1.0)


MODELS: dict[str, Model] = {
    "ridge": ridge_on_scores,
    "trees": boosted_trees,
    "gp": gaussian_process,
    "graph": graph_network,
}
