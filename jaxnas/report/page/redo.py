"""What a run cost, and how to do it again: commands, settings, sources."""

import json
from collections.abc import Sequence
from typing import Any

from jaxnas.report.page.tab import Section, escaped, html_table
from jaxnas.scorers.registry import DEFAULTS
from jaxnas.tables.runs import Run

SHOWN = ("device", "created", "data", "counted")  # of a manifest, where it has them


def cost(runs: Sequence[Run]) -> Section:
    """How long the runs took, and on what."""
    rows = []
    for run in runs:
        seconds = _seconds(run)
        pace = f"{len(run.frame) / seconds:,.1f}" if seconds else "-"
        rows.append([run.path, f"{len(run.frame):,}", f"{seconds:,.1f}" if seconds else "-", pace,
                     run.manifest.get("device", "-"), run.manifest.get("created", "-")])  # fmt: skip
    headings = ["run", "networks", "seconds", "a second", "device", "begun"]
    note = "<p>Seconds are those of the command, compilation included; of several sessions their sum.</p>"
    return Section("Cost", html_table(headings, rows) + note)


def redo(runs: Sequence[Run]) -> Section:
    """Commands, manifests and sources."""
    commands = "\n".join(str(run.manifest["command"]) for run in runs if run.manifest.get("command"))
    parts = []
    if commands:
        parts.append(f'<p>Commands, as they were typed:</p><pre class="copied">{escaped(commands)}</pre>')
    for run in runs:
        text = json.dumps({k: v for k, v in run.manifest.items() if k != "scorers"}, indent=1)
        parts.append(f"<details><summary>manifest of {escaped(run.path)}</summary><pre>{escaped(text)}</pre></details>")
    papers = dict.fromkeys(
        f"{name}: {entry['paper']}"
        for run in runs
        for name, entry in (run.manifest.get("scorers") or _described(run)).items()
        if entry.get("paper", "baseline") not in ("", "baseline", "user")
    )
    if papers:
        parts.append("<p>Sources of the scores:</p><ul>" + "".join(f"<li>{escaped(p)}</li>" for p in papers) + "</ul>")
    return Section("How to redo it", "".join(parts))


def _described(run: Run) -> dict[str, dict[str, Any]]:
    names = run.settings.get("scorers", {})
    return {name: {"paper": DEFAULTS[name].paper} for name in names if name in DEFAULTS}


def _seconds(run: Run) -> float:
    """Wall-clock time of a run; 0 where it does not say it."""
    if len(run.curves):
        return float(run.curves["seconds"].sum())
    return float(run.manifest.get("seconds") or run.result.get("seconds") or 0.0)
