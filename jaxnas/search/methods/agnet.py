"""AG-Net: a generator of architectures that learns from those that were evaluated.

After a first round of random architectures, every round retrains generator and surrogate on all that was scored,
weighted by rank, draws new architectures from the generator, and asks for those with the best predictions. Spaces of
two cells are searched one cell after the other, each with half of the budget: the other cell is at first that of the
first architecture, then that of the best one found. Where the generator finds too few new architectures, random ones
fill the round.

Under a limit everyone who breaks it comes after everyone who does not; where what is limited is an objective, too, its
rank counts as well (the authors' equation 4), otherwise it does not (their equation 5).

Departures from the authors' code: no graph sees another one's noise, scores are centred at the first round's median
and divided by its quartiles' distance, whatever their unit, and a loss above 1 counts as 1 in single-objective
searches, too.

Source: Lukasik, Jung and Keuper, Learning Where to Look: Generative NAS is Surprisingly Efficient, ECCV 2022.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.errors import UserError, check_least
from jaxnas.learn.agnet import weighted
from jaxnas.learn.agnet.pretrain import Pretraining, code_of, pretrained
from jaxnas.learn.agnet.weighted import Known, Learner, Models
from jaxnas.learn.scale import Scale, padded
from jaxnas.ranks import mean_ranks
from jaxnas.search.goal import Scores, join, take
from jaxnas.search.method import Budgeted, Method, Task, check_budget, is_new
from jaxnas.search.methods.proposals import Cell, Proposals, propose
from jaxnas.spaces.graphs import GraphCode
from jaxnas.spaces.subset import Subspace
from jaxnas.types import Finished

REFERENCE = 100  # random architectures by which the prior's scores are standardised
CLIP = 3.0  # of these, in quartile distances


@dataclass(frozen=True)
class AgnetOptions:
    """Options of the method `agnet`."""

    batch: int = 16
    """Architectures of the first round and of every other one."""
    candidates: int = 100
    """New architectures that the generator proposes each round; the best predictions are asked for."""
    ticks: int = 15
    """Times that generator and surrogate see what was scored, each round (the authors: 15 to 30)."""
    alpha: float = 0.9
    """Share of the surrogate's loss in the retraining (the authors, under limits: 0.95)."""
    rate: float = 1e-3
    """Learning rate of the retraining (the authors, under limits: 2e-4)."""
    pretrain: int = 64_000
    """Graphs that the generator is trained on before its first search of a space; the result is kept in the cache."""
    layers: int = 2
    """Of the generator's graph network (the authors, on DARTS: 4)."""


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
    """

    archs: np.ndarray
    scored: int
    scores: Scores
    cell: int
    first: int
    base: np.ndarray
    learner: Learner
    records: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class AgNet(Budgeted):
    """The best architecture among all that were scored."""

    how: AgnetOptions

    @property
    def rounds(self) -> int:
        ends = [0, *(self._end(cell) for cell in range(self._code.cells))]
        return sum(-(-(end - start) // self.how.batch) for start, end in itertools.pairwise(ends))

    @property
    def batch(self) -> int:
        return self.how.batch

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
        chosen = found.archs[self._order(state, found)] if len(found.archs) else found.archs
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
        features = 0 if self.task.prior is None else self.task.prior(self.task.first(1)).shape[1]
        return weighted.start(
            generator,
            self._code.size + features,
            len(self._targets),
            alpha=self.how.alpha,
            rate=self.how.rate,
            seed=self.task.seed,
        )

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
        size = min(self.how.batch, self._end(state.cell) - state.scored)
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
        return Scale.of(self._means(state.scores)[: self.how.batch])

    def _means(self, scores: Scores) -> np.ndarray:
        return np.stack([scores[name].value.mean(0) for name in self._targets], -1)

    def _retrained(self, state: Learned) -> Learner:
        """The learner after `ticks` times all that was scored in the search of this cell."""
        rows = slice(state.first, state.scored)
        archs = state.archs[rows]
        scores = take(state.scores, rows)
        ranks = places(self.task.goal.ranks(scores))
        weights = weighted.rank_weights(np.where(self._code.fits(archs), ranks, np.nan))
        if not weights.any():
            return state.learner
        goals = np.nan_to_num(self._scale(state).to_units(self._means(scores)))
        columns = (self._cell(state).vectors(archs), self._inputs(archs), goals, weights)
        known = Known(*(jnp.asarray(padded(column, self.task.budget)) for column in columns))
        steps = self.how.ticks * -(-len(archs) // weighted.BATCH)
        key = jax.random.fold_in(jax.random.key(self.task.seed), state.scored)
        return weighted.retrain(self._models, state.learner, known, key, steps)

    def _proposals(self, state: Learned) -> Proposals:
        return propose(
            self.task.space,
            self._cell(state),
            lambda noise: weighted.generate(self._models, state.learner, noise),
            state.archs,
            enough=self.how.candidates,
            seed=(self.task.seed, state.scored),
        )

    def _order(self, state: Learned, found: Proposals) -> np.ndarray:
        """The proposals' rows from the best prediction to the worst."""
        vectors = found.soft if self.task.prior is None else self._cell(state).vectors(found.archs)
        inputs = np.concatenate([vectors, self._inputs(found.archs)], 1)
        rows = padded(inputs, self.how.candidates)
        predicted = np.asarray(weighted.predict(self._models, state.learner, jnp.asarray(rows)))[: len(inputs)]
        values = self._scale(state).from_units(predicted).T[:, None]
        scores = {n: Finished(v, np.zeros(v.shape, int), {}) for n, v in zip(self._targets, values, strict=True)}
        return np.argsort(self.task.goal.ranks(scores), kind="stable")


def places(ranks: np.ndarray) -> np.ndarray:
    """The places `[N]` by sums of ranks `[N]`, 0 = best; equal ones share theirs, those without have none."""
    found = np.full(len(ranks), np.nan)
    known = np.isfinite(ranks)
    found[known] = mean_ranks(ranks[known])
    return found


def make(task: Task, options: AgnetOptions) -> Method:
    """Return the method for `task`, or raise a `UserError` about the first number that is not possible."""
    least = {"batch": 1, "ticks": 1, "candidates": options.batch, "layers": 1, "pretrain": 32}
    check_least(options, least, "agnet.")
    if not 0 <= options.alpha <= 1 or options.rate <= 0:
        raise UserError(
            f"--agnet.alpha must lie in 0 to 1 and --agnet.rate above 0, not {options.alpha}, {options.rate}"
        )
    method = AgNet(task, options)
    cells = code_of(task.space).cells
    if cells > 1 and isinstance(task.space, Subspace):
        raise UserError(
            f"--method agnet changes one of the {cells} cells of {task.space.name} at a time, and a table has hardly "
            "any two rows that agree in the other; say another --method, or an --oracle that is a function"
        )
    check_budget(task, cells * options.batch, f"a first round of {options.batch} for each of {cells} cells")
    return method
