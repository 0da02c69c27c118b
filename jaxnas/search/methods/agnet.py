"""AG-Net: a generator of architectures that learns from those that were evaluated.

After a first round of random architectures, every round retrains the generator on all that was scored, drawn by rank,
draws new architectures from it, and asks for those with the best predictions. Spaces of two cells are searched one cell
after the other, each with half of the budget: the other cell is at first that of the first architecture, then that of
the best one found. Where the generator finds too few new architectures, random ones fill the round.

Under a limit everyone who breaks it comes after everyone who does not; where what is limited is an objective, too, its
rank counts as well (the authors' equation 4), otherwise it does not (their equation 5).

What predicts is a Gaussian process for each number, on the graphs of the architectures, numbers of their ops and
lengths of their paths, and the prior's scores. As published (presets `paper` and `hardware`) it is a perceptron that
reads the generator's logits of fresh noise, beside the scores of architectures that have nothing to do with that noise:
its predictions of new architectures do not agree with their accuracies, and what was found was the generator's doing.

Departures of the presets from the authors' code: no graph sees another one's noise, and numbers are divided by the
largest of the first round, whatever their unit. In `tenas` a space of two cells is searched one cell after the other,
too, instead of scoring a cell beside random ones.

Source: Lukasik, Jung and Keuper, Learning Where to Look: Generative NAS is Surprisingly Efficient, ECCV 2022.
"""

import itertools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.errors import UserError, check_least
from jaxnas.learn.agnet import processes, weighted
from jaxnas.learn.agnet.forms import FORMS, Form
from jaxnas.learn.agnet.pretrain import Pretraining, code_of, pretrained
from jaxnas.learn.agnet.weighted import Known, Learner, Models
from jaxnas.learn.graph_features import graph_features
from jaxnas.learn.models import unit_ranks
from jaxnas.learn.scale import Scale, padded
from jaxnas.ranks import mean_ranks
from jaxnas.search.goal import Scores, join, take
from jaxnas.search.method import Budgeted, Method, Task, check_budget, is_new
from jaxnas.search.methods.proposals import CHUNK, Cell, Proposals, propose
from jaxnas.spaces.graphs import GraphCode
from jaxnas.spaces.subset import Subspace
from jaxnas.types import Finished

REFERENCE = 100  # random architectures by which the prior's scores are standardised
CLIP = 3.0  # of these, in quartile distances


@dataclass(frozen=True)
class AgnetOptions:
    """Options of the method `agnet`."""

    preset: Literal["processes", "paper", "hardware", "tenas"] = "processes"
    """What predicts the proposals: `processes`, Gaussian processes on the graphs; as published, `paper`, a perceptron
    on the generator's logits, or `hardware`, the same with the settings under limits; or `tenas`, nothing: the
    published training-free search asks for 50 each round and learns from the best."""
    batch: int = 16
    """Architectures of the first round and of every other one."""
    candidates: int | None = None
    """New architectures that the generator proposes each round, in place of the preset's; the best predictions are
    asked for."""
    ticks: int | None = None
    """Times that the generator sees what was scored, each round, in place of the preset's."""
    pretrain: int = 64_000
    """Graphs that the generator is trained on before its first search of a space; the result is kept in the cache."""
    layers: int = 2
    """Of the generator's graph network (the authors, on DARTS: 4)."""


class Candidates(NamedTuple):
    """What the generator proposed in a round, `[N, A]`, and what was predicted of it, `[N]` of each target."""

    archs: np.ndarray
    predicted: dict[str, np.ndarray]


class Learned(NamedTuple):
    """Everything scored so far, and what was learned from it.

    Attributes:
      archs: `[M, A]`; the last ones await their scores.
      scored: how many have them.
      scores: of the rounds so far.
      cell: which one is searched.
      first: row with which its search began.
      base: architecture `[A]` whose other cells stay.
      learner: generator and surrogate.
      records: of the rounds.
      candidates: of the last round, if the generator made it.
    """

    archs: np.ndarray
    scored: int
    scores: Scores
    cell: int
    first: int
    base: np.ndarray
    learner: Learner
    records: tuple[dict[str, Any], ...]
    candidates: Candidates | None = None


