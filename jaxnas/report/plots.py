"""Figures, drawn with matplotlib's object interface: no display, no global state."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxnas.ranks import Agreement, Floats, Ints, midranks

COLUMNS = 3
PANEL_INCHES = (4.0, 3.2)
CELL_INCHES, MARGIN_INCHES = (1.5, 0.55), (1.3, 1.2)  # width, height
CELL_CHARACTERS = 20  # that fit above a cell
DARK_RHO = 0.6  # from where a cell is so dark that its numbers are white
BLUE, ORANGE, GREY = "#4477aa", "#ee7733", "#777777"


def draw_agreements(
    agreements: Mapping[str, Agreement],
    orderings: Mapping[str, Ints],
    target: Floats,
    *,
    target_name: str,
    lower_is_better: bool,
    path: Path,
) -> None:
    """Write a figure: for each score a panel of target against rank, then Kendall's taus with their intervals.

    Args:
      agreements: figures by name of the score.
      orderings: dense ranks `[n]` by name, 0 = worst; see `jaxnas.ranks.ordering`.
      target: measured values `[n]`.
      target_name: label of the target's axis.
      lower_is_better: whether that axis points down, so that the best is on top.
      path: file to write; its suffix names the format.

    Raises:
      OSError: the file cannot be written.
    """
    rows = math.ceil((len(agreements) + 1) / COLUMNS)
    figure = Figure(figsize=(COLUMNS * PANEL_INCHES[0], rows * PANEL_INCHES[1]), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for panel, (name, agreement) in zip(panels, agreements.items(), strict=False):
        _draw_ranks(panel, agreement, orderings[name], target)
        panel.set_ylabel(f"{target_name} (lower is better)" if lower_is_better else target_name)
        panel.yaxis.set_inverted(lower_is_better)
    _draw_taus(panels[len(agreements)], list(agreements.values()))
    for panel in panels[len(agreements) + 1 :]:
        panel.set_axis_off()
    figure.savefig(path, dpi=120)


def draw_map(
    spaces: Sequence[Mapping[str, Agreement]],
    headings: Sequence[Sequence[str]],
    labels: Mapping[str, str],
    *,
    path: Path,
) -> None:
    """Write a map of Spearman's rho with its intervals in numbers: rows = scores, columns = spaces.

    Args:
      spaces: the figures of each space by name of the score.
      headings: the lines above each space.
      labels: the rows: label of each score by its name.
      path: file to write; its suffix names the format.

    Raises:
      OSError: the file cannot be written.
    """
    size = (len(spaces) * CELL_INCHES[0] + MARGIN_INCHES[0], len(labels) * CELL_INCHES[1] + MARGIN_INCHES[1])
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    rho = np.full((len(labels), len(spaces)), math.nan)
    for column, agreements in enumerate(spaces):
        for row, name in enumerate(labels):
            if name in agreements:
                rho[row, column] = _draw_cell(panel, column, row, agreements[name])
    panel.imshow(rho, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    texts = ["\n".join(textwrap.fill(line, CELL_CHARACTERS) for line in lines) for lines in headings]
    panel.set_xticks(range(len(spaces)), texts, fontsize=8)
    panel.set_yticks(range(len(labels)), list(labels.values()))
    panel.xaxis.tick_top()
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    panel.set_xlabel("Spearman's rho [95 %]")
    figure.savefig(path, dpi=120)


def draw_training(curves: Mapping[str, Sequence[float]], *, path: Path) -> None:
    """Write the curves of a supernet's training: cross-entropy and, where there is one, the rank loss.

    Args:
      curves: columns `epoch`, `loss`, `rank_loss`, `strength`, a number for each epoch.
      path: file to write; its suffix names the format.

    Raises:
      OSError: the file cannot be written.
    """
    ranked = any(curves["strength"])
    figure = Figure(figsize=((1 + ranked) * PANEL_INCHES[0], PANEL_INCHES[1]), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 1 + ranked, squeeze=False)[0]
    panels[0].plot(curves["epoch"], curves["loss"], color=BLUE)
    panels[0].set(xlabel="epoch", ylabel="cross-entropy of the drawn sub-nets")
    if ranked:
        panels[1].plot(curves["epoch"], curves["rank_loss"], color=BLUE, label="rank loss, with its factor")
        panels[1].plot(curves["epoch"], curves["strength"], color=ORANGE, label="factor")
        panels[1].set(xlabel="epoch", yscale="symlog")
        panels[1].legend()
    figure.savefig(path, dpi=120)


def _draw_cell(panel: Axes, x: int, y: int, agreement: Agreement) -> float:
    """Write the numbers of a cell and return its rho, NaN where it is undefined."""
    if agreement.spearman is None:
        panel.text(x, y, "undefined", ha="center", va="center", color=GREY, fontsize=8)
        return math.nan
    color = "white" if abs(agreement.spearman) > DARK_RHO else "black"
    panel.text(x, y, f"{agreement.spearman:+.2f}", ha="center", va="bottom", color=color, fontsize=12)
    if agreement.spearman_interval is not None:
        low, high = agreement.spearman_interval
        panel.text(x, y + 0.08, f"[{low:+.2f}, {high:+.2f}]", ha="center", va="top", color=color, fontsize=7)
    return agreement.spearman


def draw_best(values: np.ndarray, feasible: np.ndarray, *, name: str, sign: int, path: Path) -> None:
    """Write a figure: the objective of everything a search evaluated, in order, and the best so far.

    Args:
      values: `[N]`; NaN is a failure.
      feasible: `[N]`, within the limits; others are hollow and never the best.
      name: of the objective.
      sign: +1 where higher is better, -1 where lower is.
      path: file to write; its suffix names the format.

    Raises:
      OSError: the file cannot be written.
    """
    figure, axes = _panel()
    number = np.arange(1, len(values) + 1)
    best = sign * np.fmax.accumulate(np.where(feasible, sign * values, np.nan))
    _scatter(axes, number, values, feasible)
    axes.step(number, best, where="post", color=ORANGE, label="best so far")
    axes.set(xlabel="architectures evaluated", ylabel=name)
    axes.legend()
    figure.savefig(path, dpi=120)


def draw_front(values: Mapping[str, np.ndarray], feasible: np.ndarray, front: np.ndarray, *, path: Path) -> None:
    """Write a figure: the first two objectives of everything a search evaluated, and the Pareto front.

    Args:
      values: `[N]` by name of the objective.
      feasible: `[N]`, within the limits; others are hollow.
      front: `[N]`, on the Pareto front of all objectives.
      path: file to write; its suffix names the format.

    Raises:
      OSError: the file cannot be written.
    """
    figure, axes = _panel()
    (across, x), (up, y), *_ = values.items()
    _scatter(axes, x, y, feasible)
    order = np.flatnonzero(front)[np.argsort(x[front])]
    axes.plot(x[order], y[order], "o-", color=ORANGE, label="Pareto front")
    axes.set(xlabel=across, ylabel=up)
    axes.legend()
    figure.savefig(path, dpi=120)


def _panel() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _scatter(axes: Axes, x: np.ndarray, y: np.ndarray, feasible: np.ndarray) -> None:
    axes.scatter(x[feasible], y[feasible], s=9, color=BLUE, label="evaluated")
    if not feasible.all():
        axes.scatter(x[~feasible], y[~feasible], s=9, facecolors="none", edgecolors=GREY, label="breaks a limit")


def _draw_ranks(panel: Axes, agreement: Agreement, dense: Ints, target: Floats) -> None:
    ranks = midranks(dense) + (len(dense) + 1) / 2
    failed = (dense == 0) if agreement.failures else np.zeros(len(dense), bool)
    alpha = min(1.0, max(0.1, 30 / math.sqrt(len(dense))))
    panel.scatter(ranks[~failed], target[~failed], s=6, color=BLUE, alpha=alpha, linewidths=0, rasterized=True)
    if failed.any():
        label = f"{agreement.failures} failed"
        panel.scatter(ranks[failed], target[failed], s=6, color=ORANGE, linewidths=0, rasterized=True, label=label)
        panel.legend(loc="lower right", markerscale=2)
    tau = "undefined" if agreement.kendall is None else f"{agreement.kendall:+.2f}"
    panel.set_title(f"{agreement.label}   Kendall tau {tau}", fontsize=10)
    panel.set_xlim(0, len(dense) + 1)
    panel.set_xlabel("rank by score (right = best)")


def _draw_taus(panel: Axes, agreements: list[Agreement]) -> None:
    for place, row in enumerate(agreements):
        value = row.kendall or 0.0
        panel.barh(place, value, color=BLUE, height=0.6)
        if row.kendall_interval is not None:
            panel.hlines(place, *row.kendall_interval, color="black", linewidth=1.5)
        if row.kendall is None:
            panel.text(0, place, " undefined", va="center", color=GREY)
    panel.axvline(0, color=GREY, linewidth=0.8)
    panel.set_yticks(range(len(agreements)), [row.label for row in agreements])
    panel.invert_yaxis()
    panel.set_title("Kendall tau, 95 % bootstrap interval", fontsize=10)
    panel.set_xlabel("tau (positive = agrees)")
    panel.locator_params(axis="x", nbins=5)
