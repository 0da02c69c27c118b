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

from bench.core.machine import provenance
from bench.supernet.report import draw, show
from jaxnas.cli import frame
from jaxnas.data import labelled
from jaxnas.errors import UserError, unknown
from jaxnas.evaluate import devices
from jaxnas.learn.ridge import fit_predict
from jaxnas.ranks import (
    KendallTau,
    best_rows,
    mean_ranks,
    ordering,
    percentiles_of_top,
    sparse_kendall,
    spearman_rho,
    surpasses_random,
    top_precision,
)
from jaxnas.spaces.nasbench201.space import NASBENCH201 as SPACE
from jaxnas.spaces.subset import Subspace
from jaxnas.supernet.arms import Arm, Landmarks, Plain, Teacher
from jaxnas.supernet.batches import Images
from jaxnas.supernet.guides import draw_landmarks, read_teacher, uniform
from jaxnas.supernet.options import WARMUP
from jaxnas.supernet.ranking import Ranking
from jaxnas.supernet.training import SGD, Trainer
from jaxnas.tables.archs import read_architectures
from jaxnas.tables.measured import Target, read_measured

ARMS = ("plain", "landmarks", "teacher", "shuffled", "longer")
TARGET = "c10_test_200"
POOL_SEED = 10**6  # of the judged architectures
SEEDS = range(10)  # that may be given; no architecture is judged that is a landmark of one of them
PARTS, SHARES = ("train", "hinge", "ranking"), (0.5, 0.25, 0.25)
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
    recipe: SGD = field(default_factory=lambda: SGD(epochs=120, batch=32, learning_rate=0.1))
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
    batches: int = 10
    """Of 64 images, that an architecture is ranked on."""
    data: str = "tfds:cifar10"
    """Labelled images."""
    out: Path = Path("bench/results/supernet")
    """Directory for the records, one for each arm and seed, and the figure of all that have the same settings."""


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


def bench(config: Bench) -> None:
    """Run the command: an arm and a seed that is in --out with the same settings is not trained again."""
    check(config)
    devices.cache_programs()
    config.out.mkdir(parents=True, exist_ok=True)
    data = labelled.load(config.data, side=config.side, data_dir=str(SHARED / "tfds"))
    ground, images = common(config), Images.of(data)
    about = {"settings": settings(config), "data": {"name": data.name, "fingerprint": data.fingerprint}}
    for seed in config.seeds:
        parts = dict(zip(PARTS, data.split(seed, SHARES), strict=True))
        for name in config.arms.split(","):
            path = config.out / f"{name}-{seed}.json"
            if path.exists() and (found := json.loads(path.read_text())) | about == found:
                continue
            found = about | {"command": command(config, name, seed), **provenance()}
            found["run"] = train(config, name, seed, ground, images, parts, data.classes)
            path.write_text(json.dumps(found, indent=1, default=float) + "\n")
    report(config, ground, about)


def check(config: Bench) -> None:
    """Raise a `UserError` if the options make no sense."""
    for name in config.arms.split(","):
        if name not in ARMS:
            raise unknown("arm", name, ARMS)
    if not set(config.seeds) <= set(SEEDS):
        raise UserError(f"--seeds {' '.join(map(str, config.seeds))}: choose from {SEEDS.start} to {SEEDS.stop - 1}")
    if config.recipe.epochs <= (config.evaluations - 1) * config.every:
        raise UserError(f"{config.recipe.epochs} epochs are too few for {config.evaluations} evaluations")


def settings(config: Bench) -> dict[str, Any]:
    """What a run depends on beside its arm and its seed."""
    return {name: value for name, value in asdict(config).items() if name not in ("arms", "seeds", "out")}


def command(config: Bench, arm: str, seed: int) -> str:
    """The command line of one run."""
    own = settings(config)
    given = {f"recipe.{name.replace('_', '-')}": value for name, value in own.pop("recipe").items()} | own
    return " ".join(
        ["python -m bench.supernet", f"--arms {arm} --seeds {seed}", *(f"--{k} {v}" for k, v in given.items())]
    )


