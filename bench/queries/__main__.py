"""`python -m bench.queries`: how good is the best architecture after so many queries to a benchmark's table?

For each method and seed: the test accuracy of the architecture that is best, by what the search was told, among the
first q that it asked for. Prints a table; --out writes the record and draws the curves, again after each table.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.__main__ import make_folder
from bench.core.machine import provenance
from bench.queries import tables
from bench.queries.tables import DEVICES, Oracle
from jaxnas.cli import frame
from jaxnas.errors import UserError, unknown
from jaxnas.evaluate import devices
from jaxnas.search.goal import Scores, join, take
from jaxnas.search.method import Question, Task
from jaxnas.search.methods import METHODS
from jaxnas.search.methods.agnet import AgnetOptions
from jaxnas.search.methods.evolve import EvolveOptions
from jaxnas.search.methods.local import LocalOptions
from jaxnas.search.methods.predictor import PredictorOptions

OPTIONS: dict[str, list[Any]] = {
    "agnet": [AgnetOptions()],
    "predictor": [PredictorOptions()],
    "evolve": [EvolveOptions()],
    "local": [LocalOptions()],
    "random": [],
}
COLOURS = dict(zip(OPTIONS, ("#4477aa", "#aa3377", "#ee7733", "#228833", "#777777"), strict=True))
BIRTHS = {"evolve": 4}  # times the budget, of which only those of new architectures are queries
STEP = 16  # queries between two points of a curve
LATENCY = ("latency", "latency_joint")
QUANTILES = (0.25, 0.5)  # of the latencies, that make the limits
RESAMPLES = 2000  # bootstrap, over the seeds


@dataclass(frozen=True, kw_only=True)
class QuerySearch:
    """Compare search methods at the same number of queries."""

    table: str = "nasbench201"
    """`nasbench201`, `nasbench101`, `latency`: NAS-Bench-201 under limits on six devices, or `latency_joint`: where
    the latency counts within its limit, too."""
    methods: tuple[str, ...] = tuple(OPTIONS)
    """Of the search methods."""
    budget: int = 192
    """Queries of a search."""
    seeds: int = 10
    """Searches of each method, from seed 0."""
    out: Path | None = None
    """Where to write the record (.json); the figure goes beside it (.png)."""


def compare(config: QuerySearch) -> None:
    """Run the command."""
    for method in config.methods:
        if method not in OPTIONS:
            raise unknown("method", method, OPTIONS)
    folder = Path(os.environ.get("JAXNAS_DATA", "../shared/data"))
    if not folder.is_dir():
        raise UserError(f"no benchmark tables in {folder}; set JAXNAS_DATA to their folder")
    devices.cache_programs()
    if config.out is not None:
        make_folder(config.out.parent)
    results: dict[str, Any] = {}
    for name, oracle in _oracles(config, folder).items():
        results[name] = _all_methods(config, name, oracle)
        if config.out is not None:
            _write(config, results, config.out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(QuerySearch, compare, argv, prog="bench.queries")


def search(oracle: Oracle, method: str, budget: int, seed: int) -> dict[str, Any]:
    """Run one search and return its curve, and what it found.

    The architectures are counted as they are asked for, each with its test accuracy when it is the best so far.
    """
    start = time.perf_counter()
    task = Task(oracle.table.space, oracle.goal, seed=seed, batch=STEP, budget=budget * BIRTHS.get(method, 1))
    chosen = METHODS[method].make(task, *OPTIONS[method])
    state = chosen.init()
    asked: list[np.ndarray] = []
    answers: list[Scores] = []
    while not chosen.done(state) and sum(map(len, asked)) < budget:
        question = chosen.ask(state)
        asked.append(question.archs if isinstance(question, Question) else question)
        answers.append(oracle.table(asked[-1]))
        state = chosen.step(state, answers[-1])
    archs, scores = np.concatenate(asked)[:budget], take(join(answers), slice(budget))
    feasible, best = oracle.goal.feasible(scores), _incumbents(oracle, scores)
    test = oracle.accuracy(scores)
    last = archs[best[-1]][None]
    return {
        "curve": [float(test[row]) for row in best[STEP - 1 :: STEP]],
        "feasible": float(feasible.mean()),
        "found_feasible": bool(feasible[best[-1]]),
        "test": float(test[best[-1]]),
        "params": int(oracle.table.space.params(last)[0]),
        "flops": int(oracle.table.space.flops(last)[0]),
        "asked": len(archs),
        "seconds": time.perf_counter() - start,
    }


def _incumbents(oracle: Oracle, scores: Scores) -> np.ndarray:
    """Return for each number of queries the row of the best architecture so far `[N]`."""
    changes = oracle.goal.improvements(scores)
    count = len(next(iter(scores.values())).value[0])
    places = np.searchsorted(changes, np.arange(count), side="right") - 1
    return np.array(changes or [0])[np.maximum(places, 0)]


def _oracles(config: QuerySearch, folder: Path) -> dict[str, Oracle]:
    if config.table in LATENCY:
        joint = config.table == "latency_joint"
        return {
            f"{device} {quantile:.0%}": tables.latency(folder, device, quantile, joint=joint)
            for device in DEVICES
            for quantile in QUANTILES
        }
    makers = {"nasbench201": tables.nasbench201, "nasbench101": tables.nasbench101}
    if config.table not in makers:
        raise unknown("table", config.table, [*makers, *LATENCY])
    return {config.table: makers[config.table](folder)}


def _all_methods(config: QuerySearch, name: str, oracle: Oracle) -> dict[str, Any]:
    """Run all methods on an oracle, print a row for each, and return their records beside the oracle's own numbers."""
    about = {"rows": oracle.table.space.size, "limits": dict(oracle.goal.at_most), **tables.baselines(oracle)}
    print(f"\n{name}: {about}", flush=True)
    methods = {}
    for method in config.methods:
        runs = [search(oracle, method, config.budget, seed) for seed in range(config.seeds)]
        methods[method] = {"runs": runs, **_summary(runs)}
        print(f"{method:<8}", " ".join(f"{k} {v:.4g}" for k, v in _summary(runs).items()), flush=True)
    return {**about, "methods": methods}


