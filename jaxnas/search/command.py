"""`python -m jaxnas.search`: find a good architecture of a space, without training any or by what an oracle says."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jaxnas import spaces
from jaxnas.cli import frame, process
from jaxnas.cli.options import option_groups, place
from jaxnas.cli.progress import Progress
from jaxnas.engine import Hire, named
from jaxnas.errors import UserError, unknown
from jaxnas.evaluate import devices
from jaxnas.evaluate.evaluator import summarise
from jaxnas.scorers import NTK
from jaxnas.search import figure
from jaxnas.search.goal import Found, Goal, NothingFoundError, complete, missed
from jaxnas.search.loop import Log, run
from jaxnas.search.method import Evaluate, Method, Task
from jaxnas.search.methods import METHODS, Entry
from jaxnas.search.objectives import ObjectiveOptions, Objectives, objectives
from jaxnas.spaces import Space
from jaxnas.spaces.prunable import Preset
from jaxnas.tables.store import RESULT, Store, fitting
from jaxnas.types import Status

SHOWN = 20  # rounds in the table, the last ones


@dataclass(frozen=True)
class SearchNTK(NTK):
    """The score `ntk`, two options of which may depend on the method and the space."""

    bn: Literal["batch", "frozen"] | None = None  # type: ignore[assignment]
    """Derivative of batch normalisation: `batch` goes through the batch statistics (TE-NAS; as many backward passes as
    images), `frozen` holds them constant (fast; a search may end at 1x1 convolutions alone). By default `batch` with
    --method prune on spaces of one cell (120 to 175 core-seconds a search, with `frozen` 30 to 60), and on the others
    and with other methods `frozen` (pruning darts would take half a core-hour, with --prune.preset imagenet two)."""
    images: int | None = None  # type: ignore[assignment]
    """Images in the batch; by default 72, with --method prune those of --prune.preset: on spaces of one cell 32 with
    `batch` (the paper's appendix) and 72 with `frozen`."""


MethodOptions = option_groups("MethodOptions", {name: e.options for name, e in METHODS.items() if e.options})


@dataclass(frozen=True, kw_only=True)
class Search(ObjectiveOptions, MethodOptions):  # type: ignore[misc,valid-type]
    """Find a good architecture; the same command again resumes or shows the result.

    Without --oracle no label is needed: the training-free --scorers decide.

    Several objectives count by the sum of their ranks and give a Pareto front.
    """

    method: str = "sift"
    """`sift`: cheap scores choose among many, dear ones among the few that are left. `prune`: TE-NAS prunes a supernet
    by ntk and regions, or by other measured scores. `evolve`: GenNAS's regularised evolution, as published with
    --scorers regression --repeats 1 --evolve.brood 1. `local`: local search. `agnet`: a generator of architectures that
    learns from those that were scored (AG-Net). `predictor`: a graph network, trained again after every round,
    proposes. `random`: the best of random ones. All but `prune` go by an oracle, too, `sift` only beside scores."""
    budget: int | None = None
    """Architectures to evaluate in all (`evolve`: to bear, those that come up again included); by default 450 for
    `evolve`, 500 for `random`, 192 for the others (of `sift` those measured by the cheapest scores); `prune` has
    none."""
    ntk: SearchNTK = field(default_factory=SearchNTK)
    scorers: str | None = None  # type: ignore[assignment]
    """Comma-separated scores to go by, each in its own direction; by default, where --maximize and --minimize name
    nothing, consensus, with --method prune ntk,regions."""
    repeats: int | None = None  # type: ignore[assignment]
    """Measurements of each score, each with new inputs and, unless --ntk.preset says otherwise, new weights; by default
    1, with --method prune 3."""
    out: str | None = None
    """Directory for the rounds (Parquet parts), manifest.json and result.json; by default
    runs/search-SPACE-METHOD-seedSEED; for a space of your own, SPACE is FILE-VARIABLE."""
    plot: Path | None = None
    """Draw into this .png, .pdf or .svg: the best so far of each objective and, of several, the Pareto front.
    `jaxnas report DIR --out FILE.pdf` draws it later, and of several runs."""
    json: bool = False
    """Print result.json on standard output, and nothing else."""


class Outcome(NamedTuple):
    """What a search found.

    Attributes:
      record: as result.json has it.
      path: of the run's directory.
      goal: what it was after.
      log: of its rounds.
      others: what else the chosen architecture is written as.
      rows: of the table of rounds.
      new: evaluations that no earlier run had made.
      note: on the table of an oracle; empty if there is nothing to say.
    """

    record: dict[str, Any]
    path: Path
    goal: Goal
    log: Log
    others: dict[str, str]
    rows: list[dict[str, str]]
    new: int
    note: str


def search(config: Search) -> str | None:
    """Run the command; return what is not as asked."""
    found = find(config)
    if config.plot is not None:
        _draw(config.plot, config, found)
    if config.json:
        print(found.path.joinpath(RESULT).read_text(encoding="utf-8"), end="")
    else:
        if found.note:
            print(f"oracle: {found.note}")
        _show(found.record, found.others.values(), found.rows, found.path, new=found.new)
    miss = found.record.get("nearest_miss")
    return _in_words(miss, config, found.log.evaluations) if miss else None


def find(config: Search) -> Outcome:
    """Search, and keep every round and the result in the run's directory.

    Raises:
      UserError: the options do not fit together, or nothing was found.
    """
    with named(config.on) as hire:
        devices.start()
        return _find(config, hire)


def _find(config: Search, hire: Hire) -> Outcome:
    space = spaces.get(config.space)
    config = _with_defaults(config, space)
    if config.plot is not None:
        frame.check_plot(config.plot)
        if not METHODS[config.method].oracle:
            raise UserError(f"--plot draws the best so far; --method {config.method} compares within its rounds alone")
    path = config.out or place("search", config.space, config.method, f"seed{config.seed}")
    source = config.source()
    by = objectives(config, space, source, hire)
    method = _method(config, by)
    evaluate, about = by.connect(method.batch, fitting(path, mixed=config.mixed))
    settings = {**by.settings, "method": config.method, **method.options}
    manifest = {"settings": settings, "part_size": method.batch, **about, "command": process.command()}
    store = Store.open(path, manifest, mixed=config.mixed)
    if by.function is not None:
        by.function.keep(store)
    log = Log(store)
    before = log.evaluations
    state, found = _searched(config.method, method, by, evaluate, log)
    others = space.other_strings(found.arch)
    miss = _nearest_miss(space, by.goal, log) if found.extra.get("feasible") is False else {}
    result = {
        "space": space.name,
        "counted": space.counted,
        "method": config.method,
        "arch": space.decode(found.arch),
        **others,
        "scores": _scores(space, found),
        **({"nearest_miss": miss} if miss else {}),
        "evaluations": log.evaluations,
        "seconds": round(log.seconds, 3),
        "seed": config.seed,
        **{name: store.manifest[name] for name in ("settings", *about)},
        **({} if by.table is None else {"oracle": by.table.counts}),
        "rounds": method.report(state),
        **_history(space, by.goal, log, METHODS[config.method]),
    }
    text = json.dumps(result, indent=2, allow_nan=False)
    store.put(RESULT, f"{text}\n".encode())
    note = "" if by.table is None else by.table.note()
    return Outcome(result, store.path, by.goal, log, others, method.table(state), log.evaluations - before, note)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Search, search, argv, prog="jaxnas search", kept="finished rounds are kept")


