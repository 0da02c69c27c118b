"""The card of a table: what its scores are, for people."""

import inspect
from collections.abc import Mapping
from typing import Any

import polars as pl

from jaxnas.ranks import Agreement
from jaxnas.scorers.registry import DEFAULTS

DIRECTIONS = {1: "higher", -1: "lower"}


def card(table: pl.DataFrame, manifest: Mapping[str, Any]) -> str:
    """The card in Markdown, without correlations."""
    settings, seeds = manifest["settings"], ", ".join(map(str, manifest["seeds"]))
    lines = [
        f"# {manifest['name']}",
        "",
        f"Scores of {table['arch'].n_unique():,} architectures of `{settings['space']}`, seed {seeds}, "
        f"{settings['repeats']} measurement{'s' * (settings['repeats'] > 1)} each, on {manifest['data']}. "
        f"`params` and `flops` are counts {manifest['counted']}.",
        "",
        "A row is an architecture with a seed. `arch_id` is the benchmark's own index; `scored_as` is the isomorphic "
        "architecture whose scores these are, empty where it is the architecture itself. The manifest is in the "
        "file's footer, under the key `jaxnas`.",
        "",
        "| score | what | better | paper | cost | without a value |",
        "|---|---|---|---|---|---|",
    ]
    for name, about in manifest["scorers"].items():
        cells = [f"`{name}`", _definition(name), DIRECTIONS[about["sign"]], about["paper"], about["cost"]]
        lines.append("| " + " | ".join([*cells, _failures(table, name)]) + " |")
    makers = {
        f"jaxnas {run['versions']['jaxnas']}, jax {run['versions']['jax']}, {run['device']}" for run in manifest["runs"]
    }
    seconds = sum(run["seconds"] for run in manifest["runs"])
    return "\n".join([*lines, "", f"Made with {'; '.join(sorted(makers))}, in {seconds:,.0f} s.", ""])


def correlations(agreements: Mapping[str, Agreement], target: str, table: str) -> str:
    """The part of a card that says how the scores agree with what was measured."""
    lines = [
        f"## Agreement with {target} of {table}",
        "",
        "Rank correlations, positive where the score agrees, with 95 % bootstrap intervals.",
        "",
        "| score | Spearman | Kendall | n |",
        "|---|---|---|---|",
    ]
    for row in agreements.values():
        cells = [_figure(row.spearman, row.spearman_interval), _figure(row.kendall, row.kendall_interval)]
        lines.append("| " + " | ".join([row.label, *cells, f"{row.n:,}"]) + " |")
    return "\n".join([*lines, ""])


def _figure(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None or interval is None:
        return "-"
    return f"{value:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]"


def _definition(name: str) -> str:
    """The first line of the score's docstring."""
    documented = inspect.getdoc(type(DEFAULTS[name])) if name in DEFAULTS else None
    return (documented or "a score of a user").partition("\n")[0].rstrip(".").replace("|", r"\|")


def _failures(table: pl.DataFrame, name: str) -> str:
    """How many rows have no value, and why."""
    rows = table.filter(pl.col(name).is_null())
    if rows.is_empty():
        return "none"
    found = rows[f"{name}_status"].cast(pl.String).value_counts().sort("count", descending=True)
    return ", ".join(f"{count:,} {status}" for status, count in found.iter_rows())
