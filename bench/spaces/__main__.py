"""`python -m bench.spaces`: architectures per second of every score on every space, and what compiling adds.

Random architectures of a space fall into groups, each with a program of its own. Timed is the largest one, or one for
each device where all are single architectures: the first call of an `Evaluator` in a fresh process, for lowering and
compilation, and later calls for the run.
"""

import json
import sys
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bench.__main__ import make_folder
from bench.core import harness, tables
from bench.core.machine import provenance
from bench.scorers.case import SEED
from jaxnas import data, scorers, spaces
from jaxnas.cli import frame
from jaxnas.errors import UserError
from jaxnas.evaluate import devices
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.scorers import DEFAULTS, Scorer
from jaxnas.scorers.protocol import options_of
from jaxnas.spaces import SPACES, Space

DATA, KIND = "synthetic", "spaces"


@dataclass(frozen=True, kw_only=True)
class Spaces:
    """Time every score, at its defaults, on every space that has it.

    What --out has with the same settings, machine and packages is kept: delete it after a change of the code.
    """

    spaces: tuple[str, ...] = tuple(SPACES)
    """Search spaces."""
    scorers: tuple[str, ...] = tuple(name for name, scorer in DEFAULTS.items() if isinstance(scorer, Scorer))
    """Scores; a space that has no network for one goes without."""
    archs: int = 1000
    """Random architectures of each space, of which the largest group is timed, or one for each device."""
    rounds: int = 3
    """Timed calls; fewer where they take longer than --seconds, but at least one."""
    seconds: float = 5.0
    """For the timed calls of a score on a space, which have as many architectures as fit, at least one per device."""
    out: Path = Path("bench/results/spaces.json")
    """Record, written after each score on each space."""


def bench(config: Spaces) -> None:
    """Run the command."""
    if min(config.archs, config.rounds) < 1 or config.seconds <= 0:
        raise UserError("--archs and --rounds must be at least 1, --seconds more than 0")
    chosen = {name: spaces.get(name) for name in config.spaces}
    measured = [s for s in scorers.select(",".join(config.scorers)).values() if isinstance(s, Scorer)]
    make_folder(config.out.parent)
    results = json.loads(config.out.read_text())["results"] if config.out.exists() else {}
    here = provenance()
    for name, space in chosen.items():
        archs = space.sample(jax.random.key(SEED), config.archs)
        archs = archs[~space.is_disconnected(archs)]
        if not len(archs):
            raise UserError(f"none of {config.archs} random architectures of {name} is connected; give more --archs")
        for scorer in measured:
            about = settings(config, scorer)
            if is_known(results.get(name, {}).get(scorer.name), about, here):
                continue
            try:
                found = {"settings": about} | measure(config, name, scorer, archs)
            except UserError as refusal:
                print(refusal, file=sys.stderr)
                continue
            results.setdefault(name, {})[scorer.name] = found
            write(config, results, found)
    print(tables.markdown(tables.TABLES[KIND], [{"kind": KIND, "results": results}]), end="")


def is_known(found: dict[str, Any] | None, settings: dict[str, Any], here: dict[str, Any]) -> bool:
    """Whether `found` was measured with these settings, on such a machine as `here` and with its packages."""
    if found is None:
        return False
    return (found["settings"], found["versions"]) == (settings, here["versions"]) and all(
        found["machine"][name] == here["machine"][name] for name in ("device", "devices", "processor")
    )


def settings(config: Spaces, scorer: Scorer) -> dict[str, Any]:
    """What the figures of a scorer on a space depend on beside the machine."""
    own = {name: getattr(config, name) for name in ("archs", "rounds", "seconds")}
    return {**own, "seed": SEED, "data": DATA, "scorer": options_of(scorer)}


def command(config: Spaces, *names: str) -> str:
    """The command line of a space and a score, or of all."""
    chosen = "".join(f" --{option} {name}" for option, name in zip(("spaces", "scorers"), names, strict=False))
    return f"python -m bench.spaces{chosen} --archs {config.archs} --rounds {config.rounds} --seconds {config.seconds}"


