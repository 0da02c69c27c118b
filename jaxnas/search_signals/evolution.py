"""GenNAS's proxy-task search: the evolution of the synthetic signals of the regression score.

Random tasks, then children of the best of a few among the youngest tasks: regularised evolution, in which the oldest
dies. A task is as good as Spearman's rho between the regression score and the accuracy over a few labelled
architectures; as published its absolute value, so that a task that ranks them backwards can win.

    trials = []
    while len(trials) < population + children:
        task = propose(trials, population=population, seed=seed, signed=signed)
        trials.append(log.trial(len(trials), task, evaluate))

Source: Li et al., Generic Neural Architecture Search via Regression (GenNAS), NeurIPS 2021, and `do_search.py` of its
official code.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np
import polars as pl

from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.ranks import ordering, spearman_rho
from jaxnas.scorers.training.any_task import AnyTask
from jaxnas.scorers.training.signal_genome import is_undefined, mutate, random_task
from jaxnas.scorers.training.targets import Task, to_record
from jaxnas.tables.store import Store
from jaxnas.types import Finished, Status

TOURNAMENT = 10  # tasks, of which the best has a child
LABELS, TASK, MEASUREMENT = range(3)  # streams of random numbers

Evaluate = Callable[[int, Task], Finished]
"""From a number and a task to the regression scores and statuses `[N]` of the labelled architectures."""


class Trial(NamedTuple):
    """A task and what it scored.

    Attributes:
      task: the task.
      scores: values and statuses `[N]` of the labelled architectures.
      rho: Spearman's, positive where lower errors go with higher accuracies; failed architectures rank last; NaN where
        all are equal or failed.
      seconds: that it took.
    """

    task: Task
    scores: Finished
    rho: float
    seconds: float


class Log:
    """The tasks so far, each one a part of the run directory, of one row.

    Columns: `row`, `task` (JSON), `spearman`, `regression` and `regression_status` of every labelled architecture, and
    `seconds`.

    Attributes:
      new: number of tasks that were evaluated, not read.
    """

    def __init__(self, store: Store, accuracies: np.ndarray) -> None:
        self._store, self._accuracies = store, ordering(accuracies)
        self._rows = {row["row"]: row for row in store.read().to_dicts()} if store.parts() else {}
        self.new = 0

    def trial(self, number: int, task: Task, evaluate: Evaluate) -> Trial:
        """Return what is stored under `number`, if it is of this task; otherwise evaluate the task and store it."""
        row, record = self._rows.get(number), json.dumps(to_record(task))
        if row is not None and row["task"] == record:
            status = np.array([Status[name] for name in row["regression_status"]])
            scores = Finished(np.array(row["regression"], np.float64), status, {})
            return Trial(task, scores, self._rho(scores), row["seconds"])
        start = perf_counter()
        scores = evaluate(number, task)
        trial = Trial(task, scores, self._rho(scores), perf_counter() - start)
        columns = {
            "row": [number],
            "task": [record],
            "spearman": pl.Series([trial.rho]).fill_nan(None),
            "regression": [scores.value.tolist()],
            "regression_status": [[Status(status).name for status in scores.status]],
            "seconds": [trial.seconds],
        }
        self._store.write(number, pl.DataFrame(columns))
        self.new += 1
        return trial

    def _rho(self, scores: Finished) -> float:
        return spearman_rho(ordering(scores.value, AnyTask.sign), self._accuracies)


def fitness(trials: Sequence[Trial], *, signed: bool) -> np.ndarray:
    """Return rho or, if not `signed`, |rho| of each trial `[T]`; minus infinity where it is undefined."""
    rho = np.array([trial.rho for trial in trials])
    return np.where(np.isnan(rho), -np.inf, rho if signed else np.abs(rho))


def propose(trials: Sequence[Trial], *, population: int, seed: int, signed: bool) -> Task:
    """The task after `trials`: random at first, then a child of the best of `TOURNAMENT` in the population.

    As the oldest member dies for every child, the population is always the last `population` trials.
    """
    rng = np.random.default_rng(stream(seed, TASK, len(trials)))
    if len(trials) < population:
        return random_task(rng)
    alive = trials[-population:]
    entrants = rng.choice(population, min(TOURNAMENT, population), replace=False)
    parent = entrants[fitness(alive, signed=signed)[entrants].argmax()]
    return mutate(alive[parent].task, rng)


def evaluate_with(evaluator: Evaluator, scorer: AnyTask, archs: np.ndarray, seed: int) -> Evaluate:
    """The function that scores `archs` `[N, A]` by one task after another, through the evaluator's programs.

    The images, targets, weights and noise of a task come from `seed` and its number.
    """

    def evaluate(number: int, task: Task) -> Finished:
        if is_undefined(task):
            return Finished.without_value(Status.nonfinite, len(archs))
        own = int(stream(seed, MEASUREMENT, number).generate_state(1)[0])
        evaluator.redraw(own, dataclasses.replace(scorer, drawn=task))
        found = evaluator(archs)
        return Finished(found.value[0], found.status[0], {})

    return evaluate


def stream(seed: int, *key: int) -> np.random.SeedSequence:
    """The seeds of one of several independent streams of random numbers."""
    return np.random.SeedSequence(seed, spawn_key=key)
