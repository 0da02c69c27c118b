"""`python -m bench.transfer`: how predictors do with few labels, and whether another task or space helps them.

For each seed, 128 random architectures may get a label, of which the first n do; others are the test set. Scores are
normalised over all architectures, without labels. A source has 512 labels of its own.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

from bench.__main__ import file_name, make_folder
from bench.core.machine import provenance
from bench.transfer.data import Data, Measured
from bench.transfer.plot import draw
from jaxnas.cli import frame
from jaxnas.correlate.sources import BASELINES
from jaxnas.errors import UserError, unknown
from jaxnas.learn.intervals import intervals
from jaxnas.learn.models import MODELS, Model
from jaxnas.learn.transfer import TRANSFERS, check_alike, learn_source, on_pools, with_prior, zero_shot
from jaxnas.ranks import KendallTau, ordering, partial_rho, regret, spearman_rho, top_precision

LABELS = (0, 4, 8, 16, 32, 64, 128)
SOURCE_LABELS = 512
METRICS = ("spearman", "kendall", "partial_given_live_flops", "top_precision", "regret")
TAUGHT = ("trees", "gp")  # models that learn from the sources, beside the graph network
SCRATCH = "from scratch: "
FOLDS, FEWEST_COVERED = 5, 16  # of the labels behind the intervals, and labels from which these are looked at
TESTED = 2000  # architectures at most, at random
MICRO, NB201 = "transnas101/micro.parquet", "nasbench201/accuracies.parquet"
NB101 = "nasbench101/accuracies_sample.parquet"
COLUMNS = {"scene": "class_scene_best", "object": "class_object_best", "segmentation": "segmentsemantic_miou_best"}
TASKS = {task: Data("transnas101_micro", MICRO, column) for task, column in COLUMNS.items()}
CHEAP = ("jacov", "nwot", "logsynflow")
CIFAR10 = Data("nasbench201", NB201, "c10_valid_200")


@dataclass(frozen=True)
class Case:
    """A target, the names and data of sources that may help, and what learns from the target's labels alone."""

    target: Data
    sources: Mapping[str, Data]
    models: tuple[str, ...] = tuple(MODELS)


