"""Benchmark tables as oracles: what a search is told, and what is only reported."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from jaxnas import spaces
from jaxnas.search.goal import Goal, Scores
from jaxnas.search.oracle import Table

DEVICES = ("edgegpu", "raspi4", "edgetpu", "pixel3", "eyeriss", "fpga")
VALID, TEST = "c10_valid_200", "c10_test_200"
MEAN_OF_THREE = "c10_test_108_mean3"


@dataclass(frozen=True)
class Oracle:
    """A table with a row for every architecture that can be asked for.

    Attributes:
      table: the rows.
      goal: what the search is after.
      test: name of what is reported of the best architecture.
      percent: factor that makes per cent of it.
    """

    table: Table
    goal: Goal
    test: str
    percent: float = 1.0

    def accuracy(self, scores: Scores) -> np.ndarray:
        """What is reported of architectures `[N]`, in %."""
        return self.percent * scores[self.test].value[0]

    def told(self, scores: Scores) -> np.ndarray:
        """The accuracy that the search is told of architectures `[N]`, in %: the first of its objectives."""
        return self.percent * scores[next(iter(self.goal.signs))].value[0]

    def regret(self, scores: Scores) -> np.ndarray:
        """Return `[N]` how far the best told accuracy within the limits is, so far, below the best there is, in %.

        Before anything is within the limits that of the worst architecture within them counts.
        """
        worst, best = self._range
        found = np.where(self.goal.feasible(scores), self.told(scores), worst)
        regret: np.ndarray = best - np.maximum.accumulate(np.nan_to_num(found, nan=worst))
        return regret

    @cached_property
    def _range(self) -> tuple[float, float]:
        """The lowest and the highest told accuracy within the limits."""
        scores = self.table(self.table.space.archs)
        kept = self.told(scores)[self.goal.feasible(scores)]
        return float(kept.min()), float(kept.max())


@dataclass(frozen=True)
class FrontOracle(Oracle):
    """One that is asked for a Pareto front: the regret is the share of the hypervolume, in %, that was not found."""

    def regret(self, scores: Scores) -> np.ndarray:
        gains, whole = self._gains(scores), hypervolume(self._gains(self._everyone))
        return np.array([100 * (1 - hypervolume(gains[: count + 1]) / whole) for count in range(len(gains))])

    def _gains(self, scores: Scores) -> np.ndarray:
        """How far each objective is beyond the median of all, or 0: `[N, 2]`, 0 for what breaks a limit, too."""
        medians = np.median(self.goal.values(self._everyone), 1)
        gains: np.ndarray = np.maximum(self.goal.values(scores).T - medians, 0)
        return gains * self.goal.feasible(scores)[:, None]

    @cached_property
    def _everyone(self) -> Scores:
        return self.table(self.table.space.archs)


def hypervolume(gains: np.ndarray) -> float:
    """The area between 0 and the front of points `[N, 2]` that are not below 0."""
    first, second = gains[np.argsort(-gains[:, 0])].T
    return float(((first - np.append(first[1:], 0)) * np.maximum.accumulate(second)).sum())


def nasbench201(folder: Path) -> Oracle:
    """CIFAR-10: validation accuracy after 200 epochs is asked for, test accuracy reported."""
    table = Table(spaces.get("nasbench201"), [folder / "nasbench201" / "accuracies.parquet"], [VALID, TEST])
    return Oracle(table, Goal({VALID: 1}), TEST)


def nasbench101(folder: Path) -> Oracle:
    """The sample of a tenth of the space: the mean test accuracy after 108 epochs, asked for and reported."""
    path = folder / "nasbench101" / "accuracies_sample.parquet"
    return Oracle(
        Table(spaces.get("nasbench101"), [path], [MEAN_OF_THREE]), Goal({MEAN_OF_THREE: 1}), MEAN_OF_THREE, 100.0
    )


def latency(folder: Path, device: str, quantile: float, *, joint: bool) -> Oracle:
    """HW-NAS-Bench: as `nasbench201`, with the latency on a device in ms limited to a quantile of all.

    `joint`: it is an objective, too (equation 4 of AG-Net), otherwise within the limit the accuracy alone (equation 5).
    """
    table, name = _with_latency(folder, device)
    latencies = table(table.space.archs)[name].value[0]
    limit = float(np.quantile(latencies[latencies > 0], quantile))  # below 0: the device does not support it
    return Oracle(table, Goal({VALID: 1, **({name: -1} if joint else {})}, {name: limit}, {name: 0.0}), TEST)


def front(folder: Path, device: str) -> FrontOracle:
    """HW-NAS-Bench: validation accuracy and latency on a device, without a limit but that it supports a network."""
    table, name = _with_latency(folder, device)
    return FrontOracle(table, Goal({VALID: 1, name: -1}, at_least={name: 0.0}), TEST)


def _with_latency(folder: Path, device: str) -> tuple[Table, str]:
    """Accuracies and the latency on a device, and what that is called."""
    name = f"c10_{device}_latency"
    paths = [folder / "nasbench201" / file for file in ("accuracies.parquet", "hw_nas_bench.parquet")]
    return Table(spaces.get("nasbench201"), paths, [VALID, TEST, name]), name


def baselines(oracle: Oracle) -> dict[str, float]:
    """Within the limits the best accuracy by test and by what is told, and the test accuracy of the largest.

    `floor` is by how much the test accuracy of the best by what is told is below the best: no search can do without.
    """
    archs = oracle.table.space.archs
    scores = oracle.table(archs)
    test, told, kept = oracle.accuracy(scores), oracle.told(scores), oracle.goal.feasible(scores)
    best = {"optimum": test[kept].max(), "told optimum": told[kept].max()}
    best["floor"] = best["optimum"] - test[kept][told[kept].argmax()]
    sizes = {"most params": oracle.table.space.params(archs), "most FLOPs": oracle.table.space.flops(archs)}
    largest = {name: kept & (size == size[kept].max()) for name, size in sizes.items()}
    found = {name: float(test[rows].mean()) for name, rows in largest.items()}
    return {"feasible": float(kept.mean()), **{name: float(value) for name, value in best.items()}, **found}
