"""What is the same for all arms: the architectures that are judged and the labelled ones, with their accuracies."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np

from bench.core import benchmarks
from jaxnas.ranks import (
    KendallTau,
    best_rows,
    ordering,
    percentiles_of_top,
    sparse_kendall,
    spearman_rho,
    surpasses_random,
    top_precision,
)
from jaxnas.spaces.nasbench201.space import NASBENCH201 as SPACE
from jaxnas.spaces.subset import Subspace
from jaxnas.supernet.guides import draw_landmarks, uniform
from jaxnas.tables.archs import read_architectures
from jaxnas.tables.measured import Target, read_measured

TARGET = "c10_test_200"
POOL_SEED = 10**6  # of the judged architectures
SEEDS = range(10)  # that may be given; no architecture is judged that is a landmark of one of them
TOP_K, TOP_SHARE = 10, 0.05


@dataclass(frozen=True, eq=False)
class Ground:
    """What is the same for all arms.

    Attributes:
      archs: the architectures to judge by `[N, A]`.
      accuracies: theirs, from 0 to 1 `[N]`.
      everything: those of the whole space, in its order.
      landmarks: of each seed `[M, A]`, ascending in accuracy.
    """

    archs: np.ndarray
    accuracies: np.ndarray
    everything: np.ndarray
    landmarks: Mapping[int, np.ndarray]


def common(pool: int, number: int) -> Ground:
    """Draw `number` landmarks for each seed, and `pool` architectures to judge by, which are isomorphic to none."""
    path = benchmarks.folder() / "nasbench201" / "accuracies.parquet"
    _, table, archs = read_architectures(path, SPACE)
    everything = np.empty(SPACE.size)
    everything[SPACE.index(archs)] = table[TARGET].to_numpy() / 100
    measured = read_measured(SPACE, Target(path, TARGET))
    landmarks = {seed: draw_landmarks(SPACE, measured, number, seed) for seed in SEEDS}
    drawn = uniform(SPACE)(jax.random.key(POOL_SEED), 2 * pool)
    known = Subspace(SPACE, np.concatenate([*landmarks.values()]))
    archs = drawn[~known.contains(drawn)][:pool]
    return Ground(archs, everything[SPACE.index(archs)], everything, landmarks)


def figures(scores: np.ndarray, ground: Ground) -> dict[str, float]:
    """How well scores `[N]`, higher is better, order the architectures."""
    x, y = ordering(scores), ordering(ground.accuracies)
    top = best_rows(x, TOP_K)
    low, middle, high = percentiles_of_top(scores, ground.accuracies, ground.everything, TOP_K)
    best = ground.accuracies[top].max()
    rank = int((ground.everything <= best).sum())
    return {
        "sparse_kendall": sparse_kendall(scores, ground.accuracies),
        "kendall": KendallTau(x, y)(),
        "spearman": spearman_rho(x, y),
        "precision_top_5_percent": top_precision(x, y, TOP_SHARE),
        "top_10_accuracy": float(ground.accuracies[top].mean()),
        "top_10_percentile_low": low,
        "top_10_percentile_median": middle,
        "top_10_percentile_high": high,
        "surpasses_random": surpasses_random(rank, len(ground.everything), TOP_K),
    }
