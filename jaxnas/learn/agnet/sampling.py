"""Graphs drawn from a generator's logits."""

import numpy as np

from jaxnas.learn.agnet.generator import Logits
from jaxnas.spaces.graphs import OUTPUT, GraphCode


def draw(code: GraphCode, logits: Logits, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one cell from each of N logits.

    Classes are categorical; the last node is an output, and behind the first output there are only more. Edges are
    independent of each other, given, where the space has `edge_sets`, that those into a node are one of the sets.

    Returns:
      Classes `[N, V]` and edges `[N, V (V - 1) / 2]`.
    """
    scores, edge_logits = np.asarray(logits.ops), np.asarray(logits.edges)
    ops = (scores + rng.gumbel(size=scores.shape)).argmax(-1)
    ops[:, -1] = OUTPUT
    ops[np.maximum.accumulate(ops == OUTPUT, 1)] = OUTPUT
    if code.edge_sets is None:
        return ops, (edge_logits + rng.logistic(size=edge_logits.shape) > 0).astype(int)
    edges = np.zeros(edge_logits.shape, int)
    for node in range(1, code.nodes):
        into = slice(node * (node - 1) // 2, node * (node + 1) // 2)
        for of_class in np.unique(ops[:, node]):
            rows = ops[:, node] == of_class
            edges[rows, into] = _draw_set(code.edge_sets(node, int(of_class)), edge_logits[rows, into], rng)
    return ops, edges


def _draw_set(sets: np.ndarray, logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one of `sets` `[K, E]` for each row of `logits` `[N, E]`, as independent edges would fall into it.

    The probability of a set is the product of the odds of its edges, up to a constant: its logit is their sum.
    """
    if not len(sets):
        return np.zeros(logits.shape, int)
    scores = logits @ sets.T
    return sets[(scores + rng.gumbel(size=scores.shape)).argmax(-1)]
