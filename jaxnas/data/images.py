"""Input images: synthetic ones, TensorFlow Datasets without TensorFlow, or an .npz file."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from jaxnas.data.image_files import SIDE, checked, open_tfds, read_npz, stacked_images
from jaxnas.data.synthetic import DEFAULT, KINDS
from jaxnas.digest import digest
from jaxnas.errors import UserError, unknown

Colour = tuple[float, ...]  # one number per channel

CIFAR = ("cifar10", "cifar100")  # of TensorFlow Datasets
CIFAR_MEAN: Colour = (125.3, 123.0, 113.9)  # of pixels in 0 to 255, as TE-NAS and GenNAS have them
CIFAR_STD: Colour = (63.0, 62.1, 66.7)
_SAMPLED = 2000  # images that the mean and standard deviation of other data sets are estimated on


@dataclass(frozen=True)
class Source:
    """Where inputs come from. Every draw comes from the generator that is passed in.

    Attributes:
      name: the specification, such as `synthetic:pink` or `tfds:cifar10:train`; of a file its name without the folder.
      description: one line for humans.
      fingerprint: 16 hexadecimal digits that change when the data do.
      draw: `(rng, n)` to raw images `[n, H, W, 3]`, side at most 32; they repeat where there are fewer.
      mean: per channel, in raw units.
      std: per channel, in raw units.
      augment: whether images are cropped and flipped at random.
      size: different images that there are.
      pieces: different patches that they have.
    """

    name: str
    description: str
    fingerprint: str
    draw: Callable[[np.random.Generator, int], np.ndarray]
    mean: Colour = (0.0, 0.0, 0.0)
    std: Colour = (1.0, 1.0, 1.0)
    augment: bool = False
    size: float = math.inf
    pieces: float = math.inf

    def check(self, *, images: int = 0, patches: int = 0, option: str = "the call") -> None:
        """Raise a `UserError` if there are fewer different images, or patches, than `option` asks for.

        Gradients of an image that is drawn twice are nearly the same: the score would fail, or say less than it seems.
        """
        for what, wanted, there in (("images", images, self.size), ("3x3 patches", patches, self.pieces)):
            if wanted > there:
                raise UserError(
                    f"data {self.name} has {there:.0f} different {what}, but {option} asks for {wanted}:"
                    f" give more images, or lower it to {there:.0f}"
                )

    def images(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw `n` different images, standardised, float32 `[n, 32, 32, 3]`.

        Smaller ones are enlarged, nearest neighbour. Raises a `UserError` where there are fewer.
        """
        self.check(images=n)
        raw = self.draw(rng, n)
        images = self._standardise(_crop_and_flip(raw, rng) if self.augment else raw)
        factor = SIDE // images.shape[1]
        return images.repeat(factor, 1).repeat(factor, 2)

    def patches(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw standardised 3x3 crops of one random channel, float32 `[n, 3, 3, 1]`: TE-NAS's inputs for `regions`.

        Of few images one may be drawn again: its next crop is at another place. Raises a `UserError` where there are
        fewer different crops than `n`.
        """
        self.check(patches=n)
        images = self._standardise(self.draw(rng, n))
        top, left = rng.integers(0, images.shape[1] - 2, (2, n))
        crops = sliding_window_view(images, (3, 3), axis=(1, 2))
        return crops[np.arange(n), top, left, rng.integers(0, 3, n), :, :, None]

    def _standardise(self, raw: np.ndarray) -> np.ndarray:
        return standardised(raw, self.mean, self.std)


def load(spec: str, *, data_dir: str | None = None, download: bool = False) -> Source:
    """The images that `spec` names.

    They are standardised by the mean and standard deviation of each channel: of a file its own, whatever it is called,
    of TensorFlow's `cifar10` and `cifar100` those published for CIFAR, of its other data sets those of a sample.

    Args:
      spec: `synthetic`, `synthetic:KIND` (leaves, pink or gaussian), `tfds:NAME[:SPLIT]` (split `train` if left out),
        or the path of an .npz file with an array `images` `[M, H, W, 3]`, integers or floating point.
      data_dir: directory of TensorFlow Datasets; by default the one that library uses.
      download: let TensorFlow Datasets fetch a data set that is not there.

    Raises:
      UserError: unknown specification, or images that are missing, unreadable, of the wrong shape or not finite.
    """
    kind, _, rest = spec.partition(":")
    if kind == "synthetic":
        return _synthetic(rest if ":" in spec else DEFAULT)
    if kind == "tfds":
        name, _, split = rest.partition(":")
        return _from_tfds(name, split or "train", data_dir, download)
    if spec.lower().endswith(".npz"):
        return _from_npz(Path(spec))
    raise unknown("data", spec, ["synthetic", *(f"synthetic:{k}" for k in KINDS), "tfds:NAME[:SPLIT]", "FILE.npz"])


def _synthetic(kind: str) -> Source:
    if kind not in KINDS:
        raise unknown("synthetic data", kind, KINDS)
    description, draw = KINDS[kind]
    name = f"synthetic:{kind}"
    return Source(name, description, digest(name, SIDE), draw)


# Stored images


def _stored(
    name: str, size: int, read: Callable[[np.ndarray], np.ndarray], colours: tuple[Colour, Colour], content: bytes = b""
) -> Source:
    """The source of `size` images; `read` gives those at some positions, `[k, H, W, 3]`, checked.

    The fingerprint is that of `content` or, without it, of eight images spread over the set.
    """

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return _reduce(read(rng.choice(size, n, replace=n > size)))

    first = read(_spread(size, 8))
    side = _reduce(first).shape[1]
    return Source(
        name=name,
        description=f"{size:,} images of {'x'.join(map(str, first.shape[1:]))}",
        fingerprint=digest(name, size, first.shape, str(first.dtype), content or first.tobytes()),
        draw=draw,
        mean=colours[0],
        std=colours[1],
        augment=True,
        size=size,
        pieces=size * (side - 2) ** 2 * 3,
    )


def _spread(size: int, count: int) -> np.ndarray:
    return np.linspace(0, size - 1, min(size, count)).astype(int)


def published(name: str) -> tuple[Colour, Colour] | None:
    """Return mean and standard deviation of the channels of TensorFlow's data set `name`, where they are published."""
    return (CIFAR_MEAN, CIFAR_STD) if name in CIFAR else None


def colours(name: str, images: np.ndarray) -> tuple[Colour, Colour]:
    """Return mean and standard deviation of the channels of the data called `name`: those of a sample of `images`.

    Raises:
      UserError: the `images` `[M, H, W, 3]` cannot be standardised by them.
    """
    sample = images[_spread(len(images), _SAMPLED)]
    mean, std = (tuple(moment((0, 1, 2), np.float64).tolist()) for moment in (sample.mean, sample.std))
    if not np.array(std, np.float32).min() > 0:
        raise UserError(f"data {name}: a colour channel is constant over the images, so it cannot be standardised")
    extremes = np.stack([images.min((0, 1, 2)), images.max((0, 1, 2))])
    with np.errstate(over="ignore", invalid="ignore"):  # normalisations square
        if not np.isfinite(np.square(standardised(extremes, mean, std))).all():
            raise UserError(
                f"data {name}: pixels of up to {np.abs(extremes).max():.3g} overflow float32: scale the images"
            )
    return mean, std


def standardised(raw: np.ndarray, mean: Colour, std: Colour) -> np.ndarray:
    """Return pixels `[..., 3]` less the mean over the standard deviation, float32."""
    return (raw.astype(np.float32) - np.array(mean, np.float32)) / np.array(std, np.float32)


def shrunk(images: np.ndarray, side: int) -> np.ndarray:
    """The images `[B, side, side, C]` whose pixels are means over squares of `images` `[B, H, W, C]`, float32."""
    step = images.shape[1] // side
    return images.reshape(len(images), side, step, side, step, -1).mean((2, 4), dtype=np.float32)


def _reduce(images: np.ndarray) -> np.ndarray:
    step = max(1, images.shape[1] // SIDE)
    return images[:, ::step, ::step]


def _crop_and_flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pad raw pixels with zeros (4 at 32 pixels, 2 at 16), crop at random, mirror with probability 0.5."""
    n, side = images.shape[:2]
    pad = side // 8
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    top, left = rng.integers(0, 2 * pad + 1, (2, n))
    crops = np.moveaxis(sliding_window_view(padded, (side, side), axis=(1, 2))[np.arange(n), top, left], 1, -1)
    return np.where(rng.random((n, 1, 1, 1)) < 0.5, crops[:, :, ::-1], crops)


# Files


def _from_npz(path: Path) -> Source:
    (images,) = read_npz(path, "images")
    images = checked(str(path), images)
    content = hashlib.sha256(images.tobytes()).digest()
    return _stored(path.name, len(images), images.__getitem__, colours(str(path), images), content)


def _from_tfds(name: str, split: str, data_dir: str | None, download: bool) -> Source:
    records = open_tfds(name, split, data_dir, download)

    def read(positions: np.ndarray) -> np.ndarray:
        return checked(records.name, stacked_images(records.name, records.read(positions)))

    own = published(name) or colours(records.name, read(_spread(records.size, _SAMPLED)))
    return _stored(records.name, records.size, read, own)
