"""Every score on every space, frozen: what a change of structure must not move.

    python tests/golden/make_frozen.py quick tests/golden/frozen.json   # thin settings, held by tests/test_frozen.py
    python tests/golden/make_frozen.py full FILE [SPACE ...]            # default sizes: hours, NDS compiles for minutes
    python tests/golden/make_frozen.py compare FILE OTHER               # the largest differences of two such files

`measure` and what stands before it is the adapter: all that may change with the names of the code. Architectures stand
in the files by their strings. A file that is there is gone on with. With XLA_FLAGS=--xla_backend_optimization_level=0,
the tests' level, compiling takes a third of the time. In frozen.json, nasbench201, transnas101_micro, nasbench_macro,
nasbench101, nats_size and nasbench_nlp are of that level and of JAX started as the commands do, and equal to the bit
before the code was moved (a643a39) and after; transnas101_micro's regression is of a643a39 with
--xla_cpu_use_fusion_emitters=false as well, as the tests have it now: 4.6e-3 from the value without, and 1e-5 from that
after the moves. Those of the other spaces are of two XLA threads: make them anew
before relying on their last digits.
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import numpy as np

from jaxnas import data, scorers, spaces
from jaxnas.evaluate import devices
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.network.recipe import Recipe
from jaxnas.scorers.training.targets import Signal, Task

CELLS = ("ntk", "ntk_batch", "regions", "regression")
TWO_CELLS = ("darts", "enas", "pnas", "nasnet", "amoeba")
SCORES: dict[str, tuple[str, ...]] = {  # the spaces, and the scores that they have
    "nasbench201": CELLS,
    "transnas101_micro": CELLS,
    "nasbench_macro": CELLS,
    "nasbench101": CELLS,
    "nats_size": ("ntk", "ntk_batch", "regression"),
    "transnas101_macro": CELLS,
    **dict.fromkeys(TWO_CELLS, CELLS),
    **dict.fromkeys(("resnet", "vanilla", "resnext_a", "resnext_b"), ("regression",)),
    **dict.fromkeys(("darts_fix_w_d", "enas_fix_w_d", "pnas_fix_w_d"), ()),  # the networks of others, at one size
    "nasbench_nlp": ("sequence",),
}
FULL = {
    "ntk": scorers.NTK(),
    "ntk_batch": scorers.NTK(bn="batch", images=32),
    "regions": scorers.Regions(),
    "regression": scorers.Regression(fidelity="published"),
    "sequence": scorers.Sequences(),
}
THIN_SIZE = 4, 3  # width and depth of networks of two cells
ONE_STAGE = ("nasbench201", "nasbench101", "nasbench_macro")
THIN = {  # changes to the networks of the regression, so that a program compiles in seconds
    "nasbench201": {"stages": 1, "cells": 1, "channels": 4},
    "nasbench101": {"stages": 1, "cells": 1, "channels": 4},
    "nasbench_macro": {"stages": 1, "channels": 4},
    "nats_size": {"channels": 8},
}


@dataclass(frozen=True)
class ThinNTK(scorers.NTK):
    """`ntk` on networks of one stage, where they have stages."""

    stages: int = 0

    @property
    def recipe(self) -> Recipe:
        return replace(super().recipe, stages=self.stages or None)


@dataclass(frozen=True)
class ThinRegression(scorers.Regression):
    """`regression` on small networks, of a small task for as many taps as they have."""

    space: str = ""

    @property
    def recipe(self) -> Recipe:
        return Recipe("taps", **THIN.get(self.space, {}))

    def on(self, space: Any) -> "ThinRegression":
        return self

    def stored(self) -> Task:
        taps = 1 if self.space in ONE_STAGE else 3
        signal = Signal("sin1d", 1.0, betas=(0.3, 0.2))
        return Task("uniform", 0.1, (4,) * taps, ((signal,),) * taps)


def quick(space: str) -> dict[str, Any]:
    """Return thin scorers for a space."""
    stages = int(space in ONE_STAGE or space == "transnas101_micro")
    return {
        "ntk": ThinNTK(images=4, stages=stages),
        "ntk_batch": ThinNTK(bn="batch", images=4, stages=stages),
        "regions": scorers.Regions(batches=1, samples=64),
        "regression": ThinRegression(images=2, steps=5, space=space),
        "sequence": scorers.Sequences(samples=2, steps=3),
    }


def chosen(space: str, thin: bool) -> list[str]:
    """Return the strings of two architectures."""
    of = spaces.get(space)
    archs = of.sample(jax.random.key(7), 2)
    if thin and space in TWO_CELLS:
        archs[:, :2] = THIN_SIZE
    return [of.decode(arch) for arch in archs]


def counts(space: str, strings: list[str]) -> dict[str, list[int]]:
    """Return the exact counts of architectures."""
    of = spaces.get(space)
    archs = np.stack([of.encode(string) for string in strings])
    return {"params": of.params(archs).tolist(), "flops": of.flops(archs).tolist()}


def measure(space: str, scorer: Any, strings: list[str]) -> tuple[list[float | None], list[int]]:
    """Return the values, None where there is none, and the statuses of architectures, on one device."""
    of = spaces.get(space)
    evaluator = Evaluator(of, scorer, data.load("synthetic:pink"), repeats=1, seed=0, devices=devices.available(1))
    found = evaluator(np.stack([of.encode(string) for string in strings]))
    return [value if np.isfinite(value) else None for value in found.value[0].tolist()], found.status[0].tolist()


def make(path: Path, names: list[str], *, thin: bool) -> None:
    """Write what is not in the file yet, case by case."""
    devices.available(1)  # starts JAX as the commands do, before architectures are drawn
    cases = json.loads(path.read_text()) if path.exists() else {}
    for space in names:
        own = cases.setdefault(space, {"archs": (strings := chosen(space, thin)), **counts(space, strings)})
        for score in SCORES[space]:
            if score not in own:
                start = perf_counter()
                value, status = measure(space, (quick(space) if thin else FULL)[score], own["archs"])
                own[score] = {"value": value, "status": status}
                print(f"{space} {score} {value} {status} {perf_counter() - start:.1f} s", flush=True)
                path.write_text(json.dumps(cases, indent=1) + "\n")
    path.write_text(json.dumps(cases, indent=1) + "\n")


def compare(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Print the largest relative difference of each score, and its space; fail where counts or statuses differ."""
    largest: dict[str, tuple[float, str]] = {}
    for space in first.keys() & second.keys():
        own, other = first[space], second[space]
        assert all(own[name] == other[name] for name in ("archs", "params", "flops")), space
        for score in [name for name in SCORES[space] if name in own and name in other]:
            assert own[score]["status"] == other[score]["status"], (space, score)
            for a, b in zip(own[score]["value"], other[score]["value"], strict=True):
                difference = 0.0 if a == b else abs(a - b) / abs(a)
                largest[score] = max(largest.get(score, (0.0, "")), (difference, space))
    for score, (difference, space) in sorted(largest.items()):
        print(f"{score}: {difference:.2e} ({space})")


if __name__ == "__main__":
    command, path, *rest = sys.argv[1:]
    if command == "compare":
        compare(json.loads(Path(path).read_text()), json.loads(Path(rest[0]).read_text()))
    else:
        make(Path(path), rest or list(SCORES), thin=command == "quick")
