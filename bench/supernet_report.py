"""The table and the figure of a record of `bench.supernet`, from the record alone."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = {"plain": "#4477aa", "landmarks": "#ee7733", "teacher": "#228833", "shuffled": "#aa3377", "longer": "#66ccee"}
UNTRAINED = {"params": "#params", "flops": "FLOPs = teacher alone", "ridge": "ridge, the landmarks' labels"}
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


def show(record: Mapping[str, Any]) -> None:
    """Print the table, in Markdown: means over evaluations and seeds; of S-KdT also the range of single evaluations."""
    rows = [HEADER, ("---",) * len(HEADER), *_trained(record), *_untrained(record)]
    print("\n".join("| " + " | ".join(row) + " |" for row in rows), flush=True)


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Write the figure: cross-entropy by epoch, and the sparse Kendall tau of every evaluation."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    losses, taus = figure.subplots(1, 2)
    arms = list(dict.fromkeys(run["arm"] for run in record["runs"]))
    for run in record["runs"]:
        curve, label = run["curves"]["loss"], run["arm"] if run["seed"] == record["runs"][0]["seed"] else None
        losses.plot(range(1, len(curve) + 1), curve, color=COLOURS[run["arm"]], label=label, linewidth=1)
        found = [own["sparse_kendall"] for own in run["by_accuracy"]]
        taus.scatter([arms.index(run["arm"])] * len(found), found, color=COLOURS[run["arm"]], s=20)
    for style, (name, label) in zip((":", "--", "-."), UNTRAINED.items(), strict=True):
        value = np.mean([own[name]["sparse_kendall"] for own in record["untrained"].values()])
        taus.axhline(value, color="#777777", linestyle=style, label=label)
    losses.set(xlabel="epoch", ylabel="cross-entropy of the drawn sub-nets")
    losses.legend()
    taus.set_xticks(range(len(arms)), arms)
    taus.set(ylabel="sparse Kendall tau (1e-3), each evaluation")
    taus.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def _trained(record: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for arm in dict.fromkeys(run["arm"] for run in record["runs"]):
        runs = [run for run in record["runs"] if run["arm"] == arm]
        first = runs[0]
        about = (
            f"{first['updates']:,}",
            f"{first['passes']:,}",
            f"{np.mean([r['seconds']['epoch'] for r in runs]):.1f}",
        )
        accuracy = f"{100 * np.mean([run['supernet_accuracy'] for run in runs]):.1f} %"
        for by, label in (
            ("by_accuracy", arm),
            ("by_loss", f"{arm}, by loss"),
            ("with_flops", f"{arm} + FLOPs, ranks"),
        ):
            yield label, *_figures([own for run in runs for own in run[by]]), accuracy, *about


def _untrained(record: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, label in UNTRAINED.items():
        yield label, *_figures([own[name] for own in record["untrained"].values()]), "", "", "", ""


def _figures(found: list[Mapping[str, float]]) -> list[str]:
    means = [f"{np.mean([own[name] for own in found]):.3f}" for name in SHOWN]
    taus = [own["sparse_kendall"] for own in found]
    return [f"{means[0]} ({min(taus):.3f} to {max(taus):.3f})", *means[1:]]
