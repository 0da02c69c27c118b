"""The predictions as a table on the disk, and how good they are as JSON and for people."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jaxnas.cli import process
from jaxnas.correlate.report import PIPED_WIDTH, number, with_interval
from jaxnas.correlate.sources import BASELINES
from jaxnas.learn.intervals import coverage, intervals, level
from jaxnas.predict.effects import effects, factors
from jaxnas.predict.fitting import MEMBERS, RESAMPLES, Fitted, Problem
from jaxnas.ranks import Agreement, best_rows, ordering
from jaxnas.tables.measured import of_rows
from jaxnas.tables.store import RESULT, Store

FIGURES = ("label", "n", "spearman", "spearman_interval", "kendall", "kendall_interval", "partial_given_flops")
SHOWN = 5  # of the architectures that are predicted to be the best


def as_json(problem: Problem, fitted: Fitted, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a run; undefined figures are null."""
    return {
        "settings": dict(settings),
        "labels": len(problem.labels.rows),
        "rows": dict(problem.labels.counts),
        "source_rows": None if problem.source is None else dict(problem.source.labels.counts),
        "predicted": len(problem.asked),
        "asked": {"rows": problem.read.asked, "repeats": problem.read.asked - len(problem.asked)},
        "groups": dict(problem.groups),
        "coverage": {name: dict(counts) for name, counts in problem.read.coverage.items()},
        "files": {name: dict(counts) for name, counts in problem.read.files.items()},
        "scores": list(problem.pool.names),
        "agreements": {name: figures(agreement) for name, agreement in fitted.agreements.items()},
        "intervals": {
            "level": level(len(fitted.fold)),
            "held_out_within": coverage(fitted.fold, fitted.misses),
        },
        "effects": learnt(problem, fitted),
        "best": best(problem, fitted),
    }


def learnt(problem: Problem, fitted: Fitted) -> dict[str, Any] | None:
    """What the predictor learnt, from its predictions of what was asked for; null where nothing can be told."""
    space, rows = problem.known.space, problem.asked
    given = factors(space, space.as_listed(problem.known.archs[rows]))
    found = effects(given, problem.sign * fitted.predicted[rows], problem.sign * fitted.parts[:, rows])
    return None if found is None else found.to_json()


def figures(agreement: Agreement) -> dict[str, Any]:
    """What `--json` prints of a score."""
    return {name: value for name, value in asdict(agreement).items() if name in FIGURES}


def best(problem: Problem, fitted: Fitted) -> list[dict[str, Any]]:
    """The architectures of those asked for that are predicted to be the best, and their baselines."""
    values = fitted.predicted[problem.asked]
    rows = problem.asked[best_rows(ordering(values), SHOWN)]
    frame = predictions(problem, fitted, rows)
    return frame.select("arch", "predicted", "lower", "upper", "measured", "params", "flops", "live_flops").to_dicts()


def predictions(problem: Problem, fitted: Fitted, rows: np.ndarray) -> pl.DataFrame:
    """The table of `rows` `[M]`: what is predicted and what was measured, in units of the target."""
    known = problem.known
    measured, held_out = np.full((2, len(known.archs)), np.nan)
    measured[problem.labels.rows] = problem.sign * problem.labels.values
    held_out[problem.labels.rows] = problem.sign * fitted.held_out
    ends = np.sort(problem.sign * intervals(fitted.parts[:, rows], fitted.fold, fitted.misses), 0)
    return pl.DataFrame(
        {
            "row": np.arange(len(rows)),
            "arch": [known.space.decode(arch) for arch in known.archs[rows]],
            "predicted": problem.sign * fitted.predicted[rows],
            "lower": ends[0],
            "upper": ends[1],
            "measured": pl.Series(measured[rows]).fill_nan(None),
            "held_out": pl.Series(held_out[rows]).fill_nan(None),
            "params": known.params(rows),
            "flops": known.flops(rows),
            "live_flops": known.live_flops(rows),
        }
    )


def write(path: Path, problem: Problem, fitted: Fitted, record: Mapping[str, Any]) -> None:
    """Write the predictions of what was asked for as a directory of scores, and the record as result.json."""
    about = {"cost": f"{record['labels']} labels", "paper": ""}
    scorers = {"predicted": {"sign": problem.sign, **about}, **{name: {"sign": 1} for name in BASELINES}}
    settings = {**record["settings"], "labels": record["labels"]}
    manifest = {"settings": settings, "part_size": len(problem.asked), "scorers": scorers}
    store = Store.open(path, manifest | {"command": process.command()})
    store.write(0, predictions(problem, fitted, problem.asked))
    store.put(RESULT, (json.dumps(record, indent=2, allow_nan=False) + "\n").encode())


