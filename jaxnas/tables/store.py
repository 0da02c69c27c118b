"""A run directory: `manifest.json` and Parquet parts, written so that a killed run loses only the part in flight.

A file appears under its final name complete or not at all (`jaxnas.atomic_file`). The manifest comes first; whoever
comes second must agree with it.
"""

import contextlib
import errno
import io
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from jaxnas import atomic_file
from jaxnas.errors import UserError
from jaxnas.tables import release
from jaxnas.tables.named import is_named, located

FORMAT = 3  # 2 did not record the arithmetic, and counted FLOPs otherwise
MANIFEST = "manifest.json"
RESULT = "result.json"  # what a command found, where that is more than a table
WRITTEN = "parts.jsonl"  # a line for each part that was written: when, by whom, how long it took
MAKERS = "makers.jsonl"  # with `mixed`: what made a part, or a supernet from an epoch on; the last line of each counts
_PART = re.compile(r"part-(\d{5,})\.parquet")
_CLAIM = re.compile(r"claim-(\d{5,})")
SHOWN = 5  # settings in which two runs differ
_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


@dataclass
class Tally:
    """A score in brief: how many rows have which status, its least and its largest value."""

    statuses: Counter[str] = field(default_factory=Counter)
    least: float = math.inf
    largest: float = -math.inf

    def add(self, values: pl.Series, statuses: pl.Series) -> None:
        """Take in rows `[N]`."""
        self.statuses.update(dict(statuses.value_counts().iter_rows()))
        if len(known := values.drop_nulls().to_numpy()):
            self.least, self.largest = min(self.least, float(known.min())), max(self.largest, float(known.max()))


