"""Every score on every space, frozen: what a change of structure must not move.

    python tests/golden/make_frozen.py quick tests/golden/frozen.json    # thin settings; tests/test_frozen.py holds them
    python tests/golden/make_frozen.py full FILE                         # default sizes; hours, as networks of NDS compile
    python tests/golden/make_frozen.py compare FILE OTHER                # the largest difference of two such files

`measure` is the adapter: the only part of this file that may change with the names of the code. Architectures stand in
the file by their strings; `full` goes on where it was stopped.
"""

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import numpy as np

from jaxnas import data, scorers, spaces
from jaxnas.runner import Evaluator

CELLS = ("ntk", "ntk_batch", "regions", "regression")
SCORES: dict[str, tuple[str, ...]] = {  # the spaces, and the scores that they have
    "nasbench201": CELLS,
    "transnas101_micro": CELLS,
    "nasbench_macro": CELLS,
    "nasbench101": CELLS,
    "nats_size": ("ntk", "ntk_batch", "regression"),
    "transnas101_macro": CELLS,
    **dict.fromkeys(("darts", "enas", "pnas", "nasnet", "amoeba"), CELLS),
    **dict.fromkeys(("resnet", "vanilla", "resnext_a", "resnext_b"), ("regression",)),
    "nasbench_nlp": ("sequence",),
}
COUNTED = ("darts_fix_w_d", "enas_fix_w_d", "pnas_fix_w_d")  # the networks of others, at one size
THIN = {  # sizes at which a program compiles in seconds
    **dict.fromkeys(("darts", "enas", "pnas", "nasnet", "amoeba"), (8, 3)),
}
QUICK = {
    "ntk": scorers.NTK(images=4),
    "ntk_batch": scorers.NTK(bn="batch", images=4),
    "regions": scorers.Regions(batches=1, samples=64),
    "regression": scorers.Regression(images=2, steps=5),
    "sequence": scorers.Sequences(samples=2, steps=3),
}
FULL = {
    "ntk": scorers.NTK(),
    "ntk_batch": scorers.NTK(bn="batch"),
    "regions": scorers.Regions(),
    "regression": scorers.Regression(),
    "sequence": scorers.Sequences(),
}


def measure(space: str, scorer: Any, strings: list[str]) -> tuple[list[float | None], list[int]]:
    """Return the values, None where there is none, and the statuses of architectures, on one device."""
    of = spaces.get(space)
    evaluator = Evaluator(of, scorer, data.load("synthetic"), repeats=1, seed=0, devices=jax.local_devices()[:1])
    found = evaluator(np.stack([of.encode(string) for string in strings]))
    return [value if np.isfinite(value) else None for value in found.value[0].tolist()], found.status[0].tolist()


def chosen(space: str, thin: bool) -> list[str]:
    """Return the strings of two architectures."""
    of = spaces.get(space)
    archs = of.sample(jax.random.key(7), 2)
    if thin and space in THIN:
        archs[:, :2] = THIN[space]
    return [of.decode(arch) for arch in archs]


def counts(space: str, strings: list[str]) -> dict[str, list[int]]:
    """Return the exact counts of architectures."""
    of = spaces.get(space)
    archs = np.stack([of.encode(string) for string in strings])
    return {"params": of.params(archs).tolist(), "flops": of.flops(archs).tolist()}


def make(path: Path, settings: dict[str, Any], *, thin: bool) -> None:
    """Write what is not in the file yet, case by case."""
    cases = json.loads(path.read_text()) if path.exists() else {}
    for space in (*SCORES, *COUNTED):
        own = cases.setdefault(space, {"archs": (strings := chosen(space, thin)), **counts(space, strings)})
        for score in SCORES.get(space, ()):
            if score not in own:
                start = perf_counter()
                value, status = measure(space, settings[score], own["archs"])
                own[score] = {"value": value, "status": status}
                print(f"{space} {score} {value} {status} {perf_counter() - start:.1f} s", flush=True)
                path.write_text(json.dumps(cases, indent=1) + "\n")
    path.write_text(json.dumps(cases, indent=1) + "\n")


def compare(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Print the largest relative difference of each score, and where it is; fail where counts or statuses differ."""
    largest: dict[str, tuple[float, str]] = {}
    for space, own in first.items():
        other = second[space]
        assert [own[name] for name in ("archs", "params", "flops")] == [
            other[name] for name in ("archs", "params", "flops")
        ], space
        for score in SCORES.get(space, ()):
            assert own[score]["status"] == other[score]["status"], (space, score)
            for a, b in zip(own[score]["value"], other[score]["value"], strict=True):
                difference = 0.0 if a == b else abs(a - b) / abs(a)
                largest[score] = max(largest.get(score, (0.0, "")), (difference, space))
    for score, (difference, space) in largest.items():
        print(f"{score}: {difference:.2e} {space}")


if __name__ == "__main__":
    command, *paths = sys.argv[1:]
    if command == "compare":
        compare(*(json.loads(Path(path).read_text()) for path in paths))
    else:
        make(Path(paths[0]), {"quick": QUICK, "full": FULL}[command], thin=command == "quick")