def measure(config: Spaces, name: str, scorer: Scorer, archs: np.ndarray) -> dict[str, Any]:
    """The figures of a scorer on the space called `name`, whose random sample is `archs` `[N, A]`.

    Raises:
      UserError: the space has no network for this scorer.
    """
    space = spaces.get(name)
    group, count = to_time(space, scorer, archs)
    print(f"{command(config, name, scorer.name)} ...", file=sys.stderr)
    found = harness.in_new_process(figures, config, name, scorer, group)
    first, each = found["first_call_seconds"], found["seconds_per_arch"]["median"]
    return {
        **found,
        "groups": {"sample": count, "space": groups_in(space, scorer)},
        "estimated_seconds": count * (first["lower"] + first["compile"]) + len(archs) * each,
    }


def to_time(space: Space, scorer: Scorer, archs: np.ndarray) -> tuple[np.ndarray, int]:
    """The largest group `[M, A]` of `archs` `[N, A]`, or all if it is one alone, and how many groups there are.

    Those whose FLOPs are nearest to the mean of `archs` come first, so that a few of them cost about as much as the
    average; of groups of one size, the one that has the nearest is taken.

    Raises:
      UserError: the space has no network for this scorer.
    """
    flops = space.flops(archs)
    archs = archs[np.argsort(np.abs(flops - flops.mean()), kind="stable")]
    groups = space.groups(archs, scorer.recipe.form)
    counts: Counter[Hashable] = Counter(groups)
    largest, size = counts.most_common(1)[0]
    space.network_for(scorer.recipe, largest)
    return archs[[size == 1 or group == largest for group in groups]], len(counts)


def groups_in(space: Space, scorer: Scorer) -> int | None:
    """How many groups the whole space has; None where it is too large to list."""
    try:
        return len(set(space.groups(space.enumerate(), scorer.recipe.form)))
    except UserError:
        return None


def figures(config: Spaces, name: str, scorer: Scorer, archs: np.ndarray) -> dict[str, Any]:
    """All that is measured in this process, on what `to_time` returned for the space called `name`."""
    about, space, source = provenance(), spaces.get(name), data.load(DATA)
    few = archs[: len(devices.shared(jax.local_devices()))]
    groups = space.groups(archs, scorer.recipe.form)
    programs, one_group = len(set(groups[: len(few)])), len(set(groups)) == 1
    score, first = harness.time_first_call(lambda: Evaluator(space, scorer, source, seed=SEED), few)
    size, runs = steady(score, archs if one_group else few, len(few), config)
    each = harness.spread([run / size for run in runs])
    return {
        **about,
        "first_call_seconds": first | {part: first[part] / programs for part in ("lower", "compile")},
        "programs": programs,
        "archs": size,
        "rounds": len(runs),
        "seconds_per_arch": each,
        "archs_per_second": 1 / each["median"],
    }


def steady(score: harness.Scorer, archs: np.ndarray, few: int, config: Spaces) -> tuple[int, list[float]]:
    """How many of `archs` `[M, A]` there were in a timed call, and the seconds of each call.

    From a `few` on their number doubles until a call takes its share of `--seconds`, or they are all of them.
    """
    size = few
    while (taken := harness.seconds(score, archs[:size])) < config.seconds / config.rounds and size < len(archs):
        size = min(2 * size, len(archs))
    runs = [taken]
    while len(runs) < config.rounds and sum(runs) < config.seconds:
        runs.append(harness.seconds(score, archs[:size]))
    return size, runs


def write(config: Spaces, results: dict[str, Any], newest: dict[str, Any]) -> None:
    """Write the record of the results so far; when, where and with what is that of the `newest`."""
    about = {name: newest[name] for name in ("created", "machine", "versions")}
    record = {"case": "spaces", "kind": KIND, "command": command(config), **about, "results": results}
    config.out.write_text(json.dumps(record, indent=1) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Spaces, bench, argv, prog="bench.spaces")


if __name__ == "__main__":
    raise SystemExit(main())
