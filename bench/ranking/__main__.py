"""`python -m bench.ranking`: how every score ranks every space, and what it costs.

Each score is computed by `python -m jaxnas.score` on a uniform sample of the architectures that were trained, in a
directory of its own for each seed. What is there is kept, so that a run that was stopped goes on.
"""

import json
import re
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.core.machine import provenance
from bench.ranking.truths import TRUTHS, Sample, sample
from jaxnas.cli import frame
from jaxnas.correlate.sources import BASELINES, signs
from jaxnas.errors import UserError, unknown
from jaxnas.ranks import best_rows, compare, ordering
from jaxnas.tables.store import read_scores

TEN = 10  # architectures whose mean is shown


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Compare scores with what was measured, on every space."""

    spaces: tuple[str, ...] = tuple(TRUTHS)
    """Search spaces."""
    scores: tuple[str, ...] = ("consensus",)
    """Scores, or several with commas between that are computed in one run; with options of a single one if need be:
    `regression@width=4@steps=50@data=tfds:cifar10`. What a score is made of has rows of its own."""
    archs: int = 1000
    """Architectures of each space, fewer where fewer were trained."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of weights and inputs; the sample is the same."""
    runs: Path = Path("runs/ranking")
    """Directory of the scores."""
    out: Path | None = None
    """Record (.json) of all figures."""
    resamples: int = 1000
    """Of the bootstrap."""


def ranking(config: Ranking) -> None:
    """Run the command."""
    for name in config.spaces:
        if name not in TRUTHS:
            raise unknown("space with measured values", name, TRUTHS)
    records = [record for name in config.spaces for record in of_space(config, name)]
    if config.out is not None:
        about = provenance()
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(json.dumps({"case": "ranking", "kind": "ranking", **about, "results": records}, indent=1))
    print(markdown(records), end="")


def of_space(config: Ranking, name: str) -> Iterator[dict[str, Any]]:
    """The figures of each score and task of a space, over the seeds."""
    chosen = sample(name, config.archs)
    folder = config.runs / f"{name.replace(':', '-')}-{len(chosen.archs)}"
    listed = listing(folder / "archs.csv", chosen)
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for label in config.scores:
        for seed in config.seeds:
            cost = computed(name, label, seed, listed, folder / label.replace("/", "_") / f"seed{seed}")
            for score, figures in agreements(config, folder / label.replace("/", "_") / f"seed{seed}", chosen):
                own = label if score == label.partition("@")[0] else score
                found.setdefault((own, figures["task"]), []).append({**figures, "cpu_seconds": cost})
    for (score, task), each in found.items():
        yield {"space": name, "score": score, **each[0], "task": task, "seeds": len(each), **mean(each)}


def listing(path: Path, chosen: Sample) -> Path:
    """The file `path` with the architectures to score.

    Raises:
      UserError: it lists others, of which the scores beside it are.
    """
    table = pl.DataFrame({"arch": chosen.archs})
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        table.write_csv(path)
    elif not pl.read_csv(path).equals(table):
        raise UserError(f"{path} lists other architectures, of another table of measured values; give another --runs")
    return path


def computed(space: str, label: str, seed: int, listed: Path, out: Path) -> float | None:
    """Score the architectures of the file `listed`; the CPU seconds of all, with compilation.

    None where an earlier run was stopped in between: what that one used is not known.
    """
    kept = out.with_suffix(".json")
    if not kept.exists():
        begun = out.exists()
        name, *options = label.split("@")
        own = [part.partition("=")[::2] for part in options]
        arguments = [
            part
            for key, value in own
            for part in (f"--{key}" if key in ("data", "data-dir", "repeats") else f"--{name}.{key}", value)
        ]
        command = ["--space", space, "--archs", str(listed), "--scorers", name, "--seed", str(seed), "--out", str(out)]
        print(f"python -m jaxnas.score {' '.join([*command, *arguments])}", file=sys.stderr, flush=True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-m", "jaxnas.score", *command, *arguments], stdout=sys.stderr)
        if done.returncode:
            raise UserError(f"scoring {space} by {label} ended with {done.returncode}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        kept.write_text(json.dumps({"cpu_seconds": None if begun else used}))
    found: float | None = json.loads(kept.read_text())["cpu_seconds"]
    return found


def agreements(config: Ranking, out: Path, chosen: Sample) -> Iterator[tuple[str, dict[str, Any]]]:
    """The figures of each score in the directory `out` and each task."""
    table, manifest = read_scores(out)
    table = pl.DataFrame({"arch": chosen.archs}).join(table, on="arch", how="left", maintain_order="left")
    for score, sign in signs(manifest, table.columns).items():
        values = table[score].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        for task, target in chosen.targets.items():
            flops = table["flops"].cast(pl.Float64).to_numpy()
            how: dict[str, Any] = {"label": BASELINES.get(score, score), "resamples": config.resamples, "seed": 0}
            figures = vars(compare(values, target, flops, sign=sign, **how))
            best = float(target[best_rows(ordering(values, sign), TEN)].mean())
            yield score, {**figures, "task": task, "best_ten": best}


def mean(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The means over the seeds of the figures, and the range of Spearman's rho."""
    names = ("spearman", "kendall", "spearman_top", "partial_given_flops", "top_target", "best_ten", "cpu_seconds")
    means = {name: _mean([figures[name] for figures in each]) for name in names}
    rho = [figures["spearman"] for figures in each if figures["spearman"] is not None]
    return {**means, "spearman_range": [min(rho), max(rho)] if rho else None}


def markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """The figures as a table, the best score of a task first."""
    lines = [
        "| space, measured | score | n | failed | Spearman [95 %] | Kendall | in the best tenth | given FLOPs "
        "| best one | mean of ten best | core-s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    places = {(r["space"], r["task"]): position for position, r in reversed([*enumerate(records)])}
    for r in sorted(records, key=lambda r: (places[r["space"], r["task"]], -(r["spearman"] or -1))):
        low, high = r["spearman_interval"] or (None, None)
        cost = None if r["label"] in BASELINES.values() or r["cpu_seconds"] is None else r["cpu_seconds"] / r["n"]
        figures = [r[n] for n in ("kendall", "spearman_top", "partial_given_flops")]
        rho = f"{_text(r['spearman'])} [{_text(low)}, {_text(high)}]"
        cells = [f"{r['space']}, {r['task']}", f"`{r['score']}`", str(r["n"]), str(r["failures"]), rho]
        best = [f"{r[n]:.4g}" if r[n] is not None else "-" for n in ("top_target", "best_ten")]
        lines.append(f"| {' | '.join([*cells, *map(_text, figures), *best, _text(cost)])} |")
    return "\n".join(lines) + "\n"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _text(value: float | None) -> str:
    return "-" if value is None else re.sub(r"^(-?)0\.", r"\1.", f"{value:.3f}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Ranking, ranking, argv, prog="bench.ranking")


if __name__ == "__main__":
    raise SystemExit(main())
