"""`python -m jaxnas.search_signals`: evolve the synthetic signals of the regression score on a few measured accuracies.

The algorithm is in `jaxnas.search_signals.evolution`. Every task gets new images, targets and weights, and all of them
through one compiled program. The best of hundreds of tasks on the same few accuracies looks better than it is: compare
it on other architectures.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnas import data, spaces
from jaxnas.cli import frame, process
from jaxnas.cli.options import own_files, provenance
from jaxnas.cli.progress import Progress
from jaxnas.digest import digest
from jaxnas.errors import UserError, check_least, check_seed
from jaxnas.evaluate import devices
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.scorers.training.any_task import AnyTask
from jaxnas.scorers.training.regression import Fidelity, Version
from jaxnas.scorers.training.signal_genome import CHANNELS
from jaxnas.scorers.training.targets import TASK, load_task, to_record
from jaxnas.search_signals.evolution import LABELS, Log, Trial, evaluate_with, fitness, propose, stream
from jaxnas.spaces import Space
from jaxnas.tables.measured import Target, of_rows, read_measured
from jaxnas.tables.store import RESULT, Store

FEWEST = 3  # labelled architectures
BEST = "best.json"


@dataclass(frozen=True, kw_only=True)
class SearchSignals:
    """Evolve the signals of the regression score on a few measured accuracies.

    The same command again resumes. The best task is written to OUT/best.json.

    The regression score takes it by that path: --regression.task OUT/best.json.
    """

    space: str = "nasbench201"
    """Search space."""
    labels: Path
    """Table (.csv, .parquet, ...) with a column of architectures and measured columns; several rows of an architecture,
    such as seeds, count as their mean."""
    target: str
    """Column of --labels to agree with, for example `c10_test_200`."""
    lower_is_better: bool = False
    """The target is an error, a loss or a perplexity."""
    key: str | None = None
    """Column of --labels with the architectures; by default `arch`, `arch_str` or what the space's benchmark has."""
    labelled: int = 20
    """Architectures drawn from --labels, on which every task is judged."""
    population: int = 50
    """Random tasks to start with; later the youngest so many may have a child."""
    children: int = 400
    """Tasks after these; the same command with more of them goes on."""
    signed: bool = False
    """Select by rho, so that a task that ranks backwards is a bad one; by default, as published, by |rho|."""
    preset: Version = "initial"
    """Published version of the regression score, as --regression.preset."""
    images: int = 16
    """Images in the batch."""
    fidelity: Fidelity = "published"
    """Sizes of the networks and number of steps, as --regression.fidelity."""
    steps: int | None = None
    """Steps of SGD; by default those of --fidelity."""
    seed: int = 0
    """Seed of the labelled architectures, of the tasks, and of their inputs and weights."""
    data: str = "synthetic"
    """Images, as for `jaxnas score`: `synthetic`, `tfds:cifar10`, a .npz file."""
    data_dir: str | None = None
    """Directory of the TFDS data sets."""
    download: bool = False
    """Let TFDS download the data set if it is not there."""
    devices: int | None = None
    """Devices to use, by default all. No score depends on it."""
    mixed: bool = False
    """Go on in an --out that another kind of processor, other XLA_FLAGS or other versions began; makers.jsonl in it
    tells which task was scored by what."""
    batch_size: int | None = None
    """Architectures on a device at once, by default its share of the labelled ones."""
    out: str
    """Directory for the tasks (Parquet parts), manifest.json, result.json and best.json."""
    json: bool = False
    """Print result.json on standard output, and nothing else."""


class LabelledSample(NamedTuple):
    """The labelled architectures: strings, arrays `[N, A]`, accuracies `[N]`, higher is better; and what was read."""

    names: list[str]
    archs: np.ndarray
    accuracies: np.ndarray
    counts: dict[str, Any]


def read_labels(config: SearchSignals, space: Space) -> LabelledSample:
    """Draw the labelled architectures, in an order of their own, whatever that of the file.

    Raises:
      UserError: a bad file, too few architectures, one that is none of the space, or no difference in accuracy.
    """
    path, number = config.labels, config.labelled
    target = Target(path, config.target, config.key, config.lower_is_better)
    known = read_measured(space, target)
    names = np.array([space.decode(arch) for arch in known.archs])
    if not FEWEST <= number <= len(names):
        raise UserError(
            f"--labelled is {number}; give at least {FEWEST} and at most {len(names)}, those of {path} that have a "
            f"{config.target}"
        )
    rng = np.random.default_rng(stream(config.seed, LABELS))
    drawn = np.argsort(names)[np.sort(rng.choice(len(names), number, replace=False))]
    accuracies = target.sign * known.values[drawn]
    if np.ptp(accuracies) == 0:
        raise UserError(f"the {number} architectures drawn from {path} have the same {config.target}; draw more")
    return LabelledSample(names[drawn].tolist(), known.archs[drawn], accuracies, known.counts())


