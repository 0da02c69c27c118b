"""Benchmark tables as oracles: the architectures, what a search may ask, and what is only reported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from jaxnas import spaces
from jaxnas.search.base import Goal, Scores
from jaxnas.spaces import Space
from jaxnas.spaces.nasbench101 import from_table
from jaxnas.spaces.subspace import Subspace
from jaxnas.types import Finished, Status

DEVICES = ("edgegpu", "raspi4", "edgetpu", "pixel3", "eyeriss", "fpga")


@dataclass(frozen=True)
class Oracle:
    """A table with a row for every architecture that can be asked for.

    Attributes:
      space: the architectures of the rows.
      goal: what the search is after.
      columns: what it is told, by name `[rows]`.
      test: what is reported of the best architecture `[rows]`, in %.
    """

    space: Subspace
    goal: Goal
    columns: Mapping[str, np.ndarray]
    test: np.ndarray

    def evaluate(self, archs: np.ndarray) -> Scores:
        """Return the rows' values `[1, N]` for architectures `[N, A]`; an unknown one fails."""
        rows = self.space.rows(archs)
        return {name: _finished(np.where(rows < 0, np.nan, column[rows])) for name, column in self.columns.items()}


def nasbench201(folder: Path) -> Oracle:
    """CIFAR-10: validation accuracy after 200 epochs is asked for, test accuracy reported."""
    space, table = _nasbench201(folder)
    columns = {"c10_valid_200": table["c10_valid_200"].to_numpy()}
    return Oracle(space, Goal({"c10_valid_200": 1}), columns, table["c10_test_200"].to_numpy())


def nasbench101(folder: Path) -> Oracle:
    """The sample of a tenth of the space: the mean test accuracy after 108 epochs, asked for and reported."""
    table = pl.read_parquet(folder / "nasbench101" / "accuracies_sample.parquet")
    ops = table.select(f"op{vertex}" for vertex in range(1, 6)).to_numpy()
    archs = from_table(table["n_vertices"].to_numpy(), table["adj_bits"].to_numpy(), ops)
    accuracy = table["c10_test_108_mean3"].cast(pl.Float64).to_numpy()
    name = "c10_test_108_mean3"
    return Oracle(Subspace(spaces.get("nasbench101"), archs), Goal({name: 1}), {name: accuracy}, 100 * accuracy)


def latency(folder: Path, device: str, quantile: float) -> Oracle:
    """HW-NAS-Bench: NASBench-201's validation accuracy under a limit, a quantile of the latencies on a device, in ms."""
    space, table = _nasbench201(folder)
    measured = pl.read_parquet(folder / "nasbench201" / "hw_nas_bench.parquet").sort("idx")
    name = f"c10_{device}_latency"
    values = measured[name].to_numpy()
    values = np.where(values < 0, np.nan, values)  # the device does not support the architecture
    goal = Goal({"c10_valid_200": 1}, {name: float(np.nanquantile(values, quantile))})
    columns = {"c10_valid_200": table["c10_valid_200"].to_numpy(), name: values}
    return Oracle(space, goal, columns, table["c10_test_200"].to_numpy())


def by_size(oracle: Oracle) -> dict[str, float]:
    """Return the test accuracy of the architectures with most parameters and FLOPs: what no query at all finds."""
    counts: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "most params": oracle.space.params,
        "most FLOPs": oracle.space.flops,
    }
    found = {name: count(oracle.space.archs) for name, count in counts.items()}
    return {name: float(oracle.test[values == values.max()].mean()) for name, values in found.items()}


def _nasbench201(folder: Path) -> tuple[Subspace, pl.DataFrame]:
    table = pl.read_parquet(folder / "nasbench201" / "accuracies.parquet").sort("idx")
    space: Space = spaces.get("nasbench201")
    return Subspace(space, np.stack([space.encode(string) for string in table["arch_str"]])), table


def _finished(values: np.ndarray) -> Finished:
    return Finished(values[None], np.where(np.isfinite(values), Status.ok, Status.failed)[None], {})
