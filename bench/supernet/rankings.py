"""What orders the judged architectures: a seed's supernets, counts, training-free scores, and few labels."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

from bench.core import benchmarks
from bench.supernet.ground import SPACE, Ground
from jaxnas.learn.features import RankScale, counts_of, make_pool, zero_label
from jaxnas.learn.models import gaussian_process
from jaxnas.learn.ridge import fit_predict
from jaxnas.ranks import mean_ranks, ordering
from jaxnas.scorers.counts import LiveFlops
from jaxnas.tables.archs import read_architectures
from jaxnas.tables.named import load

Run = Mapping[str, Any]
PROXIES = ("c10_naswot_freerea", "c10_logsynflow_freerea", "c10_nregions_freerea", "c10_naswot_jj", "c10_zen_nbsz")
ADDED = ("live FLOPs", "consensus", "ridge", "gp")  # to a supernet's rank
STORED = {"ntk": -1, "regions": 1}  # of the table in the package, with their signs
HALVES = {"even": slice(0, None, 2), "odd": slice(1, None, 2)}  # every other landmark, from the worst
COUNTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "#params": SPACE.params,
    "FLOPs": SPACE.flops,
    "live FLOPs": lambda archs: LiveFlops().of(SPACE, archs),
}


def of_seed(ground: Ground, runs: Mapping[str, Run], seed: int) -> dict[str, np.ndarray]:
    """The scores `[N]` of the judged architectures by name, higher is better.

    Args:
      runs: of the seed, by arm.
    """
    alone = untrained(ground, seed)
    return alone | trained(runs, alone) | crossed(ground, runs, seed)


def untrained(ground: Ground, seed: int) -> dict[str, np.ndarray]:
    """What needs no supernet."""
    counts = {name: count(ground.archs) for name, count in COUNTS.items()}
    random = np.random.default_rng(seed).random(len(ground.archs))
    found = {"random": random, **counts, "consensus": consensus(ground), **by_labels(ground, seed, {})}
    return found | {"ridge + consensus": log_ranks(found["ridge"]) + log_ranks(found["consensus"])}


def trained(runs: Mapping[str, Run], alone: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The supernets of all arms but halves, and sums of log-ranks with what needs none, `alone`, which fit nothing.

    Losses and accuracies are means over the last rankings. A sum is with the loss, or with the accuracy where a record
    has no losses.
    """
    found: dict[str, np.ndarray] = {}
    for arm, run in runs.items():
        if arm in HALVES:
            continue
        own = {"accuracy": np.mean(run["accuracies"], 0)}
        if "losses" in run:
            own["loss"] = -np.mean(run["losses"], 0)
        found |= {f"{arm}, {name}": scores for name, scores in own.items()}
        best = log_ranks([*own.values()][-1])
        found |= {f"{arm} + {name}": best + log_ranks(alone[name]) for name in ADDED}
    return found


def crossed(ground: Ground, runs: Mapping[str, Run], seed: int) -> dict[str, np.ndarray]:
    """Regressions on the labels with a supernet's loss as one more feature, where the records have losses.

    A landmark's loss is that of the supernet trained on the other half of the landmarks, which never saw its label;
    `leaking` has the losses of the supernet that was trained on all of them.
    """
    found: dict[str, np.ndarray] = {}
    known = {arm: run for arm, run in runs.items() if "losses" in run}
    if {"landmarks", *HALVES} <= set(known):
        both = np.concatenate([ranked(known["landmarks"])[0], held_out(known)])
        found |= by_labels(ground, seed, {"loss": both})
    for arm, name in (("landmarks", "leaking loss"), ("plain", "plain loss")):
        if arm in known:
            found |= by_labels(ground, seed, {name: np.concatenate(ranked(known[arm]))})
    return found


def held_out(runs: Mapping[str, Run]) -> np.ndarray:
    """The ranks `[M]` of the landmarks by supernets that were trained on the other half of them."""
    ranks = np.empty(len(runs["even"]["landmark_losses"][0]))
    for half, other in (("even", "odd"), ("odd", "even")):
        ranks[HALVES[other]] = ranked(runs[half])[1][HALVES[other]]
    return ranks


def ranked(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Where the losses of judged architectures `[N]` and landmarks `[M]` stand among the judged ones, from -1 to 1."""
    judged, marks = (-np.mean(run[name], 0)[:, None] for name in ("losses", "landmark_losses"))
    scale = RankScale.fit(judged)
    return scale(judged)[:, 0], scale(marks)[:, 0]


def by_labels(ground: Ground, seed: int, more: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Predictions `[N]` from the landmarks' accuracies, by ridge regression and by a Gaussian process.

    Args:
      more: features `[N + M]` of judged architectures and landmarks beside the published scores, from -1 to 1.
    """
    judged, marks = len(ground.archs), ground.landmarks[seed]
    archs, rows = np.concatenate([ground.archs, marks]), judged + np.arange(len(marks))
    accuracies = ground.everything[SPACE.index(marks)]
    published = of_space()[SPACE.index(archs)]
    features = np.column_stack([published, *(0.5 * values for values in more.values())])
    scores = dict(zip(PROXIES, published.T[-len(PROXIES) :], strict=True))
    pool = make_pool(SPACE, archs, {**scores, **more})
    suffix = "".join(f" with {name}" for name in more)
    return {
        f"ridge{suffix}": fit_predict(features, rows, ordering(accuracies) / len(marks))[:judged],
        f"gp{suffix}": gaussian_process(pool, rows[None], accuracies[None])[0, :judged],
    }


def consensus(ground: Ground) -> np.ndarray:
    """The consensus `[N]` of the stored `ntk` and `regions` and of the live counts within the space; no labels."""
    return stored()[SPACE.index(ground.archs)]


@functools.cache
def stored() -> np.ndarray:
    """The consensus of the whole space, in its order."""
    table = load("nasbench201", list(STORED))
    everything = SPACE.enumerate()
    rows = np.argsort(SPACE.index(SPACE.from_table({SPACE.string_columns[0]: table["arch"]})))
    scores = {name: sign * table[name].to_numpy().astype(float)[rows] for name, sign in STORED.items()}
    return zero_label(scores, counts_of(SPACE, everything), ~SPACE.is_disconnected(everything))


@functools.cache
def of_space() -> np.ndarray:
    """Ranks within the space of #params, FLOPs and published scores, in its order, from -0.5 to 0.5."""
    tables = benchmarks.folder()
    _, accuracies, archs = read_architectures(tables / "nasbench201" / "accuracies.parquet", SPACE)
    proxies = pl.read_parquet(tables / "published_proxies" / "nasbench201_all.parquet")
    table = accuracies.select("idx").join(proxies, on="idx", maintain_order="left")[np.argsort(SPACE.index(archs))]
    everything = SPACE.enumerate()
    scores = [SPACE.params(everything), SPACE.flops(everything), *(table[name].to_numpy() for name in PROXIES)]
    ranks = np.stack([mean_ranks(np.nan_to_num(own, nan=-np.inf, neginf=-np.inf)) for own in scores], 1)
    return ranks / len(everything) - 0.5


def log_ranks(scores: np.ndarray) -> np.ndarray:
    """The logarithms `[N]` of the shares that scores `[N]` beat, as in the consensus."""
    return np.log((mean_ranks(scores) + 0.5) / len(scores))
