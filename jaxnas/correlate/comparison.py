"""How the scores of one space agree with its target.

Every correlation is oriented so that positive means "the score agrees with the target", and an architecture whose
score failed counts as ranked last, tied with the other failures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from jaxnas.correlate.pairs import OF_SCORES, OF_TABLE, Pair
from jaxnas.correlate.seeds import OverSeeds, over_seeds
from jaxnas.correlate.sources import BASELINES, Scores, read_sources
from jaxnas.errors import UserError, unknown
from jaxnas.ranks import Agreement, Floats, Ints, compare, ordering
from jaxnas.tables.archs import Table, named, read_architectures
from jaxnas.tables.measured import Measurements, join, measured, read_measured


@dataclass(frozen=True)
class Compared:
    """The scores of a pair beside its target, read and joined.

    Attributes:
      pair: where they come from.
      name: of the space.
      joined: how many architectures either side has, and how many of them were left out.
      table: what was read of the table of measured values.
      signs: of each score, +1 where higher is better; the baselines are the last three.
      scores: values `[n]` by name of the score; NaN is a failure. Of several seeds those of the first.
      seeds: of the scores with several seeds, the values `[n]` by seed.
      target: measured values `[n]`.
      rows: of the architectures `[n]` among those of the scores.
      seed: of the scores; see `Scores`.
    """

    pair: Pair
    name: str
    joined: Mapping[str, int]
    table: Mapping[str, Any]
    signs: Mapping[str, int]
    scores: Mapping[str, Floats]
    seeds: Mapping[str, Mapping[int, Floats]]
    target: Floats
    rows: Ints
    seed: int | None

    def orderings(self) -> dict[str, Ints]:
        """Return dense ranks `[n]` by name of the score, 0 = worst."""
        return {name: ordering(self.scores[name], sign) for name, sign in self.signs.items()}

    def agreements(self, *, resamples: int, seed: int) -> dict[str, Agreement]:
        """How each score agrees with the target; the arguments are those of the bootstrap."""
        return {
            name: compare(
                self.scores[name],
                self.target,
                self.scores["flops"],
                sign=sign,
                target_sign=-1 if self.pair.lower_is_better else 1,
                label=BASELINES.get(name, name),
                resamples=resamples,
                seed=seed,
            )
            for name, sign in self.signs.items()
        }

    def over_seeds(self) -> dict[str, OverSeeds]:
        """How each score with several seeds agrees with the target."""
        target_sign = -1 if self.pair.lower_is_better else 1
        return {
            name: over_seeds(values, self.target, sign=self.signs[name], target_sign=target_sign)
            for name, values in self.seeds.items()
        }


@dataclass(frozen=True)
class Comparison:
    """A pair and its figures, by name of the score: of the first seed, and over the seeds where there are several."""

    measured: Compared
    agreements: Mapping[str, Agreement]
    over_seeds: Mapping[str, OverSeeds]


def read(pair: Pair) -> Compared:
    """Read both sides of a pair and join them; say on standard error which scores are left out.

    Raises:
      UserError: the scores or the table cannot be used, or they have no architecture in common.
    """
    return against(pair, read_sources(pair.scores, pair.space))


def against(pair: Pair, scores: Scores) -> Compared:
    """Join scores with what a pair says was measured; see `read`."""
    pair, known = _measured(pair, scores)
    joined = join(scores.space, scores.archs, known)
    signs = {name: sign for name, sign in scores.signs.items() if OF_SCORES + name != pair.target}
    values = {name: {seed: of[joined.rows] for seed, of in scores.values[name].items()} for name in signs}
    return Compared(
        pair=pair,
        name=pair.name or scores.name,
        joined=joined.counts,
        table=known.counts(),
        signs=signs,
        scores={name: next(iter(by_seed.values())) for name, by_seed in values.items()},
        seeds={name: by_seed for name, by_seed in values.items() if len(by_seed) > 1},
        target=known.values[joined.places],
        rows=joined.rows,
        seed=scores.seed,
    )


def _measured(pair: Pair, scores: Scores) -> tuple[Pair, Measurements]:
    """What the scores are compared with, a column of the table or one of them, and the pair that says so.

    Raises:
      UserError: it is both, and the pair does not say which is meant.
    """
    if pair.target.startswith(OF_SCORES):
        name = pair.target.removeprefix(OF_SCORES)
        if name not in scores.values:
            raise unknown("score", name, scores.values)
        frame = pl.DataFrame({name: next(iter(scores.values[name].values()))})
        known = measured(scores.space, Table(pair.table, frame, scores.archs), name)
        return replace(pair, lower_is_better=scores.signs[name] < 0), known
    if pair.target in scores.values:
        columns = read_architectures(pair.table, scores.space, pair.key).frame.columns
        if named(columns, [pair.target]):
            raise UserError(
                f"{pair.target} is a score and a column of {pair.table}; say --target {OF_SCORES}{pair.target} or "
                f"--target {OF_TABLE}{pair.target}"
            )
    return pair, read_measured(scores.space, pair.measured())
