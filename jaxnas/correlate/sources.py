"""Where scores come from: runs of `jaxnas score`, built tables, and tables of a user's, several of them together."""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from jaxnas import spaces
from jaxnas.cli import process
from jaxnas.errors import UserError, unknown
from jaxnas.ranks import Floats
from jaxnas.scorers.registry import DEFAULTS, RESERVED
from jaxnas.spaces import Space
from jaxnas.tables.archs import Table, named, numbers, read_architectures, read_table
from jaxnas.tables.joins import distinct, match
from jaxnas.tables.named import PREFIX, is_named
from jaxnas.tables.release import SEED
from jaxnas.tables.store import is_built, read_seeds

BASELINES = {"params": "#params", "flops": "FLOPs", "live_flops": "live FLOPs"}
STORED = ("params", "flops")  # of these, what a table of scores must have
INDICES = ("arch_id", "idx")  # columns with the benchmark's own indices
NO_SCORES = re.compile(r"index|.*_(std|status)")  # of a user's table, beside indices and `RESERVED`


class Scores(NamedTuple):
    """The scores of the architectures that all sources have.

    Attributes:
      name: of their space, as it was asked for.
      space: theirs.
      archs: `[N, A]`.
      signs: of each score, +1 where higher is better; the baselines are the last three.
      values: of each score the values `[N]` by seed, NaN where there is none.
      seed: with which those that are measured were; None where they differ, or a table of a user's does not say.
    """

    name: str
    space: Space
    archs: np.ndarray
    signs: dict[str, int]
    values: dict[str, dict[int, Floats]]
    seed: int | None


@dataclass(frozen=True)
class _Rows:
    """Scores of one source with one seed.

    Attributes:
      spec: of the source, for messages and labels.
      seed: of the scores.
      archs: `[N, A]`.
      frame: their columns.
      signs: of the scores that count.
      kinds: of each of them, what it is: equal for scores that differ in their seeds alone.
    """

    spec: str
    seed: int
    archs: np.ndarray
    frame: pl.DataFrame
    signs: Mapping[str, int]
    kinds: Mapping[str, str]

    def values(self, column: str, rows: np.ndarray) -> Floats:
        """The values `[n]` of a column in these rows `[n]`, NaN where there is none."""
        return numbers(Path(self.spec), self.frame, column)[rows]


@dataclass
class _Score:
    """One score, and the rows that have it, by seed."""

    name: str
    sign: int
    of: dict[int, int] = field(default_factory=dict)  # seed: place in the list of rows


def read_sources(specs: Sequence[str], space_name: str | None = None) -> Scores:
    """The scores that several sources have of the architectures in all of them.

    Args:
      specs: each a run, a built table, `table:NAME` or a table of a user's, perhaps with `:SCORE,SCORE`.
      space_name: of the architectures; None where a run or a built table says it.

    Raises:
      UserError: one cannot be read, or they do not go together.
    """
    split = [_split(spec) for spec in specs]
    runs = {path: read_seeds(path) for path, _ in split if not _is_users(path)}
    manifests = {path: manifest for path, (_, manifest) in runs.items()}
    space = _space(manifests, specs[0], space_name)
    rows: list[_Rows] = []
    for path, wanted in split:
        rows += _of_run(path, wanted, *runs[path], space) if path in runs else _of_user(path, wanted, space)
    places = _common(space, rows)
    archs = rows[0].archs[places[0]]
    signs, values = _by_score(rows, places)
    stored = rows[0].frame.columns if rows[0].spec in runs else []
    for name, count in _counts(space, archs).items():
        values[name] = {0: rows[0].values(name, places[0]) if name in stored else count()}
    called = space_name or str(next(iter(manifests.values()))["settings"]["space"])
    first = {min(values[name]) for name in signs}
    seed = first.pop() if len(first) == 1 and len(runs) == len(split) else None
    return Scores(called, space, archs, signs | dict.fromkeys(BASELINES, 1), values, seed)


def space_of(path: str | Path, manifest: Mapping[str, Any]) -> Space:
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


def _split(spec: str) -> tuple[str, list[str]]:
    """The path and the scores of `PATH:SCORE,SCORE`."""
    path, colon, names = spec.rpartition(":")
    if not colon or path == PREFIX.rstrip(":") or Path(spec).exists():
        return spec, []
    return path, [name.strip() for name in names.split(",")]


def _is_users(path: str) -> bool:
    return not is_named(path) and Path(path).is_file() and not is_built(path)


def _space(manifests: Mapping[str, Mapping[str, Any]], first: str, name: str | None) -> Space:
    """The one space of all runs, or the named one."""
    found = {path: space_of(path, manifest) for path, manifest in manifests.items()}
    if not found and name is None:
        raise UserError(f"{first} does not say of which space its architectures are; say --space NAME")
    chosen = next(iter(found.values())) if name is None else spaces.get(name)
    for path, other in found.items():
        if not spaces.same_scores(chosen, other):
            raise UserError(
                f"{path} has scores of the space {other.name}, not of {chosen.name}; give those of one space"
            )
    return chosen


