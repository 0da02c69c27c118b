"""Scores of a table made again, from what its manifest says."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import polars as pl

from jaxnas.errors import UserError
from jaxnas.score.command import Score, score
from jaxnas.scorers.protocol import Combined
from jaxnas.scorers.registry import DEFAULTS
from jaxnas.tables.store import read_scores


def score_again(manifest: Mapping[str, Any], archs: Sequence[str], seed: int, folder: Path) -> pl.DataFrame:
    """The rows of a run of `jaxnas score` with a table's settings.

    Args:
      manifest: of the table.
      archs: strings.
      seed: of weights and inputs.
      folder: for the run, and for the list of its architectures.

    Raises:
      UserError: a score of the table is a user's, or one that only the whole table has.
    """
    listed = folder / "archs.parquet"
    pl.DataFrame({"arch": archs}, schema={"arch": pl.String}).write_parquet(listed)
    config = Score(archs=str(listed), out=str(folder / f"seed{seed}"), seed=seed, **_options(manifest["settings"]))
    with contextlib.redirect_stdout(io.StringIO()):
        score(config)
    return read_scores(config.out)[0]


def comparable(scores: Sequence[str]) -> list[str]:
    """Those of the scores that a share of the table has as the whole of it."""
    return [name for name in scores if not (isinstance(known := DEFAULTS.get(name), Combined) and known.relative)]


def _options(settings: Mapping[str, Any]) -> dict[str, Any]:
    names = comparable(list(settings["scorers"]))
    if foreign := [name for name in names if name not in DEFAULTS]:
        raise UserError(f"{foreign[0]} is a score of a user, whose file is not here; score its architectures there")
    own = {field.name for field in fields(Score)} & set(names)
    options = {name: replace(DEFAULTS[name], **settings["scorers"][name]) for name in sorted(own)}  # type: ignore[type-var]
    data = settings["data"]["name"]
    return {
        "space": settings["space"],
        "scorers": ",".join(names),
        "repeats": settings["repeats"],
        "data": data,
    } | options
