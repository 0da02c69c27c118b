"""Runs as a whole: directories that a command wrote, and tables that have a name."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import polars as pl

from jaxnas import spaces
from jaxnas.errors import UserError
from jaxnas.spaces import Space
from jaxnas.tables.store import RESULT, is_built, read_scores

CURVES = "curves.parquet"


class Run(NamedTuple):
    """One run of a command.

    Attributes:
      path: as it was given.
      kind: `search`; all others have a table of scores: what `score`, `predict` and `supernet` wrote.
      manifest: of the run.
      frame: its rows: architectures with their scores; of a search what was asked, by round.
      result: what result.json says; empty where there is none.
      curves: of a supernet's training; empty elsewhere.
    """

    path: str
    kind: Literal["scores", "search"]
    manifest: dict[str, Any]
    frame: pl.DataFrame
    result: dict[str, Any]
    curves: pl.DataFrame

    @property
    def settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = self.manifest["settings"]
        return settings

    @property
    def space(self) -> Space:
        return spaces.get(self.settings["space"])

    @property
    def seed(self) -> int:
        return int(self.settings.get("seed", 0))

    @property
    def command(self) -> str:
        """The command that wrote it."""
        if self.kind == "search":
            return "search"
        if "arm" in self.settings:
            return "supernet"
        return "predict" if "train" in self.settings else "score"


def read_run(path: str | Path) -> Run:
    """The run in a directory, or the table `table:NAME`.

    Args:
      path: what `jaxnas score`, `search`, `predict` or `supernet` wrote.

    Raises:
      UserError: there is none, or another command wrote it.
    """
    path = str(path)
    frame, manifest = read_scores(path)
    settings = manifest["settings"]
    if "space" not in settings or not ("scorers" in manifest or "method" in settings):
        raise UserError(f"{path}: give directories of jaxnas score, search, predict or supernet, or table:NAME")
    kind: Literal["scores", "search"] = "scores" if "scorers" in manifest else "search"
    spaces.get(settings["space"])
    if is_built(path):
        return Run(path, kind, manifest, frame, {}, pl.DataFrame())
    result, curves = Path(path) / RESULT, Path(path) / CURVES
    try:
        known = json.loads(result.read_bytes()) if result.is_file() else {}
        trained = pl.read_parquet(curves) if curves.is_file() else pl.DataFrame()
    except (ValueError, OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path}: {RESULT} or {CURVES} cannot be read ({error}); run its command again") from None
    return Run(path, kind, manifest, frame, known, trained)


def by_space(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs in groups of one kind and one space."""
    groups: list[list[Run]] = []
    for run in runs:
        for group in groups:
            if group[0].kind == run.kind and spaces.same_scores(group[0].space, run.space):
                group.append(run)
                break
        else:
            groups.append([run])
    return groups