class Store:
    """A run directory that was opened by `Store.open`.

    Attributes:
      path: the directory.
      manifest: the stored manifest, as of the last `open` or `update_manifest`.
      stranger: versions and arithmetic of this process where they are others than the manifest's, with `mixed`.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], stranger: dict[str, Any] | None = None) -> None:
        self.path = path
        self.manifest = manifest
        self.stranger = stranger or {}

    @classmethod
    def open(cls, path: str | Path, manifest: dict[str, Any], *, mixed: bool = False) -> "Store":
        """Create the run directory, or resume the one that is there.

        Args:
          path: the directory.
          manifest: `settings` (nested dict: what decides the scores; compared on resume), `part_size` (rows per part;
            the stored one wins on resume), `versions` and `arithmetic` (compared too) and anything worth telling.
          mixed: go on under other versions or another arithmetic; the file `makers.jsonl` says which part has which.

        Raises:
          UserError: the path is no writable directory, belongs to something else, or was made with other settings,
            versions or arithmetic.
        """
        path = Path(path)
        wanted = _as_stored(manifest)
        with _readable_errors(path, "open"):
            path.mkdir(parents=True, exist_ok=True)
            if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "no permission to read and write")
            _refuse_foreign(path)
            atomic_file.remove_leftovers(path)
            if not (path / MANIFEST).exists():
                atomic_file.write(path / MANIFEST, _encode(wanted), atomic_file.unless_there)
        return cls._agreed(path, wanted, mixed=mixed)

    @classmethod
    def peek(cls, path: str | Path, manifest: dict[str, Any], *, mixed: bool = False) -> "Store | None":
        """What `open` would resume, if there is anything; nothing is written. The errors are those of `open`."""
        path = Path(path)
        if not path.exists():
            return None
        with _readable_errors(path, "open"):
            _refuse_foreign(path)
            if not (path / MANIFEST).exists():
                return None
        return cls._agreed(path, _as_stored(manifest), mixed=mixed)

    @classmethod
    def _agreed(cls, path: Path, wanted: dict[str, Any], *, mixed: bool) -> "Store":
        """The run directory that is there, if it was made as is `wanted`; else `UserError`."""
        stored = _read_manifest(path)
        _compare(path, stored["settings"], wanted["settings"])
        if not mixed:
            _compare_makers(path, _maker(stored), _maker(wanted))
        return cls(path, stored, _maker(wanted) if _maker(stored) != _maker(wanted) else {})

    @classmethod
    def existing(cls, path: str | Path) -> "Store":
        """The run directory that is there, to look at.

        Raises:
          UserError: there is no such directory, or it is no run directory.
        """
        path = Path(path)
        if not path.is_dir():
            raise UserError(f"{path} is not a directory; give the --out directory of a jaxnas.score run")
        with _readable_errors(path, "read"):
            return cls(path, _read_manifest(path))

    @property
    def part_size(self) -> int:
        """Architectures that are run for one part; its copies of isomorphic ones come on top."""
        return int(self.manifest["part_size"])

    def parts(self) -> set[int]:
        """The indices of the readable parts; a damaged part counts as missing, so it is written again."""
        return {index for index, path in _part_paths(self.path).items() if _height(path)}

    def has(self, index: int) -> bool:
        """Whether part `index` is there and readable."""
        return (path := self.path / _name(index)).exists() and bool(_height(path))

    def claims(self) -> dict[int, str]:
        """Which processes say that they work on which part; some may be gone."""
        found = ((_CLAIM.fullmatch(name), self.path / name) for name in sorted(os.listdir(self.path)))
        marks = {int(match[1]): _last_line(path) for match, path in found if match}
        return {part: mark for part, mark in marks.items() if mark}

    def makers(self) -> dict[int, dict[str, Any]]:
        """What made each part, by its index."""
        named = {record.pop("part"): record for record in self.records(MAKERS) if "part" in record}
        return dict.fromkeys(_part_paths(self.path), _maker(self.manifest)) | named

    def written(self) -> float:
        """When the last part was written, in seconds since the epoch; 0 if there is none."""
        return max((path.stat().st_mtime for path in _part_paths(self.path).values()), default=0.0)

    def part(self, index: int) -> pl.DataFrame:
        """One part that is there."""
        return _read_part(_part_paths(self.path)[index])

    def take(self, index: int, source: "Store", maker: Mapping[str, Any]) -> None:
        """Write part `index` as another run directory has it, and by what it was made."""
        if maker != _maker(self.manifest) or (self.path / MAKERS).exists():
            self.append(MAKERS, {"part": index, **maker})
        self._put_part(index, source.part(index))

    def check_joins(self, other: "Store", *, mixed: bool) -> None:
        """Raise a `UserError` unless `other` has parts of the same table, made by the same or, with `mixed`, not."""
        planned = ("settings", "part_size", "parts")
        old, new = (_flatten({name: run.manifest.get(name) for name in planned}) for run in (self, other))
        if names := _differing(old, new)[:SHOWN]:
            raise UserError(
                f"{other.path} was made with {_show(new, names)}, {self.path} with {_show(old, names)}; shards of one "
                "run agree in all of it: score one of them again"
            )
        old, new = _maker(self.manifest), _maker(other.manifest)
        if not mixed and (names := _differing(old, new)):
            raise UserError(
                f"{other.path} was made with {_show(new, names)}, {self.path} with {_show(old, names)}, which makes "
                "other scores; say --mixed to join them nevertheless: makers.jsonl tells which part was made by what"
            )

    def write(self, index: int, frame: pl.DataFrame, made: Mapping[str, Any] | None = None) -> None:
        """Write part `index`, which has a column `row` (position in the whole table).

        Args:
          index: of the part.
          frame: its rows.
          made: `versions` and `arithmetic` with which it was made; by default those of this process.

        Raises:
          UserError: the disk is full or the directory not writable; the other parts stay as they are.
        """
        usual = _maker(self.manifest)
        maker = (self.stranger or usual) if made is None else _maker(_as_stored(made))
        if maker != usual or (self.path / MAKERS).exists():
            self.append(MAKERS, {"part": index, **maker})
        self._put_part(index, frame)

    def _put_part(self, index: int, frame: pl.DataFrame) -> None:
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        self.put(_name(index), buffer.getvalue())

    def update_manifest(self, **fields: Any) -> None:
        """Set top-level fields of the stored manifest; of two shards doing so at the same moment the later one wins."""
        self.manifest = _read_manifest(self.path) | fields
        self.put(MANIFEST, _encode(self.manifest))

    def read(self) -> pl.DataFrame:
        """All parts as one table, sorted by `row`."""
        return _read_parts(_part_paths(self.path).values())

    def finish(self, expected_parts: Iterable[int], derive: Callable[[pl.DataFrame], pl.DataFrame] | None) -> bool:
        """Once all parts are there, add the columns that need the whole table, and return whether they are there.

        Args:
          expected_parts: indices of the parts that make up the table.
          derive: from the table sorted by `row` to the same rows with columns added or replaced. It may be called on
            its own result: a rerun, another shard or a kill halfway. None if there are none.
        """
        expected = set(expected_parts)
        if not expected <= self.parts():
            return False
        if derive is None:
            return True
        paths = _part_paths(self.path)
        table = derive(_read_parts(paths[index] for index in sorted(expected)))
        for index in sorted(expected):
            part = _read_parts([paths[index]])
            full = table.join(part.select("row"), on="row", how="semi", maintain_order="left")
            if not full.equals(part):
                self._put_part(index, full)
        return True

    def tally(self, names: Iterable[str]) -> tuple[int, dict[str, Tally]]:
        """Count the rows and sum up scores, a part at a time; a score that no part has is left out."""
        rows, found = 0, dict[str, Tally]()
        for path in _part_paths(self.path).values():
            part = _read_part(path)
            rows += len(part)
            for name in [name for name in names if f"{name}_status" in part.columns]:
                found.setdefault(name, Tally()).add(part[name], part[f"{name}_status"])
        return rows, found

    def put(self, name: str, content: bytes) -> None:
        """Write a file that appears complete or not at all; `UserError` if the disk is full or not writable."""
        with _readable_errors(self.path, f"write {name} in"):
            atomic_file.write(self.path / name, content)

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Add a record to a file of JSON lines; it is on the disk when this returns.

        It begins a line rather than ending one, so what a kill tore stays on a line of its own.
        """
        with _readable_errors(self.path, f"write {name} in"), (self.path / name).open("ab") as file:
            file.write(b"\n" * bool(file.tell()) + json.dumps(record).encode())
            file.flush()
            os.fsync(file.fileno())

    def records(self, name: str) -> list[dict[str, Any]]:
        """The records that `append` added to a file, without one that a kill tore."""
        path = self.path / name
        with _readable_errors(self.path, f"read {name} in"):
            lines = path.read_bytes().splitlines() if path.exists() else []
        return [record for record in map(_parsed, lines) if isinstance(record, dict)]


