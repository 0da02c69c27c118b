"""What else than training-free scores can say how good an architecture is: a table of measurements, or a function.

Both answer as the scorers do, one repeat. An architecture for which there is no answer gets the status `failed`, and
the search goes on.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from jaxnas.cli import process
from jaxnas.engine import Crew, Here, Task
from jaxnas.errors import UserError, unknown
from jaxnas.search.goal import Scores
from jaxnas.spaces import Space
from jaxnas.spaces.subset import Subspace
from jaxnas.tables.archs import named, numbers, read_architectures, read_table
from jaxnas.tables.joins import distinct
from jaxnas.tables.measured import averages
from jaxnas.tables.named import located
from jaxnas.tables.read import STDIN
from jaxnas.tables.store import Store
from jaxnas.types import Finished, Status
from jaxnas.user_file import fingerprint, load_variable

ROW, ARCH = "_row", "_arch"  # of the first table; no column is called like that
ANSWERS = "answers.jsonl"  # of a function, in the run's directory


class Table:
    """The rows of tables of measurements; of an architecture with several rows, such as seeds, their mean.

    Attributes:
      space: the architectures of the rows; others cannot be asked for.
      fingerprint: 16 hexadecimal digits that change when the files do.
      counts: how many rows and architectures there are, and how many rows the joins left out.

    Args:
      space: of the architectures.
      paths: files; those after the first are joined with it on the columns that they share, or by architecture.
      names: the numeric columns to answer with.

    Raises:
      UserError: a file or a column cannot be used, or an architecture is malformed.
    """

    def __init__(self, space: Space, paths: Sequence[Path], names: Sequence[str]):
        if any(str(path) in STDIN for path in paths):
            raise UserError("--oracle cannot be standard input, which a search that resumes could not read again")
        listed = ", ".join(map(str, paths))
        _, table, archs = read_architectures(paths[0], space)
        table, left_out = _joined(space, table.with_columns(_strings(space, archs)).with_row_index(ROW), paths)
        self.fingerprint = fingerprint(*(located(path).expanduser() for path in paths))
        if len(several := table[ROW].filter(table[ROW].is_duplicated())):
            raise UserError(
                f"{listed}: joined, they have several rows for {space.decode(archs[several[0]])}, "
                "perhaps one for each device; give tables with a single one"
            )
        archs = archs[table[ROW].to_numpy()]
        first, owner = distinct(space, archs)
        self.space = Subspace(space, archs[first])
        columns = {name: averages(numbers(Path(listed), table, name), owner) for name in names}
        self._columns = {name: means for name, (means, _, _) in columns.items()}
        self.counts: dict[str, Any] = {"rows": len(archs), "architectures": len(first), "left_out": left_out} | {
            "spread": {name: float(np.nanmedian(s)) for name, (_, s, _) in columns.items() if np.isfinite(s).any()}
        }

    def note(self) -> str:
        """Return in words what the counts say beside the number of architectures; empty if there is nothing."""
        parts = [
            f"{sides['before']:,} rows before it and {sides['own']:,} of {path} have no partner"
            for path, sides in self.counts["left_out"].items()
            if any(sides.values())
        ]
        if self.counts["rows"] > self.counts["architectures"]:
            spread = ", ".join(f"{name} {value:.3g}" for name, value in self.counts["spread"].items())
            parts.append(
                f"{self.counts['rows']:,} rows for {self.counts['architectures']:,} architectures: their means; "
                f"standard deviation over the rows (median): {spread}"
            )
        return "; ".join(parts)

    def __call__(self, archs: np.ndarray) -> Scores:
        """The values `[1, N]` of architectures `[N, A]`."""
        rows = self.space.rows(archs)
        return {name: _finished(np.where(rows < 0, np.nan, column[rows])) for name, column in self._columns.items()}


class Function:
    """A function of the user, from the string of an architecture to a number, or to several by name.

    Attributes:
      name: what it is called.
      fingerprint: of its file; empty where it was given as such.
      failure: why the last architecture without an answer has none; empty if all have one.

    Args:
      space: of the architectures.
      spec: `path/to/file.py:function`, or the function.
      names: the numbers to answer with; a function that returns a single one is asked for a single name.
    """

    def __init__(self, space: Space, spec: str | Callable[[str], Any], names: Sequence[str]):
        self.space, self._names = space, tuple(names)
        if isinstance(spec, str):
            asked = _loaded(spec, self._names, None)
            self.name, self.fingerprint = spec, asked.fingerprint
        else:
            asked = Asked(spec, self._names)
            self.name, self.fingerprint = getattr(spec, "__qualname__", type(spec).__qualname__), ""
        self.failure, self._engine = "", Here(Crew(lambda devices: asked))
        self._known: dict[str, Mapping[str, float]] = {}
        self._store: Store | None = None

    def keep(self, store: Store) -> None:
        """Write every answer into a run's directory as it comes, and take over those that are there.

        So a search that was stopped asks again for what failed or is missing of the last round, and for nothing else.
        """
        self._store = store
        for record in store.records(ANSWERS):
            if "failed" in record:
                self.failure = record["failed"]
            else:
                answer = record["answer"].items()
                self._know(record["arch"], {name: math.nan if value is None else value for name, value in answer})

    def crew(self, devices: int) -> Crew["Asked"]:
        """Processes that can answer, each with so many devices, where the function's file is the same."""
        setup = functools.partial(_loaded, self.name, self._names)
        another = f"{self.name} is another file there"
        return Crew(setup, devices, _known_as, lambda found: "" if found == self.fingerprint else another)

    def ask_on(self, engine: Here["Asked"]) -> None:
        """Ask the processes of an engine from now on, several at a time."""
        self._engine = engine

    def __call__(self, archs: np.ndarray) -> Scores:
        """The values `[1, N]` of architectures `[N, A]`; NaN where there is none, all of them if the function fails."""
        names = [self.space.decode(arch) for arch in archs]
        new = [name for name in dict.fromkeys(names) if name not in self._known]
        for arch, (answer, failure) in self._engine.each(Task(_start, None, _lost), new):
            if failure:
                self.failure = failure
                process.say(f"note: the oracle failed for {arch}: {failure}")
                self._write({"arch": arch, "failed": failure})
            else:
                self._know(arch, answer)
                self._write({"arch": arch, "answer": {k: v if math.isfinite(v) else None for k, v in answer.items()}})
        none = dict.fromkeys(self._names, math.nan)
        answers = [self._known.get(name, none) for name in names]
        return {name: _finished(np.array([answer[name] for answer in answers], float)) for name in self._names}

    def _know(self, arch: str, answer: Mapping[str, float]) -> None:
        self._known[arch] = answer
        for name, number in answer.items():
            if math.isnan(number):
                self.failure = f"its {name} is no finite number"

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._store is not None:
            self._store.append(ANSWERS, record)


