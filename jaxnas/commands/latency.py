"""`jaxnas latency`: how long the operations of a space take on this device, and whether their sums rank networks."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from jaxnas import spaces
from jaxnas.cli import frame
from jaxnas.cli.progress import Progress
from jaxnas.errors import UserError, check_least, check_seed
from jaxnas.evaluate import devices, timing
from jaxnas.network.pieces import every
from jaxnas.network.recipe import Recipe
from jaxnas.ranks import ordering, spearman_rho
from jaxnas.report.sheet import Format, card
from jaxnas.scorers.latency import DType, Timings
from jaxnas.spaces import Space

FEWEST = 3  # networks that a correlation is made of
TURNS = 1 + timing.ROUNDS  # of each program: it is compiled, then run


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Time the operations of a space on this device, once, for the score `latency`.

    They are those of the benchmark's networks, in evaluation mode.

    On a CPU they run on one thread.
    """

    space: str = "nasbench201"
    """Search space, SPACE:DATASET for the networks for another data set of its benchmark."""
    batch: int = 1
    """Images at a time."""
    dtype: DType = "float32"
    """Type of images and weights."""
    sample: int = 500
    """Random architectures whose operations are timed; of spaces whose architectures all use the same channels, such as
    nasbench201, all operations are."""
    check: int = 0
    """Time so many whole networks, random ones, and say how their times agree with the sums; 50 are enough."""
    seed: int = 0
    """Seed of the random architectures."""
    again: bool = False
    """Time what was timed before, too."""
    format: Format = "table"
    """How to print it; `json` has every operation and every network of --check."""


def latency(config: Latency) -> None:
    """Run the command."""
    check_least(config, {"batch": 1, "sample": 1, "check": 0})
    check_seed(config.seed)
    if 0 < config.check < FEWEST:
        raise UserError(f"--check is {config.check}; a rank correlation needs at least {FEWEST} networks")
    devices.start()
    devices.cache_programs()
    space = spaces.get(config.space)
    space.check_form("benchmark")
    others, archs = np.split(_connected(space, config.seed, config.check + config.sample), [config.check])
    timings = _timed(config, space, archs if len(archs) else others)
    totals = timings.total(space, archs if len(archs) else others)
    record: dict[str, Any] = {
        "space": space.name,
        "device": devices.named(jax.local_devices()[:1]),
        "processor": timings.device,
        "threads": devices.parts(),
        "batch": config.batch,
        "dtype": config.dtype,
        "versions": dict(timings.versions),
        "created": timings.created,
        "operations": [{"what": timings.what[key], "ms": ms} for key, ms in timings.ms.items()],
        "sample": {"architectures": len(totals), "ms": np.nanpercentile(totals, [0, 50, 100]).round(4).tolist()},
        "kept": str(timings.path),
    }
    if config.check:
        record["check"] = _checked(config, space, others, timings)
    card(space.name, _lines(record), record).print(config.format)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Latency, latency, argv, prog="jaxnas latency")


def _connected(space: Space, seed: int, number: int) -> np.ndarray:
    """Random architectures `[N, A]` that are networks, as many as that if the space has them."""
    drawn = space.sample(jax.random.key(seed), min(2 * number, space.size))
    return drawn[~space.is_disconnected(drawn)][:number]


def _timed(config: Latency, space: Space, archs: np.ndarray) -> Timings:
    """The timings of the operations of `archs` `[N, A]`, those that are not known yet made and kept."""
    timings = Timings.read(space, config.batch, config.dtype)
    if config.again:
        timings = replace(timings, created="", ms={}, what={})
    ways = space.networks(space.without_dead_ends(archs), Recipe("benchmark"))
    wanted = {piece.key: piece for network, rows in ways for piece in dict.fromkeys(every(network, archs[rows]))}
    missing = {key: piece for key, piece in wanted.items() if key not in timings.ms}
    if not missing:
        return timings
    with Progress("timing", "runs of operations", len(missing) * TURNS) as progress:
        took = timing.of_pieces([*missing.values()], config.batch, config.dtype, lambda: progress.advance(1))
    ms = {**timings.ms, **dict(zip(missing, took, strict=True))}
    what = {**timings.what, **{key: str(piece) for key, piece in missing.items()}}
    created = timings.created or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    timings = replace(timings, created=created, ms=ms, what=what)
    timings.keep()
    return timings


def _checked(config: Latency, space: Space, archs: np.ndarray, timings: Timings) -> dict[str, Any]:
    """How the times of the networks of `archs` `[N, A]` agree with the sums, as far as these are known; for JSON."""
    sums = timings.total(space, archs)
    known = np.isfinite(sums)
    if known.sum() < FEWEST:
        raise UserError(
            f"--check: of {len(archs)} architectures {known.sum()} have timed operations alone; more --sample"
        )
    archs, sums = archs[known], sums[known]
    with Progress("timing", "runs of networks", len(archs) * TURNS) as progress:
        whole = timing.of_networks(space, archs, config.batch, config.dtype, lambda: progress.advance(1))

    def agreement(values: np.ndarray) -> float:
        return round(spearman_rho(ordering(values), ordering(whole)), 4)

    return {
        "networks": len(archs),
        "unknown": int((~known).sum()),
        "spearman": agreement(sums),
        "spearman_of_flops": agreement(space.flops(archs)),
        "whole_over_sum": np.percentile(np.array(whole) / sums, [10, 50, 90]).round(4).tolist(),
        "rows": [
            {"arch": space.decode(arch), "sum_ms": float(ms), "whole_ms": float(took)}
            for arch, ms, took in zip(archs, sums, whole, strict=True)
        ],
    }


def _lines(record: dict[str, Any]) -> dict[str, str]:
    low, middle, high = record["sample"]["ms"]
    number = record["sample"]["architectures"]
    lines = {
        "device": f"{record['device']}, {record['processor']}, {record['threads']} thread of XLA's",
        "batch, type": f"{record['batch']}, {record['dtype']}",
        "operations": f"{len(record['operations']):,} timed, the first {record['created']}",
        "latency": f"{low:.3g} to {high:.3g} ms, median {middle:.3g}, of {number:,} architectures",
    }
    if check := record.get("check"):
        ten, half, ninety = check["whole_over_sum"]
        lines["check"] = f"Spearman {check['spearman']:.3f} with {check['networks']} whole networks "
        lines["check"] += f"(FLOPs {check['spearman_of_flops']:.3f})"
        lines["whole / sum"] = f"median {half:.2f}, 10 to 90 % {ten:.2f} to {ninety:.2f}"
        if check["unknown"]:
            lines["left out"] = f"{check['unknown']} networks with an operation that was not timed; more --sample"
    return lines | {"kept": record["kept"]}