@dataclass(frozen=True)
class AgNet(Budgeted):
    """The best architecture among all that were scored."""

    how: AgnetOptions
    form: Form

    @property
    def rounds(self) -> int:
        ends = [0, *(self._end(cell) for cell in range(self._code.cells))]
        later = [end - start - self.how.batch for start, end in itertools.pairwise(ends)]
        return sum(1 - (-number // self.batch) for number in later)

    @property
    def batch(self) -> int:
        return self.form.asked or self.how.batch

    @property
    def options(self) -> dict[str, Any]:
        return {"budget": self.task.budget, "warm_start": self.task.pool, **vars(self.how)}

    def init(self) -> Learned:
        first = self.task.first(self.how.batch)
        none = np.empty((0, first.shape[1]), np.int32)
        state = Learned(none, 0, {}, 0, 0, first[0], self._start[1], ())
        return self._asking(state, self._cell(state).of(first), {})

    def step(self, state: Learned, scores: Scores) -> Learned:
        scores = join([state.scores, scores]) if state.scored else scores
        state = state._replace(scores=scores, scored=len(state.archs))
        if self.done(state):
            return state
        if state.scored == self._end(state.cell):
            return self._next_cell(state)
        state = state._replace(learner=self._retrained(state))
        found = self._proposals(state)
        predicted = self._predicted(state, found) if len(found.archs) and self.form.surrogate else {}
        state = state._replace(candidates=Candidates(found.archs, predicted))
        chosen = found.archs[self._order(predicted)] if predicted else found.archs
        return self._asking(state, chosen, {"proposed": len(found.archs), "valid": found.valid / found.drawn})

    def report(self, state: Learned) -> list[dict[str, Any]]:
        """Return of each round what the generator gave, and the best value so far of each objective.

        `valid` is the share of its graphs that the space has, `proposed` the number of different new ones.
        """
        goal, records, scored = self.task.goal, [], 0
        values = goal.values(state.scores)
        values[:, ~np.isfinite(values).all(0)] = np.nan
        for record in state.records:
            scored += record["asked"]
            given = {name: record.get(name) for name in ("valid", "proposed")}
            records.append({"scored": scored, **given, **goal.best_values(values[:, :scored])})
        return records

    @cached_property
    def _code(self) -> GraphCode:
        return code_of(self.task.space)

    @cached_property
    def _targets(self) -> list[str]:
        """What the surrogate predicts: the objectives, then what has a limit alone."""
        goal = self.task.goal
        return [*goal.signs, *sorted(goal.limited - {*goal.signs})]

    @cached_property
    def _models(self) -> Models:
        return self._start[0]

    @cached_property
    def _start(self) -> tuple[Models, Learner]:
        generator = pretrained(self.task.space, Pretraining(self.how.pretrain, self.how.layers))
        inputs = self._code.size + self._inputs(self.task.first(1)).shape[1]
        outputs = len(self._targets) if self._perceptron else 0
        return weighted.start(generator, inputs, outputs, self.form.retraining, seed=self.task.seed)

    @property
    def _perceptron(self) -> bool:
        return self.form.surrogate == "perceptron"

    @cached_property
    def _prior_scale(self) -> Scale:
        """Of the prior's scores of random architectures."""
        assert self.task.prior is not None
        key = jax.random.fold_in(jax.random.key(self.task.seed), REFERENCE)
        return Scale.of(self.task.prior(self.task.space.sample(key, min(REFERENCE, self.task.space.size))))

    def _end(self, cell: int) -> int:
        """How many architectures are scored when the search of a cell ends."""
        return (cell + 1) * self.task.budget // self._code.cells

    def _cell(self, state: Learned) -> Cell:
        return Cell(self._code, state.cell, state.base)

    def _asking(self, state: Learned, archs: np.ndarray, record: dict[str, Any]) -> Learned:
        """The state that asks for `archs` and, where they are fewer than a round, for random ones."""
        first = state.scored == state.first
        size = min(self.how.batch if first else self.batch, self._end(state.cell) - state.scored)
        seen = np.concatenate([state.archs, archs[:size].astype(np.int32)])
        archs = np.concatenate([seen, self._random(state, seen, state.scored + size - len(seen))])
        return state._replace(archs=archs, records=(*state.records, {"asked": len(archs) - state.scored, **record}))

    def _random(self, state: Learned, seen: np.ndarray, count: int) -> np.ndarray:
        """Up to `count` random architectures `[count, A]` that are not among `seen`."""
        if count <= 0:
            return seen[:0]
        space = self.task.space
        key = jax.random.fold_in(jax.random.key(self.task.seed + 1), len(seen))
        drawn = self._cell(state).of(space.sample(key, min(count + len(seen), space.size))).astype(np.int32)
        return drawn[is_new(self.task.space, drawn, seen)][:count]

    def _next_cell(self, state: Learned) -> Learned:
        """The state in which the best architecture so far is the base and the search of the next cell begins."""
        base = self.task.goal.best(state.archs, state.scores, more="--budget").arch
        state = state._replace(cell=state.cell + 1, first=state.scored, base=base, learner=self._start[1])
        return self._asking(state, state.archs[:0], {})

    def _inputs(self, archs: np.ndarray) -> np.ndarray:
        """The prior's standardised scores `[N, F]`; what failed is as bad as can be."""
        if self.task.prior is None:
            return np.zeros((len(archs), 0), np.float32)
        scores = self._prior_scale.to_units(self.task.prior(archs))
        return np.clip(np.nan_to_num(scores, nan=-CLIP), -CLIP, CLIP).astype(np.float32)

    def _scale(self, state: Learned) -> Scale:
        """Of the scores of the first round."""
        first = self._means(state.scores)[: self.how.batch]
        if self.form.fractions:
            return Scale(np.zeros(first.shape[1]), np.nanmax(np.abs(first), 0))
        return Scale.of(first)

    def _means(self, scores: Scores) -> np.ndarray:
        return np.stack([scores[name].value.mean(0) for name in self._targets], -1)

    def _retrained(self, state: Learned) -> Learner:
        """The learner after `ticks` times all that it learns from."""
        rows = self._learned_from(state)
        archs, scores = state.archs[rows], take(state.scores, rows.tolist())
        weights = self._weights(archs, scores)
        if not weights.any():
            return state.learner
        beside = [np.zeros((len(archs), 0)), np.zeros((len(archs), 0))]
        if self._perceptron:
            beside = [self._inputs(archs), np.nan_to_num(self._scale(state).to_units(self._means(scores)))]
        columns = (self._cell(state).vectors(archs), *beside, weights)
        known = Known(*(jnp.asarray(padded(column, self.task.budget)) for column in columns))
        steps = self.form.ticks * -(-len(archs) // weighted.BATCH)
        key = jax.random.fold_in(jax.random.key(self.task.seed), state.scored)
        return weighted.retrain(self._models, state.learner, known, key, steps)

    def _learned_from(self, state: Learned) -> np.ndarray:
        """The rows of what was scored in the search of this cell, of a round that is larger than the first the best."""
        ends = np.cumsum([record["asked"] for record in state.records])
        pairs = itertools.pairwise([0, *ends])
        rounds = [np.arange(start, end) for start, end in pairs if state.first <= start < end]
        ranks = [self.task.goal.ranks(take(state.scores, rows.tolist())) for rows in rounds]
        best = [rows[np.argsort(of, kind="stable")[: self.how.batch]] for rows, of in zip(rounds, ranks, strict=True)]
        return np.sort(np.concatenate(best))

    def _weights(self, archs: np.ndarray, scores: Scores) -> np.ndarray:
        """The weights `[N]` of what is learned from; 0 for what has no graph or lacks a score."""
        goal = self.task.goal
        goals = [replace(goal, signs={name: sign}) for name, sign in goal.signs.items()] if self.form.apart else [goal]
        there = self._code.fits(archs) & np.isfinite(goal.ranks(scores))
        weights = [weighted.rank_weights(places(np.where(there, each.ranks(scores), np.nan))) for each in goals]
        return np.sum(weights, 0) if self.form.ranked else there.astype(float)

    def _proposals(self, state: Learned) -> Proposals:
        return propose(
            self.task.space,
            self._cell(state),
            lambda noise: weighted.generate(self._models, state.learner, noise),
            state.archs,
            enough=self.form.candidates,
            subset=self.form.subset,
            seed=(self.task.seed, state.scored),
        )

    def _predicted(self, state: Learned, found: Proposals) -> dict[str, np.ndarray]:
        """Predictions `[N]` of every target for the proposals; of what has no limit its ranks among what was scored."""
        if self._perceptron:
            return self._by_perceptron(state, found)
        rows = slice(state.first, state.scored)
        known = self._means(take(state.scores, rows))
        features = self._features(state, np.concatenate([state.archs[rows], found.archs]))
        predicted = {}
        for name, column in zip(self._targets, known.T, strict=True):
            there = np.flatnonzero(np.isfinite(column))
            targets = column[there] if name in self.task.goal.limited else unit_ranks(column[there])
            predicted[name] = self._fit_predict(features, there, targets)[len(column) :]
        return predicted

    def _fit_predict(self, features: np.ndarray, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Predictions for all `features` `[N, P]` from those of `rows` `[n]`; zeros without any."""
        if not len(rows):
            return np.zeros(len(features))
        if self.form.surrogate == "processes":
            return processes.fit_predict(features, rows, targets)
        from jaxnas.learn import trees  # whose package is of the extra `learn`

        return trees.fit_predict(features, rows, targets, seed=self.task.seed)

    def _features(self, state: Learned, archs: np.ndarray) -> np.ndarray:
        """What processes and trees read of architectures, `[N, P]`: the graph, numbers and paths of its ops, the prior.

        Of a space of several cells those that are not searched are all the same.
        """
        graphs = graph_features(self._code, self._code.encode(archs))
        blocks = [self._cell(state).vectors(archs), graphs, self._inputs(archs)]
        return np.concatenate([_standard(block) for block in blocks if block.shape[1]], 1)

    def _by_perceptron(self, state: Learned, found: Proposals) -> dict[str, np.ndarray]:
        soft = self.task.prior is None and self.form.retraining.soft
        vectors = found.soft if soft else self._cell(state).vectors(found.archs)
        inputs = np.concatenate([vectors, self._inputs(found.archs)], 1)
        rows = jnp.asarray(padded(inputs, self.form.candidates + CHUNK))
        predicted = np.asarray(weighted.predict(self._models, state.learner, rows))[: len(inputs)]
        return dict(zip(self._targets, self._scale(state).from_units(predicted).T, strict=True))

    def _order(self, predicted: dict[str, np.ndarray]) -> np.ndarray:
        """The proposals' rows from the best prediction to the worst."""
        scores = {n: Finished(v[None], np.zeros((1, len(v)), int), {}) for n, v in predicted.items()}
        return np.argsort(self.task.goal.ranks(scores), kind="stable")


def _standard(block: np.ndarray) -> np.ndarray:
    """Return `[N, P]` as columns with mean 0, and rows at a root mean squared distance of 1."""
    deviation = block.std(0)
    varies = deviation > 0
    scaled: np.ndarray = (block - block.mean(0))[:, varies] / deviation[varies]
    return scaled / np.sqrt(2 * max(varies.sum(), 1))


def places(ranks: np.ndarray) -> np.ndarray:
    """The places `[N]` by sums of ranks `[N]`, 0 = best; equal ones share theirs, those without have none."""
    found = np.full(len(ranks), np.nan)
    known = np.isfinite(ranks)
    found[known] = mean_ranks(ranks[known])
    return found


def make(task: Task, options: AgnetOptions, form: Form | None = None) -> Method:
    """Return the method for `task`, or raise a `UserError` about the first number that is not possible."""
    check_least(options, {"batch": 1, "layers": 1, "pretrain": 32}, "agnet.")
    form = FORMS[options.preset] if form is None else form
    given = {name: number for name in ("candidates", "ticks") if (number := getattr(options, name)) is not None}
    check_least(form := replace(form, **given), {"ticks": 0, "candidates": options.batch}, "agnet.")
    method = AgNet(task, options, form)
    cells = code_of(task.space).cells
    if cells > 1 and isinstance(task.space, Subspace):
        raise UserError(
            f"--method agnet changes one of the {cells} cells of {task.space.name} at a time, and a table has hardly "
            "any two rows that agree in the other; say another --method, or an --oracle that is a function"
        )
    check_budget(task, cells * options.batch, f"a first round of {options.batch} for each of {cells} cells")
    return method