class Asked(NamedTuple):
    """A function and the numbers that it is asked for.

    Attributes:
      function: from an architecture's string.
      names: of the numbers.
      fingerprint: of the function's file.
    """

    function: Callable[[str], Any]
    names: tuple[str, ...]
    fingerprint: str = ""

    def answer(self, arch: str) -> tuple[dict[str, float], str]:
        """The numbers, and why there are none, which is empty if there are."""
        try:
            return self._numbers(self.function(arch)), ""
        except Exception as error:
            return {}, f"{type(error).__name__}: {error}"

    def _numbers(self, answer: Any) -> dict[str, float]:
        """The numbers that are asked for, whatever else is in the answer; an exception if there are none."""
        if not isinstance(answer, Mapping):
            if len(self.names) > 1:
                raise TypeError(f"it returned {answer!r}; return a dictionary with {', '.join(self.names)}")
            answer = {self.names[0]: answer}
        for name in self.names:
            if name not in answer:
                raise unknown("number of --oracle", name, map(str, answer))
        numbers = {name: float(answer[name]) for name in self.names}
        return {name: number if math.isfinite(number) else math.nan for name, number in numbers.items()}


def _loaded(spec: str, names: tuple[str, ...], devices: int | None) -> Asked:
    return Asked(load_variable(spec, "--oracle", "function", callable), names, _fingerprint(spec))


def _fingerprint(spec: str) -> str:
    return fingerprint(spec.rpartition(":")[0])


def _known_as(asked: Asked) -> str:
    return asked.fingerprint


def _start(asked: Asked, shared: None, arch: str) -> Callable[[], tuple[dict[str, float], str]]:
    return functools.partial(asked.answer, arch)


def _lost(arch: str, why: str) -> tuple[dict[str, float], str]:
    return {}, f"it ends the process that runs it: {why}"


def _finished(values: np.ndarray) -> Finished:
    return Finished(values[None], np.where(np.isfinite(values), Status.ok, Status.failed)[None], {})


def _strings(space: Space, archs: np.ndarray) -> pl.Series:
    """The column that joins tables by architecture, however they write it."""
    return pl.Series(ARCH, [space.decode(arch) for arch in space.as_listed(archs)], pl.String)


def _joined(space: Space, table: pl.DataFrame, paths: Sequence[Path]) -> tuple[pl.DataFrame, dict[str, dict[str, int]]]:
    """The table from the first path joined with those from the others, in its order; and what that left out."""
    left_out = {}
    for path in paths[1:]:
        more = read_table(path, text=space.string_columns)
        if key := named(more.columns, space.string_columns):
            more = more.with_columns(_strings(space, read_architectures(path, space).archs)).drop(key)
        shared = [name for name in table.columns if name in more.columns]
        if not shared:
            raise UserError(
                f"{path} shares no column with {paths[0]} to join them on; give tables that do, such as idx"
            )
        kinds = {n: table.schema[n] for n in shared if table.schema[n].is_numeric() and more.schema[n].is_numeric()}
        try:
            more = more.cast(kinds)  # type: ignore[arg-type]
            both = table.join(more, on=shared, how="inner", maintain_order="left")
        except pl.exceptions.PolarsError as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"{path} and {paths[0]} cannot be joined on {', '.join(shared)}: {reason}") from None
        if both.is_empty():
            raise UserError(f"{path} and {paths[0]} have no row in common: same values of {', '.join(shared)}")
        own = more.join(table, on=shared, how="anti").height
        left_out[str(path)] = {"before": table.height - both[ROW].n_unique(), "own": own}
        table = both
    return table, left_out