def _with_defaults(config: Search, space: Space) -> Search:
    """The options with the method's scores, and with the form of the NTK and its images, where they were not given."""
    if config.method not in METHODS:
        raise unknown("method", config.method, METHODS)
    entry = METHODS[config.method]
    named = config.maximize or config.minimize
    limited = config.at_most or config.at_least
    usual = "" if named or (config.oracle is not None and not limited) else entry.scorers
    scorers = usual if config.scorers is None else config.scorers
    repeats = entry.repeats if config.repeats is None else config.repeats
    supernet = space.supernet if config.method == "prune" else None
    preset = Preset(bn=NTK.bn, images=dict.fromkeys(("batch", "frozen"), NTK.images))
    if supernet is not None:
        preset = supernet.preset(config.prune.preset)
    bn = config.ntk.bn or preset.bn
    images = preset.images[bn] if config.ntk.images is None else config.ntk.images
    return replace(config, scorers=scorers, repeats=repeats, ntk=replace(config.ntk, bn=bn, images=images))


def _method(config: Search, by: Objectives) -> Method:
    entry = METHODS[config.method]
    if entry.budget is None and config.budget is not None:
        raise UserError(f"--budget does not go with --method {config.method}, whose rounds the space decides")
    if config.oracle is not None and not (entry.oracle or (entry.beside and by.scored)):
        others = ", ".join(name for name, other in METHODS.items() if other.oracle)
        raise UserError(
            f"--method {config.method} goes by training-free scores, not by an --oracle: say one of {others}"
        )
    task = Task(
        by.space,
        by.goal,
        seed=config.seed,
        batch=by.batch,
        budget=(entry.budget or 0) if config.budget is None else config.budget,
        prior=by.prior,
        pool=config.warm_start,
        by_cost=by.by_cost,
        last=by.last,
    )
    return entry.make(task, *([getattr(config, config.method)] if entry.options else []))


def _searched(name: str, method: Method, by: Objectives, evaluate: Evaluate, log: Log) -> tuple[Any, Found]:
    """The last state and what was found; where nothing was, say why the user's function failed."""
    try:
        with Progress(name, "rounds", method.rounds) as progress:
            state = run(method, evaluate, log, progress.reach)
        return state, method.result(state)
    except NothingFoundError as error:
        if by.function is None or not by.function.failure:
            raise
        raise UserError(f"{error}; the last failure of the oracle: {by.function.failure}") from None


