"""Intervals around the predictions of any model, from how far held-out labels were missed.

The cross-validated jackknife+ (CV+: Barber, Candes, Ramdas and Tibshirani, Predictive inference with the jackknife+,
Annals of Statistics 2021), with the sign of the misses: that of x is made of what the model without label j's fold
predicts for x plus by how much it missed label j, over all j.
"""

import numpy as np

ONE_IN = 20  # new architectures lies below, and one above: 90 % within
MOST = 1000  # misses that are looked at
CHUNK = 4096  # architectures at a time


def level(labels: int) -> float:
    """The share of new architectures within the intervals: .9 from 19 labels on, fewer cannot promise as much."""
    return min(1 - 2 / ONE_IN, (labels - 1) / (labels + 1))


def intervals(parts: np.ndarray, fold: np.ndarray, misses: np.ndarray) -> np.ndarray:
    """Return lower and upper ends `[2, N]`.

    Args:
      parts: predictions of the models without each fold `[K, N]`.
      fold: of each label `[n]`.
      misses: label less what the model without its fold predicts `[n]`.
    """
    some = slice(None, None, -(-len(fold) // MOST))
    starts = range(0, parts.shape[1], CHUNK)
    ends = [_ends(parts[fold[some], start : start + CHUNK] + misses[some, None]) for start in starts]
    return np.concatenate(ends, 1)


def coverage(fold: np.ndarray, misses: np.ndarray) -> float:
    """The share of the labels `[n]` that lie within what the misses of the other folds let expect."""
    inside = []
    for k in np.unique(fold):
        low, high = _ends(misses[fold != k][:, None])[:, 0]
        inside += [(low <= misses[fold == k]) & (misses[fold == k] <= high)]
    return float(np.concatenate(inside).mean())


def _ends(values: np.ndarray) -> np.ndarray:
    """The quantiles `[2, M]` of `values` `[n, M]` of rank (n + 1) / `ONE_IN` from below and from above, at least 1.

    Between two ranks it is on the line between their values.
    """
    place, part = divmod(max((len(values) + 1) / ONE_IN - 1, 0), 1)
    ends = np.array([[int(place), int(place) + 1], [-1 - int(place), -2 - int(place)]])
    ordered = np.partition(values, (ends % len(values)).ravel(), 0)[ends % len(values)]
    return (1 - part) * ordered[:, 0] + part * ordered[:, 1]
