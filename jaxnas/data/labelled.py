"""Labelled images in memory, for training: TensorFlow Datasets, an .npz file, or a synthetic task; and their splits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxnas.data import images as unlabelled
from jaxnas.data.image_files import checked, open_tfds, read_npz, stacked_images, stacked_labels
from jaxnas.data.images import Colour, colours, published, shrunk
from jaxnas.digest import digest
from jaxnas.errors import UserError, unknown

SIDES = (8, 16, 32)  # pixels
SYNTHETIC = 2048  # images
CLASSES = 10  # of the synthetic task
NOISE = 1.0  # of the synthetic task: standard deviation in units of that of the classes' patterns
CHUNK = 1000  # records that are decoded at once


@dataclass(frozen=True, eq=False)
class Labelled:
    """A labelled data set.

    Attributes:
      name: the specification; of a file its name without the folder.
      description: one line for humans.
      fingerprint: 16 hexadecimal digits that change when the data do.
      images: raw pixels `[M, S, S, 3]`, uint8 or floating point.
      labels: `[M]`, int32 from 0.
      mean, std: per channel, in raw units.
    """

    name: str
    description: str
    fingerprint: str
    images: np.ndarray
    labels: np.ndarray
    mean: Colour
    std: Colour

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    def split(self, seed: int, shares: Sequence[float]) -> list[np.ndarray]:
        """The positions of disjoint random parts with these shares of the images; the last gets the rest."""
        order = np.random.default_rng(seed).permutation(len(self.labels))
        ends = np.round(np.cumsum(shares)[:-1] * len(order)).astype(int)
        return np.split(order, ends)


def load(spec: str, *, side: int = 32, data_dir: str | None = None, download: bool = False) -> Labelled:
    """The labelled images that `spec` names, `side` pixels wide and high.

    Larger images are averaged over blocks, smaller ones enlarged, nearest neighbour.

    Args:
      spec: `tfds:NAME[:SPLIT]` (split `train` if left out), the path of an .npz file with `images` `[M, H, W, 3]` and
        integer `labels` `[M]`, or `synthetic` (ten patterns under noise).
      side: 8, 16 or 32.
      data_dir: directory of TensorFlow Datasets; by default the one that library uses.
      download: let TensorFlow Datasets fetch a data set that is not there.

    Raises:
      UserError: unknown specification, or images or labels that are missing, unreadable or of the wrong shape.
    """
    if side not in SIDES:
        raise UserError(f"images of {side} pixels; choose from: {', '.join(map(str, SIDES))}")
    own = None
    if spec == "synthetic":
        name, images, labels = spec, *_synthetic()
    elif spec.startswith("tfds:"):
        dataset, _, split = spec.removeprefix("tfds:").partition(":")
        own = published(dataset)
        name, images, labels = _from_tfds(dataset, split or "train", data_dir, download)
    elif spec.lower().endswith(".npz"):
        name, (images, labels) = Path(spec).name, read_npz(Path(spec), "images", "labels")
    else:
        raise unknown("labelled data", spec, ["synthetic", "tfds:NAME[:SPLIT]", "FILE.npz"])
    images = checked(name, images)
    labels = _checked_labels(name, labels, images)
    images = _resized(images, side)
    mean, std = own or colours(name, images)
    return Labelled(
        name=name,
        description=f"{len(images):,} images of {side}x{side}x3 in {labels.max() + 1} classes",
        fingerprint=digest(name, side, images, labels),
        images=images,
        labels=labels,
        mean=mean,
        std=std,
    )


def _from_tfds(name: str, split: str, data_dir: str | None, download: bool) -> tuple[str, np.ndarray, np.ndarray]:
    records = open_tfds(name, split, data_dir, download)
    images, labels = [], []
    for first in range(0, records.size, CHUNK):
        found = records.read(np.arange(first, min(first + CHUNK, records.size)))
        images.append(stacked_images(records.name, found))
        labels.append(stacked_labels(records.name, found))
    return records.name, np.concatenate(images), np.concatenate(labels)


def _synthetic() -> tuple[np.ndarray, np.ndarray]:
    """A task that a small network learns: each class a pattern of 1/f noise, under other such noise."""
    rng = np.random.default_rng(0)
    draw = unlabelled.load("synthetic:pink").draw
    labels = np.arange(SYNTHETIC) % CLASSES
    return draw(rng, CLASSES)[labels] + np.float32(NOISE) * draw(rng, SYNTHETIC), labels


def _checked_labels(name: str, labels: np.ndarray, images: np.ndarray) -> np.ndarray:
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"data {name}: the labels are {labels.dtype} {list(labels.shape)} for {len(images)} images;"
            " give one integer for each image"
        )
    if labels.size == 0 or labels.min() < 0 or labels.max() == 0:
        raise UserError(f"data {name}: the labels must be integers from 0, of at least two classes")
    return labels.astype(np.int32)


def _resized(images: np.ndarray, side: int) -> np.ndarray:
    have = images.shape[1]
    if have <= side:
        return images.repeat(side // have, 1).repeat(side // have, 2)
    blocks = shrunk(images, side)
    return np.rint(blocks).astype(np.uint8) if images.dtype == np.uint8 else blocks
