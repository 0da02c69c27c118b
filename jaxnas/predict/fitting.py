"""Fitting, and how good the predictions are: each part of the training rows is predicted from the others."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from jaxnas.correlate.sources import BASELINES
from jaxnas.errors import UserError
from jaxnas.learn.features import Pool
from jaxnas.learn.models import MODELS, Model
from jaxnas.learn.transfer import PRIOR, TRANSFERS, check_alike, learn_source, on_pools, repeated, with_prior
from jaxnas.predict.examples import Architectures, Examples, Labels
from jaxnas.ranks import Agreement, compare

MEMBERS = 5  # graph networks whose predictions are averaged
FEWEST = 4  # labels of which some can be held out
RESAMPLES = 1000  # behind each interval


class Read(NamedTuple):
    """What the joins found, and what they left out.

    Attributes:
      asked: rows that name the architectures to predict, repeats too.
      files: by directory of scores or table with features, how many architectures it has and how many are left out.
      coverage: by score, for how many of each group of architectures it is there.
    """

    asked: int
    files: Mapping[str, Mapping[str, int]]
    coverage: Mapping[str, Mapping[str, int]]


class Problem(NamedTuple):
    """What is to be predicted, and from what.

    Attributes:
      known: the architectures of all the tables `[N, A]`.
      asked: rows of those to predict `[M]`.
      pool: what the models see of the architectures.
      labels: of the target.
      sign: of the target, +1 where higher is better.
      source: of another task or space, if there is one.
      groups: sizes of the groups of architectures that need scores.
      read: what the joins found.
    """

    known: Architectures
    asked: np.ndarray
    pool: Pool
    labels: Labels
    sign: int
    source: Examples | None
    groups: Mapping[str, int]
    read: Read


class Fitted(NamedTuple):
    """Predictions of all architectures `[N]`, higher is better, and how they agree with the labels.

    Attributes:
      predicted: in units of the target.
      parts: predictions without the labels of each fold `[K, N]`.
      fold: of each label `[n]`.
      labels: those that it learnt from.
      agreements: of the held-out predictions, of the zero-label score, of each score and the baselines, with the
        labels.
    """

    predicted: np.ndarray
    parts: np.ndarray
    fold: np.ndarray
    labels: Labels
    agreements: dict[str, Agreement]

    @property
    def held_out(self) -> np.ndarray:
        """Of each label `[n]`, what is predicted from those of the other folds."""
        return self.parts[self.fold, self.labels.rows]

    @property
    def misses(self) -> np.ndarray:
        """The labels less what is predicted of them `[n]`."""
        return self.labels.values - self.held_out


def fit(problem: Problem, *, model: str, transfer: str, folds: int, seed: int) -> Fitted:
    """Fit the model on all labels and, for each of the folds, on those outside it.

    Raises:
      UserError: there are too few labels to hold some out.
    """
    if (n := len(problem.labels.rows)) < FEWEST:
        raise UserError(f"{n} architectures with a target are too few to learn from; give at least {FEWEST}")
    members = MEMBERS if model == "graph" else 1
    fold = np.random.default_rng(seed).permutation(np.arange(n) % min(folds, n))
    lists = [fold != k for k in range(fold.max() + 1)]
    rows, labels = padded(problem.labels, [*lists, np.ones(n, bool)])
    predictor = MODELS[model]
    if problem.source is not None:
        predictor = across(problem, predictor, transfer, len(rows), members, seed)
    found = predictor(problem.pool, np.tile(rows, (members, 1)), np.tile(labels, (members, 1)), seed=seed)
    *parts, whole = found.reshape(members, len(rows), -1).mean(0)
    fitted = Fitted(whole, np.stack(parts), fold, problem.labels, {})
    return fitted._replace(agreements=agreements(problem, fitted.held_out, seed))


def padded(labels: Labels, lists: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and labels `[S, n]`, a label being NaN where it is not in the list, a mask `[n]`."""
    return np.tile(labels.rows, (len(lists), 1)), np.where(np.stack(lists), labels.values, np.nan)


def across(problem: Problem, model: Model, transfer: str, lists: int, members: int, seed: int) -> Model:
    """The predictor that first learns from the source, one for each member."""
    assert problem.source is not None
    pool, labels, _ = problem.source
    check_alike(pool, problem.pool)
    rows, values = (np.tile(part, (members, 1)) for part in labels[:2])
    if transfer == PRIOR:
        pools = with_prior(model, pool, problem.pool, rows, values, seed=seed)
        return partial(on_pools, model, [own for own in pools for _ in range(lists)])
    source = learn_source(pool, rows, values, seed=seed)
    return partial(TRANSFERS[transfer], repeated(source, lists))


def agreements(problem: Problem, held_out: np.ndarray, seed: int) -> dict[str, Agreement]:
    """How the held-out predictions `[n]` and what needs no label agree with the labels."""
    pool, (rows, target, _) = problem.pool, problem.labels
    columns = dict(zip(pool.names, pool.ranks[rows].T, strict=True))
    baselines = {name: columns.pop(name) for name in BASELINES}
    scores = {"held-out": held_out, **({"zero-label": pool.zero_label[rows]} if pool.zero_label.any() else {})}
    return {
        name: compare(
            values,
            target,
            problem.known.flops(rows),
            sign=1,
            label=BASELINES.get(name, name),
            resamples=RESAMPLES,
            seed=seed,
        )
        for name, values in {**scores, **columns, **baselines}.items()
    }
