"""Regret by queries, a panel for each table."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.queries.intervals import interval

STEP = 16  # queries between two points of a curve
COLOURS = ("#4477aa", "#aa3377", "#ee7733", "#228833", "#777777", "#66ccee", "#ccbb44", "#222222")
STYLES = [(colour, line) for line in ("-", "--", ":") for colour in COLOURS]  # more than there are methods


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw mean and 95 % interval of the regret after so many queries, each method in a style of its own."""
    columns = min(len(results), 4)
    rows = -(-len(results) // columns)
    figure = Figure(figsize=(2 + 4 * columns, 0.8 + 3.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, (name, result) in zip(panels, results.items(), strict=False):
        for (colour, line), (method, record) in zip(STYLES, result["methods"].items(), strict=False):
            curves = _of_one_length([run["regrets"] for run in record["runs"]])
            mean, low, high = np.array([interval(column) for column in curves.T]).T
            queries = STEP * np.arange(1, len(mean) + 1)
            panel.plot(queries, mean, color=colour, linestyle=line, label=method)
            panel.fill_between(queries, low, high, color=colour, alpha=0.2, linewidth=0)
        top = max(drawn.get_ydata()[1:].max(initial=0) for drawn in panel.lines)
        panel.set(title=name, xlabel="queries", ylabel="regret, points of accuracy", ylim=(0, top * 1.1 or 1))
    panels[0].legend()
    figure.savefig(path, dpi=80)


def _of_one_length(curves: list[list[float]]) -> np.ndarray:
    """The curves `[S, Q]`, each going on at its last value: evolution asks for fewer where children came up before."""
    longest = max(map(len, curves))
    return np.array([curve + curve[-1:] * (longest - len(curve)) for curve in curves])
