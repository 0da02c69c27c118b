"""Files of tables: what kinds there are, and their columns as they stand in the file."""

import codecs
import contextlib
import csv
import functools
import gzip
import io
import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from jaxnas.errors import UserError
from jaxnas.tables.named import is_named, located
from jaxnas.tables.store import MANIFEST, read_scores

STDIN = ("-", "/dev/stdin")
TEXT = (".csv", ".tsv", ".txt")
KINDS = (*TEXT, ".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather", ".ipc")
GIVE = "give .csv, .tsv, .txt (one architecture a line), .json, .jsonl, .parquet, .arrow or .feather, or - for stdin"
SEPARATORS = "\t;,"
WHOLE_LINE = "\x1f"  # a separator that does not occur
LONGEST = 2**31 - 1  # characters of a cell, as many as `csv` takes everywhere
LIST = "arch"  # the column of a file that is a list of architectures
NO_HEADER = re.compile(r"[{\[(|]|[\d:_-]+$|.*\b(Genotype|Structure)\(")  # an architecture, no name of a column


class Rows(NamedTuple):
    """The columns of a file.

    Attributes:
      frame: as they stand in the file; those of a text file are text.
      lines: of the file, from 1, in which the rows end; None where a file has no lines.
      separator: of the columns of a text file; empty where a file has none.
    """

    frame: pl.DataFrame
    lines: Sequence[int] | None = None
    separator: str = ""


def is_table(spec: str) -> bool:
    """Say whether `spec` names a table, rather than an architecture: the file exists, or is called like one."""
    called = re.fullmatch(r"[^\s|(){}\[\]]+\.[a-z][a-z0-9]{1,6}", spec.lower())
    return spec in STDIN or is_named(spec) or called is not None or os.path.exists(os.path.expanduser(spec))


def read_rows(path: Path, is_architecture: Callable[[str], bool]) -> Rows:
    """The columns of a file, of a run's directory, of `table:NAME`, or of standard input if it is called `-`.

    Args:
      path: its suffix says what it is; a file without one is Parquet, Arrow or text by its first bytes.
      is_architecture: whether a text is an architecture; a text file that begins with one, or
        with a malformed one, is a list of them.

    Raises:
      UserError: the file is missing, of no known kind or unreadable; the message says in which line.
    """
    path = located(path)
    if (path.expanduser() / MANIFEST).is_file():
        return Rows(read_scores(path.expanduser())[0])
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = "".join(suffixes[-1:]) if suffixes[-1:] != [".gz"] else "".join(suffixes[-2:-1])
    if suffix and suffix not in KINDS and str(path) not in STDIN:
        raise UserError(f"{path}: no such kind of file: {suffix}; {GIVE}")
    content = _content(path)
    readers: dict[str, Callable[[], Rows]] = {
        **dict.fromkeys((".json", ".jsonl", ".ndjson"), lambda: Rows(_records(content, is_architecture, suffix))),
        ".parquet": lambda: Rows(pl.read_parquet(io.BytesIO(content))),
        **dict.fromkeys((".arrow", ".feather", ".ipc"), lambda: Rows(pl.read_ipc(io.BytesIO(content)))),
    }
    kind = suffix or {b"PAR1": ".parquet", b"ARRO": ".arrow"}.get(content[:4], ".csv")
    try:
        return readers.get(kind, lambda: _text_rows(_decoded(content), is_architecture))()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: cannot be read ({reason}); is it truncated? Give a complete file") from None


def _content(path: Path) -> bytes:
    """The bytes of a file, unzipped."""
    path = path.expanduser()
    if path.is_dir():
        raise UserError(f"{path} is a directory; {GIVE}")
    if str(path) != "-" and not path.exists():
        raise UserError(f"{path}: no such file; {GIVE}")
    try:
        content = stdin() if str(path) in STDIN else path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); is it truncated? Give a complete file") from None


@functools.cache
def stdin() -> bytes:
    """Return standard input, which can be read once only."""
    return sys.stdin.buffer.read()


def _decoded(content: bytes) -> str:
    """Return text in UTF-8, in UTF-16 with its mark, or else in Latin-1, of which only names of columns make use."""
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        if wide:
            raise UserError(
                f"cannot be read as UTF-16 ({error.reason}); is it truncated? Give a complete file"
            ) from None
        text = content.decode("latin-1")
    if "\0" in text:
        raise UserError("this is no text: it has null bytes; save it as UTF-8, or give the file its right suffix")
    return text


def _text_rows(text: str, is_architecture: Callable[[str], bool]) -> Rows:
    """The columns of separated values; blank lines and lines that begin with # are left out."""
    lines = ["\n" if line.lstrip().startswith("#") else line for line in io.StringIO(text, newline="")]
    filled = [line for line in lines if line.strip()]
    if not filled:
        raise UserError("cannot be read: the file is empty")
    if is_architecture(first := filled[0].strip()) or NO_HEADER.match(first):
        numbers = [number for number, line in enumerate(lines, 1) if line.strip()]
        return Rows(pl.DataFrame({LIST: [line.strip() for line in filled]}), numbers)
    with _long_cells():
        separator = _separator(filled)
        header, rows, numbers = _cells(lines, separator)
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    frame = pl.DataFrame([pl.Series(n, c, dtype=pl.String) for n, c in zip(header, columns, strict=True)])
    return Rows(frame, numbers, separator)


