"""`jaxnas tables verify`: the bytes of a table, and a share of its scores made again."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from jaxnas.errors import UserError
from jaxnas.tables import release
from jaxnas.tables.named import PACKAGED, is_named, known_checksums, located
from jaxnas.tables.store import read_scores, read_seeds
from jaxnas.tables.verbs.again import comparable, score_again

TOLERANCE = 1e-3  # relative difference that rounding makes on another kind of processor, or with other versions


@dataclass(frozen=True)
class Difference:
    """How the values of a score differ from those made again.

    Attributes:
      score: name.
      values: how many were compared.
      equal: how many are the same number, or lack one for the same reason.
      largest: relative difference; infinite where one has a value and the other none.
    """

    score: str
    values: int
    equal: int
    largest: float

    @property
    def fails(self) -> bool:
        return self.largest > TOLERANCE


def check_bytes(path: Path) -> bool:
    """Compare a file with its published SHA-256; return whether there is one.

    Raises:
      UserError: the file is another one.
    """
    file = located(path)
    known = known_checksums() if is_named(path) and file.parent == PACKAGED else {}
    known = known or release.checksums(file.with_name(release.SUMS))
    if file.name not in known:
        return False
    if (found := release.checksum(file)) != known[file.name]:
        raise UserError(
            f"{path}: its SHA-256 is {found[:16]}..., not {known[file.name][:16]}...: it is damaged or was changed; "
            "fetch or build it anew"
        )
    return True


def has_scores(path: Path) -> bool:
    """Say whether a table has scores, rather than measured values."""
    manifest = release.manifest_of(located(path))
    return manifest is None or "scorers" in manifest  # what has none is refused where it is read


def check_scores(path: Path, share: float, seed: int) -> list[Difference]:
    """Score a random share of a table again, with each of its seeds.

    Args:
      path: `table:NAME`, a file or the directory of a run.
      share: of the architectures; at least one is scored.
      seed: of the draw.
    """
    seeds, manifest = read_seeds(path)
    archs = pl.concat([rows["arch"] for rows in seeds.values()]).unique(maintain_order=True)
    drawn = archs.sample(max(1, round(share * len(archs))), seed=seed)
    scores = comparable(list(manifest["scorers"]))
    pairs = []
    for own, every in seeds.items():
        rows = every.filter(pl.col("arch").is_in(drawn.to_list()))
        with tempfile.TemporaryDirectory() as folder:
            again, _ = read_scores(score_again(path, manifest, rows["arch"], own, Path(folder), scores))
        pairs.append(rows.join(again, on="arch", suffix="_again", maintain_order="left"))
    both = pl.concat(pairs, how="diagonal_relaxed")
    return [_difference(both, score) for score in scores]


def said(path: Path, differences: Sequence[Difference]) -> str | None:
    """Print how scores differ; return what is not as it should be."""
    for found in differences:
        how = "" if found.equal == found.values else f", largest relative difference {found.largest:.2g}"
        print(f"  {found.score}: {found.equal:,} of {found.values:,} equal{how}")
    wrong = [found.score for found in differences if found.fails]
    return f"{path}: {', '.join(wrong)} made again differ by more than {TOLERANCE:g}" if wrong else None


def _difference(both: pl.DataFrame, score: str) -> Difference:
    ours, theirs = (both[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in (score, f"{score}_again"))
    same = np.ones(len(both), bool)
    if (status := f"{score}_status") in both.columns and f"{status}_again" in both.columns:
        same = (both[status].cast(pl.String) == both[f"{status}_again"].cast(pl.String)).to_numpy()
    equal = same & ((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.abs(ours - theirs) / np.maximum(np.abs(ours), np.abs(theirs))
    relative = np.where(equal, 0.0, np.where(same & np.isfinite(relative), relative, np.inf))
    return Difference(score, len(both), int(equal.sum()), float(relative.max()))
