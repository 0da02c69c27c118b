"""The figure of a record of `bench.transfer`: rank correlation against the number of labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PANELS = {"spearman": "Spearman's rho", "kendall": "Kendall's tau-b", "regret": "regret of the best of 50"}
INCHES, DPI = (13, 4.5), 110
COLORS = ("#4477aa", "#ee7733", "#228833", "#aa3377", "#66ccee", "#ccbb44", "#bbbbbb")
STYLES = ("--", "-", "-.", (0, (1, 1)))  # from scratch, then the sources
GREYS = ("#000000", "#555555", "#999999", "#bb8855", "#8855bb", "#55aa99", "#aa5599", "#99aa55")


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Write the figure; bands are the 95 % intervals of the means over the seeds, flat lines need no label."""
    figure = Figure(figsize=INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    target = record["target"]
    figure.suptitle(f"{target['space']}, {target['column']}: {record['test']} test architectures")
    panels = figure.subplots(1, len(PANELS))
    for panel, (metric, label) in zip(panels, PANELS.items(), strict=True):
        draw_metric(panel, record["figures"], metric)
        panel.set(xlabel="labels of the target", ylabel=label)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
    figure.savefig(path, dpi=DPI)


def draw_metric(panel: Axes, figures: Mapping[str, Any], metric: str) -> None:
    """Draw one metric of everything that was compared: a line style for each source, a colour for each way to learn.

    What learns from no label of the target is a flat dotted line.
    """
    flat = [name for name, found in figures.items() if list(found) == ["0"]]
    for color, name in zip(GREYS, flat, strict=False):
        panel.axhline(figures[name]["0"][metric]["mean"], color=color, lw=1, ls=":", label=name)
    parts = {name: name.split(": ") for name in figures if name not in flat}
    styles = dict(zip(dict.fromkeys(group for group, _ in parts.values()), STYLES, strict=False))
    for name, (group, mode) in parts.items():
        place = [other for own, other in parts.values() if own == group].index(mode)
        draw_line(panel, figures[name], metric, color=COLORS[place], ls=styles[group], label=f"{group}, {mode}")
    panel.set_xscale("symlog", base=2, linthresh=4)
    ticks = sorted({int(n) for found in figures.values() for n in found})
    panel.set_xticks(ticks, [str(n) for n in ticks])
    panel.grid(color="#dddddd", linewidth=0.6)


def draw_line(panel: Axes, found: Mapping[str, Any], metric: str, **style: Any) -> None:
    """Draw the mean by the number of labels, and its interval."""
    numbers = [int(n) for n in found]
    means, halves = ([found[n][metric][key] for n in found] for key in ("mean", "half"))
    panel.plot(numbers, means, lw=1.5, marker="o", ms=3, **style)
    lows, highs = ([m + s * h for m, h in zip(means, halves, strict=True)] for s in (-1, 1))
    panel.fill_between(numbers, lows, highs, color=style["color"], alpha=0.15, linewidth=0)
