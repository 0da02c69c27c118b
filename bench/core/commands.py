"""The kind of case that times a command line as a user runs it: a new process, from its start to the table."""

import shlex
import statistics
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from bench.core import harness
from bench.core.case import Options
from jaxnas.errors import UserError


@dataclass(frozen=True)
class CommandCase:
    """One command line.

    Attributes:
      name: on the command line of the bench.
      summary: one line for the list.
      module: what `python -m` runs.
      options: its options, without `--archs` and `--out`.
      archs: the value of its `--archs`; None if it has no such option.
      runs: `cold` is the first run with an empty compilation cache, `warm` another into a directory of its own.
      rounds: how often to do all runs, from an empty cache each time.
    """

    name: str
    summary: str
    module: str
    options: tuple[str, ...] = ()
    archs: str | None = None
    runs: tuple[str, ...] = ("cold",)
    rounds: int = 1
    kind: ClassVar[str] = "command"

    def adapted(self, options: Options) -> "CommandCase":
        shorter = self.archs is not None and options.archs is not None
        archs = f"random:{options.archs}" if shorter else self.archs
        return replace(self, archs=archs, **options.given("rounds"))

    def arguments(self) -> str:
        return f"{self.shortened}--rounds {self.rounds}"

    @property
    def shortened(self) -> str:
        """The option of the bench that says how many architectures, if not the whole space."""
        kind, _, number = (self.archs or "").partition(":")
        return f"--archs {number} " if kind == "random" else ""

    def argv(self, out: Path) -> list[str]:
        """The arguments after `python -m`, with the results in `out`."""
        archs = [] if self.archs is None else ["--archs", self.archs]
        return [self.module, *self.options, *archs, "--out", str(out)]

    def run(self) -> dict[str, Any]:
        rounds = [self._round() for _ in range(self.rounds)]
        networks = {found["networks"] for found in rounds}
        if len(networks) > 1:
            raise UserError(f"{self.name}: runs of the same command gave tables of {sorted(networks)} rows")
        seconds = {run: [found[run].seconds for found in rounds] for run in self.runs}
        return {
            "rounds": self.rounds,
            "command_line": f"python -m {shlex.join(self.argv(Path('DIR')))}",
            "networks": networks.pop(),
            "seconds": {run: harness.spread(own) for run, own in seconds.items()},
            "networks_per_second": rounds[0]["networks"] / statistics.median(seconds[self.runs[0]]),
            "peak_rss_bytes": max(found[run].peak_rss_bytes for found in rounds for run in self.runs),
        }

    def _round(self) -> dict[str, Any]:
        """The `harness.Child` of each run and the number of rows (scored `networks`) in the last one's table."""
        with tempfile.TemporaryDirectory(prefix="jaxnas-bench-") as scratch:
            cache = Path(scratch, "cache")
            cache.mkdir()
            found: dict[str, Any] = {}
            for run in self.runs:
                out = Path(scratch, run)
                found[run] = harness.time_command([sys.executable, "-m", *self.argv(out)], cache=cache)
            rows = pl.scan_parquet(out / "*.parquet").select(pl.len()).collect().item()
        return found | {"networks": rows}
