"""What else than training-free scores can say how good an architecture is: a table of measurements, or a function.

Both answer as the scorers do, one repeat. An architecture for which there is no answer gets the status `failed`, and
the search goes on.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from jaxnas.tables import archs as tables
from jaxnas.tables.archs import named, read_architectures, read_table
from jaxnas.tables.joins import distinct
from jaxnas.tables.measured import averages
from jaxnas.tables.read import STDIN
from jaxnas.tables.store import Store, files_of
from jaxnas.types import Finished, Status
from jaxnas.user_file import fingerprint, load_variable

ROW, ARCH = "_row", "_arch"  # of the first table; no column is called like that
ANSWERS = "answers.jsonl"  # of a function, in the run's directory


class AmbiguousError(UserError):
    """A name stands for a score and for a number of the function."""


class Table:
    """The rows of tables of measurements; of an architecture with several rows, such as seeds, their mean.

    Attributes:
      space: the architectures of the rows; others cannot be asked for.
      fingerprint: 16 hexadecimal digits that change when the files do.
      name: the files.
      counts: how many rows and architectures there are, and how many rows the joins left out.

    Args:
      space: of the architectures.
      paths: files; those after the first are joined with it on the columns that they share, or by architecture.
      names: the numeric columns to answer with, unless `ask` says so later.

    Raises:
      UserError: a file or a column cannot be used, or an architecture is malformed.
    """

    def __init__(self, space: Space, paths: Sequence[Path], names: Sequence[str] = ()):
        if any(str(path) in STDIN for path in paths):
            raise UserError("--oracle cannot be standard input, which a search that resumes could not read again")
        listed = ", ".join(map(str, paths))
        _, table, archs = read_architectures(paths[0], space)
        table, left_out = _joined(space, table.with_columns(_strings(space, archs)).with_row_index(ROW), paths)
        self.fingerprint = fingerprint(*(file for path in paths for file in files_of(path)))
        if len(several := table[ROW].filter(table[ROW].is_duplicated())):
            raise UserError(
                f"{listed}: joined, they have several rows for {space.decode(archs[several[0]])}, "
                "perhaps one for each device; give tables with a single one"
            )
        archs = archs[table[ROW].to_numpy()]
        first, self._owner = distinct(space, archs)
        self.space = Subspace(space, archs[first])
        self.name, self._table = listed, table
        self.counts: dict[str, Any] = {"rows": len(archs), "architectures": len(first), "left_out": left_out}
        self.ask(dict(zip(names, names, strict=True)))

    @property
    def columns(self) -> list[str]:
        """What a search can ask for."""
        return [name for name in self._table.columns if name not in (ROW, ARCH)]

    def ask(self, numbers: Mapping[str, str]) -> None:
        """Set the columns to answer with, by the names of the answers."""
        found = {
            name: averages(tables.numbers(Path(self.name), self._table, own), self._owner)
            for name, own in numbers.items()
        }
        self._columns = {name: means for name, (means, _, _) in found.items()}
        spread = {name: float(np.nanmedian(s)) for name, (_, s, _) in found.items() if np.isfinite(s).any()}
        self.counts["spread"] = spread

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
      spec: `path/to/file.py:function`, or the function.
      name: what it is called.
      fingerprint: of its file; empty where it was given as such.
      failure: why the last architecture without an answer has none; empty if all have one.

    Args:
      space: of the architectures.
      spec: see above.
    """

    def __init__(self, space: Space, spec: str | Callable[[str], Any]):
        loaded = Loaded.of(spec)
        self.space, self.spec = space, spec
        self.name = spec if isinstance(spec, str) else getattr(spec, "__qualname__", type(spec).__qualname__)
        self.fingerprint, self.failure = loaded.fingerprint, ""
        self._engine: Here[Any] = Here(Crew(lambda devices: loaded))
        self._numbers: Mapping[str, str] = {}
        self._wanted = Wanted((), frozenset())
        self._known: dict[str, Mapping[str, float]] = {}
        self._store: Store | None = None

    def ask(self, numbers: Mapping[str, str], scores: Iterable[str] = ()) -> None:
        """Set what to answer with.

        Args:
          numbers: by the names of the answers, what the function calls them; one that returns a single number is asked
            for a single one.
          scores: names that are taken for scores, so that the function must not have them.
        """
        self._numbers = numbers
        self._wanted = Wanted(tuple(dict.fromkeys(numbers.values())), frozenset(scores))

    def ask_on(self, engine: Here[Any]) -> None:
        """Ask the processes of an engine from now on, several at a time; what they work with has a `function`."""
        self._engine = engine

    def crew(self, devices: int) -> Crew["Loaded"]:
        """Processes that can answer, each with so many devices, where the function's file is the same."""
        return Crew(functools.partial(_loaded, self.spec), devices, _fingerprint, self.differs)

    def differs(self, found: str) -> str:
        """Why a machine where the function's file has this fingerprint must not take part; empty if it may."""
        return "" if found == self.fingerprint else f"{self.name} is another file there"

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

    def __call__(self, archs: np.ndarray) -> Scores:
        """The values `[1, N]` of architectures `[N, A]`; NaN where there is none, all of them if the function fails."""
        names = [self.space.decode(arch) for arch in archs]
        new = [name for name in dict.fromkeys(names) if name not in self._known]
        for arch, (answer, failure) in self._engine.each(Task(_start, self._wanted, _lost), new):
            if failure:
                self.failure = failure
                process.note(f"the oracle failed for {arch}: {failure}")
                self._write({"arch": arch, "failed": failure})
            else:
                self._know(arch, answer)
                self._write({"arch": arch, "answer": {k: v if math.isfinite(v) else None for k, v in answer.items()}})
        none = dict.fromkeys(self._wanted.numbers, math.nan)
        answers = [self._known.get(name, none) for name in names]
        named = self._numbers.items()
        return {name: _finished(np.array([answer[own] for answer in answers], float)) for name, own in named}

    def _know(self, arch: str, answer: Mapping[str, float]) -> None:
        self._known[arch] = answer
        for name, number in answer.items():
            if math.isnan(number):
                self.failure = f"its {name} is no finite number"

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._store is not None:
            self._store.append(ANSWERS, record)


