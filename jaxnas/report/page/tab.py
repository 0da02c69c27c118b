"""What a page consists of: tabs of sections, with charts, rows and the data of both; as HTML and JSON."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from jaxnas.report.page.specs import Spec


class Section(NamedTuple):
    """A part of a tab.

    Attributes:
      title: above it.
      body: HTML, escaped.
      charts: Vega-Lite specifications by name, drawn one after the other.
      parts: what the page's script builds in it: `cell`, `table`.
    """

    title: str
    body: str = ""
    charts: Mapping[str, Spec] = {}
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tab:
    """A space, or a search on one.

    Attributes:
      name: on the tab.
      line: below the title.
      sections: from the top.
      data: of the charts, by name: columns of equal length.
      columns: of the sortable table: field of `rows`, title, and `text` or `number`.
      more: what else the script needs: how cells are drawn, details of some rows.
    """

    name: str
    line: str
    sections: Sequence[Section]
    data: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    columns: Sequence[tuple[str, str, str]] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


def escaped(text: object) -> str:
    """Text for HTML."""
    return html.escape(str(text))


def html_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of text; all but its first column is to the right."""
    head = "".join(f"<th>{escaped(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escaped(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table class="figures"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def short(values: np.ndarray) -> list[float | int | None]:
    """Numbers `[N]` for JSON, those that are not whole with five figures; what is not finite is None."""
    return [_short(value) for value in np.asarray(values, np.float64).tolist()]


def _short(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 1e15 else float(f"{value:.5g}")


def figure(value: float | None, digits: int = 4) -> str:
    """A number for people."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.{digits}g}"
