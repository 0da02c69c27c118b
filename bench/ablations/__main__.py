"""`python -m bench.ablations`: which part of TE-NAS finds good networks of NAS-Bench-201.

Pruning by the condition number alone, by the regions alone and by both; evolution and random search by both with as
many evaluations. Searches are whole commands that are kept, so that a run that was stopped goes on. Each found network
has its measured accuracy beside it, and pruning the mean accuracy of the networks that are left after each round.
"""

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.machine import provenance
from bench.queries.intervals import interval
from bench.ranking.truths import sample
from jaxnas import spaces
from jaxnas.cli import frame
from jaxnas.errors import UserError

SPACE, TASK = "nasbench201", "CIFAR-10"
BOTH = "ntk,regions"
EVALUATIONS = 58  # of a pruning: those of supernets
ARMS: dict[str, tuple[str, ...]] = {
    "pruning by ntk and regions": ("--method", "prune", "--scorers", BOTH),
    "pruning by ntk": ("--method", "prune", "--scorers", "ntk"),
    "pruning by regions": ("--method", "prune", "--scorers", "regions"),
    "evolution by ntk and regions": ("--method", "evolve", "--scorers", BOTH, "--budget", str(EVALUATIONS)),
    "random by ntk and regions": ("--method", "random", "--scorers", BOTH, "--budget", str(EVALUATIONS)),
}


@dataclass(frozen=True, kw_only=True)
class Ablations:
    """Compare pruning by one score and by both, and with other searches by both."""

    seeds: int = 3
    """Searches of each kind, from seed 0."""
    ntk: tuple[str, ...] = ("--ntk.bn", "frozen")
    """Options of the condition number: `--ntk.bn batch --ntk.images 32` is the published form."""
    runs: Path = Path("runs/ablations")
    """Directory of the searches."""
    out: Path | None = None
    """Record (.json) of all figures."""


def compare(config: Ablations) -> None:
    """Run the command."""
    every = sample(SPACE, sys.maxsize)
    accuracy = dict(zip(every.archs, every.targets[TASK].tolist(), strict=True))
    found = {arm: [_searched(config, arm, seed, accuracy) for seed in range(config.seeds)] for arm in ARMS}
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        record = {"case": "ablations", "kind": "ablations", **provenance(), "ntk": config.ntk, "results": found}
        config.out.write_text(json.dumps(record, indent=1))
    print(markdown(found), end="")


def _searched(config: Ablations, arm: str, seed: int, accuracy: Mapping[str, float]) -> dict[str, Any]:
    """What a search found: its network's accuracy, evaluations, seconds and what pruning left by round."""
    out = config.runs / "-".join([*arm.split(), *(word.strip("-") for word in config.ntk), str(seed)])
    words = [*ARMS[arm], "--space", SPACE, "--seed", str(seed), "--repeats", "3", "--out", str(out)]
    words += config.ntk if "ntk" in arm else ()
    if not (out / "result.json").exists():
        print(f"jaxnas search {' '.join(words)}", file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, "-m", "jaxnas.search", *words, "--quiet"], stdout=subprocess.DEVNULL)
        if done.returncode:
            raise UserError(f"the search in {out} ended with {done.returncode}")
    result = json.loads((out / "result.json").read_text())
    masks = [np.array(record["mask"], bool) for record in result["rounds"] if "mask" in record]
    return {
        "arch": result["arch"],
        "accuracy": accuracy[result["arch"]],
        "evaluations": result["evaluations"],
        "seconds": result["seconds"],
        "left": [mean_accuracy(mask, accuracy) for mask in masks],
    }


def mean_accuracy(mask: np.ndarray, accuracy: Mapping[str, float]) -> float:
    """The mean accuracy of the architectures with one of the ops of `mask` `[E, O]` on each edge."""
    space = spaces.get(SPACE)
    choices = itertools.product(*(np.flatnonzero(edge).tolist() for edge in mask))
    return float(np.mean([accuracy[space.decode(np.array(arch))] for arch in choices]))


def markdown(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The figures as a table."""
    lines = [
        f"| search, {len(next(iter(found.values())))} seeds | accuracy, % (each) | evaluations | s "
        "| mean accuracy of what is left, by round |",
        "|---|---|---|---|---|",
    ]
    for arm, each in found.items():
        accuracies = np.array([search["accuracy"] for search in each])
        mean, low, high = interval(accuracies)
        rounds = [f"{np.mean(left):.2f}" for left in zip(*(search["left"] for search in each), strict=True)]
        own = ", ".join(f"{value:.2f}" for value in accuracies)
        evaluations, seconds = (np.mean([search[name] for search in each]) for name in ("evaluations", "seconds"))
        cells = [arm, f"{mean:.2f} [{low:.2f}, {high:.2f}] ({own})", f"{evaluations:.0f}", f"{seconds:.0f}"]
        cells.append(" ".join(rounds) or "-")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Ablations, compare, argv, prog="bench.ablations")


if __name__ == "__main__":
    raise SystemExit(main())