def _summary(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return means over the seeds; of the accuracy median and 95 % interval (bootstrap of the mean), too."""
    tests = np.array([run["test"] for run in runs])
    low, high = _interval(tests)
    means = {name: float(np.mean([run[name] for run in runs])) for name in ("feasible", "params", "flops", "asked")}
    seconds = [run["seconds"] for run in runs]
    later = seconds[1:] or seconds
    return {
        "mean": float(tests.mean()),
        "low": low,
        "high": high,
        "median": float(np.median(tests)),
        "found_feasible": float(np.mean([run["found_feasible"] for run in runs])),
        **means,
        "first_seconds": seconds[0],
        "seconds": float(np.median(later)),
    }


def _interval(values: np.ndarray) -> tuple[float, float]:
    drawn = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    low, high = np.quantile(drawn.mean(1), (0.025, 0.975))
    return float(low), float(high)


def _write(config: QuerySearch, results: dict[str, Any], path: Path) -> None:
    """Write the record of the tables so far, and draw them."""
    command = f"python -m bench.queries --table {config.table} --budget {config.budget} --seeds {config.seeds}"
    command += f" --methods {' '.join(config.methods)}"
    options = {method: [asdict(each) for each in OPTIONS[method]] for method in config.methods}
    record = {"case": "query_search", "command": command, "options": options, **provenance(), "results": results}
    path.write_text(json.dumps(record, indent=1) + "\n")
    _draw(results, path.with_suffix(".png"))


def _draw(results: dict[str, Any], path: Path) -> None:
    """Draw a panel for each table: mean and interval of the test accuracy by queries."""
    columns = min(len(results), 4)
    rows = -(-len(results) // columns)
    figure = Figure(figsize=(2 + 4 * columns, 0.8 + 3.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, (name, result) in zip(panels, results.items(), strict=False):
        for method, record in result["methods"].items():
            curves = np.array([run["curve"] for run in _full(record["runs"])])
            queries = STEP * np.arange(1, curves.shape[1] + 1)
            low, high = np.array([_interval(column) for column in curves.T]).T
            panel.plot(queries, curves.mean(0), color=COLOURS[method], label=method)
            panel.fill_between(queries, low, high, color=COLOURS[method], alpha=0.2, linewidth=0)
            lowest = curves.mean(0)[1:].min()
            panel.set_ylim(min(panel.get_ylim()[0], lowest) if panel.lines[1:] else lowest, result["optimum"] + 0.05)
        panel.axhline(result["optimum"], color="black", linewidth=0.8, linestyle=":")
        panel.set(title=name, xlabel="queries", ylabel="test accuracy, %")
    panels[0].legend(loc="lower right")
    figure.savefig(path, dpi=120)


def _full(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs with curves of one length: evolution asks for fewer where children came up before."""
    longest = max(len(run["curve"]) for run in runs)
    return [{**run, "curve": run["curve"] + [run["test"]] * (longest - len(run["curve"]))} for run in runs]


if __name__ == "__main__":
    raise SystemExit(main())
