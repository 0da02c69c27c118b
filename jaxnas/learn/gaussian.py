"""A Gaussian process on live structure and scores: random trees cut the pool, and leaves that share a label agree.

    f ~ GP(c, s^2 k)

k(a, a') is the share of random trees in which both architectures end in the same leaf: the kernel of a random partition
(Davies and Ghahramani, The Random Forest Kernel, 2014). No label has a part in the trees: they cut the pool at random
features, which are the zero-label score, the ranks of scores and counts, and the features of live structure, and at
random values. A tree of depth 3 asks three questions, so a leaf is a product of structure and ranks. In the space of
the leaves this is linear regression with a normal prior (Rasmussen and Williams, Gaussian Processes for Machine
Learning, 2006, section 2.1), whose s^2 and noise maximise the marginal likelihood times gamma priors (MacKay, Neural
Computation 1992).
"""

from typing import Any

import numpy as np
from sklearn.ensemble import RandomTreesEmbedding
from sklearn.linear_model import BayesianRidge

TREES, DEPTH = 200, 3
SEEN = 10_000  # architectures of the pool from which the trees' cuts are drawn
SHAPE, SIGNAL, NOISE = 5.0, 0.6, 0.1  # of the gamma priors, and the s^2 and variance of the noise that they are about


def leaves(features: np.ndarray, *, seed: int) -> Any:
    """Return, sparse, 1 over the root of the number of trees for each leaf that an architecture is in `[N, L]`.

    Args:
      features: of the pool `[N, P]`.
      seed: of the trees.
    """
    trees = RandomTreesEmbedding(TREES, max_depth=DEPTH, random_state=seed)
    some = np.random.default_rng(seed).permutation(len(features))[:SEEN]
    return trees.fit(features[some]).transform(features) / TREES**0.5


def fit_predict(leaves: Any, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return predictions `[N]`, in units of the labels, from the rows with a label.

    Args:
      leaves: of the pool, see `leaves`.
      rows: of those with a label `[n]`.
      labels: of these `[n]`, of a deviation of about 1 or, of what a prior leaves, less.
    """
    seen = leaves[rows].toarray()
    centre = seen.mean(0)
    turned, lengths, axes = np.linalg.svd(seen - centre, full_matrices=False)  # n axes say all of the many leaves
    model = BayesianRidge(alpha_1=SHAPE, alpha_2=SHAPE * NOISE, lambda_1=SHAPE, lambda_2=SHAPE * SIGNAL)
    weights = model.fit(turned * lengths, labels).coef_ @ axes
    predicted: np.ndarray = leaves @ weights - centre @ weights + labels.mean()
    return predicted
