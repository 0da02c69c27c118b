"""`python -m bench.supernet`: what a ranking in training adds to a supernet on NAS-Bench-201, beside what needs none.

Arms: `plain`; `landmarks` (M labelled architectures); `shuffled` (the same in random order: must not help); `teacher`
(FLOPs); `longer` (plain with as many forward and backward passes as `landmarks`). All but `longer` have equal updates.
Without training: #params, FLOPs (the teacher alone), and a ridge regression on published training-free scores and the
same labels. All are judged on the same connected architectures, none of them isomorphic to a landmark.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl

from bench.machine import provenance
from bench.supernet_report import draw, show
from jaxnas import cli, devices, labelled
from jaxnas.errors import UserError, unknown
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
from jaxnas.scorers.counts import mean_ranks
from jaxnas.spaces.nasbench201 import NASBENCH201 as SPACE
from jaxnas.supernet.arms import Arm, Landmarks, Plain, Teacher
from jaxnas.supernet.batches import Images
from jaxnas.supernet.guides import Labels, draw_landmarks, read_teacher, uniform
from jaxnas.supernet.options import WARMUP
from jaxnas.supernet.ranking import Ranking
from jaxnas.supernet.training import Recipe, Trainer

ARMS = ("plain", "landmarks", "teacher", "shuffled", "longer")
TARGET = "c10_test_200"
POOL_SEED = 10**6  # of the judged architectures
TOP_K, TOP_SHARE = 10, 0.05
PROXIES = ("c10_naswot_freerea", "c10_logsynflow_freerea", "c10_nregions_freerea", "c10_naswot_jj", "c10_zen_nbsz")
SHARED = Path(os.environ.get("JAXNAS_DATA", "../shared/data"))


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Train the arms one after another and compare how they rank the same architectures."""

    arms: str = ",".join(ARMS)
    """Comma-separated."""
    seeds: tuple[int, ...] = (0,)
    """Of weights, draws and landmarks."""
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=100, batch=64))
    channels: int = 8
    """Of the first stage."""
    cells: int = 1
    """Per stage."""
    side: int = 16
    """Pixels."""
    pool: int = 200
    """Architectures to judge by."""
    landmarks: int = 30
    """Labelled architectures."""
    strength: float = 10.0
    """Greatest factor of the landmarks' rank loss."""
    evaluations: int = 3
    """How often to rank, at the last epoch and before it; figures are means over these."""
    every: int = 5
    """Epochs between them."""
    batches: int = 20
    """Of 64 images, that an architecture is ranked on."""
    data: str = "tfds:cifar10"
    """Labelled images."""
    out: Path = Path("bench/results/supernet")
    """Directory for the record and its figure."""


@dataclass(frozen=True, eq=False)
class Ground:
    """What is the same for all arms: the architectures `[N, A]` to judge by, and the whole table's accuracies."""

    archs: np.ndarray
    accuracies: np.ndarray
    everything: np.ndarray
    landmarks: Mapping[int, np.ndarray]


def bench(config: Bench) -> None:
    """Run the command; the record is written anew after each arm."""
    arms = config.arms.split(",")
    for name in arms:
        if name not in ARMS:
            raise unknown("arm", name, ARMS)
    if config.recipe.epochs <= (config.evaluations - 1) * config.every:
        raise UserError(f"{config.recipe.epochs} epochs are too few for {config.evaluations} evaluations")
    devices.cache_programs()
    data = labelled.load(config.data, side=config.side, data_dir=str(SHARED / "tfds"))
    ground, images = common(config), Images.of(data)
    record = {
        "case": "supernet",
        "command": command(config),
        **provenance(),
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()},
        "data": data.description,
        "untrained": {str(seed): untrained(ground, seed) for seed in config.seeds},
        "runs": [],
    }
    config.out.mkdir(parents=True, exist_ok=True)
    path = config.out / f"supernet-{record['created'].replace(':', '')}.json"
    for seed in config.seeds:
        parts = dict(zip(("train", "hinge", "ranking"), data.split(seed, (0.5, 0.25, 0.25)), strict=True))
        for name in arms:
            record["runs"].append(train(config, name, seed, ground, images, parts, data.classes))
            path.write_text(json.dumps(record, indent=1, default=float) + "\n")
            draw(record, path.with_suffix(".png"))
            show(record)
    print(path)


def command(config: Bench) -> str:
    """Return the command line without its defaults."""
    given = [f"--seeds {' '.join(map(str, config.seeds))}", f"--arms {config.arms}"]
    given += [f"--recipe.{k.replace('_', '-')} {v}" for k, v in asdict(config.recipe).items()]
    names = ("channels", "cells", "side", "pool", "landmarks", "strength", "evaluations", "every", "batches", "data")
    return " ".join(["python -m bench.supernet", *given, *(f"--{name} {getattr(config, name)}" for name in names)])


