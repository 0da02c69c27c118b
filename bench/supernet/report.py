"""The table and the figure of runs of `bench.supernet`, from their records alone."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = {"plain": "#4477aa", "landmarks": "#ee7733", "teacher": "#228833", "shuffled": "#aa3377", "longer": "#66ccee"}
UNTRAINED = {"params": "#params", "flops": "FLOPs = teacher alone", "ridge": "ridge, the landmarks' labels"}
Run = Mapping[str, Any]
SHOWN = ("sparse_kendall", "kendall", "spearman", "precision_top_5_percent", "top_10_accuracy", "surpasses_random")
HEADER = (
    "",
    "S-KdT(1e-3)",
    "Kendall",
    "Spearman",
    "P@top 5 %",
    "top-10 acc.",
    "P>R",
    "supernet acc.",
    "updates",
    "passes",
    "s/epoch",
)


def show(runs: Sequence[Run], untrained: Sequence[Run]) -> None:
    """Print the table, in Markdown: means over evaluations and seeds; of S-KdT also the range of single evaluations."""
    rows = [HEADER, ("---",) * len(HEADER), *_trained(runs), *_untrained(untrained)]
    print("\n".join("| " + " | ".join(row) + " |" for row in rows), flush=True)


def draw(runs: Sequence[Run], untrained: Sequence[Run], path: Path) -> None:
    """Write the figure: cross-entropy by epoch, and the sparse Kendall tau of every evaluation."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    losses, taus = figure.subplots(1, 2)
    arms = list(dict.fromkeys(run["arm"] for run in runs))
    for run in runs:
        curve, label = run["curves"]["loss"], run["arm"] if run["seed"] == runs[0]["seed"] else None
        losses.plot(range(1, len(curve) + 1), curve, color=COLOURS[run["arm"]], label=label, linewidth=1)
        found = [own["sparse_kendall"] for own in run["by_accuracy"]]
        taus.scatter([arms.index(run["arm"])] * len(found), found, color=COLOURS[run["arm"]], s=20)
    for style, (name, label) in zip((":", "--", "-."), UNTRAINED.items(), strict=True):
        value = np.mean([own[name]["sparse_kendall"] for own in untrained])
        taus.axhline(value, color="#777777", linestyle=style, label=label)
    losses.set(xlabel="epoch", ylabel="cross-entropy of the drawn sub-nets")
    losses.legend()
    taus.set_xticks(range(len(arms)), arms)
    taus.set(ylabel="sparse Kendall tau (1e-3), each evaluation")
    taus.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def _trained(runs: Sequence[Run]) -> Iterator[tuple[str, ...]]:
    for arm in dict.fromkeys(run["arm"] for run in runs):
        own = [run for run in runs if run["arm"] == arm]
        accuracy = f"{100 * np.mean([run['supernet_accuracy'] for run in own]):.1f} %"
        seconds = f"{np.mean([run['seconds']['epoch'] for run in own]):.1f}"
        about = (accuracy, f"{own[0]['updates']:,}", f"{own[0]['passes']:,}", seconds)
        for by, label in (("by_accuracy", arm), ("by_loss", f"{arm}, loss"), ("with_flops", f"{arm} + FLOPs")):
            yield label, *_figures([found for run in own for found in run[by]]), *about


def _untrained(untrained: Sequence[Run]) -> Iterator[tuple[str, ...]]:
    for name, label in UNTRAINED.items():
        yield label, *_figures([own[name] for own in untrained]), "", "", "", ""


def _figures(found: list[Mapping[str, float]]) -> list[str]:
    means = [f"{np.mean([own[name] for own in found]):.3f}" for name in SHOWN]
    taus = [own["sparse_kendall"] for own in found]
    return [f"{means[0]} ({min(taus):.3f} to {max(taus):.3f})", *means[1:]]
