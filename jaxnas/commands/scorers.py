"""`jaxnas scorers`: the scores, or one of them, as they describe themselves."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from jaxnas.cli import frame
from jaxnas.cli.help_text import texts
from jaxnas.errors import UserError, unknown
from jaxnas.report.sheet import Format, Sheet, card
from jaxnas.scorers.consensus import Consensus
from jaxnas.scorers.latency import Latency
from jaxnas.scorers.protocol import AnyScore, Combined, Scorer, options_of
from jaxnas.scorers.registry import DEFAULTS, listed, load
from jaxnas.spaces import SPACES, Space


@dataclass(frozen=True)
class Scorers:
    """List the scores, or describe one."""

    scorer: tyro.conf.Positional[Annotated[str | None, tyro.conf.arg(metavar="[NAME]")]] = None
    """One of them, or FILE.py:VARIABLE for a score of yours."""
    format: Format = "table"
    """How to print it."""


def show(config: Scorers) -> None:
    """Run the command."""
    if config.scorer is None:
        records = [*map(_record, DEFAULTS.values())]
        sheet = Sheet(records, records)
    else:
        score = _named(config.scorer)
        record = _record(score) | _details(score)
        lines = {name: record[name] for name in ("what", "better", "cost", "paper")}
        lines |= {"spaces": ", ".join(record["spaces"])}
        lines |= {f"--{option}": text for option, text in record["options"].items()}
        sheet = card(score.name, lines, record)
    sheet.print(config.format)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Scorers, show, argv, prog="jaxnas scorers")


def _named(name: str) -> AnyScore:
    if ".py:" in name:
        return load(name)
    found = DEFAULTS.get("".join(listed(name)))
    if found is None:
        raise unknown("scorer", name, DEFAULTS)
    return found


def _record(score: AnyScore) -> dict[str, Any]:
    better = "higher" if score.sign > 0 else "lower"
    return {"score": score.name, "better": better, "cost": score.cost, "paper": score.paper}


def _details(score: AnyScore) -> dict[str, Any]:
    said = texts(type(score))
    return {
        "what": " ".join((inspect.getdoc(type(score)) or "").split("\n\n")[0].replace("`", "").split()),
        "spaces": [name for name, space in SPACES.items() if _fits(score, space)],
        "options": {
            f"{score.name}.{name}".replace("_", "-"): said.get(name, "")
            + (f" (default: {value})" if value is not None else "")
            for name, value in options_of(score).items()
        },
    }


def _fits(score: AnyScore, space: Space) -> bool:
    """Say whether a space can have the score: the networks that it or what it needs is measured on."""
    if isinstance(score, Consensus):
        try:
            score.on(space, DEFAULTS)
        except UserError:
            return False
        return True
    if isinstance(score, Combined):
        return all(_fits(DEFAULTS[name], space) for name in score.needs if name in DEFAULTS)
    if isinstance(score, Latency):
        return "benchmark" in space.forms
    return not isinstance(score, Scorer) or score.fits(space)
