"""What a run cost, and how to do it again: commands, settings, sources."""

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from jaxnas import spaces
from jaxnas.report.page.tab import Section, escaped, html_table
from jaxnas.scorers.protocol import options_of
from jaxnas.scorers.registry import ALWAYS, DEFAULTS
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
    commands = "\n".join(shlex.join(command(run)) for run in runs if run.path and not run.path.startswith("table:"))
    parts = []
    if commands:
        parts.append(
            f'<p>Commands, from the settings in the manifests:</p><pre class="copied">{escaped(commands)}</pre>'
        )
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


def command(run: Run) -> list[str]:
    """The words of the command that wrote a run, as far as its settings say them."""
    settings, words = run.settings, ["jaxnas", run.command]
    if run.command == "predict":
        words += [word for name, value in settings.items() if name != "labels" for word in _option(name, value)]
    else:
        words += [word for name, value in _of_scores(settings) for word in _option(name, value)]
    return [*words, "--out", run.path]


def _of_scores(settings: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The options of a command that scores or searches, as the settings name them."""
    goal, oracle = settings.get("goal", {}), settings.get("oracle")
    for name in ("space", "method", "budget"):
        if name in settings:
            yield name, settings[name]
    scorers, signs = settings.get("scorers", {}), goal.get("signs", {})
    usual = {name: DEFAULTS[name].sign if name in DEFAULTS else sign for name, sign in signs.items()}
    named = {name: f"score:{name}" if oracle and name in scorers else name for name in (*signs, *scorers)}
    if oracle:
        yield "oracle", oracle["name"]
    if oracle or usual != signs:
        yield "maximize", ",".join(named[name] for name, sign in signs.items() if sign > 0)
        yield "minimize", ",".join(named[name] for name, sign in signs.items() if sign < 0)
    if oracle:
        yield "record", ",".join(named.get(name, name) for name in oracle.get("record", []))
        if settings.get("prior"):
            yield "prior", settings["prior"].get("name") or ",".join(settings["prior"]["scorers"])
        yield "warm-start", settings.get("warm_start") or ""
    if scorers:
        decide = list(signs) or [name for name in scorers if name not in ALWAYS] or list(scorers)
        yield "scorers", "" if oracle or usual != signs else ",".join(decide)
        for name, options in scorers.items():
            known = options_of(DEFAULTS[name]) if name in DEFAULTS else options
            given = {option: value for option, value in options.items() if value != known.get(option, value)}
            yield from ((f"{name}.{option}", value) for option, value in given.items())
    for name in ("at_most", "at_least"):
        yield name, ",".join(f"{named.get(score, score)}={limit:g}" for score, limit in goal.get(name, {}).items())
    own = settings.get(settings.get("method", ""), {})
    yield from ((f"{settings['method']}.{option}", value) for option, value in own.items())
    if "archs" in settings:
        yield "archs", "all" if settings["archs"]["number"] == spaces.get(settings["space"]).size else "FILE"
    yield "repeats", settings.get("repeats", "")
    yield "data", settings.get("data", {}).get("name", "")
    yield "seed", settings.get("seed", "")


def _option(name: str, value: Any) -> list[str]:
    if value is None or value is False or value == "":
        return []
    words = [f"--{name.replace('_', '-')}"]
    return words if value is True else [*words, str(value)]


def _described(run: Run) -> dict[str, dict[str, Any]]:
    names = run.settings.get("scorers", {})
    return {name: {"paper": DEFAULTS[name].paper} for name in names if name in DEFAULTS}


def _seconds(run: Run) -> float:
    """Wall-clock time of a run; 0 where it does not say it."""
    if len(run.curves):
        return float(run.curves["seconds"].sum())
    return float(run.manifest.get("seconds") or run.result.get("seconds") or 0.0)
