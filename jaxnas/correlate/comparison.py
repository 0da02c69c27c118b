"""How the scores of one space agree with its target.

Every correlation is oriented so that positive means "the score agrees with the target", and an architecture whose
score failed counts as ranked last, tied with the other failures.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from jaxnas import spaces
from jaxnas.cli import process
from jaxnas.correlate.pairs import Pair
from jaxnas.errors import UserError
from jaxnas.ranks import Agreement, Floats, Ints, compare, ordering
from jaxnas.spaces import Space
from jaxnas.tables.measured import join, read_measured
from jaxnas.tables.store import read_scores

BASELINES = {"params": "#params", "flops": "FLOPs", "live_flops": "live FLOPs"}
STORED = ("params", "flops")  # of these, what a table of scores must have


@dataclass(frozen=True)
class Compared:
    """The scores of a pair beside its target, read and joined.

    Attributes:
      pair: where they come from.
      name: of the space.
      joined: how many architectures either side has, and how many of them were left out.
      table: what was read of the table of measured values.
      signs: of each score, +1 where higher is better; the baselines are the last three.
      scores: values `[n]` by name of the score; NaN is a failure.
      target: measured values `[n]`.
    """

    pair: Pair
    name: str
    joined: Mapping[str, int]
    table: Mapping[str, Any]
    signs: Mapping[str, int]
    scores: Mapping[str, Floats]
    target: Floats

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


@dataclass(frozen=True)
class Comparison:
    """A pair and its figures, by name of the score."""

    measured: Compared
    agreements: Mapping[str, Agreement]


def read(pair: Pair) -> Compared:
    """Read both sides of a pair and join them; say on standard error which scores are left out.

    Raises:
      UserError: the directory or the table cannot be used, or they have no architecture in common.
    """
    scores, manifest = read_scores(pair.scores)
    space = space_of(pair.scores, manifest)
    archs = space.from_table({space.string_columns[0]: scores["arch"]})
    if "live_flops" not in scores.columns:
        scores = scores.with_columns(live_flops=space.flops(space.live(archs)))
    chosen = signs(manifest, scores.columns)
    for name in sorted(manifest["scorers"].keys() - chosen.keys()):
        process.say(f"note: {pair.scores}: {name} is left out, it has no column until the run is finished")
    known = read_measured(space, pair.measured())
    joined = join(space, archs, known)
    values = scores[joined.rows]
    return Compared(
        pair=pair,
        name=pair.name or manifest["settings"]["space"],
        joined=joined.counts,
        table=known.counts(),
        signs=chosen,
        scores={name: values[name].cast(pl.Float64).to_numpy() for name in chosen},
        target=known.values[joined.places],
    )


def space_of(path: Path, manifest: Mapping[str, Any]) -> Space:
    """The space of a directory of scores; `UserError` if it says none, or one that is not there."""
    name = manifest["settings"].get("space")
    if not name:
        raise UserError(f"{path}: its manifest names no space; give a directory that jaxnas.score wrote")
    try:
        return spaces.get(name)
    except UserError as error:
        raise UserError(f"{path} has scores of the space {name}: {error}") from None


def signs(manifest: Mapping[str, Any], columns: Collection[str]) -> dict[str, int]:
    """The sign of each score to compare: those of the manifest that have a column, then the baselines.

    A score that needs the whole table, such as `te_nas`, has no column while its run is unfinished.

    Raises:
      UserError: the manifest lists no scores, or a baseline has no column.
    """
    missing = [name for name in STORED if name not in columns]
    if missing or "scorers" not in manifest:
        lacks = f"column {missing[0]!r}" if missing else "list of scorers in its manifest"
        raise UserError(f"the directory of scores has no {lacks}; give one that jaxnas.score wrote")
    scorers = {name: int(entry["sign"]) for name, entry in manifest["scorers"].items() if name not in BASELINES}
    return {name: sign for name, sign in scorers.items() if name in columns} | dict.fromkeys(BASELINES, 1)