def search_signals(config: SearchSignals) -> None:
    """Run the command."""
    devices.start()
    scorer = _scorer(config)
    space = spaces.get(config.space)
    if (form := scorer.recipe.form) not in space.forms:
        raise UserError(f"the signals are for images, and {space.name} has no regression: {space.refusals[form]}")
    labels = read_labels(config, space)
    source = data.load(config.data, data_dir=config.data_dir, download=config.download)
    on = devices.available(config.devices)
    devices.cache_programs()
    batch = config.batch_size or -(-config.labelled // len(on))
    evaluator = Evaluator(space, scorer, source, batch=batch, devices=on)
    evaluator.check()
    about = provenance(source)
    labelled = {"architectures": labels.names, "accuracies": labels.accuracies.tolist()}
    manifest = {"settings": _settings(config, labels, source), "part_size": 1, **about, **labelled}
    manifest |= {"command": process.command()}
    store = Store.open(config.out, manifest, mixed=config.mixed)
    log = Log(store, labels.accuracies)
    trials = _evolve(config, log, evaluate_with(evaluator, scorer, labels.archs, config.seed))
    result = (
        _result(config, trials)
        | {"rows": labels.counts}
        | {name: store.manifest[name] for name in ("settings", *about)}
    )
    text = json.dumps(result, indent=2, allow_nan=False)
    store.put(BEST, f"{json.dumps(result['task'], indent=2)}\n".encode())
    store.put(RESULT, f"{text}\n".encode())
    if config.json:
        print(text)
    else:
        _show(config, result, store.path / BEST, new=log.new)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(SearchSignals, search_signals, argv, prog="jaxnas search-signals", kept="finished tasks are kept")


def _scorer(config: SearchSignals) -> AnyTask:
    """Return the scorer, with some task to start from, or raise a `UserError` if the options make no sense."""
    check_least(config, {"population": 1, "children": 0, "batch_size": 1})
    check_seed(config.seed)
    scorer = AnyTask(
        preset=config.preset,
        images=config.images,
        fidelity=config.fidelity,
        steps=config.steps,
        drawn=load_task(TASK),
        most=max(CHANNELS),
    )
    scorer.check()
    return scorer


def _settings(config: SearchSignals, labels: LabelledSample, source: data.Source) -> dict[str, Any]:
    """What the tasks and their scores depend on, but for their number."""
    known = digest(labels.names, labels.accuracies)
    names = ("target", "population", "signed", "preset", "images", "fidelity", "steps", "seed")
    return {
        "space": spaces.name_of(config.space),
        **{name: getattr(config, name) for name in names},
        "labels": {"number": len(labels.names), "fingerprint": known},
        "data": {"name": source.name, "fingerprint": source.fingerprint},
        **own_files(config.space),
    }


def _evolve(config: SearchSignals, log: Log, evaluate: Callable[..., Any]) -> list[Trial]:
    """Search to the end; tasks that the log has are replayed."""
    trials: list[Trial] = []
    total = config.population + config.children
    with Progress("scoring", "tasks", total) as progress:
        for number in range(total):
            task = propose(trials, population=config.population, seed=config.seed, signed=config.signed)
            trials.append(log.trial(number, task, evaluate))
            progress.advance(1)
    return trials


def _result(config: SearchSignals, trials: Sequence[Trial]) -> dict[str, Any]:
    values = fitness(trials, signed=config.signed)
    best = trials[number := int(values.argmax())]
    if not math.isfinite(best.rho):
        raise UserError(f"none of the {len(trials)} tasks orders the architectures; give more --children or --labelled")
    return {
        "space": spaces.name_of(config.space),
        "target": config.target,
        "selected_by": "rho" if config.signed else "|rho|",
        "spearman": best.rho,
        "labelled": config.labelled,
        "failed": int((~np.isfinite(best.scores.value)).sum()),
        "number": number,
        "task": to_record(best.task),
        "tasks": len(trials),
        "failed_tasks": int(np.isinf(values).sum()),
        "seconds": round(sum(trial.seconds for trial in trials), 3),
        "seed": config.seed,
    }


def _show(config: SearchSignals, result: dict[str, Any], path: Path, *, new: int) -> None:
    rho, tasks = result["spearman"], result["tasks"]
    failed = f", {result['failed']} of them failed" if result["failed"] else ""
    if of_table := of_rows(result["rows"]):
        print(f"{config.labels}: {of_table}")
    print(f"best task by {result['selected_by']}: number {result['number']}")
    print(f"  Spearman {rho:+.3f} with {config.target} over {config.labelled} architectures{failed}")
    if rho < 0:
        print("  It ranks architectures backwards: a lower error goes with a worse network. Try --signed.")
    again = "" if new == tasks else f" ({new} of them now, the others by an earlier run)"
    print(f"{tasks} tasks, {result['failed_tasks']} of them failed, in {result['seconds']:.1f} s{again}")
    print(f"written to {path}; use it by: jaxnas score --scorers regression --regression.task {path} ...")