def _of_run(
    path: str, wanted: Sequence[str], frames: Mapping[int, pl.DataFrame], manifest: Mapping[str, Any], space: Space
) -> Iterator[_Rows]:
    columns = next(iter(frames.values())).columns
    known = {name: sign for name, sign in signs(manifest, columns).items() if name not in BASELINES}
    for name in sorted(manifest["scorers"].keys() - known.keys() - BASELINES.keys()):
        process.note(f"{path}: {name} is left out, it has no column until the run is finished")
    chosen = [_known(path, name, known) for name in wanted] or [*known]
    settings = manifest["settings"]
    shared = {key: settings.get(key) for key in ("space", "repeats", "data", "files")}
    kinds = {name: json.dumps([name, settings.get("scorers", {}).get(name), shared]) for name in chosen}
    for seed, frame in frames.items():
        archs = space.from_table({space.string_columns[0]: frame["arch"]})
        yield _Rows(path, seed, archs, frame, {name: known[name] for name in chosen}, kinds)


def _of_user(path: str, wanted: Sequence[str], space: Space) -> Iterator[_Rows]:
    """The rows of a user's table; more is better but for jaxnas's own scores and after a minus."""
    table = _with_architectures(Path(path), space)
    numeric = [name for name, kind in table.frame.schema.items() if kind.is_numeric()]
    beside = {*RESERVED, *BASELINES, *INDICES, *space.string_columns}
    scores = [name for name in numeric if name not in beside and not NO_SCORES.fullmatch(name)]
    own: dict[str, int] = {}
    for name in wanted or scores:
        column = _known(path, name if name in numeric else name.removeprefix("-"), numeric)
        own[column] = -1 if column != name else DEFAULTS[column].sign if column in DEFAULTS else 1
    if not own:
        raise UserError(f"{path} has no column of numbers beside its architectures; give scores in columns")
    kinds = {name: json.dumps([path, name]) for name in own}
    seeds = table.frame[SEED].cast(pl.Int64).to_numpy() if SEED in numeric else np.zeros(len(table.frame), int)
    for seed in np.unique(seeds):
        yield _Rows(path, int(seed), table.archs[seeds == seed], table.frame.filter(seeds == seed), own, kinds)


def _with_architectures(path: Path, space: Space) -> Table:
    """A user's table, by its strings or else by the benchmark's indices."""
    try:
        return read_architectures(path, space)
    except UserError:
        index = named(read_table(path).columns, INDICES)
        if index is None or named(read_table(path).columns, space.string_columns):
            raise
        return read_architectures(path, space, index)


def _known(path: str, name: str, known: Collection[str]) -> str:
    if name not in known:
        raise unknown(f"score of {path}", name, known)
    return name


def _common(space: Space, rows: Sequence[_Rows]) -> list[np.ndarray]:
    """For each list of rows the places `[n]` of the architectures that all lists have, in the order of the first."""
    first, *others = rows
    if not others:
        return [np.arange(len(first.archs))]
    start, _ = distinct(space, first.archs)
    places = [start, *(match(space, first.archs[start], other.archs, once=True).rows for other in others)]
    there = np.logical_and.reduce([place >= 0 for place in places])
    if not there.any():
        raise UserError(f"no architecture is in all of {', '.join(dict.fromkeys(part.spec for part in rows))}")
    if not there.all():
        process.note(f"{int(there.sum()):,} of the {len(start):,} architectures of {first.spec} are in all sources")
    return [place[there] for place in places]


def _by_score(
    rows: Sequence[_Rows], places: Sequence[np.ndarray]
) -> tuple[dict[str, int], dict[str, dict[int, Floats]]]:
    """The sign of each score, and its values `[n]` by seed; scores of one name are told apart by their sources."""
    found: dict[str, _Score] = {}
    for place, part in enumerate(rows):
        for name, sign in part.signs.items():
            found.setdefault(part.kinds[name], _Score(name, sign)).of.setdefault(part.seed, place)
    several = Counter(score.name for score in found.values())
    signs: dict[str, int] = {}
    values: dict[str, dict[int, Floats]] = {}
    for score in found.values():
        alone = several[score.name] == 1 and score.name not in BASELINES
        name = score.name if alone else f"{rows[min(score.of.values())].spec}:{score.name}"
        signs[name] = score.sign
        values[name] = {seed: rows[at].values(score.name, places[at]) for seed, at in sorted(score.of.items())}
    return signs, values


def _counts(space: Space, archs: np.ndarray) -> dict[str, Callable[[], Floats]]:
    """What counts each of the baselines `[n]` of architectures `[n, A]`."""
    listed = space.as_listed(archs)
    return {
        "params": lambda: space.params(listed).astype(np.float64),
        "flops": lambda: space.flops(listed).astype(np.float64),
        "live_flops": lambda: space.flops(space.live(archs)).astype(np.float64),
    }
