"""`python -m bench.supernet`: what a ranking in training adds to a supernet on NAS-Bench-201, beside what needs none.

Arms: `plain`; `landmarks` (M labelled architectures); `shuffled` (the same in random order: must not help); `teacher`
(FLOPs); `longer` (plain, with as many forward and backward passes as `landmarks`); `even` and `odd` (every other one of
the landmarks and half of the updates, so that both cost as much as `landmarks`: each landmark has a loss that its label
had no part in). The others have equal updates. Without training: counts, a consensus, and regressions on the same
labels, also with a supernet's loss. All are judged on the same connected architectures, none of them isomorphic to a
landmark.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.core import benchmarks
from bench.core.machine import provenance
from bench.supernet.ground import SEEDS, SPACE, Ground, common
from bench.supernet.rankings import HALVES, Run, of_seed
from bench.supernet.report import draw, show
from jaxnas.cli import frame
from jaxnas.data import labelled
from jaxnas.errors import UserError, unknown
from jaxnas.evaluate import devices
from jaxnas.supernet.arms import Arm, Landmarks, Plain, Teacher
from jaxnas.supernet.batches import Images
from jaxnas.supernet.guides import read_teacher, uniform
from jaxnas.supernet.options import WARMUP
from jaxnas.supernet.ranking import Ranking
from jaxnas.supernet.training import SGD, Trainer

ARMS = ("plain", "landmarks", "teacher", "shuffled", "longer", *HALVES)
SCALE = 20  # judged architectures that a half's losses are compared with
PARTS, SHARES = ("train", "hinge", "ranking"), (0.5, 0.25, 0.25)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Train the arms one after another and compare how they rank the same architectures."""

    arms: str = ",".join(ARMS)
    """Comma-separated."""
    seeds: tuple[int, ...] = (0,)
    """Of weights, draws and landmarks; none to report what is in --out."""
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
    batches: int | None = None
    """Of 64 images, that an architecture is ranked on; by default all."""
    data: str = "tfds:cifar10"
    """Labelled images."""
    out: Path = Path("bench/results/supernet")
    """Directory for the records, one for each arm and seed, and the figure of all that have the same settings."""


def bench(config: Bench) -> None:
    """Run the command: an arm and a seed that is in --out with the same settings is not trained again."""
    check(config)
    devices.cache_programs()
    config.out.mkdir(parents=True, exist_ok=True)
    data = labelled.load(config.data, side=config.side, data_dir=str(benchmarks.folder() / "tfds"))
    ground, images = common(config.pool, config.landmarks), Images.of(data)
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
    report(config, ground)


def check(config: Bench) -> None:
    """Raise a `UserError` if the options make no sense."""
    for name in config.arms.split(","):
        if name not in ARMS:
            raise unknown("arm", name, ARMS)
    if not set(config.seeds) <= set(SEEDS):
        raise UserError(f"--seeds {' '.join(map(str, config.seeds))}: choose from {SEEDS.start} to {SEEDS.stop - 1}")
    if config.recipe.epochs // 2 <= (config.evaluations - 1) * config.every:
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


def report(config: Bench, ground: Ground) -> None:
    """Print the tables and draw the figure of all runs in --out that have the same settings."""
    records = [json.loads(path.read_text()) for path in sorted(config.out.glob("*-*.json"))]
    runs: dict[int, dict[str, Run]] = {}
    same = (own["run"] for own in records if own["settings"] == settings(config))
    for run in sorted(same, key=lambda run: ARMS.index(run["arm"])):
        runs.setdefault(run["seed"], {})[run["arm"]] = run
    rankings = {seed: of_seed(ground, own, seed) for seed, own in sorted(runs.items())}
    show(ground, runs, rankings)
    draw(ground, runs, rankings, config.out / "supernet.png")


def arm(config: Bench, name: str, seed: int, ground: Ground) -> tuple[Arm, SGD]:
    """What the arm called `name` trains on, and how long."""
    halved = name in HALVES
    recipe = SGD(**asdict(config.recipe) | {"epochs": config.recipe.epochs // (2 if halved else 1)})
    epochs = recipe.epochs
    marks = ground.landmarks[seed][HALVES.get(name, slice(None))]
    if name == "shuffled":
        marks = marks[np.random.default_rng(seed).permutation(config.landmarks)]
    ranked = Landmarks(marks, config.strength, "cosine", epochs, round(WARMUP * epochs))
    if name in ("landmarks", "shuffled", *HALVES):
        return ranked, recipe
    if name == "teacher":
        return Teacher(read_teacher(SPACE, "flops"), margin=5), recipe
    if name == "plain":
        return Plain(), recipe
    passes = sum(3 if ranked.strength(epoch) > 0 else 1 for epoch in range(epochs))
    return Plain(), SGD(**asdict(recipe) | {"epochs": passes})


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
    judged = min(SCALE, len(ground.archs)) if name in HALVES else len(ground.archs)
    asked = np.concatenate([ground.archs[:judged], ground.landmarks[seed]])
    state, curves, found, seconds = trainer.init(), [], [], 0.0
    for number in range(recipe.epochs):
        state, own = trainer.epoch(state, number)
        curves.append(own)
        if number + 1 in ranked_after:
            started = time.perf_counter()
            found.append(ranking.all(state.params, asked))
            seconds += time.perf_counter() - started
    accuracies, losses = np.round(np.array(found, float), 5).transpose(1, 0, 2)
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
        "accuracies": accuracies[:, :judged].tolist(),
        "losses": losses[:, :judged].tolist(),
        "landmark_losses": losses[:, judged:].tolist(),
        "curves": {key: [own[key] for own in curves] for key in ("loss", "rank_loss", "rank_active", "strength")},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Bench, bench, argv, prog="bench.supernet")


if __name__ == "__main__":
    raise SystemExit(main())
