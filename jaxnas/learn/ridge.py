"""Ridge regression on a few labels, in closed form."""

import numpy as np

PENALTY = 1.0


def fit_predict(
    features: np.ndarray, rows: np.ndarray, labels: np.ndarray, *, start: np.ndarray | None = None
) -> np.ndarray:
    """Return predictions `[N]`, in units of the labels, from the rows with a label.

    w = argmin |y - X w|^2 + PENALTY |w - start|^2 with X and y centred on the rows (Hoerl and Kennard, Technometrics
    1970).

    Args:
      features: of the architectures `[N, P]`.
      rows: of those with a label `[n]`.
      labels: of these `[n]`.
      start: weights before there is a label `[P]`; by default zeros.
    """
    start = np.zeros(features.shape[1]) if start is None else start
    if not len(rows):
        return features @ start
    centre, middle = features[rows].mean(0), labels.mean()
    x, y = features[rows] - centre, labels - middle
    gram = x.T @ x + PENALTY * np.eye(x.shape[1])
    weights = start + np.linalg.solve(gram, x.T @ (y - x @ start))
    predicted: np.ndarray = middle + (features - centre) @ weights
    return predicted
