"""`python -m jaxnas.search`: find a good architecture of a space without training any."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from jaxnas import cli, spaces
from jaxnas.errors import unknown
from jaxnas.options import Options, provenance
from jaxnas.program import loop_batch
from jaxnas.runner import summarise
from jaxnas.scorers import NTK, Count, Measured
from jaxnas.search.base import Found, Method, Task
from jaxnas.search.loop import Log, evaluate_with, run
from jaxnas.search.methods import METHODS
from jaxnas.spaces import Space
from jaxnas.store import Store
from jaxnas.types import Status

RESULT = "result.json"
SHOWN = 20  # rounds in the table, the last ones


@dataclass(frozen=True)
class Pruning:
    """Options of the method `prune`."""

    preset: str | None = None
    """Ops that an edge loses in a round, and images of the NTK unless --ntk.images says otherwise: on darts `cifar10`
    (3 ops, 14 images) or `imagenet` (2, 24); by default the first preset of the space."""


@dataclass(frozen=True, kw_only=True)
class Search(Options):
    """Find a good architecture without training any; the same command again resumes, or shows the result once more."""

    method: str = "prune"
    """`prune`: TE-NAS prunes a supernet. `evolve`: GenNAS's regularised evolution, as published with --scorers
    regression --repeats 1 --brood 1. `random`: the best of --samples architectures. The last two go by any scorers,
    several by the sum of their ranks."""
    prune: Pruning = field(default_factory=Pruning)
    repeats: int = 3
    """Measurements of each score, each with new inputs and, unless --ntk.preset says otherwise, new weights."""
    samples: int = 500
    """Architectures that the method `random` tries."""
    population: int = 50
    """Architectures that the method `evolve` starts from and keeps; the oldest one dies."""
    children: int = 400
    """Children that the method `evolve` breeds; one like an earlier architecture is not scored again."""
    tournament: int = 10
    """Members of the population that the method `evolve` draws, to make the best one a parent."""
    brood: int = 10
    """Children that the method `evolve` breeds and scores at a time; with fewer than --devices some devices idle."""
    out: str | None = None
    """Directory for the rounds (Parquet parts), manifest.json and result.json; by default
    runs/search-SPACE-METHOD-seedSEED."""
    json: bool = False
    """Print result.json on standard output, and nothing else."""


def search(config: Search) -> None:
    """Run the command."""
    space = spaces.get(config.space)
    config = _with_preset(config, space)
    deciding = _deciding(config)
    method = _method(config, space, deciding)
    source = config.source()
    evaluators = config.evaluators(space, deciding, source, most=method.batch)
    settings = {**config.settings(deciding, source), "method": config.method, **method.options}
    about = provenance(source)
    path = config.out or f"runs/search-{config.space}-{config.method}-seed{config.seed}"
    store = Store.open(path, {"settings": settings, "part_size": method.batch, **about})
    counts = {name: scorer for name, scorer in deciding.items() if isinstance(scorer, Count)}
    log = Log(store)
    before = log.evaluations
    with _progress(config.method, method.rounds) as tell:
        state = run(method, evaluate_with(space, {**counts, **evaluators}), log, tell)
    found = method.result(state)
    result = {
        "space": space.name,
        "method": config.method,
        "arch": space.decode(found.arch),
        "scores": _scores(space, found),
        "evaluations": log.evaluations,
        "seconds": round(log.seconds, 3),
        "seed": config.seed,
        **{name: store.manifest[name] for name in ("settings", *about)},
        "rounds": method.report(state),
    }
    text = json.dumps(result, indent=2, allow_nan=False)
    store.put(RESULT, f"{text}\n".encode())
    if config.json:
        print(text)
    else:
        _show(result, method.table(state), store.path, new=log.evaluations - before)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return cli.run(Search, search, argv, prog="jaxnas search")


def _with_preset(config: Search, space: Space) -> Search:
    """Return the options with the preset's number of images, where the NTK's is the default."""
    if config.method != "prune" or space.supernet is None or config.ntk.images != NTK.images:
        return config
    return replace(config, ntk=replace(config.ntk, images=space.supernet.preset(config.prune.preset).images))


def _deciding(config: Search) -> dict[str, Measured | Count]:
    """Return the scorers that were asked for, te_nas being the two it is made of."""
    named = [name.strip() for name in config.scorers.split(",")]
    return {
        name: scorer
        for name, scorer in config.select().items()
        if isinstance(scorer, Measured) or (isinstance(scorer, Count) and name in named)
    }


def _method(config: Search, space: Space, deciding: dict[str, Measured | Count]) -> Method:
    if config.method not in METHODS:
        raise unknown("method", config.method, METHODS)
    batch = min([128, *(loop_batch(s) for s in deciding.values() if isinstance(s, Measured))])
    signs = {name: scorer.sign for name, scorer in deciding.items()}
    task = Task(
        space,
        signs,
        seed=config.seed,
        batch=batch,
        samples=config.samples,
        population=config.population,
        children=config.children,
        tournament=config.tournament,
        brood=config.brood,
        preset=config.prune.preset,
    )
    return METHODS[config.method](task)


@contextmanager
def _progress(method: str, rounds: int) -> Iterator[Callable[[int], None]]:
    """Show the rounds behind, on standard error if it is a terminal."""
    rounds_done = (BarColumn(), MofNCompleteColumn(), TextColumn("rounds"), TimeElapsedColumn())
    with Progress(
        TextColumn(method), *rounds_done, console=Console(stderr=True), disable=not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task(method, total=rounds)
        yield lambda number: bar.update(task, completed=number)


def _scores(space: Space, found: Found) -> dict[str, Any]:
    """Return the scores of the chosen architecture, named as the columns of `jaxnas.score`."""
    scores: dict[str, Any] = {}
    for name, of in found.scores.items():
        value, deviation, status = (column[0] for column in summarise(of))
        scores |= {name: _number(value), f"{name}_std": _number(deviation), f"{name}_status": Status(status).name}
    arch = found.arch[None]
    return {**scores, **found.extra, "params": int(space.params(arch)[0]), "flops": int(space.flops(arch)[0])}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _show(result: dict[str, Any], rows: list[dict[str, str]], path: Path, *, new: int) -> None:
    table = Table(*rows[0])
    for row in rows[-SHOWN:]:
        table.add_row(*row.values())
    Console().print(table)
    print(f"chosen: {result['arch']}")
    scores = result["scores"]
    for name in [name for name in scores if f"{name}_status" in scores]:
        value, deviation = ("-" if scores[n] is None else f"{scores[n]:.5g}" for n in (name, f"{name}_std"))
        print(f"  {name}: {value} (standard deviation {deviation}, {scores[f'{name}_status']})")
    print(f"  #params: {scores['params']:,}   FLOPs: {scores['flops'] / 1e6:,.2f} M")
    again = "" if new == result["evaluations"] else f" ({new} of them now, the others by an earlier run)"
    print(f"{result['evaluations']} networks evaluated in {result['seconds']:.1f} s{again}")
    print(f"written to {path / RESULT}")


if __name__ == "__main__":
    raise SystemExit(main())
