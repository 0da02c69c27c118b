"""`python -m bench.queries`: how good is the best architecture after so many queries to a benchmark's table?

For each method and seed, of the first q architectures that it asked for: the regret, by how much the best accuracy that
it was told, within the limits, is below the best there is; and the test accuracy of that architecture. Prints a table,
and the first method's regret less that of each other, paired by seed; --out writes the record and draws the curves,
again after each table.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.__main__ import make_folder
from bench.core import benchmarks
from bench.core.machine import provenance
from bench.queries import tables
from bench.queries.figure import STEP, draw
from bench.queries.intervals import compared, interval
from bench.queries.settings import BIRTHS, OPTIONS, USUAL
from bench.queries.tables import DEVICES, Oracle
from jaxnas.cli import frame
from jaxnas.errors import unknown
from jaxnas.evaluate import devices
from jaxnas.ranks import ordering, spearman_rho
from jaxnas.search.goal import Goal, Scores, join, take
from jaxnas.search.method import Prior, Question, Task
from jaxnas.search.methods import METHODS
from jaxnas.search.methods.agnet import Candidates
from jaxnas.search.prior import CachedPrior, StoredScores

LATENCY = ("latency", "latency_joint")
FRONTS = "fronts"
QUANTILES = (0.25, 0.5)  # of the latencies, that make the limits
NUMBERS = ("regret", "test", "feasible")


@dataclass(frozen=True, kw_only=True)
class QuerySearch:
    """Compare search methods at the same number of queries."""

    table: str = "nasbench201"
    """`nasbench201`, `nasbench101`, `latency`: NAS-Bench-201 under limits on six devices, `latency_joint`: where the
    latency counts within its limit, too, or `fronts`: of accuracy and latency on each device, whose regret is the share
    of the hypervolume that is missing."""
    devices: tuple[str, ...] = DEVICES
    """Of HW-NAS-Bench, for the tables with latencies."""
    methods: tuple[str, ...] = USUAL
    """Of the search methods and of AG-Net's forms (`agnet:paper`, ...); all are compared with the first one."""
    budget: int = 192
    """Queries of a search."""
    seeds: int = 10
    """Searches of each method, from seed 0."""
    prior: str | None = None
    """Stored scores to look at before, such as `table:nasbench201:live_flops,live_layers,ntk,regions`."""
    warm_start: int = 0
    """Random architectures of which the prior chooses those to begin with."""
    out: Path | None = None
    """Where to write the record (.json); the figure goes beside it (.png). Of a record that is there other methods
    stay, if their searches were asked for in the same way."""


def compare(config: QuerySearch) -> None:
    """Run the command."""
    for what, given, known in (("method", config.methods, OPTIONS), ("device", config.devices, DEVICES)):
        for name in given:
            if name not in known:
                raise unknown(what, name, known)
    folder = benchmarks.folder()
    devices.cache_programs()
    if config.out is not None:
        make_folder(config.out.parent)
    results = _before(config)
    for name, oracle in _oracles(config, folder).items():
        results[name] = _beside(results.get(name), _all_methods(config, name, oracle))
        if config.out is not None:
            _write(config, results, config.out)
    _show(_together(results))


def _before(config: QuerySearch) -> dict[str, Any]:
    """The results of the record that is there, if it was asked for in the same way."""
    if config.out is None or not config.out.is_file():
        return {}
    record = json.loads(config.out.read_text())
    return record["results"] if record.get("asked") == _asked(config) else {}


