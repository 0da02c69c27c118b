"""The tab of searches on one space."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxnas.report.axes import CLIP, Course, of_objective
from jaxnas.report.page import specs
from jaxnas.report.page.cells import drawing
from jaxnas.report.page.redo import cost, redo
from jaxnas.report.page.specs import Field, Objective
from jaxnas.report.page.tab import Section, Tab, escaped, figure, html_table, short
from jaxnas.search.figure import course, limits
from jaxnas.search.goal import Goal, Scores
from jaxnas.search.loop import Log
from jaxnas.search.methods import METHODS
from jaxnas.tables.runs import Run
from jaxnas.tables.store import Store

ROUNDS = 40  # in a table
MOST = 20_000  # architectures of a search on the page, the last ones


@dataclass(frozen=True, eq=False)
class Searched:
    """What a search evaluated, in its order.

    Attributes:
      run: of it.
      label: of its curves: those of one label differ in their seeds.
      goal: what it was after.
      archs: `[N, A]`, or flattened masks of a supernet.
      scores: of them.
      seconds: of all evaluations until the round of each `[N]`.
    """

    run: Run
    label: str
    goal: Goal
    archs: np.ndarray
    scores: Scores
    seconds: np.ndarray

    @property
    def whole(self) -> bool:
        """What it asks for are architectures that compare with each other, from the first to the last."""
        return METHODS[self.run.settings["method"]].oracle

    @functools.cached_property
    def course(self) -> Course:
        """What is shown of it."""
        return course(self.label, self.goal, self.scores)

    def values(self, name: str) -> np.ndarray:
        """The means over the repeats `[N]`; NaN where there are none."""
        found: np.ndarray = (
            self.scores[name].value.mean(0) if name in self.scores else np.full(len(self.seconds), np.nan)
        )
        return found

    def best(self, name: str) -> np.ndarray:
        """The best so far `[N]` of an objective among those that keep the limits; NaN before the first."""
        return self.course.best(name)


def tab(runs: Sequence[Run]) -> Tab:
    """The tab of runs of `jaxnas search` on one space."""
    searches = searches_of(runs)
    names = list(dict.fromkeys(name for search in searches for name in search.goal.signs))
    fields = [Field(number, name) for number, name in enumerate(names)]
    data: dict[str, Mapping[str, Sequence[Any]]] = {}
    space = runs[0].space
    sections = [_found(searches)]
    comparable = [search for search in searches if search.whole]
    if comparable:
        sections += _curves(comparable, fields, data)
    sections += [_pruned(search, data, number) for number, search in enumerate(searches) if _masks(search)]
    rows = _rows(searches, fields)
    drawn = drawing(space, np.array(rows.pop("asked"))) if rows["arch"] else drawing(space, np.empty((0, 1), int))
    data["rows"] = {**rows, "cell": drawn.cells}
    if rows["arch"]:
        sections.append(Section("Architectures", parts=("cell", "table")))
    sections += [_rounds(search) for search in searches]
    columns = [("arch", "architecture", "text"), *((f.value, f.title, "number") for f in fields)]
    columns += [("run", "search", "text")] if len(runs) > 1 else []
    methods = dict.fromkeys(search.run.settings["method"] for search in searches)
    line = f"search on {space.name} · {', '.join(methods)} · {', '.join(names)}" + (
        f" · {len(runs)} runs" if len(runs) > 1 else ""
    )
    more = {"drawing": drawn.key, "details": {}, "spectrum": specs.spectrum()}
    return Tab(f"search {space.name}", line, [*sections, cost(runs), redo(runs)], data, columns, more)


def searches_of(runs: Sequence[Run]) -> list[Searched]:
    """The searches of runs on one space."""
    several = len({tuple(run.settings["goal"]["signs"]) for run in runs}) > 1
    return [_searched(run, several=several) for run in runs]


def _searched(run: Run, *, several: bool) -> Searched:
    log = Log(Store(Path(run.path), run.manifest))
    archs, scores = log.history()
    after = run.settings["goal"]
    goal = Goal(after["signs"], after.get("at_most", {}), after.get("at_least", {}))
    rounds = run.frame.sort("row").group_by("round", maintain_order=True).first().sort("round")
    ends = dict(zip(rounds["round"], np.cumsum(rounds["seconds"].to_numpy()), strict=True))
    seconds = np.array([ends[number] for number in run.frame.sort("row")["round"]])
    label = str(run.settings["method"]) + (f" {', '.join(goal.signs)}" if several else "")
    return Searched(run, label, goal, archs, scores, seconds)


def _masks(search: Searched) -> bool:
    """The search asked for masks of a supernet."""
    return search.run.settings["method"] == "prune"


def _found(searches: Sequence[Searched]) -> Section:
    """What each search found."""
    rows = []
    for search in searches:
        result, scores = search.run.result, search.run.result.get("scores", {})
        names = [*search.goal.signs, *sorted(search.goal.limited - search.goal.signs.keys()), "params", "flops"]
        numbers = ", ".join(f"{name} {figure(scores.get(name), 6)}" for name in dict.fromkeys(names))
        state = "unfinished" if not result else "keeps no limit" if "nearest_miss" in result else "done"
        rows.append([search.run.path, state, f"{len(search.archs):,}", numbers, result.get("arch", "-")])
    text = []
    for search in {str(search.goal): search for search in reversed(searches)}.values():
        kept = [f"{n} at most {v:g}" for n, v in search.goal.at_most.items()]
        kept += [f"{n} at least {v:g}" for n, v in search.goal.at_least.items()]
        after = ", ".join(f"{'more' if s > 0 else 'less'} {n}" for n, s in search.goal.signs.items())
        text.append(f"After {after}" + (f", with {', '.join(kept)}" if kept else "") + ".")
    return Section(
        "Found",
        f"<p>{escaped(' '.join(text))}</p>" + html_table(["run", "", "evaluated", "numbers", "architecture"], rows),
    )


def _curves(
    searches: Sequence[Searched], fields: Sequence[Field], data: dict[str, Mapping[str, Sequence[Any]]]
) -> list[Section]:
    """The best so far of each objective and, of the first two of a search that has several, the front."""
    fields = [field for field in fields if any(field.title in search.goal.signs for search in searches)]
    data |= {"evaluated": _evaluated(searches, fields, best=False), "best": _evaluated(searches, fields, best=True)}
    data["band"] = _band(searches, fields)
    several = bool(data["band"]["n"])
    objectives = {field.title: _objective(searches, field) for field in fields}
    charts = {f"best{one.field.number}": specs.best(one, several=several) for one in objectives.values()}
    text = f"Without the worst {CLIP} %. Pale: breaks a limit. Dashed: the limit."
    text += " Line and band: mean and range over the seeds." if several else ""
    sections = [Section("Best so far", f"<p>{text}</p>", charts)]
    signs = next((search.goal.signs for search in searches if len(search.goal.signs) > 1), None)
    if signs:
        first, second = [objectives[name] for name in signs][:2]
        data["front"] = _front(searches, [first.field, second.field])
        drawn = specs.front(first, second, higher=signs[first.field.title] > 0)
        sections.append(
            Section("Front", "<p>Steps: nothing that was evaluated is better by both.</p>", {"front": drawn})
        )
    return sections


def _objective(searches: Sequence[Searched], field: Field) -> Objective:
    """How an objective is shown: its axis has the limits, but not its worst values."""
    goal = next(search.goal for search in searches if field.title in search.goal.signs)
    own, higher = limits([goal]).get(field.title, {}), goal.signs[field.title] > 0
    view = of_objective([search.course for search in searches], field.title, own.values())
    title = f"{field.title} ({'higher' if higher else 'lower'} is better)"
    return Objective(field, title, view.domain, view.log, own)


def _evaluated(searches: Sequence[Searched], fields: Sequence[Field], *, best: bool) -> dict[str, Sequence[Any]]:
    """The points of all searches, or their best so far."""
    columns: dict[str, list[Any]] = {name: [] for name in ("n", "seconds", "run", "seed", "keeps")}
    columns |= {field.value: [] for field in fields}
    for search in searches:
        number = len(search.archs)
        columns["n"] += range(1, number + 1)
        columns["seconds"] += short(search.seconds)
        columns["run"] += [search.label] * number
        columns["seed"] += [search.run.seed] * number
        columns["keeps"] += search.goal.feasible(search.scores).tolist()
        for field in fields:
            known = field.title in search.goal.signs
            values = search.best(field.title) if best and known else search.values(field.title)
            columns[field.value] += short(values)
    return dict(columns)


def _band(searches: Sequence[Searched], fields: Sequence[Field]) -> dict[str, Sequence[Any]]:
    """Mean and range of the best so far over the seeds of each label; empty where no label has several."""
    columns: dict[str, list[Any]] = {name: [] for name in ("n", "run", "objective", "mean", "low", "high")}
    labels = [search.label for search in searches]
    for label in dict.fromkeys(labels) if len(set(labels)) < len(labels) else ():
        own = [search for search in searches if search.label == label]
        number = min(len(search.archs) for search in own)
        for field in [field for field in fields if field.title in own[0].goal.signs]:
            every = np.stack([search.best(field.title)[:number] for search in own])
            columns["n"] += range(1, number + 1)
            columns["run"] += [label] * number
            columns["objective"] += [field.number] * number
            for name, of in (("mean", every.mean(0)), ("low", every.min(0)), ("high", every.max(0))):
                columns[name] += short(of)
    return dict(columns)


def _front(searches: Sequence[Searched], fields: Sequence[Field]) -> dict[str, Sequence[Any]]:
    """What is on the front of two objectives, from left to right."""
    columns: dict[str, list[Any]] = {name: [] for name in ("run", "seed", *(field.value for field in fields))}
    for search in searches:
        names = [field.title for field in fields]
        if not set(names) <= search.goal.signs.keys():
            continue
        goal = Goal({name: search.goal.signs[name] for name in names}, search.goal.at_most, search.goal.at_least)
        rows = np.flatnonzero(goal.front(search.scores))
        rows = rows[np.argsort(search.values(names[0])[rows], kind="stable")]
        columns["run"] += [search.label] * len(rows)
        columns["seed"] += [search.run.seed] * len(rows)
        for field in fields:
            columns[field.value] += short(search.values(field.title)[rows])
    return dict(columns)


def _pruned(search: Searched, data: dict[str, Mapping[str, Sequence[Any]]], number: int) -> Section:
    """The operations that live on each edge after each round."""
    supernet = search.run.space.supernet
    assert supernet is not None
    columns: dict[str, list[Any]] = {name: [] for name in ("round", "edge", "count", "live")}
    size = len(supernet.edges), len(supernet.ops)
    first = search.archs[0].reshape(size)
    masks = [first, *(np.array(record["mask"]) for record in search.run.result.get("rounds", []))]
    for after, mask in enumerate(masks):
        for edge, live in zip(supernet.edges, mask.astype(bool), strict=True):
            ops = [op for op, there in zip(supernet.ops, live, strict=True) if there]
            entry = (after, edge, len(ops), ", ".join(ops))
            for name, value in zip(columns, entry, strict=True):
                columns[name].append(value)
    spec = specs.live_ops(supernet.edges)
    spec["data"] = {"name": f"live{number}"}
    data[f"live{number}"] = columns
    text = f"<p>{escaped(search.run.path)}: the number of operations; the mouse tells which.</p>"
    return Section("Operations that live", text, {f"live{number}": spec})


def _rows(searches: Sequence[Searched], fields: Sequence[Field]) -> dict[str, list[Any]]:
    """What was evaluated, as rows of the table: architectures with at least one objective."""
    columns: dict[str, list[Any]] = {name: [] for name in ("arch", "run", "asked", *(f.value for f in fields))}
    for search in [search for search in searches if not _masks(search)]:
        space = search.run.space
        known = np.isfinite([search.values(name) for name in search.goal.signs]).any(0)
        rows = np.flatnonzero(known)[-MOST:]
        columns["arch"] += [space.decode(arch) for arch in search.archs[rows]]
        columns["run"] += [search.run.path] * len(rows)
        columns["asked"] += list(search.archs[rows])
        for field in fields:
            columns[field.value] += short(search.values(field.title)[rows])
    return columns


def _rounds(search: Searched) -> Section:
    """What the method says of its rounds, but for lists."""
    records = [
        {name: value for name, value in record.items() if not isinstance(value, list | dict)}
        for record in search.run.result.get("rounds", [])
    ]
    names = list(dict.fromkeys(name for record in records for name in record))
    if not names:
        return Section("", "")
    rows = [[number, *(_cell(record.get(name)) for name in names)] for number, record in enumerate(records, 1)]
    left_out = f"<p>The last {ROUNDS} of {len(rows)}.</p>" if len(rows) > ROUNDS else ""
    return Section(f"Rounds of {search.run.path}", left_out + html_table(["round", *names], rows[-ROUNDS:]))


def _cell(value: object) -> str:
    return figure(value, 5) if isinstance(value, int | float) else "-" if value is None else str(value)