@contextlib.contextmanager
def _long_cells() -> Iterator[None]:
    """Let cells be as long as they are: the module `csv` has a limit of 131,072 characters, for all of the process."""
    before = csv.field_size_limit(LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _separator(filled: Sequence[str]) -> str:
    """What separates the columns: it is in the header and, if there are several, as often in the first row."""

    def cells(line: str, separator: str) -> int:
        return len(next(csv.reader([line], delimiter=separator)))

    found = [s for s in SEPARATORS if cells(filled[0], s) > 1]
    agree = [s for s in found if len(filled) > 1 and cells(filled[0], s) == cells(filled[1], s)]
    return [*agree, *found, WHOLE_LINE][0]


def _cells(lines: Sequence[str], separator: str) -> tuple[list[str], list[list[str]], list[int]]:
    """The names of the columns, the rows, and the number of each row's line."""
    reader = csv.reader(lines, delimiter=separator, strict=True)
    header: list[str] = []
    rows, numbers = [], []
    try:
        for cells in reader:
            if not "".join(cells).strip():
                continue
            if not header:
                header = _names(cells)
                continue
            if len(cells) > len(header) and not "".join(cells[len(header) :]).strip():
                cells = cells[: len(header)]
            if len(cells) != len(header):
                raise _ragged(
                    reader.line_num, cells, header, cut=reader.line_num == len(lines) and lines[-1][-1:] != "\n"
                )
            rows.append(cells)
            numbers.append(reader.line_num)
    except csv.Error as error:
        raise UserError(
            f"line {reader.line_num}: cannot be read ({error}); close each quote before the next separator"
        ) from None
    return header, rows, numbers


def _ragged(line: int, cells: Sequence[str], header: Sequence[str], *, cut: bool) -> UserError:
    counts = f"line {line} has {len(cells)} cells where the header has {len(header)} ({', '.join(header)})"
    if len(cells) > len(header):
        return UserError(f"{counts}; a cell that holds a separator needs quotes around it")
    return UserError(f"{counts}; " + ("the file ends there: is it truncated?" if cut else "fill it up"))


def _names(cells: Sequence[str]) -> list[str]:
    names = [cell.strip() or f"column {number}" for number, cell in enumerate(cells, 1)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two columns are called {twice[0]!r}; rename one of them")
    return names


def _records(content: bytes, is_architecture: Callable[[str], bool], suffix: str) -> pl.DataFrame:
    """The columns of JSON: objects, one for each row; columns; architectures; or a single architecture."""
    text = _decoded(content)
    try:
        if suffix != ".json":
            return _table([_parsed(line, n) for n, line in enumerate(text.splitlines(), 1) if line.strip()])
        found = _parsed(text, 1)
        return _object(found, is_architecture) if isinstance(found, dict) else _table(found)
    except RecursionError:
        raise UserError("cannot be read: it is nested too deeply") from None


def _object(found: dict[str, Any], is_architecture: Callable[[str], bool]) -> pl.DataFrame:
    """The columns of an object: an architecture, columns (lists, or objects as pandas writes), or else a row."""
    if LIST not in found and is_architecture(json.dumps(found)):
        return _table([json.dumps(found)])
    values = list(found.values())
    lists = [value for value in values if isinstance(value, list)]
    by_row = [value for value in values if isinstance(value, dict)]
    if values and len(lists) == len(values) and (LIST in found or len(set(map(len, lists))) == 1):
        return pl.DataFrame([_column(name.strip(), value) for name, value in found.items()])
    if values and len(by_row) == len(values) and all(value.keys() == by_row[0].keys() for value in by_row):
        return pl.DataFrame([_column(n.strip(), [v[row] for row in by_row[0]]) for n, v in found.items()])
    return _table([found] if LIST in found else [json.dumps(found)])


def _table(found: Any) -> pl.DataFrame:
    if not isinstance(found, list):
        raise UserError("cannot be read: it is neither a list nor an object; give a list of objects, one for each row")
    if not all(isinstance(row, dict) for row in found):
        return pl.DataFrame([_column(LIST, found)])
    names = dict.fromkeys(name for row in found for name in row)
    return pl.DataFrame([_column(name.strip(), [row.get(name) for row in found]) for name in names])


def _parsed(text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"line {line + error.lineno - 1}: cannot be read ({error.msg}); give JSON") from None


def _column(name: str, values: Sequence[Any]) -> pl.Series:
    if all(isinstance(value, int | float) or value is None for value in values):
        return pl.Series(name, values, strict=False)
    return pl.Series(
        name, [value if isinstance(value, str) or value is None else json.dumps(value) for value in values]
    )
