"""Measured values of architectures, from a table of the user's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnas.errors import UserError
from jaxnas.spaces import Space
from jaxnas.tables.archs import Table, read_architectures
from jaxnas.tables.joins import Match, distinct, match


class Target(NamedTuple):
    """What was measured.

    Attributes:
      table: file.
      column: of the values.
      key: column of the architectures; None for what the space finds.
      lower_is_better: the values are errors or losses.
    """

    table: Path
    column: str
    key: str | None = None
    lower_is_better: bool = False

    @property
    def sign(self) -> int:
        return -1 if self.lower_is_better else 1


@dataclass(frozen=True, eq=False)
class Measurements:
    """Measured values of different architectures.

    Attributes:
      archs: `[n, A]`, in the order of their first rows; where the benchmark lists one of a class, that one.
      values: means `[n]` over an architecture's rows.
      spread: standard deviations `[n]` over these, NaN for one row.
      repeats: rows `[n]` of each.
      rows: of the table.
      empty: rows without a value.
    """

    archs: np.ndarray
    values: np.ndarray
    spread: np.ndarray
    repeats: np.ndarray
    rows: int
    empty: int

    def counts(self) -> dict[str, Any]:
        """What was read, for JSON."""
        several = self.repeats > 1
        return {
            "rows": self.rows,
            "rows_without_value": self.empty,
            "architectures": len(self.archs),
            "most_rows_per_architecture": int(self.repeats.max()),
            "median_spread_of_several_rows": float(np.median(self.spread[several])) if several.any() else None,
        }


def measured(space: Space, table: Table, column: str) -> Measurements:
    """The measured values of a table; of an architecture with several rows, such as seeds, their mean.

    Raises:
      UserError: there is no such column, or no number in it.
    """
    values = table.numbers(column)
    known = np.isfinite(values)
    if not known.any():
        raise UserError(f"{table.path}: the column {column!r} has no finite number; name another one")
    first, owner = distinct(space, archs := table.archs[known])
    means, deviations, repeats = averages(values[known], owner)
    return Measurements(space.as_listed(archs[first]), means, deviations, repeats, len(known), int((~known).sum()))


def averages(values: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, standard deviation and number `[n]` of the finite ones of the `values` `[N]` of each owner.

    The mean of none is NaN, and so is the deviation of less than two.
    """
    known = np.isfinite(values)
    total, values, owner = int(owner.max()) + 1, values[known], owner[known]
    repeats = np.bincount(owner, minlength=total)
    means = np.bincount(owner, values, total) / np.where(repeats > 0, repeats, np.nan)
    squares = np.bincount(owner, (values - means[owner]) ** 2, total)
    return means, np.sqrt(squares / np.where(repeats > 1, repeats - 1, np.nan)), repeats


def read_measured(space: Space, target: Target) -> Measurements:
    """The measured values that a target names; see `measured`."""
    return measured(space, read_architectures(target.table, space, target.key), target.column)


def of_rows(counts: Mapping[str, Any]) -> str:
    """Return in words what a table's `counts` say beside the number of architectures; empty if there is nothing."""
    parts = [f"{counts['rows_without_value']:,} of {counts['rows']:,} rows have no value"]
    parts = parts if counts["rows_without_value"] else []
    if (spread := counts["median_spread_of_several_rows"]) is not None:
        parts.append(
            f"up to {counts['most_rows_per_architecture']} rows per architecture: their means; standard deviation over "
            f"the rows {spread:.3g} (median)"
        )
    return "; ".join(parts)


class Join(NamedTuple):
    """Scored architectures beside the measured ones.

    Attributes:
      rows: of the scored ones that are measured `[n]`.
      places: of these among the measured ones `[n]`.
      counts: how many there are on either side, and how many were left out.
    """

    rows: np.ndarray
    places: np.ndarray
    counts: dict[str, int]


def join(space: Space, scored: np.ndarray, known: Measurements) -> Join:
    """Join scored architectures `[N, A]` with measured ones; each of these is used once.

    Raises:
      UserError: no architecture is in both.
    """
    first, _ = distinct(space, scored)
    found: Match = match(space, scored[first], known.archs, once=True)
    there = found.rows >= 0
    if not there.any():
        example = f"{space.decode(scored[0])!r} is scored" if len(scored) else "nothing is scored"
        raise UserError(f"the scores and the table have no architecture in common ({example}); is it the same space?")
    counts = {
        "scored": len(first),
        "scored_twice": len(scored) - len(first),
        "scored_left_out": int((~there).sum()),
        "measured": len(known.archs),
        "measured_left_out": len(known.archs) - int(there.sum()),
        "isomorphic": found.isomorphic,
    }
    return Join(first[there], found.rows[there], counts)


def of_join(counts: Mapping[str, int]) -> str:
    """Return in words what a join's `counts` say."""
    both = counts["scored"] - counts["scored_left_out"]
    return (
        f"{both:,} of {counts['scored']:,} scored architectures are measured"
        + f", {counts['isomorphic']:,} of them by an isomorphic one" * bool(counts["isomorphic"])
        + f"; {counts['scored_twice']:,} are scored twice" * bool(counts["scored_twice"])
        + f"; {counts['measured_left_out']:,} of {counts['measured']:,} measured ones have no score"
    )
