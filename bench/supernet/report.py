"""The tables and the figure of runs of `bench.supernet`, from their records alone."""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.supernet.ground import Ground, figures
from bench.supernet.rankings import Run
from jaxnas.ranks import sparse_kendall

COLOURS = {
    "plain": "#4477aa",
    "landmarks": "#ee7733",
    "teacher": "#228833",
    "shuffled": "#aa3377",
    "longer": "#66ccee",
    "even": "#ccbb44",
    "odd": "#bbbbbb",
}
SHOWN = ("sparse_kendall", "kendall", "spearman", "precision_top_5_percent", "top_10_accuracy", "surpasses_random")
HEADER = ("", "S-KdT(1e-3), each seed", "Kendall", "Spearman", "P@top 5 %", "top-10 acc.", "P>R")
ABOUT = ("arm", "supernet acc.", "updates", "passes", "s/epoch")
T = TypeVar("T")
BASELINES, RESAMPLES = ("ridge", "gp"), 500
Runs = Mapping[int, Mapping[str, Run]]
"""By seed and arm."""
Rankings = Mapping[int, Mapping[str, np.ndarray]]
"""Scores `[N]` by seed and name."""


def show(ground: Ground, runs: Runs, rankings: Rankings) -> None:
    """Print, in Markdown, the arms, how everything ranks, and by how much above what the labels alone give, paired."""
    _print(ABOUT, (_about(arm, own) for arm, own in _by_name(runs).items()))
    _print(HEADER, (_figures(name, own.values(), ground) for name, own in _by_name(rankings).items()))
    above = (f"{name}, seed {seed}" for name in BASELINES for seed in rankings)
    rows = _by_name(rankings).items()
    _print(("S-KdT above", *above), ((name, *_above(own, rankings, ground)) for name, own in rows))


def draw(ground: Ground, runs: Runs, rankings: Rankings, path: Path) -> None:
    """Write the figure: cross-entropy by epoch, and the sparse Kendall tau of every ranking."""
    figure = Figure(figsize=(12, 6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, taus = figure.subplots(1, 2)
    for arm, own in _by_name(runs).items():
        for i, run in enumerate(own.values()):
            curve, label = run["curves"]["loss"], None if i else arm
            losses.plot(range(1, len(curve) + 1), curve, color=COLOURS[arm], label=label, linewidth=1)
    ranked = _by_name(rankings)
    for place, (name, of) in enumerate(ranked.items()):
        found = [sparse_kendall(scores, ground.accuracies) for scores in of.values()]
        taus.scatter(found, [place] * len(found), color=COLOURS.get(name.partition(",")[0], "#777777"), s=20)
    losses.set(xlabel="epoch", ylabel="cross-entropy of the drawn sub-nets")
    losses.legend()
    taus.set_yticks(range(len(ranked)), ranked, fontsize=8)
    taus.invert_yaxis()
    taus.set(xlabel="sparse Kendall tau (1e-3), each seed")
    taus.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def _by_name(by_seed: Mapping[int, Mapping[str, T]]) -> dict[str, dict[int, T]]:
    """By name and seed what is by seed and name."""
    names = dict.fromkeys(name for own in by_seed.values() for name in own)
    return {name: {seed: own[name] for seed, own in by_seed.items() if name in own} for name in names}


def _print(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    lines = [header, ("---",) * len(header), *rows]
    print("\n".join("| " + " | ".join(row) + " |" for row in lines) + "\n", flush=True)


def _about(arm: str, own: Mapping[int, Run]) -> tuple[str, ...]:
    runs = list(own.values())
    accuracy = f"{100 * np.mean([np.mean(run['accuracies']) for run in runs]):.1f} %"
    seconds = f"{np.mean([run['seconds']['epoch'] for run in runs]):.1f}"
    return arm, accuracy, f"{runs[0]['updates']:,}", f"{runs[0]['passes']:,}", seconds


def _figures(name: str, each: Iterable[np.ndarray], ground: Ground) -> tuple[str, ...]:
    found = [figures(scores, ground) for scores in each]
    means = [f"{np.mean([own[key] for own in found]):.3f}" for key in SHOWN]
    taus = ", ".join(f"{own[SHOWN[0]]:.3f}" for own in found)
    return name, f"{means[0]} ({taus})", *means[1:]


def _above(own: Mapping[int, np.ndarray], rankings: Rankings, ground: Ground) -> list[str]:
    """The differences from the baselines with 95 % bootstrap intervals over architectures, paired."""

    def text(baseline: str, seed: int) -> str:
        both = (_taus(scores.astype(float).tobytes(), ground) for scores in (own[seed], rankings[seed][baseline]))
        first, *drawn = np.subtract(*both)
        low, high = np.percentile(drawn, [2.5, 97.5])
        return f"{first:+.3f} [{low:+.3f}, {high:+.3f}]"

    return [text(baseline, seed) if seed in own else "" for baseline in BASELINES for seed in rankings]


@functools.cache
def _taus(scores: bytes, ground: Ground) -> np.ndarray:
    """The sparse Kendall tau of scores, of all architectures and of resamples of them, the same for all scores."""
    number, rng = len(ground.archs), np.random.default_rng(0)
    values = np.frombuffer(scores)
    draws = [np.arange(number), *(rng.integers(number, size=number) for _ in range(RESAMPLES))]
    return np.array([sparse_kendall(values[drawn], ground.accuracies[drawn]) for drawn in draws])
