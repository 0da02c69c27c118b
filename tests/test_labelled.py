"""Labelled images: TensorFlow Datasets, .npz files, the synthetic task, and their splits."""

import numpy as np
import pytest

from jaxnas.data import labelled
from jaxnas.data.images import CIFAR_MEAN
from jaxnas.errors import UserError


def photos(m=20, side=32):
    return np.random.default_rng(0).integers(0, 256, (m, side, side, 3)).astype(np.uint8)


@pytest.fixture
def npz(tmp_path):
    """Write arrays to an .npz file and return its path as a string."""

    def write(name="data.npz", **arrays):
        np.savez(tmp_path / name, **arrays)
        return str(tmp_path / name)

    return write


def test_npz_keeps_images_with_their_labels(npz):
    pixels, labels = photos(), np.arange(20) % 3
    found = labelled.load(npz(images=pixels, labels=labels))
    np.testing.assert_array_equal(found.images, pixels)
    np.testing.assert_array_equal(found.labels, labels)
    assert (found.classes, found.labels.dtype, found.name) == (3, np.int32, "data.npz")
    assert found.description == "20 images of 32x32x3 in 3 classes"
    np.testing.assert_allclose(found.mean, pixels.mean((0, 1, 2)))


def test_a_file_is_standardised_by_its_own_moments_whatever_it_is_called(npz):
    found = [labelled.load(npz(name, images=photos(), labels=np.arange(20))) for name in ("cifar10.npz", "mine.npz")]
    assert (found[0].mean, found[0].std) == (found[1].mean, found[1].std)
    np.testing.assert_allclose(found[0].mean, photos().mean((0, 1, 2)))


def test_fingerprint_follows_images_labels_and_side(npz):
    pixels, labels = photos(), np.arange(20) % 3
    prints = {
        labelled.load(npz(images=x, labels=y)).fingerprint
        for x in (pixels, pixels[::-1])
        for y in (labels, labels[::-1])
    }
    assert len(prints | {labelled.load(npz(images=pixels, labels=labels), side=16).fingerprint}) == 5


def test_images_are_averaged_over_blocks_or_enlarged(npz):
    pixels = photos(4)
    small = labelled.load(npz(images=pixels, labels=np.arange(4)), side=16)
    blocks = pixels.reshape(4, 16, 2, 16, 2, 3).astype(float).mean((2, 4))
    np.testing.assert_array_equal(small.images, np.rint(blocks))
    large = labelled.load(npz(images=small.images, labels=np.arange(4)))
    np.testing.assert_array_equal(large.images[:, ::2, 1::2], small.images)
    assert small.images.dtype == large.images.dtype == np.uint8


def test_splits_are_disjoint_and_follow_the_seed():
    found = labelled.load("synthetic", side=8)
    parts = found.split(0, (0.5, 0.25, 0.25))
    assert [len(part) for part in parts] == [1024, 512, 512]
    assert sorted(np.concatenate(parts)) == list(range(2048))
    assert all(np.array_equal(a, b) for a, b in zip(parts, found.split(0, (0.5, 0.25, 0.25)), strict=True))
    assert not np.array_equal(parts[0], found.split(1, (0.5, 0.25, 0.25))[0])
    for part in parts:
        assert np.bincount(found.labels[part], minlength=10).min() > 25


def test_tfds_has_the_labels_of_its_images(shared_data):
    found = labelled.load("tfds:cifar10:test", side=16, data_dir=str(shared_data / "tfds"))
    assert found.images.shape == (3000, 16, 16, 3)
    assert (found.name, found.classes, found.mean) == ("tfds:cifar10:test", 10, CIFAR_MEAN)
    assert np.bincount(found.labels).min() > 250
    means = np.stack([found.images[found.labels == k].mean(0) for k in range(10)]).reshape(10, -1)
    blue = found.images[..., 2].astype(float) - found.images[..., 0]
    assert blue[found.labels == 8].mean() > blue[found.labels == 6].mean()  # ships on water, frogs on land
    assert np.ptp(means, 0).mean() > 10


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": photos()}, "no array 'labels', only: images"),
        ({"labels": np.arange(20)}, "no array 'images', only: labels"),
        ({"images": photos(), "labels": np.arange(19)}, r"int64 \[19\] for 20 images"),
        ({"images": photos(), "labels": np.arange(20.0)}, r"float64 \[20\] for 20 images"),
        ({"images": photos(), "labels": np.arange(20) - 1}, "integers from 0"),
        ({"images": photos(), "labels": np.zeros(20, int)}, "at least two classes"),
        ({"images": photos().transpose(0, 3, 1, 2), "labels": np.arange(20)}, r"images.transpose\(0, 2, 3, 1\)"),
        ({"images": photos() * 1e300, "labels": np.arange(20)}, "overflow float32"),
        ({"images": photos()[:0], "labels": np.arange(0)}, "holds no images"),
        ({"images": photos(2, 20), "labels": np.arange(2)}, r"allowed is \[M, side, side, 3\]"),
    ],
)
def test_bad_arrays_are_one_clear_line(npz, arrays, message):
    with pytest.raises(UserError, match=message) as error:
        labelled.load(npz(**arrays))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spec", "side", "message"),
    [("synthetc", 32, "did you mean 'synthetic'"), ("synthetic", 12, "choose from: 8, 16, 32"), ("no.npz", 8, "exist")],
)
def test_bad_specifications_are_one_clear_line(spec, side, message):
    with pytest.raises(UserError, match=message):
        labelled.load(spec, side=side)
