"""Figures, drawn with matplotlib's object interface: no display, no global state."""

import itertools
import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxnas.ranks import Agreement, Floats, Ints, midranks
from jaxnas.report.axes import Course, View, of_objective, of_target

COLUMNS = 3
PANEL_INCHES = (4.0, 3.2)
CELL_INCHES, MARGIN_INCHES = (1.5, 0.55), (1.3, 1.2)  # width, height
CELL_CHARACTERS = 20  # that fit above a cell
DARK_RHO = 0.6  # from where a cell is so dark that its numbers are white
BLUE, ORANGE, GREY, PALE = "#4477aa", "#ee7733", "#777777", "#c9d3de"
COLOURS = (BLUE, "#228833", "#aa3377", "#66ccee", "#ccbb44", ORANGE)


def draw_agreements(
    agreements: Mapping[str, Agreement],
    orderings: Mapping[str, Ints],
    target: Floats,
    *,
    target_name: str,
    lower_is_better: bool,
    title: str,
    path: Path,
) -> None:
    """Write a figure: for each score a panel of target against rank, then Kendall's taus with their intervals.

    The panels leave out the worst by target.

    Args:
      agreements: figures by name of the score.
      orderings: dense ranks `[n]` by name, 0 = worst; see `jaxnas.ranks.ordering`.
      target: measured values `[n]`.
      target_name: label of the target's axis.
      lower_is_better: whether that axis points down, so that the best is on top.
      title: of the figure.
      path: file to write; its suffix names the format.

    Raises:
      OSError: the file cannot be written.
    """
    rows = math.ceil((len(agreements) + 1) / COLUMNS)
    figure = Figure(figsize=(COLUMNS * PANEL_INCHES[0], rows * PANEL_INCHES[1]), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    panels = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    low, high = of_target(target, lower_is_better=lower_is_better)
    for panel, (name, agreement) in zip(panels, agreements.items(), strict=False):
        _draw_ranks(panel, agreement, orderings[name], target)
        panel.set_ylabel(f"{target_name} (lower is better)" if lower_is_better else target_name)
        if low < high:
            panel.set_ylim(low, high)
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


def draw_training(curves: Mapping[str, Sequence[float]], *, title: str, path: Path) -> None:
    """Write the curves of a supernet's training: cross-entropy and, where there is one, the rank loss.

    Args:
      curves: columns `epoch`, `loss`, `rank_loss`, `strength`, a number for each epoch.
      title: of the figure.
      path: file to write; its suffix names the format.

    Raises:
      OSError: the file cannot be written.
    """
    ranked = any(curves["strength"])
    figure = Figure(figsize=((1 + ranked) * PANEL_INCHES[0], PANEL_INCHES[1]), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
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


def draw_search(
    courses: Sequence[Course], limits: Mapping[str, Mapping[str, float]], *, title: str, path: Path
) -> None:
    """Write a figure: the first two objectives with their front as steps, and the best so far of each objective.

    What breaks a limit is pale and never the best. Of several courses with one label, which differ in their seeds, mean
    and range of the best so far are drawn.

    Args:
      courses: of the searches.
      limits: on each objective, by what they are called.
      title: of the figure.
      path: file to write; its suffix names the format.

    Raises:
      OSError: the file cannot be written.
    """
    signs = {name: sign for course in courses for name, sign in course.signs.items()}
    colours = dict(zip(dict.fromkeys(course.label for course in courses), itertools.cycle(COLOURS)))
    two = [*signs][:2] if len(signs) > 1 else []
    count = len(signs) + bool(two)
    size = min(count, COLUMNS) * PANEL_INCHES[0], -(-count // COLUMNS) * PANEL_INCHES[1]
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    panels = list(figure.subplots(-(-count // COLUMNS), min(count, COLUMNS), squeeze=False).flat)
    for panel in panels[count:]:
        panel.set_axis_off()
    if two:
        _draw_front(panels[0], [course for course in courses if course.signs.keys() >= set(two)], two, colours)
    for name, panel in zip(signs, panels[bool(two) :], strict=False):
        _draw_best(panel, [course for course in courses if name in course.signs], name, colours)
        panel.set_xlabel("architectures evaluated")
    for name, sign in signs.items():
        own = limits.get(name, {}).values()
        view = of_objective(courses, name, own)
        label = f"{name} ({'higher' if sign > 0 else 'lower'} is better)"
        _show(panels[bool(two) + list(signs).index(name)], "y", view, label, own)
        if name in two:
            _show(panels[0], "x" if name == two[0] else "y", view, label, own)
    panels[count - 1].legend(fontsize=8)
    figure.savefig(path, dpi=120)


def draw_predictions(measured: Floats, predicted: Floats, *, target_name: str, title: str, path: Path) -> None:
    """Write a figure: what was predicted of each label from the others against what was measured.

    Args:
      measured, predicted: `[n]`.
      target_name: what was measured.
      title: of the figure.
      path: file to write; its suffix names the format.

    Raises:
      OSError: the file cannot be written.
    """
    figure = Figure(figsize=(PANEL_INCHES[0], PANEL_INCHES[0]), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    panel.axline((measured[0], measured[0]), slope=1, color=GREY, linestyle="--", linewidth=0.8)
    panel.scatter(measured, predicted, s=9, color=BLUE)
    panel.set_xlabel(f"measured {target_name}")
    panel.set_ylabel("predicted from the others")
    panel.set_title(title, fontsize=10)
    figure.savefig(path, dpi=120)


def _draw_best(panel: Axes, courses: Sequence[Course], name: str, colours: Mapping[str, str]) -> None:
    """Everything that was evaluated, and the best so far: of several seeds its mean and range."""
    for label, colour in colours.items():
        own = [course for course in courses if course.label == label]
        for course in own:
            _scatter(panel, np.arange(1, len(course.feasible) + 1), course.values[name], course.feasible, colour)
        if not own:
            continue
        number = min(len(course.feasible) for course in own)
        every = np.stack([course.best(name)[:number] for course in own])
        across, line = np.arange(1, number + 1), "black" if len(colours) == 1 else colour
        panel.step(across, every.mean(0), where="post", color=line, linewidth=1.4, label=label or "best so far")
        if len(own) > 1:
            panel.fill_between(across, every.min(0), every.max(0), step="post", color=colour, alpha=0.25, linewidth=0)


def _draw_front(panel: Axes, courses: Sequence[Course], names: Sequence[str], colours: Mapping[str, str]) -> None:
    """Everything that was evaluated by two objectives; steps: nothing that was evaluated is better by both."""
    across, up = names
    for course in courses:
        x, y, colour = course.values[across], course.values[up], colours[course.label]
        _scatter(panel, x, y, course.feasible, colour)
        order = np.flatnonzero(course.front)[np.argsort(x[course.front], kind="stable")]
        line = "black" if len(colours) == 1 else colour
        where: Literal["pre", "post"] = "pre" if course.signs[across] > 0 else "post"
        panel.step(x[order], y[order], where=where, color=line, linewidth=1.2, marker="o", markersize=3)


def _scatter(panel: Axes, x: np.ndarray, y: np.ndarray, feasible: np.ndarray, colour: str) -> None:
    for kept, shade in ((~feasible, PALE), (feasible, colour)):
        panel.scatter(x[kept], y[kept], s=6, color=shade, alpha=0.5, linewidths=0, rasterized=True)


def _show(panel: Axes, axis: Literal["x", "y"], view: View, label: str, limits: Collection[float]) -> None:
    """Give an axis its range, scale, label and dashed lines at the limits."""
    panel.set(**{f"{axis}label": label, f"{axis}scale": "log" if view.log else "linear"})
    if view.domain[0] < view.domain[1]:
        panel.set(**{f"{axis}lim": view.domain})
    for limit in limits:
        (panel.axhline if axis == "y" else panel.axvline)(limit, color=ORANGE, linestyle="--", linewidth=1)


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