def _scores(space: Space, found: Found) -> dict[str, Any]:
    """The scores of the chosen architecture, named as the columns of `jaxnas.score`."""
    scores: dict[str, Any] = {}
    for name, of in found.scores.items():
        value, deviation, status = (column[0] for column in summarise(of))
        scores |= {name: _number(value), f"{name}_std": _number(deviation), f"{name}_status": Status(status).name}
    arch = found.arch[None]
    return {**scores, **found.extra, "params": int(space.params(arch)[0]), "flops": int(space.flops(arch)[0])}


def _history(space: Space, goal: Goal, log: Log, method: Entry) -> dict[str, Any]:
    """Return when the best so far changed, where rounds can be compared, and of several objectives the Pareto front."""
    if not method.oracle and not method.beside:
        return {}
    archs, scores = log.history()
    if not method.oracle:
        archs, scores = complete(archs, scores, goal)
    means = {name: found.value.mean(0) for name, found in scores.items()}

    def record(row: int) -> dict[str, Any]:
        return {"arch": space.decode(archs[row]), **{name: _number(mean[row]) for name, mean in means.items()}}

    best = [{"evaluations": row + 1, **record(row)} for row in goal.improvements(scores)] if method.oracle else []
    front = np.flatnonzero(goal.front(scores)).tolist() if len(goal.signs) > 1 else []
    return {
        **({"best_so_far": best} if method.oracle else {}),
        **({"front": [record(row) for row in front]} if front else {}),
    }


def _nearest_miss(space: Space, goal: Goal, log: Log) -> dict[str, Any]:
    """Which of the architectures, none of which keeps the limits, is least beyond them, and its numbers."""
    archs, scores = log.history()
    excess = goal.excess(scores)
    row = int(excess.argmin())
    numbers = {name: _number(scores[name].value.mean(0)[row]) for name in sorted(goal.limited)}
    return {"arch": space.decode(archs[row]), **numbers}


def _in_words(miss: dict[str, Any], config: Search, evaluations: int) -> str:
    numbers = {name: number for name, number in miss.items() if name != "arch"}
    said = missed(config.at_most, config.at_least, str(evaluations), miss["arch"], numbers)
    return f"{said}: loosen the limit or search longer"


def _show_front(result: dict[str, Any]) -> None:
    """Print the Pareto front, if there is one, in the order of its first objective."""
    front, signs = result.get("front", []), result["settings"]["goal"]["signs"]
    if not front:
        return
    first, sign = next(iter(signs.items()))
    table = Table(*signs, "architecture", title=f"Pareto front: {len(front):,}", title_justify="left")
    for point in sorted(front, key=lambda point: -sign * point[first])[:SHOWN]:
        table.add_row(*(f"{point[name]:.5g}" for name in signs), escape(point["arch"]))
    Console().print(table)
    if len(front) > SHOWN:
        print(f"and {len(front) - SHOWN:,} more in {RESULT}")


def _draw(path: Path, config: Search, found: Outcome) -> None:
    _, scores = found.log.history()
    title = f"{spaces.get(config.space).name}, {config.method}, seed {config.seed}, n = {found.log.evaluations:,}"
    try:
        figure.draw([figure.course("", found.goal, scores)], [found.goal], title=title, path=path)
    except OSError as error:
        raise UserError(f"--plot {path}: cannot write it ({error.strerror})") from error


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _show(result: dict[str, Any], others: Iterable[str], rows: list[dict[str, str]], path: Path, *, new: int) -> None:
    if rows:  # none where a supernet has nothing to prune
        table = Table(*rows[0])
        for row in rows[-SHOWN:]:
            table.add_row(*row.values())
        Console().print(table)
    chosen = "best of those that break a limit, as all do" if "nearest_miss" in result else "chosen"
    print(f"{chosen}: {result['arch']}")
    for string in others:
        print(f"  {string}")
    scores = result["scores"]
    for name in [name for name in scores if f"{name}_status" in scores]:
        value, deviation = ("-" if scores[n] is None else f"{scores[n]:.5g}" for n in (name, f"{name}_std"))
        print(f"  {name}: {value} (standard deviation {deviation}, {scores[f'{name}_status']})")
    process.tell(f"#params: {scores['params']:,}   FLOPs: {scores['flops'] / 1e6:,.2f} M ({result['counted']})", "  ")
    again = "" if new == result["evaluations"] else f" ({new} of them now, the others by an earlier run)"
    _show_front(result)
    print(f"{result['evaluations']} networks evaluated in {result['seconds']:.1f} s{again}")
    print(f"written to {path / RESULT}")
