"""`python -m bench.transfer`: how predictors do with few labels, and whether another task or space helps them.

For each seed, 128 random architectures may get a label, of which the first n do; the others are the test set, without
those isomorphic to one of the 128 or to one that the source knows. Scores are normalised over all architectures,
without labels. A source has 512 labels of its own.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

from bench.__main__ import file_name
from bench.machine import provenance
from bench.transfer_data import Data, Measured
from bench.transfer_plot import draw
from jaxnas import cli
from jaxnas.errors import UserError, unknown
from jaxnas.learn.models import MODELS, Model
from jaxnas.learn.transfer import TRANSFERS, learn_source
from jaxnas.ranks import KendallTau, ordering, partial_rho, regret, spearman_rho, top_precision

LABELS = (0, 4, 8, 16, 32, 64, 128)
SOURCE_LABELS = 512
METRICS = ("spearman", "kendall", "partial_given_flops", "top_precision", "regret")
SCRATCH = "from scratch: "
MICRO, NB201 = "transnas101/micro.parquet", "nasbench201/accuracies.parquet"
SEGMENTATION = Data("transnas101_micro", MICRO, "segmentsemantic_miou_best")
OBJECT, SCENE = (Data("transnas101_micro", MICRO, f"class_{name}_best") for name in ("object", "scene"))
CIFAR10 = Data("nasbench201", NB201, "c10_valid_200")


@dataclass(frozen=True)
class Case:
    """A target and the sources that may help: their names and data; at most so many architectures in the test set."""

    target: Data
    sources: Mapping[str, Data]
    test: int | None = None


CASES = {
    "tasks": Case(SEGMENTATION, {"class_object": OBJECT, "class_scene": SCENE}),
    "proxies": Case(Data("nasbench201", NB201, "c10_valid_200", proxies=True), {}, test=3000),
    "own": Case(CIFAR10, {}, test=3000),
    "to_transnas101": Case(SEGMENTATION, {"nasbench201": CIFAR10}),
    "to_nasbench201": Case(
        CIFAR10,
        {"nasbench101": Data("nasbench101", "nasbench101/accuracies_sample.parquet", "c10_test_108_mean3")},
        test=3000,
    ),
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
    out: Path | None = None
    """Directory for a record and a figure of each case; by default the record goes to standard output."""


class Draws(NamedTuple):
    """The rows that may get a label `[S, most]`, those of the source's labels `[S, m]`, and the test rows of each."""

    rows: np.ndarray
    source_rows: np.ndarray
    tests: list[np.ndarray]


def bench(options: Options) -> None:
    """Run the cases that were asked for."""
    if not options.names:
        print("\n".join(CASES))
    for name in options.names:
        if name not in CASES:
            raise unknown("case", name, CASES)
    if min(options.labels) < 0 or options.seeds < 1:
        raise UserError("--labels must be at least 0, --seeds at least 1")
    for name in options.names:
        record = measured(name, options)
        text = json.dumps(record, indent=1) + "\n"
        if options.out is None:
            print(text, end="")
            continue
        path = options.out / file_name(record)
        path.write_text(text)
        draw(record, path.with_suffix(".png"))
        print(path)


def measured(name: str, options: Options) -> dict[str, Any]:
    """Return the record of a case."""
    case, started = CASES[name], time.perf_counter()
    target = case.target.read(options.scores)
    sources = {label: data.read(options.scores) for label, data in case.sources.items()}
    draws = drawn(case, target, sources, options)
    flags = f"--scores {options.scores} --seeds {options.seeds} --labels {' '.join(map(str, options.labels))}"
    figures = dict(figures_of(target, sources, draws, options.labels))
    return {
        "case": f"transfer_{name}",
        "kind": "transfer",
        "command": f"python -m bench.transfer {name} {flags}",
        **provenance(),
        "target": {"space": case.target.space, "column": case.target.column, "architectures": len(target.values)},
        "scores": list(target.pool.names),
        "test": int(np.median([len(rows) for rows in draws.tests])),
        "source_labels": SOURCE_LABELS if sources else 0,
        "seconds": round(time.perf_counter() - started, 1),
        "figures": figures,
    }