def _beside(before: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """The results on a table, and behind them those earlier methods that were not run again."""
    return {**new, "methods": {**new["methods"], **(before or new)["methods"], **new["methods"]}}


def _asked(config: QuerySearch) -> dict[str, Any]:
    """What the searches of a record have in common."""
    names = ("table", "devices", "budget", "seeds", "prior", "warm_start")
    return {name: list(of) if isinstance(of := getattr(config, name), tuple) else of for name in names}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(QuerySearch, compare, argv, prog="bench.queries")


def search(
    oracle: Oracle, method: str, budget: int, seed: int, *, prior: Prior | None = None, pool: int = 0
) -> dict[str, Any]:
    """Run one search and return its curves, and what it found.

    The architectures are counted as they are asked for; `curve` is the test accuracy of the best so far.
    """
    start = time.perf_counter()
    births = budget * BIRTHS.get(method, 1)
    task = Task(oracle.table.space, oracle.goal, seed=seed, batch=STEP, budget=births, prior=prior, pool=pool)
    chosen = METHODS[method.partition(":")[0]].make(task, *OPTIONS[method])
    state = chosen.init()
    asked: list[np.ndarray] = []
    answers: list[Scores] = []
    agreed: list[dict[str, float]] = []
    while not chosen.done(state) and sum(map(len, asked)) < budget:
        question = chosen.ask(state)
        asked.append(question.archs if isinstance(question, Question) else question)
        answers.append(oracle.table(asked[-1]))
        state = chosen.step(state, answers[-1])
        agreed.append(_agreement(oracle, getattr(state, "candidates", None)))
    archs, scores = np.concatenate(asked)[:budget], take(join(answers), slice(budget))
    feasible, best = oracle.goal.feasible(scores), _incumbents(oracle, scores)
    test, regret = oracle.accuracy(scores), oracle.regret(scores)
    last = archs[best[-1]][None]
    kept = [float(oracle.goal.feasible(answer).mean()) for answer in answers]
    rounds = [
        {**record, "feasible": share, **agreement}
        for record, share, agreement in zip(chosen.report(state), kept, [{}, *agreed], strict=False)
    ]
    return {
        "curve": [float(test[row]) for row in best[STEP - 1 :: STEP]],
        "regrets": regret[STEP - 1 :: STEP].tolist(),
        "regret": float(regret[-1]),
        "rounds": rounds if hasattr(state, "candidates") else [],
        "feasible": float(feasible.mean()),
        "found_feasible": bool(feasible[best[-1]]),
        "test": float(test[best[-1]]),
        "params": int(oracle.table.space.params(last)[0]),
        "flops": int(oracle.table.space.flops(last)[0]),
        "asked": len(archs),
        "seconds": time.perf_counter() - start,
    }


def _agreement(oracle: Oracle, candidates: Candidates | None) -> dict[str, float]:
    """Spearman's rho of predicted and true numbers over a round's candidates; none where there are none."""
    if candidates is None or len(candidates.archs) < 3:
        return {}
    scores = oracle.table(candidates.archs)
    pairs = {name: (ordering(of), ordering(scores[name].value[0])) for name, of in candidates.predicted.items()}
    rho = {f"rho {name}": spearman_rho(*pair) for name, pair in pairs.items()}
    return {"candidates": len(candidates.archs), **{name: value for name, value in rho.items() if np.isfinite(value)}}


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
            for device in config.devices
            for quantile in QUANTILES
        }
    if config.table == FRONTS:
        return {device: tables.front(folder, device) for device in config.devices}
    makers = {"nasbench201": tables.nasbench201, "nasbench101": tables.nasbench101}
    if config.table not in makers:
        raise unknown("table", config.table, [*makers, *LATENCY, FRONTS])
    return {config.table: makers[config.table](folder)}


def _prior(config: QuerySearch, oracle: Oracle) -> Prior | None:
    if config.prior is None:
        return None
    stored = StoredScores(oracle.table.space, config.prior)
    return CachedPrior(oracle.table.space, stored, Goal(stored.signs))