def show(record: Mapping[str, Any], *, out: Path | None) -> None:
    """Print how good the predictions are, and the best of them."""
    settings = record["settings"]
    caption = (
        f"Agreement with {settings['target']} over {record['labels']} labels; held-out: each of {settings['folds']} "
        f"folds predicted from the others; the other rows need no label. {RESAMPLES} bootstrap resamples; positive = "
        "agrees with the target"
    )
    table = Table(title=escape(title(settings)), caption=escape(caption), box=box.SIMPLE_HEAD)
    for column in ("score", "Spearman [95 %]", "Kendall tau [95 %]", "given FLOPs"):
        table.add_column(escape(column), justify="left" if column == "score" else "right")
    for row in record["agreements"].values():
        spearman, kendall = (with_interval(row[name], row[f"{name}_interval"]) for name in ("spearman", "kendall"))
        cells = (row["label"], spearman, kendall, number(row["partial_given_flops"]))
        table.add_row(*map(escape, cells))
    console = Console()
    console = console if console.is_terminal else Console(width=PIPED_WIDTH)
    console.print(table)
    show_joins(record)
    show_effects(console, record)
    within = record["intervals"]
    print(
        f"intervals hold {within['level']:.0%} of new architectures; of the held-out labels they hold "
        f"{within['held_out_within']:.0%}"
    )
    print(f"best of {record['predicted']} predicted:")
    for row in record["best"]:
        seen = "" if row["measured"] is None else f", measured {row['measured']:.5g}"
        cost = f"#params {row['params']:,}, FLOPs {row['flops'] / 1e6:,.2f} M"
        within = f"[{row['lower']:.5g}, {row['upper']:.5g}]"
        print(f"  {row['arch']}: {row['predicted']:.5g} {within}{seen} ({cost})")
    if out is not None:
        print(f"written to {out}")


def show_effects(console: Console, record: Mapping[str, Any]) -> None:
    """Print what each choice adds to the prediction, places down and choices across, and the strongest pairs."""
    found = record["effects"]
    if found is None:
        return
    single, pairs = found["single"], found["pairs"][:SHOWN]
    choices, places = (list(dict.fromkeys(row[name] for row in single)) for name in ("choice", "place"))
    known = {(row["place"], row["choice"]): f"{row['effect']:+.3g} ± {row['error']:.1g}" for row in single}
    caption = (
        f"By how much a choice moves the predicted {record['settings']['target']}, ± a standard error over the folds; "
        f"these sums explain {found['explained'][0]:.0%} of the predictions' variance, pairs as well "
        f"{found['explained'][1]:.0%}"
    )
    table = Table(title="What the predictor learnt", caption=escape(caption), box=box.SIMPLE_HEAD)
    for column in ("place", *choices):
        table.add_column(escape(column), justify="left" if column == "place" else "right")
    for place in places:
        table.add_row(escape(place), *(known.get((place, choice), "") for choice in choices))
    console.print(table)
    if pairs:
        print("pairs that add the most to both:")
    for row in pairs:
        both = " and ".join(f"{part['choice']} at {part['place']}" for part in row["of"])
        print(f"  {both}: {row['effect']:+.3g} ± {row['error']:.1g}")


def show_joins(record: Mapping[str, Any]) -> None:
    """Print what was read of each file, and what was left out of either side."""
    settings = record["settings"]
    for name, counts in (("train", record["rows"]), ("source", record["source_rows"])):
        if counts is not None and (of_table := of_rows(counts)):
            print(f"{settings[name]}: {of_table}")
    if again := record["asked"]["repeats"]:
        rows = record["asked"]["rows"]
        print(f"--predict {settings['predict']}: {again:,} of {rows:,} rows repeat an architecture, which counts once")
    for name, counts in record["coverage"].items():
        shares = (f"{count:,} of {record['groups'][group]:,} {group}" for group, count in counts.items())
        print(f"{name} is there for {', '.join(shares)}")
    for name, counts in record["files"].items():
        if left_out := counts["left_out"]:
            print(f"{name}: {left_out:,} of {counts['architectures']:,} architectures have no label, nor are asked for")


def title(settings: Mapping[str, Any]) -> str:
    """What made the predictions."""
    networks = f" ({MEMBERS} networks)" * (settings["model"] == "graph")
    if settings["source"] is None:
        return f"Predictions by {settings['model']}{networks}"
    where = f" on {settings['source_space']}" * (settings["source_space"] is not None)
    how = f"{settings['model']}, {settings['transfer']} from {settings['source_target']}"
    return f"Predictions by {how}{where}{networks}"