def drawn(case: Case, target: Measured, sources: Mapping[str, Measured], options: Options) -> Draws:
    """Return who gets labels and who is tested, for each seed."""
    most, draws = max(options.labels), []
    for seed in range(options.seeds):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(target.values))
        pools = [len(source.values) for source in sources.values()]
        source_rows = rng.permutation(min(pools, default=0))[:SOURCE_LABELS]
        seen = [target.classes[order[:most]]]
        if any(data.space == case.target.space for data in case.sources.values()):
            seen.append(target.classes[source_rows])
        rest = order[most:]
        unseen = rest[~np.isin(target.classes[rest], np.concatenate(seen))]
        draws.append((order[:most], source_rows, unseen[: case.test]))
    rows, source_rows, tests = zip(*draws, strict=True)
    return Draws(np.stack(rows), np.stack(source_rows), list(tests))


def figures_of(
    target: Measured, sources: Mapping[str, Measured], draws: Draws, numbers: Sequence[int]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield for each way to predict its quality by number of labels."""
    for name, values in unlabelled(target, sources).items():
        yield name, {"0": quality(np.tile(values, (len(draws.rows), 1)), target, draws.tests)}
    for name, model in predictors(target, sources, draws):
        yield name, {str(n): labelled(model, n, target, draws) for n in numbers}


def unlabelled(target: Measured, sources: Mapping[str, Measured]) -> dict[str, np.ndarray]:
    """Return what needs no label of the target `[N]`: counts, the zero-label score, the same networks' other task."""
    same = {
        f"measured {name}": source.values
        for name, source in sources.items()
        if len(source.values) == len(target.values) and (source.classes == target.classes).all()
    }
    return {"#params": target.counts["params"], "FLOPs": target.counts["flops"], "zero-label": target.pool.zero_label} | same


def predictors(target: Measured, sources: Mapping[str, Measured], draws: Draws) -> Iterator[tuple[str, Model]]:
    """Yield what learns from labels, with and without a source."""
    for name, model in MODELS.items():
        yield SCRATCH + name, partial(model, target.pool)
    for name, data in sources.items():
        source = learn_source(data.pool, draws.source_rows, data.values[draws.source_rows], seed=0)
        for mode, transfer in TRANSFERS.items():
            yield f"{name}: {mode}", partial(transfer, source, target.pool)


def labelled(model: Callable[..., np.ndarray], n: int, target: Measured, draws: Draws) -> dict[str, Any]:
    """Return the quality with n labels, and the seconds for all seeds."""
    started, rows = time.perf_counter(), draws.rows[:, :n]
    found = model(rows, target.values[rows], seed=0)
    return {"seconds": round(time.perf_counter() - started, 1), **quality(found, target, draws.tests)}


def quality(predicted: np.ndarray, target: Measured, tests: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return mean and deviation over the seeds, and the half-width of the mean's 95 % interval, of each metric.

    Args:
      predicted: `[S, N]`.
      tests: test rows of each seed.
    """
    rows = [one(p[t], target.values[t], target.counts["flops"][t]) for p, t in zip(predicted, tests, strict=True)]
    table = np.array(rows)
    spread = table.std(0, ddof=1) if len(rows) > 1 else np.zeros(len(METRICS))
    half = 1.96 * spread / len(rows) ** 0.5
    return {
        name: {"mean": float(table[:, k].mean()), "std": float(spread[k]), "half": float(half[k])}
        for k, name in enumerate(METRICS)
    }


def one(predicted: np.ndarray, values: np.ndarray, flops: np.ndarray) -> tuple[float, ...]:
    """Return the metrics of a test set; an undefined correlation, of a constant, counts as 0."""
    x, y = ordering(predicted), ordering(values)
    found = (
        spearman_rho(x, y),
        KendallTau(x, y)(),
        partial_rho(x, y, ordering(flops)),
        top_precision(x, y),
        regret(x, values),
    )
    return tuple(float(np.nan_to_num(value)) for value in found)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return cli.run(Options, bench, argv, prog="bench.transfer")


if __name__ == "__main__":
    raise SystemExit(main())