class Loaded(NamedTuple):
    """A function in the process that calls it.

    Attributes:
      function: from an architecture's string.
      fingerprint: of its file; empty where it was given as such.
    """

    function: Callable[[str], Any]
    fingerprint: str

    @classmethod
    def of(cls, spec: str | Callable[[str], Any]) -> "Loaded":
        """The function that is given as `Function` takes it."""
        if not isinstance(spec, str):
            return cls(spec, "")
        return cls(load_variable(spec, "--oracle", "function", callable), fingerprint(spec.rpartition(":")[0]))


class Wanted(NamedTuple):
    """What is read from an answer.

    Attributes:
      numbers: as the function calls them.
      scores: names that must not be in it.
    """

    numbers: tuple[str, ...]
    scores: frozenset[str]

    def answer(self, function: Callable[[str], Any], arch: str) -> tuple[dict[str, float], str]:
        """The numbers of an architecture, and why there are none, which is empty if there are."""
        try:
            return self._read(function(arch)), ""
        except AmbiguousError:
            raise
        except Exception as error:
            return {}, f"{type(error).__name__}: {error}"

    def _read(self, answer: Any) -> dict[str, float]:
        """The numbers, whatever else is in the answer; an exception if there are none."""
        if not isinstance(answer, Mapping):
            if len(self.numbers) > 1:
                raise TypeError(f"it returned {answer!r}; return a dictionary with {', '.join(self.numbers)}")
            answer = {self.numbers[0]: answer}
        for name in sorted(self.scores.intersection(answer)):
            raise AmbiguousError(f"{name} is a score, and a number of --oracle: say score:{name} or oracle:{name}")
        for name in self.numbers:
            if name not in answer:
                raise unknown("number of --oracle", name, map(str, answer))
        numbers = {name: float(answer[name]) for name in self.numbers}
        return {name: number if math.isfinite(number) else math.nan for name, number in numbers.items()}


def _loaded(spec: str | Callable[[str], Any], devices: int | None) -> Loaded:
    return Loaded.of(spec)


def _fingerprint(loaded: Loaded) -> str:
    return loaded.fingerprint


def _start(state: Any, wanted: Wanted, arch: str) -> Callable[[], tuple[dict[str, float], str]]:
    return functools.partial(wanted.answer, state.function, arch)


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
