"""Stored images and labels: arrays of an .npz file, and TensorFlow Datasets without TensorFlow."""

import difflib
import importlib
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnas.errors import UserError

SIDE = 32  # pixels; larger images are a multiple of it


def checked(name: str, images: np.ndarray) -> np.ndarray:
    """The raw images `[M, H, W, 3]` of the data called `name` as uint8 or float32.

    Integers and booleans of any width are read: as uint8 where they are pixels of 0 to 255.

    Raises:
      UserError: there are none, or their shape, type or values cannot be used; the message says what to change.
    """
    if images.ndim and not len(images):
        raise UserError(f"data {name} holds no images: give a data set or a split with at least one")
    if steps := _to_fit(images.shape):
        allowed = f"[M, side, side, 3], whatever the space, with a side of 4, 8, 16 or a multiple of {SIDE} pixels"
        raise UserError(
            f"data {name}: the images' shape is {list(images.shape)}; allowed is {allowed}: {', and '.join(steps)};"
            " save the result as .npz"
        )
    return _pixels(name, images)


def _to_fit(shape: tuple[int, ...]) -> list[str]:
    """What keeps images of this `shape` from being used, with the remedies, in the order in which they apply."""
    if len(shape) not in (3, 4):
        return ["give the images the axes [M, height, width, channels], for rows of pixels by images.reshape"]
    if len(shape) == 3 and shape[2] in (3, 4):
        return ["this is a single image, images[None] would be a set of one", *_to_fit((1, *shape))]
    steps, (_, height, width, channels) = [], (*shape, 1)[:4]
    if len(shape) == 3:
        steps = ["they are grey, without channels: np.repeat(images[..., None], 3, -1)"]
    elif channels not in (1, 3, 4) and height in (1, 3, 4):
        _, channels, height, width = shape
        steps = ["the channels come first: images.transpose(0, 2, 3, 1)"]
    if len(shape) == 4 and channels != 3:
        remedies = {1: "they are grey: np.repeat(images, 3, -1)", 4: "a fourth channel, opacity: images[..., :3]"}
        steps.append(remedies.get(channels, f"they have {channels} channels: keep or make three"))
    if height != width:
        steps.append(f"they are not square: crop or pad the {height}x{width} pixels")
    if (side := min(height, width)) not in (4, 8, 16) and (side == 0 or side % SIDE):
        steps.append(f"{side} pixels are no such side: jax.image.resize(images, ({shape[0]}, 32, 32, 3), 'linear')")
    return steps


def _pixels(name: str, images: np.ndarray) -> np.ndarray:
    if images.dtype.kind in "iub":
        narrow = images.dtype == np.uint8 or (images.min() >= 0 and images.max() <= 255)
        return images.astype(np.uint8 if narrow else np.float32, copy=False)
    if images.dtype.kind != "f":
        raise UserError(f"data {name}: the images are {images.dtype}; allowed are integers and floating point")
    with np.errstate(over="ignore"):
        pixels = images.astype(np.float32, copy=False)
    if not np.isfinite(images).all():
        raise UserError(f"data {name}: NaN or infinite pixels: remove those images")
    if not np.isfinite(pixels).all():
        raise UserError(f"data {name}: pixels of up to {np.abs(images).max():.3g} overflow float32: scale the images")
    return pixels


# .npz


def read_npz(path: Path, *names: str) -> list[np.ndarray]:
    """The arrays called `names` of an .npz file; if one is wanted and there is one, it may have any name.

    Raises:
      UserError: the file is missing or unreadable, or lacks an array.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            keys = archive.files
            wanted = keys if len(keys) == len(names) == 1 else names
            return [archive[name] for name in wanted]
    except FileNotFoundError as error:
        raise UserError(f"data file {path} does not exist") from error
    except KeyError as error:
        lacking = next(name for name in names if name not in keys)
        raise UserError(f"data file {path} has no array {lacking!r}, only: {', '.join(keys) or 'nothing'}") from error
    except (OSError, EOFError, ValueError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"data file {path} is not a readable .npz archive: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# TensorFlow Datasets


class Records(NamedTuple):
    """A split of a data set.

    Attributes:
      name: `tfds:NAME:SPLIT`.
      size: number of records.
      read: `positions [k]` to the records there.
    """

    name: str
    size: int
    read: Callable[[np.ndarray], list[dict[str, Any]]]


def open_tfds(name: str, split: str, data_dir: str | None, download: bool) -> Records:
    """A split of a TensorFlow data set; `UserError` where it is not there or empty."""
    tfds, spec = _import_tfds(), f"tfds:{name}:{split}"
    with _tfds_errors(name, data_dir):
        source = tfds.data_source(name, split=split, data_dir=data_dir, download=download)
    if not len(source):
        raise UserError(f"data {spec} holds no images: give a data set or a split with at least one")

    def read(positions: np.ndarray) -> list[dict[str, Any]]:
        with _tfds_errors(spec, data_dir):
            return list(source.__getitems__(positions.tolist()))

    return Records(spec, len(source), read)


def stacked_images(name: str, records: list[dict[str, Any]]) -> np.ndarray:
    """The raw images `[k, H, W, C]` of records."""
    if "image" not in records[0]:
        raise UserError(f"data {name} has no images; its features are: {', '.join(sorted(records[0]))}")
    shapes = {record["image"].shape for record in records}
    if len(shapes) > 1:
        raise UserError(f"data {name}: images differ in shape, such as {' and '.join(map(str, sorted(shapes)[:2]))}")
    return np.stack([record["image"] for record in records])


def stacked_labels(name: str, records: list[dict[str, Any]]) -> np.ndarray:
    """The labels `[k]` of records."""
    if "label" not in records[0]:
        raise UserError(f"data {name} has no labels; its features are: {', '.join(sorted(records[0]))}")
    return np.array([record["label"] for record in records])


def _import_tfds() -> Any:
    try:
        return importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise UserError(f"data tfds:... needs tensorflow-datasets: pip install it ({_first_line(error)})") from error


@contextmanager
def _tfds_errors(name: str, data_dir: str | None) -> Iterator[None]:
    """Turn whatever TensorFlow Datasets raises into one line, and keep its warnings off standard error."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except Exception as error:
        place = data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
        raise UserError(
            f"data set {name!r} cannot be read from {place}"
            f" ({_cause(name, error)}): check --data-dir, or add --download to fetch it"
        ) from error
    finally:
        logger.setLevel(level)


def _cause(name: str, error: Exception) -> str:
    if isinstance(error, NotImplementedError):  # also raised where nothing is there
        return "not there as array_record files"
    if type(error).__name__ != "DatasetNotFoundError":
        return _first_line(error)
    near = difflib.get_close_matches(name, _import_tfds().list_builders(with_community_datasets=False), n=1)
    return f"no such data set; did you mean {near[0]!r}?" if near else "no such data set"