def _all_methods(config: QuerySearch, name: str, oracle: Oracle) -> dict[str, Any]:
    """Run all methods on an oracle, print a row for each, and return their records beside the oracle's own numbers."""
    about = {"rows": oracle.table.space.size, "limits": dict(oracle.goal.at_most), **tables.baselines(oracle)}
    print(f"\n{name}: {about}", flush=True)
    methods: dict[str, Any] = {}
    prior = _prior(config, oracle)
    for method in config.methods:
        run = partial(search, oracle, method, config.budget, prior=prior, pool=config.warm_start)
        runs = [run(seed=seed) for seed in range(config.seeds)]
        rounds = _rounds([run.pop("rounds") for run in runs])
        methods[method] = {"runs": runs, "rounds": rounds, **_summary(runs)}
        print(f"{method:<14}", " ".join(f"{k} {v:.4g}" for k, v in _summary(runs).items()), flush=True)
    return {**about, "methods": methods}


def _rounds(searches: list[list[dict[str, Any]]]) -> list[dict[str, float]]:
    """Return of each round the mean of what the searches say of it, over those that say it."""
    found = []
    for records in zip(*searches, strict=False):
        said = {name: [r[name] for r in records if r.get(name) is not None] for name in set().union(*records)}
        found.append({name: round(float(np.mean(said[name])), 4) for name in sorted(said) if said[name]})
    return found


def _summary(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return means over the seeds; of regret and accuracy the 95 % interval, too."""
    test = interval(np.array([run["test"] for run in runs]))
    regret = interval(np.array([run["regret"] for run in runs]))
    names = ("feasible", "found_feasible", "params", "flops", "asked")
    seconds = [run["seconds"] for run in runs]
    return {
        **{f"regret {name}": value for name, value in regret._asdict().items()},
        **{f"test {name}": value for name, value in test._asdict().items()},
        **{name: float(np.mean([run[name] for run in runs])) for name in names},
        "first_seconds": seconds[0],
        "seconds": float(np.median(seconds[1:] or seconds)),
    }


def _together(results: dict[str, Any]) -> dict[str, Any]:
    """Over all tables: each method's mean regret, test accuracy below the optimum and feasible share; the pairs."""
    first, *others = results.values()
    methods = [name for name in first["methods"] if all(name in of["methods"] for of in others)]
    runs = {name: [of["methods"][name]["runs"] for of in results.values()] for name in methods}
    numbers = {key: {n: np.array([[r[key] for r in row] for row in of]) for n, of in runs.items()} for key in NUMBERS}
    optima = np.array([of["optimum"] for of in results.values()])[:, None]
    means = {
        name: {
            "regret": interval(numbers["regret"][name].mean(0)),
            "below": interval((optima - numbers["test"][name]).mean(0)),
            "feasible": interval(numbers["feasible"][name].mean(0)),
        }
        for name in runs
    }
    floor = float(np.mean([of["floor"] for of in results.values()]))
    return {"floor": floor, "methods": means, "pairs": compared(numbers["regret"])}


def _show(together: dict[str, Any]) -> None:
    print(f"\nall tables; floor of the test accuracy {together['floor']:.3f}")
    for name, means in together["methods"].items():
        print(f"{name:<14}", "  ".join(f"{k} {v.mean:.3f} [{v.low:.3f}, {v.high:.3f}]" for k, v in means.items()))
    for name, pair in together["pairs"].items():
        print(f"less {name:<9}", "  ".join(f"{key} {value:.3f}" for key, value in pair.items()))


def _write(config: QuerySearch, results: dict[str, Any], path: Path) -> None:
    """Write the record of the tables so far, and draw them."""
    command = f"python -m bench.queries --table {config.table} --budget {config.budget} --seeds {config.seeds}"
    command += "" if config.devices == DEVICES else f" --devices {' '.join(config.devices)}"
    command += "" if config.prior is None else f" --prior {config.prior} --warm-start {config.warm_start}"
    together = _together(results)
    options = {method: [asdict(each) for each in OPTIONS[method]] for method in together["methods"]}
    record = {"case": "query_search", "command": command, "asked": _asked(config), "options": options, **provenance()}
    record |= {"together": together, "results": results}
    path.write_text(json.dumps(record, indent=1) + "\n")
    draw(results, path.with_suffix(".png"))


if __name__ == "__main__":
    raise SystemExit(main())
