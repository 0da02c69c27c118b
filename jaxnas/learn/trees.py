"""Gradient-boosted trees on training-free scores and features of the graph."""

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor

TREES, RATE, SHARE = 100, 0.1, 0.5  # SHARE of the rows for a tree, and of the features for a split


def fit_predict(features: np.ndarray, rows: np.ndarray, labels: np.ndarray, *, seed: int) -> np.ndarray:
    """Return predictions `[N]`, in units of the labels, from the rows with a label.

    Stochastic gradient boosting (Friedman, Computational Statistics & Data Analysis 2002) of trees of depth 3.

    Args:
      features: of the architectures `[N, P]`.
      rows: of those with a label `[n]`, at least 2.
      labels: of these `[n]`.
      seed: of the rows and features that a tree sees.
    """
    model = GradientBoostingRegressor(
        n_estimators=TREES, learning_rate=RATE, subsample=SHARE, max_features=SHARE, random_state=seed
    )
    predicted: np.ndarray = model.fit(features[rows], labels).predict(features)
    return predicted
