"""The HTML document: one file that needs nothing else."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxnas.report.page.tab import Section, Tab, escaped

HERE = Path(__file__).parent


def document(tabs: Sequence[Tab], *, command: str, bundle: str) -> str:
    """The page.

    Args:
      tabs: at least one.
      command: that makes it again.
      bundle: the JavaScript that draws.
    """
    title = " · ".join(dict.fromkeys(tab.name for tab in tabs))
    parts = {
        "TITLE": escaped(title),
        "COMMAND": escaped(command),
        "STYLE": (HERE / "page.css").read_text(encoding="utf-8"),
        "TABS": "".join(_button(number, tab) for number, tab in enumerate(tabs)) if len(tabs) > 1 else "",
        "BODY": "".join(_tab(number, tab) for number, tab in enumerate(tabs)),
        "DATA": as_script([_data(tab) for tab in tabs]),
        "BUNDLE": bundle.replace("</script", "<\\/script"),
        "SCRIPT": (HERE / "page.js").read_text(encoding="utf-8"),
    }
    first, *others = (HERE / "page.html").read_text(encoding="utf-8").split("{{")
    page = [first]
    for piece in others:
        name, _, text = piece.partition("}}")
        page += [parts[name], text]
    return "".join(page)


def as_script(value: Any) -> str:
    """JSON that may stand in an element `script`: no text can end it."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _button(number: int, tab: Tab) -> str:
    return f'<button type="button" data-tab="{number}">{escaped(tab.name)}</button>'


def _tab(number: int, tab: Tab) -> str:
    sections = "".join(_section(section) for section in tab.sections if section.title)
    return f'<main data-tab="{number}"><p class="line">{escaped(tab.line)}</p>{sections}</main>'


def _section(section: Section) -> str:
    charts = "".join(f'<div class="chart" data-chart="{escaped(name)}"></div>' for name in section.charts)
    parts = "".join(f'<div data-part="{part}"></div>' for part in section.parts)
    return f"<section><h2>{escaped(section.title)}</h2>{section.body}{charts}{parts}</section>"


def _data(tab: Tab) -> dict[str, Any]:
    charts = {name: spec for section in tab.sections for name, spec in section.charts.items()}
    return {"data": tab.data, "charts": charts, "columns": tab.columns, **tab.more}