def common(config: Bench) -> Ground:
    """Draw the landmarks of each seed, and the architectures to judge by, which are isomorphic to none of them."""
    path = SHARED / "nasbench201" / "accuracies.parquet"
    landmarks = {s: draw_landmarks(SPACE, Labels(path, TARGET), config.landmarks, s) for s in config.seeds}
    known = {arch.tobytes() for archs in landmarks.values() for arch in SPACE.canonical(archs).astype(np.int32)}
    drawn = uniform(SPACE)(jax.random.key(POOL_SEED), 2 * config.pool + len(known))
    fresh = [arch.tobytes() not in known for arch in SPACE.canonical(drawn).astype(np.int32)]
    everything = pl.read_parquet(path).sort("idx")[TARGET].to_numpy() / 100
    archs = drawn[fresh][: config.pool]
    return Ground(archs, everything[SPACE.index(archs)], everything, landmarks)


def arm(config: Bench, name: str, seed: int, ground: Ground) -> tuple[Arm, Recipe]:
    """Return what the arm called `name` trains on, and how long."""
    epochs = config.recipe.epochs
    order = np.random.default_rng(seed).permutation(config.landmarks) if name == "shuffled" else slice(None)
    ranked = Landmarks(ground.landmarks[seed][order], config.strength, "cosine", epochs, round(WARMUP * epochs))
    if name in ("landmarks", "shuffled"):
        return ranked, config.recipe
    if name == "teacher":
        return Teacher(read_teacher(SPACE, "flops"), margin=5), config.recipe
    if name == "plain":
        return Plain(), config.recipe
    passes = sum(3 if ranked.strength(epoch) > 0 else 1 for epoch in range(epochs))
    return Plain(), Recipe(**asdict(config.recipe) | {"epochs": passes})


def train(
    config: Bench, name: str, seed: int, ground: Ground, images: Images, parts: Mapping[str, np.ndarray], classes: int
) -> dict[str, Any]:
    """Train one arm and return its figures."""
    network = SPACE.network(
        channels=config.channels, cells=config.cells, image=(config.side,) * 2 + (3,), classes=classes
    )
    how, recipe = arm(config, name, seed, ground)
    trainer = Trainer(network, images, parts, how, recipe, sample=uniform(SPACE), seed=seed)
    ranking = Ranking(network, images, parts["ranking"], batch=64, batches=config.batches)
    ranked_after = {recipe.epochs - k * config.every for k in range(config.evaluations)}
    state, curves, found, seconds = trainer.init(), [], [], 0.0
    for number in range(recipe.epochs):
        state, own = trainer.epoch(state, number)
        curves.append(own)
        if number + 1 in ranked_after:
            started = time.perf_counter()
            found.append(ranking.all(state.params, ground.archs))
            seconds += time.perf_counter() - started
    flops = mean_ranks(SPACE.flops(ground.archs))
    return {
        "arm": name,
        "seed": seed,
        "updates": recipe.epochs * trainer.steps,
        "passes": sum(trainer.passes(number) for number in range(recipe.epochs)) * trainer.steps,
        "seconds": {
            "training": sum(own["seconds"] for own in curves),
            "epoch": float(np.median([own["seconds"] for own in curves])),
            "rankings": seconds,
        },
        "supernet_accuracy": [float(accuracy.mean()) for accuracy, _ in found],
        "by_accuracy": [figures(accuracy, ground) for accuracy, _ in found],
        "by_loss": [figures(-loss, ground) for _, loss in found],
        "with_flops": [figures(mean_ranks(accuracy) + flops, ground) for accuracy, _ in found],
        "curves": {key: [own[key] for own in curves] for key in ("loss", "rank_loss", "rank_active", "strength")},
    }


def untrained(ground: Ground, seed: int) -> dict[str, dict[str, float]]:
    """Return the figures of what needs no supernet."""
    counts: dict[str, Callable[[np.ndarray], np.ndarray]] = {"params": SPACE.params, "flops": SPACE.flops}
    return {name: figures(count(ground.archs), ground) for name, count in counts.items()} | {
        "ridge": figures(ridge(ground, seed), ground)
    }


def ridge(ground: Ground, seed: int) -> np.ndarray:
    """Return predictions `[N]` by the landmarks' accuracies, from ranks within the space, which need no labels."""
    from sklearn.linear_model import Ridge

    table = pl.read_parquet(SHARED / "published_proxies" / "nasbench201_all.parquet").sort("idx")
    everything = SPACE.enumerate()
    scores = [SPACE.params(everything), SPACE.flops(everything), *(table[name].to_numpy() for name in PROXIES)]
    ranks = np.stack([mean_ranks(np.nan_to_num(own, nan=-np.inf, neginf=-np.inf)) for own in scores], 1)
    ranks = ranks / len(everything) - 0.5
    known = SPACE.index(ground.landmarks[seed])
    model = Ridge(alpha=1.0).fit(ranks[known], ordering(ground.everything[known]) / len(known))
    return np.asarray(model.predict(ranks[SPACE.index(ground.archs)]))


def figures(scores: np.ndarray, ground: Ground) -> dict[str, float]:
    """Return how well scores `[N]`, higher is better, order the architectures."""
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return cli.run(Bench, bench, argv, prog="bench.supernet")


if __name__ == "__main__":
    raise SystemExit(main())
