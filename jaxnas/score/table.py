"""From scores to a table on the disk: which architectures, in which parts, with which columns."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl

from jaxnas.cli import process
from jaxnas.cli.options import own_files
from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import Evaluator, launch_all, one_repeat, summarise
from jaxnas.score.work import Piece, Work
from jaxnas.scorers.consensus import Calibrated, Consensus
from jaxnas.scorers.protocol import AnyScore, Combined, Count
from jaxnas.scorers.registry import DEFAULTS, load
from jaxnas.spaces import Space
from jaxnas.tables.archs import is_table, read_architectures
from jaxnas.tables.joins import different, distinct
from jaxnas.tables.store import Store
from jaxnas.types import Finished, Status

Started = Callable[[], pl.DataFrame]
REFERENCE = "reference.json"
DIGITS = 1000  # of numbers on the command line: Python reads 4,300
ARCHS = "all, random:N, a table (.csv, .parquet, ...), an index of the benchmark, an architecture"


class Listed(NamedTuple):
    """The different architectures `[N, E]` of a list in its order, and how many rows it has."""

    archs: np.ndarray
    rows: int

    def counts(self) -> dict[str, int]:
        """What was read, for JSON."""
        return {"rows": self.rows, "repeats": self.rows - len(self.archs), "architectures": len(self.archs)}


def read_archs(space: Space, spec: str, seed: int, key: str | None = None, *, dedup: bool = True) -> Listed:
    """The architectures that `all`, `random:N`, a table, an index or a string names.

    Args:
      key: column of the table; None for what the space finds.
      dedup: of a table, isomorphic architectures of which the benchmark lists one are one; else only equal ones are.
    """
    if is_table(spec) and spec != "all" and not spec.startswith("random:"):
        return _read_file(space, Path(spec), key, dedup=dedup)
    archs = _named(space, spec, seed)
    return Listed(archs, len(archs))


def _named(space: Space, spec: str, seed: int) -> np.ndarray:
    if spec == "all":
        return space.enumerate()
    if spec.startswith("random:"):
        number = spec.removeprefix("random:")
        if not is_number(number):
            raise UserError(f"--archs {spec[:30]}: {number[:30]!r} is not a number; say for instance random:100")
        return space.sample(jax.random.key(seed), int(number))
    try:
        return space.encode(spec)[None]
    except UserError as error:
        if spec and (not spec.isalpha() or "did you mean" in str(error)):
            raise
        raise UserError(f"--archs {spec!r} is none of {ARCHS}: {error}") from None


def is_number(text: str) -> bool:
    """Say whether `text` is a whole number from 0 on, and short enough for Python to read."""
    return text.isdecimal() and len(text) < DIGITS


def columns(name: str, scores: Finished) -> dict[str, pl.Series]:
    """The columns of a measured score.

    They are `name`, `name_std`, `name_status`, of several repeats `name_repeats` with the value of each, and one for
    each piece of information `[N, R, ...]`. What was not run has neither information nor repeats (null).
    """
    value, deviation, status = summarise(scores)
    out = {
        name: pl.Series(value).fill_nan(None),
        f"{name}_std": pl.Series(deviation).fill_nan(None),
        f"{name}_status": pl.Series([Status(s).name for s in status], dtype=pl.String),
    }
    ran = status != Status.disconnected
    if len(scores.value) > 1:
        out[f"{name}_repeats"] = _lists(scores.value.T, ran, pl.Float64).list.eval(pl.element().fill_nan(None))
    return out | {
        f"{name}_{key}": _lists(np.moveaxis(found, 0, 1).astype(np.float32), ran, pl.Float32)
        for key, found in scores.info.items()
    }


def unrepeated(name: str, scores: Finished) -> dict[str, pl.Series]:
    """The columns of a score `[N]` that is not measured: those of one that is, without a deviation."""
    return {column: of for column, of in columns(name, one_repeat(scores)).items() if column != f"{name}_std"}


def counted(name: str, scorer: Count, space: Space, archs: np.ndarray) -> dict[str, pl.Series]:
    """The columns of a count; whole numbers where the space counts in such."""
    counts = scorer.of(space, archs)
    found = unrepeated(name, scorer.finish(counts))
    whole = np.issubdtype(counts.dtype, np.integer)
    return found | ({name: found[name].cast(pl.Int64)} if whole else {})


def _lists(rows: np.ndarray, ran: np.ndarray, dtype: pl.DataType | type[pl.DataType]) -> pl.Series:
    """A column of lists from `rows` `[N, ...]`, null where `ran` `[N]` is false."""
    for _ in rows.shape[1:]:
        dtype = pl.List(dtype)
    return pl.Series([row if some else None for row, some in zip(rows.tolist(), ran, strict=True)], dtype=dtype)


def derive(frame: pl.DataFrame, scorers: dict[str, AnyScore], *, relative: bool) -> pl.DataFrame:
    """Add the scores that are made of others: those that compare the whole set, or those that do not."""
    for name, scorer in scorers.items():
        if isinstance(scorer, Combined) and scorer.relative == relative:
            frame = frame.with_columns(**unrepeated(name, scorer.combine(_finished(frame, scorer.needs))))
    return frame


def relative(settings: Mapping[str, Any]) -> dict[str, AnyScore]:
    """The scores of a run that compare the whole set, from its settings.

    Raises:
      UserError: a score of the user's is not there, or has changed since.
    """
    own = settings.get("own_scores", [])
    changed = [path for path, known in own_files(*own).get("files", {}).items() if settings["files"].get(path) != known]
    if changed:
        raise UserError(f"{changed[0]} has changed since the run; give back the file that it was made with")
    known = DEFAULTS | {score.name: score for score in map(load, own)}
    found = {name: known[name] for name in settings["scorers"]}
    return {name: one for name, one in found.items() if isinstance(one, Combined) and one.relative}


def put_reference(store: Store, scorers: Mapping[str, AnyScore]) -> None:
    """Write what the consensus compares with, and the weights that follow from it, beside the table."""
    consensus = scorers.get(Consensus.name)
    if isinstance(consensus, Calibrated):
        text = json.dumps(consensus.reference.to_json(), indent=1, allow_nan=False)
        store.put(REFERENCE, f"{text}\n".encode())


def launch(piece: Piece, evaluators: list[Evaluator], space: Space, scorers: dict[str, AnyScore]) -> Started:
    """Start scoring some rows and return the function that waits for their table."""
    waiting = launch_all(evaluators, piece.run)
    return lambda: rows_of(piece, {name: wait() for name, wait in waiting.items()}, space, scorers)


def rows_of(piece: Piece, measured: Mapping[str, Finished], space: Space, scorers: dict[str, AnyScore]) -> pl.DataFrame:
    """The rows of a piece.

    Args:
      piece: the rows.
      measured: scores `[R, M]` of what was run, by name.
      space: of the architectures.
      scorers: all scores, by name.
    """
    run, source, archs = piece.run, piece.source, piece.archs
    copied = (run[source] != archs).any(-1)
    frame: dict[str, Any] = {
        "row": piece.rows.astype(np.int64),
        "arch_id": space.arch_ids(archs),
        "arch": [space.decode(a) for a in archs],
        "scored_as": [space.decode(a) if c else None for a, c in zip(run[source], copied, strict=True)],
    }
    for name, scorer in scorers.items():
        if isinstance(scorer, Count):
            frame |= counted(name, scorer, space, space.as_listed(archs))
        elif name in measured:
            scores = measured[name]
            info = {key: found[:, source] for key, found in scores.info.items()}
            frame |= columns(name, Finished(scores.value[:, source], scores.status[:, source], info))
    part = pl.DataFrame(frame, schema_overrides={"arch_id": pl.Int64, "scored_as": pl.String})
    return derive(part, scorers, relative=False)


def in_memory(work: Work, evaluators: list[Evaluator], space: Space, scorers: dict[str, AnyScore]) -> pl.DataFrame:
    """The whole table, which is written nowhere."""
    size = work.part_size
    frames = [launch(work.piece(part, size), evaluators, space, scorers)() for part in range(work.parts(size))]
    return derive(pl.concat(frames, how="diagonal_relaxed").sort("row"), scorers, relative=True)


def describe(scorers: dict[str, AnyScore]) -> dict[str, dict[str, Any]]:
    """What a reader of the table must know of each score."""
    return {n: {"sign": s.sign, "paper": s.paper, "cost": s.cost} for n, s in scorers.items()}


def _finished(frame: pl.DataFrame, names: tuple[str, ...]) -> dict[str, Finished]:
    return {
        name: Finished(
            frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
            np.array([Status[s] for s in frame[f"{name}_status"]]),
            {},
        )
        for name in names
    }


def _read_file(space: Space, path: Path, key: str | None, *, dedup: bool) -> Listed:
    """Return the different architectures of a file; say how many it lists again."""
    try:
        archs = read_architectures(path, space, key).archs
    except UserError as error:
        raise UserError(f"--archs {error}") from None
    first, _ = distinct(space, archs) if dedup else different(archs)
    if again := len(archs) - len(first):
        process.note(f"{path}: {again:,} of {len(archs):,} rows repeat an architecture, which counts once")
    return Listed(archs[first], len(archs))