def read_scores(path: str | Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The score table, a row for each architecture, and the manifest of a run directory or of a built table.

    Args:
      path: a directory, a file of `jaxnas tables build`, or `table:NAME`; of several seeds the means are returned.

    Raises:
      UserError: there is no such directory, it is no run directory, or a part is damaged.
    """
    if is_built(path):
        table, about = release.read(located(path))
        return release.over_seeds(table), about
    run = Store.existing(path)
    with _readable_errors(run.path, "read"):
        parts = _part_paths(run.path)
    if not parts:
        raise UserError(f"{path} has no scores yet; run the jaxnas.score command that made it again")
    return _read_parts(parts.values()), run.manifest


def read_seeds(path: str | Path) -> tuple[dict[int, pl.DataFrame], dict[str, Any]]:
    """The score table of each seed, and the manifest; see `read_scores`."""
    if is_built(path):
        table, manifest = release.read(located(path))
        return release.by_seed(table), manifest
    table, manifest = read_scores(path)
    return {int(manifest["settings"].get("seed", 0)): table}, manifest


def is_built(path: str | Path) -> bool:
    """Say whether scores are in a file of `jaxnas tables build`, rather than in a run directory."""
    return is_named(path) or (Path(path).is_file() and release.manifest_of(Path(path)) is not None)


def is_run(path: str | Path) -> bool:
    """Say whether there is a run directory."""
    return (Path(path).expanduser() / MANIFEST).is_file()


def files_of(path: Path) -> list[Path]:
    """What a table consists of: the parts of a run directory, or the file itself."""
    return list(_part_paths(path.expanduser()).values()) if is_run(path) else [located(path).expanduser()]


def _name(index: int) -> str:
    return f"part-{index:05d}.parquet"


def _part_paths(path: Path) -> dict[int, Path]:
    found = ((_PART.fullmatch(name), name) for name in sorted(os.listdir(path)))
    return {int(match[1]): path / name for match, name in found if match}


def _height(path: Path) -> int:
    """The number of rows, from the footer and the column `row`; 0 if the file cannot be read."""
    try:
        return pl.read_parquet(path, columns=["row"], glob=False).height
    except _READ_ERRORS:
        return 0


def _read_parts(paths: Iterable[Path]) -> pl.DataFrame:
    # diagonal_relaxed: a part may still lack the derived columns, or have only nulls in one of them
    return pl.concat([_read_part(path) for path in paths], how="diagonal_relaxed").sort("row")


def _read_part(path: Path) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path, glob=False)
    except _READ_ERRORS:
        frame = pl.DataFrame()
    if "row" not in frame.columns:
        raise UserError(
            f"{path} is damaged; delete it and run the command that made it again, which scores only that part"
        )
    return frame


def _last_line(path: Path) -> str:
    """The last line of a text; empty if there is none, or no such file any more."""
    with contextlib.suppress(OSError):
        return path.read_text().rstrip().rpartition("\n")[2]
    return ""


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _as_stored(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest as it is read again."""
    stored: dict[str, Any] = json.loads(json.dumps({"format": FORMAT, **manifest}, default=str))
    return stored


def _encode(manifest: dict[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=2, default=str) + "\n").encode()


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} has no {MANIFEST}, so it is not the directory of a run; give another one") from None
    except ValueError:
        raise UserError(f"{path / MANIFEST} is not readable JSON; use another directory") from None
    except OSError as error:
        raise UserError(f"cannot read {path / MANIFEST}: {error.strerror}") from None
    if not isinstance(manifest, dict) or not {"format", "settings", "part_size"} <= manifest.keys():
        raise UserError(f"{path / MANIFEST} was not written by jaxnas; use another directory")
    if manifest["format"] != FORMAT:
        raise UserError(
            f"{path} has format {manifest['format']}, this version reads format {FORMAT}; use another directory, or "
            "the version of jaxnas that made it"
        )
    return manifest


