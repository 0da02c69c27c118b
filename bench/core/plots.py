"""The figure of a record of curves, drawn from the record alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

INCHES, DPI = (12, 7.5), 100
LINES = (("#4477aa", "o"), ("#ee7733", "s"), ("#228833", "^"), ("#aa3377", "D"))  # told apart without colours too
BARS = {  # tasks in the order in which they are stacked: label and colour (after Paul Tol, safe for the colour-blind)
    "start, imports": ("start of Python, imports", "#bbbbbb"),
    "lower": ("tracing and lowering", "#66ccee"),
    "compile": ("compiling", "#4477aa"),
    "weights, inputs": ("drawing weights and inputs", "#ccbb44"),
    "device": ("waiting for the device", "#228833"),
    "eigenvalues": ("eigenvalues on the host", "#ee6677"),
    "Parquet": ("writing Parquet", "#aa3377"),
    "other": ("other", "#dddddd"),
}


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Write the figure: cost by number of architectures (two panels), by batch size, and the tasks of a whole run.

    Args:
      record: of `bench.core.curves.CurveCase`, with its provenance.
      path: file to write; its suffix names the format.
    """
    figure = Figure(figsize=INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title(record))
    grid = figure.add_gridspec(2, 6, height_ratios=(4, 1))
    draw_total(figure.add_subplot(grid[0, :2]), record["by_archs"])
    draw_each(figure.add_subplot(grid[0, 2:4]), record["by_archs"])
    draw_batches(figure.add_subplot(grid[0, 4:]), record["by_batch"], record["machine"]["devices"])
    draw_tasks(figure.add_subplot(grid[1, :]), record["breakdown"])
    figure.savefig(path, dpi=DPI)


def title(record: Mapping[str, Any]) -> str:
    """What was measured where and when."""
    host = record["machine"]
    model = host["processor"] if host["backend"] == "cpu" else f"{host['devices']} x {host['device']}"
    place = f"{model}, {host['cpus']} CPUs, jax {record['versions']['jax']}, {record['created'][:10]}"
    return f"Cost of scoring NAS-Bench-201 on {place}"


def draw_total(panel: Axes, by_archs: Mapping[str, Any]) -> None:
    """Draw the seconds from nothing to the scores."""
    for (color, marker), (label, points) in zip(LINES, by_archs.items(), strict=False):
        panel.plot(*columns(points, "total"), color=color, marker=marker, label=label)
    logarithmic(panel, "architectures", "seconds until the scores are there")
    panel.set_title("What a user waits for, compilation included", fontsize=10)
    panel.legend()


def draw_each(panel: Axes, by_archs: Mapping[str, Any]) -> None:
    """Draw the milliseconds per architecture, with and without lowering and compilation."""
    for (color, marker), points in zip(LINES, by_archs.values(), strict=False):
        numbers, totals = columns(points, "total")
        after = [p["total"] - p["lower"] - p["compile"] for p in points]
        panel.plot(numbers, each(totals, numbers), color=color, marker=marker)
        panel.plot(numbers, each(after, numbers), color=color, marker=marker, mfc="white", ls="--")
    logarithmic(panel, "architectures", "milliseconds per architecture")
    panel.set_title("The same, per architecture", fontsize=10)
    panel.plot([], [], color="black", label="total")
    panel.plot([], [], color="black", ls="--", label="without compilation")
    panel.legend(loc="upper right")


def draw_batches(panel: Axes, by_batch: Mapping[str, Any], devices: int) -> None:
    """Draw the milliseconds per architecture, compiled before, with the range of the rounds."""
    for (color, marker), (label, points) in zip(LINES, by_batch.items(), strict=False):
        medians, lows, highs = ([1000 * p["seconds_per_arch"][k] for p in points] for k in ("median", "min", "max"))
        batches = [p["batch"] for p in points]
        panel.plot(batches, medians, color=color, marker=marker, label=label)
        panel.fill_between(batches, lows, highs, color=color, alpha=0.2, linewidth=0)
    logarithmic(
        panel, f"architectures per device in a call, devices: {devices}", "milliseconds per architecture", base=4
    )
    panel.set_title("Batch size, compiled before", fontsize=10)
    panel.legend()


def draw_tasks(panel: Axes, breakdown: Mapping[str, Any]) -> None:
    """Draw one bar of the run's seconds, by task."""
    spent, total, left = breakdown["seconds"], sum(breakdown["seconds"].values()), 0.0
    for task, (label, color) in BARS.items():
        width = spent[task]
        label = f"{label} {width:.1f} s ({width / total:.0%})"
        panel.barh(0, width, left=left, color=color, edgecolor="white", label=label)
        left += width
    panel.set_yticks([])
    panel.set_ylim(-0.6, 0.6)
    panel.set_xlim(0, total)
    panel.set_xlabel("seconds")
    panel.set_title(f"{breakdown['command_line']}: {total:.0f} s", fontsize=10)
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.5), ncols=4, columnspacing=1, fontsize=9, frameon=False)


def columns(points: list[dict[str, float]], key: str) -> tuple[list[float], list[float]]:
    """The numbers of architectures and another column."""
    return [p["archs"] for p in points], [p[key] for p in points]


def each(seconds: list[float], numbers: list[float]) -> list[float]:
    """Return milliseconds per architecture."""
    return [1000 * s / n for s, n in zip(seconds, numbers, strict=True)]


def logarithmic(panel: Axes, x: str, y: str, *, base: int = 10) -> None:
    """Make both axes logarithmic, with plain numbers at the powers of `base` and at 1, 2, 5, 10, 20, ..."""
    panel.set(xlabel=x, ylabel=y, xscale="log", yscale="log")
    for axis, ticks in ((panel.xaxis, LogLocator(base)), (panel.yaxis, LogLocator(subs=(1, 2, 5)))):
        axis.set_major_locator(ticks)
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.set_minor_locator(NullLocator())
    panel.grid(color="#dddddd", linewidth=0.6)