def report(config: Bench, ground: Ground, about: Mapping[str, Any]) -> None:
    """Print the table and draw the figure of all runs in --out that have the same settings."""
    records = [json.loads(path.read_text()) for path in sorted(config.out.glob("*-*.json"))]
    runs = [record["run"] for record in records if record | about == record]
    runs.sort(key=lambda run: (ARMS.index(run["arm"]), run["seed"]))
    others = [untrained(ground, seed) for seed in sorted({run["seed"] for run in runs})]
    show(runs, others)
    draw(runs, others, config.out / "supernet.png")


def common(config: Bench) -> Ground:
    """Draw the landmarks of each seed, and the architectures to judge by, which are isomorphic to none of them."""
    path = SHARED / "nasbench201" / "accuracies.parquet"
    _, table, archs = read_architectures(path, SPACE)
    everything = np.empty(SPACE.size)
    everything[SPACE.index(archs)] = table[TARGET].to_numpy() / 100
    measured = read_measured(SPACE, Target(path, TARGET))
    landmarks = {seed: draw_landmarks(SPACE, measured, config.landmarks, seed) for seed in SEEDS}
    drawn = uniform(SPACE)(jax.random.key(POOL_SEED), 2 * config.pool)
    known = Subspace(SPACE, np.concatenate([*landmarks.values()]))
    archs = drawn[~known.contains(drawn)][: config.pool]
    return Ground(archs, everything[SPACE.index(archs)], everything, landmarks)


def arm(config: Bench, name: str, seed: int, ground: Ground) -> tuple[Arm, SGD]:
    """What the arm called `name` trains on, and how long."""
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
    return Plain(), SGD(**asdict(config.recipe) | {"epochs": passes})


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
        "accuracies": np.round([accuracy for accuracy, _ in found], 4).tolist(),
        "by_accuracy": [figures(accuracy, ground) for accuracy, _ in found],
        "by_loss": [figures(-loss, ground) for _, loss in found],
        "with_flops": [figures(mean_ranks(accuracy) + flops, ground) for accuracy, _ in found],
        "curves": {key: [own[key] for own in curves] for key in ("loss", "rank_loss", "rank_active", "strength")},
    }


def untrained(ground: Ground, seed: int) -> dict[str, dict[str, float]]:
    """The figures of what needs no supernet."""
    counts: dict[str, Callable[[np.ndarray], np.ndarray]] = {"params": SPACE.params, "flops": SPACE.flops}
    return {name: figures(count(ground.archs), ground) for name, count in counts.items()} | {
        "ridge": figures(ridge(ground, seed), ground)
    }


def ridge(ground: Ground, seed: int) -> np.ndarray:
    """Return predictions `[N]` by the landmarks' accuracies, from ranks within the space, which need no labels."""
    _, accuracies, archs = read_architectures(SHARED / "nasbench201" / "accuracies.parquet", SPACE)
    proxies = pl.read_parquet(SHARED / "published_proxies" / "nasbench201_all.parquet")
    table = accuracies.select("idx").join(proxies, on="idx", maintain_order="left")[np.argsort(SPACE.index(archs))]
    everything = SPACE.enumerate()
    scores = [SPACE.params(everything), SPACE.flops(everything), *(table[name].to_numpy() for name in PROXIES)]
    ranks = np.stack([mean_ranks(np.nan_to_num(own, nan=-np.inf, neginf=-np.inf)) for own in scores], 1)
    ranks = ranks / len(everything) - 0.5
    known = SPACE.index(ground.landmarks[seed])
    predicted = fit_predict(ranks, known, ordering(ground.everything[known]) / len(known))
    return predicted[SPACE.index(ground.archs)]


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Bench, bench, argv, prog="bench.supernet")


if __name__ == "__main__":
    raise SystemExit(main())