def _maker(manifest: dict[str, Any]) -> dict[str, Any]:
    """What the bits of a score depend on beside the settings, with names such as `versions.jax`."""
    made = _flatten({name: manifest[name] for name in ("versions", "arithmetic") if name in manifest})
    made.pop("versions.python", None)
    return made


def fitting(path: str | Path | None, *, mixed: bool) -> Callable[[Mapping[str, Any]], str]:
    """The function from what a machine says of itself to why it must not take part in a run; empty if it may.

    Args:
      path: of the run; where there is none, or it is not known yet, the first machine decides.
      mixed: other versions and arithmetic do not matter.
    """
    run: dict[str, Any] | None = None
    if path is not None:
        with contextlib.suppress(UserError):
            run = Store.existing(path).manifest

    def differs(said: Mapping[str, Any]) -> str:
        nonlocal run
        here = _as_stored(said)
        run = run or here
        old, new = (_flatten({name: at["settings"].get(name) for name in here["settings"]}) for at in (run, here))
        if not mixed:
            old, new = old | _maker(run), new | _maker(here)
        if not (names := _differing(old, new)[:SHOWN]):
            return ""
        allow = "" if mixed else "; --mixed lets other processors and versions take part"
        return f"{path or 'the run'} is made with {_show(old, names)}, there is {_show(new, names)}{allow}"

    return differs


def _compare(path: Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    old, new = _flatten(stored), _flatten(wanted)
    if names := _differing(old, new):
        raise UserError(
            f"{path} was made with {_show(old, names)}, this command says {_show(new, names)}; "
            "use another --out or the same settings"
        )


def _compare_makers(path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    if names := _differing(old, new):
        raise UserError(
            f"{path} was made with {_show(old, names)}, here is {_show(new, names)}, which makes other scores; "
            "go on there, use another --out, or say --mixed: then makers.jsonl in it tells which part was made by what"
        )


def _differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [name for name in {**old, **new} if (name in old) != (name in new) or old.get(name) != new.get(name)]


def _flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level, with names such as `ntk.bn`."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _show(flat: dict[str, Any], names: Iterable[str]) -> str:
    def value(name: str) -> str:
        text = json.dumps(flat[name])
        return text if len(text) <= 60 else text[:57] + "..."

    return ", ".join(f"{name}={value(name)}" if name in flat else f"no {name}" for name in names)


def _refuse_foreign(path: Path) -> None:
    others = [name for name in os.listdir(path) if name != MANIFEST and not atomic_file.is_temporary(name)]
    # looked up after the listing: a shard that starts beside this one writes its manifest before its parts
    if others and not (path / MANIFEST).exists():
        raise UserError(
            f"{path} holds other files ({others[0]}, ...) and no {MANIFEST}; choose an empty or a new directory"
        )


@contextlib.contextmanager
def _readable_errors(path: Path, action: str) -> Iterator[None]:
    """Turn the operating system's refusals into one line for the user."""
    try:
        yield
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{path} is, or lies under, a file; give a directory") from None
    except OSError as error:
        if error.errno in _FULL:
            raise UserError(
                f"the disk is full: cannot {action} {path}; what was written before is intact: "
                "free some space and run the same command again, it resumes"
            ) from None
        raise UserError(f"cannot {action} {path}: {error.strerror}") from None