CASES = {
    **{task: Case(data, {other: TASKS[other] for other in TASKS if other != task}) for task, data in TASKS.items()},
    "nasbench201": Case(
        replace(CIFAR10, scores=CHEAP), {"nasbench101": Data("nasbench101", NB101, "c10_test_108_mean3", scores=CHEAP)}
    ),
    "proxies": Case(replace(CIFAR10, proxies=True), {}, models=("ridge", "trees", "gp")),
    "consensus": Case(replace(CIFAR10, column="c10_test_200", scores=("jacov", "regression", "consensus")), {}),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Compare predictors with few labels, and transfers, on public tables. Without names: list the cases."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Cases to run."""
    scores: Path = Path("runs")
    """Directory that has a directory of `jaxnas.score` for each space, called like it."""
    seeds: int = 20
    """Draws of the labelled architectures."""
    labels: tuple[int, ...] = LABELS
    """Numbers of labels."""
    models: tuple[str, ...] = tuple(MODELS)
    """Models to compare, of those of the case; the graph network takes most of the time."""
    unseen: bool = False
    """Test no architecture that is isomorphic to one with a label, or on the same space to one that a source knows."""
    out: Path | None = None
    """Directory for a record and a figure of each case; by default the record goes to standard output."""


class Draws(NamedTuple):
    """For S seeds: rows that may get a label `[S, n]`, those that each source knows `[S, m]`, and S lists to test."""

    rows: np.ndarray
    known: dict[str, np.ndarray]
    tests: list[np.ndarray]


def bench(options: Options) -> None:
    """Run the cases that were asked for."""
    if not options.names:
        print("\n".join(CASES))
    for name in options.names:
        if name not in CASES:
            raise unknown("case", name, CASES)
    for name in options.models:
        if name not in MODELS:
            raise unknown("model", name, MODELS)
    if min(options.labels) < 0 or options.seeds < 1:
        raise UserError("--labels must be at least 0, --seeds at least 1")
    if options.out is not None:
        make_folder(options.out)
    for name in options.names:
        *_, record = (kept(record, options.out) for record in measured(name, options))
        if options.out is None:
            print(json.dumps(record, indent=1))
        else:
            path = options.out / file_name(record)
            draw(record, path.with_suffix(".png"))
            print(path)


def kept(record: dict[str, Any], out: Path | None) -> dict[str, Any]:
    """Write a record, which may still grow, into the directory `out`, and return it."""
    print(f"{record['seconds']:.0f} s: {next(reversed(record['figures']))}", file=sys.stderr)
    if out is not None:
        (out / file_name(record)).write_text(json.dumps(record, indent=1) + "\n")
    return record


def measured(name: str, options: Options) -> Iterator[dict[str, Any]]:
    """Yield the record of a case after each of the things that it compares."""
    case, started = CASES[name], time.perf_counter()
    target = case.target.read(options.scores)
    sources = {label: data.read(options.scores) for label, data in case.sources.items()}
    draws = drawn(case, target, sources, options)
    flags = f"--scores {options.scores} --seeds {options.seeds} --labels {' '.join(map(str, options.labels))}"
    flags += f" --models {' '.join(options.models)}" if options.models != Options.models else ""
    flags += " --unseen" if options.unseen else ""
    record: dict[str, Any] = {
        "case": f"transfer_{name}",
        "kind": "transfer",
        "command": f"python -m bench.transfer {name} {flags}",
        **provenance(),
        "target": {"space": case.target.space, "column": case.target.column, "architectures": len(target.values)},
        "sources": {label: len(source.values) for label, source in sources.items()},
        "scores": list(target.pool.names),
        "test": int(np.median([len(rows) for rows in draws.tests])),
        "source_labels": SOURCE_LABELS if sources else 0,
        "figures": {},
    }
    models = [name for name in case.models if name in options.models]
    for label, found in figures_of(models, target, sources, draws, options.labels):
        record["figures"][label] = found
        yield record | {"seconds": round(time.perf_counter() - started, 1)}


def drawn(case: Case, target: Measured, sources: Mapping[str, Measured], options: Options) -> Draws:
    """Return who gets labels and who is tested, for each seed."""
    most = max(options.labels)
    known = {name: choices(source, SOURCE_LABELS, options.seeds, salt=1) for name, source in sources.items()}
    related = [rows for name, rows in known.items() if case.sources[name].space == case.target.space]
    order, tests = choices(target, len(target.values), options.seeds, salt=0), []
    for seed, (labelled, rest) in enumerate(zip(order[:, :most], order[:, most:], strict=True)):
        seen = np.concatenate([labelled, *(rows[seed] for rows in related)])
        like_seen = np.isin(target.classes[rest], target.classes[seen]) & options.unseen
        tests.append(rest[~like_seen][:TESTED])
    return Draws(order[:, :most], known, tests)


def choices(data: Measured, count: int, seeds: int, salt: int) -> np.ndarray:
    """Return `count` different random rows for each seed `[S, count]`."""
    return np.stack([np.random.default_rng([s, salt]).permutation(len(data.values))[:count] for s in range(seeds)])


def figures_of(
    models: Sequence[str], target: Measured, sources: Mapping[str, Measured], draws: Draws, numbers: Sequence[int]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield for each way to predict its quality by number of labels; without labels it is that of what it starts from.

    The labels of a zero-shot prediction would change its unit alone.
    """

    def flat(values: np.ndarray) -> dict[str, Any]:
        return quality(np.broadcast_to(values, (len(draws.rows), len(target.values))), target, draws.tests)

    def by_number(model: Model, start: dict[str, Any]) -> dict[str, Any]:
        return {str(n): labelled(model, n, target, draws) if n else start for n in numbers}

    for name, values in unlabelled(target, sources).items():
        yield name, {"0": flat(values)}
    for name in models:
        found = by_number(partial(MODELS[name], target.pool), flat(target.pool.zero_label))
        for n in numbers if name != "graph" else ():  # which would be trained six times as often
            if n >= FEWEST_COVERED:
                found[str(n)]["coverage"] = covered(partial(MODELS[name], target.pool), n, target, draws)
        yield SCRATCH + name, found
    for name, data in sources.items():
        check_alike(data.pool, target.pool)
        known = draws.known[name]
        if "graph" in models:
            source = learn_source(data.pool, known, data.values[known], seed=0)
            start = labelled(partial(zero_shot, source, target.pool), 0, target, draws)
            yield f"{name}: zero-shot", {"0": start}
            for mode in ("head", "finetune", "residual"):
                yield f"{name}: {mode}", by_number(partial(TRANSFERS[mode], source, target.pool), start)
        for model in (model for model in TAUGHT if model in models):
            pools = with_prior(MODELS[model], data.pool, target.pool, known, data.values[known], seed=0)
            start = quality(np.stack([pool.zero_label for pool in pools]), target, draws.tests)
            yield f"{name}: {model}", by_number(partial(on_pools, MODELS[model], pools, target.pool), start)


def unlabelled(target: Measured, sources: Mapping[str, Measured]) -> dict[str, np.ndarray]:
    """What needs no label of the target `[N]`: counts, the zero-label score, the same networks' other task."""
    same = {
        f"measured {name}": source.values
        for name, source in sources.items()
        if len(source.values) == len(target.values) and (source.classes == target.classes).all()
    }
    counts = {label: target.counts[name] for name, label in BASELINES.items()}
    return {**counts, "zero-label": target.pool.zero_label, **same}


def labelled(model: Callable[..., np.ndarray], n: int, target: Measured, draws: Draws) -> dict[str, Any]:
    """The quality with n labels, and the seconds for all seeds."""
    started, rows = time.perf_counter(), draws.rows[:, :n]
    found = model(rows, target.values[rows], seed=0)
    return {"seconds": round(time.perf_counter() - started, 1), **quality(found, target, draws.tests)}


def covered(model: Callable[..., np.ndarray], n: int, target: Measured, draws: Draws) -> dict[str, float]:
    """Over the seeds, the share of the test set that the intervals from n labels hold."""
    rows, fold, shares = draws.rows[:, :n], np.arange(n) % FOLDS, []
    lists = np.repeat(rows, FOLDS, 0)
    left_out = np.tile(fold == np.arange(FOLDS)[:, None], (len(rows), 1))
    found = model(lists, np.where(left_out, np.nan, target.values[lists]), seed=0).reshape(len(rows), FOLDS, -1)
    for parts, own, tests in zip(found, rows, draws.tests, strict=True):
        low, high = intervals(parts[:, tests], fold, target.values[own] - parts[fold, own])
        shares.append(np.mean((low <= target.values[tests]) & (target.values[tests] <= high)))
    return spread(np.array(shares))


def spread(values: np.ndarray) -> dict[str, float]:
    """Return mean and deviation of values `[S]`, and the half-width of the mean's 95 % interval."""
    std = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(values.mean()), "std": std, "half": 1.96 * std / len(values) ** 0.5}


def quality(predicted: np.ndarray, target: Measured, tests: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return mean and deviation over the seeds, and the half-width of the mean's 95 % interval, of each metric.

    Args:
      predicted: `[S, N]`.
      tests: test rows of each seed.
    """
    rows = [one(p[t], target.values[t], target.counts["live_flops"][t]) for p, t in zip(predicted, tests, strict=True)]
    return {name: spread(column) for name, column in zip(METRICS, np.array(rows).T, strict=True)}


def one(predicted: np.ndarray, values: np.ndarray, live_flops: np.ndarray) -> tuple[float, ...]:
    """The metrics of a test set; an undefined correlation, of a constant, counts as 0."""
    x, y = ordering(predicted), ordering(values)
    found = (
        spearman_rho(x, y),
        KendallTau(x, y)(),
        partial_rho(x, y, ordering(live_flops)),
        top_precision(x, y),
        regret(x, values),
    )
    return tuple(float(np.nan_to_num(value)) for value in found)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Options, bench, argv, prog="bench.transfer")


if __name__ == "__main__":
    raise SystemExit(main())
