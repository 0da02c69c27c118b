"""The options of the command, and what they stand for."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
from tyro.conf import OmitArgPrefixes

from jaxnas.cli.options import own_files
from jaxnas.data import labelled
from jaxnas.data.labelled import Labelled
from jaxnas.digest import digest
from jaxnas.errors import UserError, check_least, check_seed
from jaxnas.network.network import Network
from jaxnas.spaces import Space, name_of
from jaxnas.supernet.arms import Arm, Landmarks, Plain, Teacher
from jaxnas.supernet.guides import Scored, draw_landmarks, read_teacher
from jaxnas.supernet.training import SGD
from jaxnas.tables.measured import Measurements, Target, read_measured

WARMUP = 0.375  # of the epochs: 150 of 400


@dataclass(frozen=True, kw_only=True)
class Supernet:
    """Train one network for a whole space, then rank architectures with its weights.

    The same command again resumes.
    """

    out: str
    """Directory for the table (Parquet), the curves, the checkpoints and manifest.json."""
    mixed: bool = False
    """Go on in an --out that another kind of processor, other XLA_FLAGS or other versions began."""
    data: str
    """Labelled images: `tfds:cifar10` (any TFDS image classification, optionally `:split`), a .npz file with `images`
    and `labels`, or `synthetic` to try it out."""
    space: str = "nasbench201"
    """Search space whose architectures are all of one size."""
    archs: str = "random:200"
    """What to rank: `all`, `random:N`, a table (.csv, .parquet, ...), or one architecture string.
    Landmarks are left out."""
    sgd: OmitArgPrefixes[SGD] = field(default_factory=SGD)
    channels: int | None = None
    """Of the network's first stage; by default those of the benchmark's network, as are the cells."""
    cells: int | None = None
    """Per stage."""
    side: int = 32
    """Width and height that images are brought to: 8, 16 or 32."""
    shares: tuple[float, float, float] = (0.5, 0.25, 0.25)
    """Of the images to train on, for the rank loss of landmarks, and for the ranking; disjoint."""
    rank_batch: int = 64
    """Images in a batch of the ranking, at least 64: normalisations use its statistics."""
    rank_batches: int | None = None
    """Batches that an architecture is ranked on; by default as many as the images for the ranking make."""
    rankings: int = 3
    """Newest checkpoints to rank with; scores are means over them, for the order changes from epoch to epoch."""
    landmarks: Path | None = None
    """Table (.csv, .parquet, ...) with measured accuracies: train with landmarks drawn from it. Several rows of an
    architecture, such as seeds, count as their mean."""
    target: str | None = None
    """Column of --landmarks, for example `c10_test_200`."""
    key: str | None = None
    """Column of --landmarks with the architectures; by default `arch`, `arch_str` or what the space's benchmark has."""
    lower_is_better: bool = False
    """The target is an error or a loss."""
    landmark_count: int = 30
    """Landmarks that are drawn."""
    strength: float = 10.0
    """Greatest factor lambda of the landmarks' rank loss."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """How lambda develops after the warm-up: `cosine` rises from 0 along (1 + cos(pi (1 + e / epochs))) / 2, at the end
    to 0.69 of --strength with the default warm-up; `constant` is there after ten epochs."""
    warmup: int | None = None
    """Epochs without the landmarks' rank loss; by default three eighths of all, 150 of 400."""
    teacher: str | None = None
    """Rank sub-nets in training by `params`, by `flops`, or by DIR:SCORE, a directory of `jaxnas score` or table:NAME
    and one of its scores: needs no accuracies. Instead of --landmarks."""
    teacher_margin: int = 5
    """Places in which the two sub-nets of a pair should differ."""
    seed: int = 0
    """Seed of weights, of all draws, of the landmarks and of the random sample of architectures."""
    save_every: int = 10
    """Epochs between checkpoints."""
    data_dir: str | None = None
    """Directory of the TFDS data sets."""
    download: bool = False
    """Let TFDS download the data set if it is not there."""

    def check(self) -> None:
        """Raise a `UserError` if the options make no sense together."""
        self.sgd.check()
        least = {"channels": 1, "cells": 1, "strength": 0, "warmup": 0, "teacher_margin": 0}
        check_least(self, {**least, "save_every": 1, "rankings": 1})
        check_seed(self.seed)
        if min(self.shares) <= 0 or abs(sum(self.shares) - 1) > 1e-6:
            raise UserError(f"--shares {' '.join(map(str, self.shares))}: give three positive numbers that add up to 1")
        if self.landmarks is not None and self.teacher is not None:
            raise UserError("--landmarks and --teacher are two ways to rank in training; give one of them")
        if (self.landmarks is None) != (self.target is None):
            raise UserError("--landmarks TABLE needs --target COLUMN, and the other way round")

    def network(self, space: Space, data: Labelled) -> Network:
        """The space's network for these images; `UserError` where the space needs several."""
        sample = space.sample(jax.random.key(self.seed), 1)
        if space.groups(sample, "benchmark") != [None]:
            raise UserError(f"{space.name} has networks of several sizes, which share no weights; try nasbench201")
        sizes = {"channels": self.channels, "cells": self.cells}
        given = {name: size for name, size in sizes.items() if size is not None}
        return space.network("benchmark", **given, image=(self.side, self.side, 3), classes=data.classes)

    def images(self) -> Labelled:
        """The labelled images."""
        return labelled.load(self.data, side=self.side, data_dir=self.data_dir, download=self.download)

    def measured(self, space: Space) -> Measurements | None:
        """The accuracies of --landmarks, if there are any."""
        if self.landmarks is None or self.target is None:
            return None
        return read_measured(space, Target(self.landmarks, self.target, self.key))

    def arm(self, space: Space, known: Measurements | None) -> Arm:
        """What a step trains on, given the accuracies of --landmarks."""
        if known is not None:
            number, seed = self.landmark_count, self.seed
            archs = draw_landmarks(space, known, number, seed, lower_is_better=self.lower_is_better)
            warmup = round(WARMUP * self.sgd.epochs) if self.warmup is None else self.warmup
            return Landmarks(archs, self.strength, self.schedule, self.sgd.epochs, warmup)
        if self.teacher is not None:
            return Teacher(read_teacher(space, self.teacher), self.teacher_margin)
        return Plain()

    def settings(self, arm: Arm, data: Labelled) -> dict[str, Any]:
        """What the trained weights depend on."""
        names = ("channels", "cells", "side", "shares", "seed")
        return {
            "space": name_of(self.space),
            **{name: getattr(self, name) for name in names},
            **asdict(self.sgd),
            "data": {"name": data.name, "fingerprint": data.fingerprint},
            **own_files(self.space),
            "arm": describe(arm) | ({"teacher": self.teacher} if self.teacher else {}),
        }


def describe(arm: Arm) -> dict[str, Any]:
    """The settings of an arm."""
    if isinstance(arm, Landmarks):
        schedule = {"strength": arm.greatest, "schedule": arm.schedule, "warmup": arm.warmup}
        return {"name": "landmarks", "landmarks": len(arm.archs), "fingerprint": digest(arm.archs), **schedule}
    if isinstance(arm, Teacher):
        scored = [arm.pool.archs, arm.pool.scores] if isinstance(arm.pool, Scored) else []
        return {"name": "teacher", "margin": arm.margin, "fingerprint": digest(*scored)}
    return {"name": "plain"}
