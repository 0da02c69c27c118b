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
from jaxnas.scorers.registry import DEFAULTS, load
from jaxnas.tables import release
from jaxnas.tables.named import located


def score_again(
    path: Path, manifest: Mapping[str, Any], archs: pl.Series, seed: int, folder: Path, scores: Sequence[str]
) -> Path:
    """Run `jaxnas score` with a table's settings, and return the directory of the run.

    Args:
      path: of the table, for messages.
      manifest: of the table.
      archs: strings.
      seed: of weights and inputs.
      folder: for the run, which resumes there, and for the list of its architectures.
      scores: of the table.

    Raises:
      UserError: a score is a user's, and its file is not there.
    """
    own = {load(spec).name: spec for spec in manifest["settings"].get("own_scores", [])}
    if foreign := [name for name in scores if name not in {**DEFAULTS, **own}]:
        raise UserError(f"{path}: {foreign[0]} is a score of a user, whose file is not here; score its networks there")
    listed = folder / "archs.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"arch": archs}).write_parquet(listed)
    settings = manifest["settings"]
    config = Score(
        archs=str(listed),
        out=str(out := folder / f"seed{seed}"),
        seed=seed,
        space=settings["space"],
        scorers=",".join(own.get(name, name) for name in scores),
        repeats=settings["repeats"],
        data=settings["data"]["name"],
        no_dedup=not settings.get("dedup", True),
        **_options(settings["scorers"], scores),
    )
    if config.source().fingerprint != settings["data"]["fingerprint"]:
        raise UserError(
            f"{path} was scored on other images than {config.data} is here; verify it where these are, in that folder"
        )
    with contextlib.redirect_stdout(io.StringIO()):
        score(config)
    return out


def score_whole(path: Path, folder: Path) -> list[Path]:
    """Score all of a table again, and return the directories of the runs, one for each seed."""
    table, manifest = release.read(located(path))
    archs = table["arch"].unique(maintain_order=True)
    return [score_again(path, manifest, archs, seed, folder, list(manifest["scorers"])) for seed in manifest["seeds"]]


def comparable(scores: Sequence[str]) -> list[str]:
    """Those of the scores that a share of the table has as the whole of it."""
    return [name for name in scores if not (isinstance(known := DEFAULTS.get(name), Combined) and known.relative)]


def _options(settings: Mapping[str, Any], scores: Sequence[str]) -> dict[str, Any]:
    """The options of those of the scores that have any."""
    own = {field.name for field in fields(Score)}.intersection(scores)
    return {name: replace(DEFAULTS[name], **settings[name]) for name in sorted(own)}  # type: ignore[type-var]
