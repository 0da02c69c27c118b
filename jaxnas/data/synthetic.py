"""Images that are made up: from a generator and a number `n` to images `[n, 32, 32, 3]` of deviation one."""

import functools
from collections.abc import Callable

import numpy as np

from jaxnas.data.image_files import SIDE

DEFAULT = "leaves"
LEAVES = 40  # discs of an image
LEAF_PIXELS = 3.0, 24.0  # smallest and largest radius
LEAF_MARGIN = 6.0  # pixels around the image in which a disc may be centred
LEAF_CONTRAST = 0.2  # standard deviation of the logarithm of an image's contrast
CACHED_IMAGES = 32  # that are painted at a time, in the processor's cache
LEAF_DEVIATION = 0.58  # of the pixels, before they are standardised
_CORRELATION = 0.9  # between the colour channels of pink noise; CIFAR-10 has 0.82 to 0.92


def _gaussian(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_normal((n, SIDE, SIDE, 3), np.float32)


def _pink(rng: np.random.Generator, n: int) -> np.ndarray:
    """Correlated white noise, filtered to the amplitude spectrum `1 / |f|`."""
    mix = np.linalg.cholesky(_colour_covariance()).astype(np.float32)
    spectrum = np.fft.rfft2(_gaussian(rng, n) @ mix.T, axes=(1, 2)) * _pink_amplitude()[..., None]
    return np.fft.irfft2(spectrum, s=(SIDE, SIDE), axes=(1, 2)).astype(np.float32)


def _colour_covariance() -> np.ndarray:
    return np.full((3, 3), _CORRELATION) + (1 - _CORRELATION) * np.eye(3)


@functools.cache
def _pink_amplitude() -> np.ndarray:
    """Return `1 / |f|` on the half plane of `rfft2`, `[32, 17]`, scaled so that pixels have variance one."""
    rows = np.fft.fftfreq(SIDE)[:, None]
    frequency = np.hypot(rows, np.fft.fftfreq(SIDE))
    frequency[0, 0] = 0.5 / SIDE  # twice the lowest frequency's amplitude, as in CIFAR-10: brightness varies
    amplitude = 1 / frequency
    amplitude /= np.sqrt(np.mean(amplitude**2))
    return amplitude[:, : SIDE // 2 + 1].astype(np.float32)


def _leaves(rng: np.random.Generator, n: int) -> np.ndarray:
    """Dead leaves: discs of random colours that cover each other (Lee, Mumford and Huang, IJCV 2001).

    Radii have the density 1 / r^3, as in scenes, which are alike at all scales; the contrast differs between images.
    Edges, spectrum, brightness and contrast are distributed about as in CIFAR-10.
    """
    small, large = LEAF_PIXELS
    radius = (small**-2 - rng.random((n, LEAVES)) * (small**-2 - large**-2)) ** -0.5
    centre = rng.uniform(-LEAF_MARGIN, SIDE + LEAF_MARGIN, (n, LEAVES, 2))
    colour = rng.uniform(-1, 1, (n, LEAVES + 1, 3)) @ np.linalg.cholesky(_colour_covariance()).T
    contrast = np.exp(LEAF_CONTRAST * rng.standard_normal((n, 1, 1, 1), np.float32))
    leaves = (part.astype(np.float32) for part in (radius, centre, colour))
    images = np.concatenate([_painted(*some) for some in zip(*(_in_parts(part) for part in leaves), strict=True)])
    means = images.mean((1, 2), keepdims=True)
    return (means + (images - means) * contrast) / np.float32(LEAF_DEVIATION)


def _painted(radius: np.ndarray, centre: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Images `[n, 32, 32, 3]` of discs with radii `[n, L]` at `[n, L, 2]`, later ones on top.

    The last of the colours `[n, L + 1, 3]` is behind them.
    """
    pixels = np.arange(SIDE, dtype=np.float32) + 0.5
    images = np.broadcast_to(colour[:, -1, None, None], (len(radius), SIDE, SIDE, 3)).copy()
    for leaf in range(LEAVES):
        row, column, size = (part[:, leaf, None, None] for part in (centre[..., 0], centre[..., 1], radius))
        covered = np.clip(size - np.hypot(pixels[:, None] - row, pixels - column) + 0.5, 0, 1)[..., None]
        images += covered * (colour[:, leaf, None, None] - images)
    return images


def _in_parts(array: np.ndarray) -> list[np.ndarray]:
    """The rows of an array, `CACHED_IMAGES` at a time."""
    return [array[first : first + CACHED_IMAGES] for first in range(0, len(array), CACHED_IMAGES)]


KINDS: dict[str, tuple[str, Callable[[np.random.Generator, int], np.ndarray]]] = {
    "pink": ("noise with the 1/f spectrum and the colours' correlation of natural images", _pink),
    "leaves": ("discs that cover each other, with the edges and the spectrum of natural images", _leaves),
    "gaussian": ("white Gaussian noise", _gaussian),
}
