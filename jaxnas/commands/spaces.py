"""`jaxnas spaces`: the search spaces, or one of them, as they describe themselves."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from jaxnas import spaces
from jaxnas.cli import frame
from jaxnas.report.sheet import Format, Sheet, card
from jaxnas.scorers.protocol import Scorer, that_fit
from jaxnas.scorers.registry import DEFAULTS
from jaxnas.spaces import SPACES, Space

EXACT = 10**6  # architectures up to which their number is written out


@dataclass(frozen=True)
class Spaces:
    """List the search spaces, or describe one."""

    space: tyro.conf.Positional[Annotated[str | None, tyro.conf.arg(metavar="[SPACE]")]] = None
    """One of them, or FILE.py:VARIABLE for a space of yours."""
    format: Format = "table"
    """How to print it."""


def show(config: Spaces) -> None:
    """Run the command."""
    if config.space is None:
        everything = SPACES.values()
        sheet = Sheet([*map(_shown, everything)], [*map(_record, everything)], right=["architectures"])
    else:
        space = spaces.get(config.space)
        record = _record(space) | _details(space)
        lines = {name.replace("_", " "): _text(value) for name, value in record.items() if name != "space"}
        sheet = card(space.name, lines, record)
    sheet.print(config.format)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Spaces, show, argv, prog="jaxnas spaces")


def _record(space: Space) -> dict[str, Any]:
    return {
        "space": space.name,
        "architectures": space.size,
        "searched": space.searched,
        "scores": that_fit(DEFAULTS, space),
        "data_sets": [*space.datasets],
    }


def _details(space: Space) -> dict[str, Any]:
    sampler = (inspect.getdoc(type(space).sample) or "").split("\n\n")[0]
    return {
        "example": space.example,
        "reads": space.reads,
        "random": " ".join(sampler.replace("`", "").split()),
        "pruning": space.supernet is not None,
        "counts": space.counted,
    }


def _shown(space: Space) -> dict[str, str]:
    return {
        "space": space.name,
        "architectures": _number(space.size),
        "searched": space.searched,
        "scores": _fitting(space),
    }


def _fitting(space: Space) -> str:
    """Which of the measured scores a space can have, in few words."""
    fit = that_fit(DEFAULTS, space)
    missing = [name for name, score in DEFAULTS.items() if isinstance(score, Scorer) and name not in fit]
    said = f"all but {', '.join(missing)}" if len(missing) < len(fit) else ", ".join(fit)
    return said.replace("infinite_nngp, infinite_ntk", "infinite_*")


def _number(number: int) -> str:
    return f"{number:,}" if number < EXACT else f"{number:.2g}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return _number(value)
    return (", ".join(value) or "-") if isinstance(value, list) else str(value)
