"""Input images: synthetic, stored in an .npz file, and TensorFlow Datasets without TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest

from jaxnas import data
from jaxnas.errors import UserError

SYNTHETIC = ["synthetic:pink", "synthetic:gaussian"]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def npz(tmp_path):
    """Write arrays to an .npz file and return its path as a string."""

    def write(name="images.npz", **arrays):
        np.savez(tmp_path / name, **arrays)
        return str(tmp_path / name)

    return write


def photos(m=20, side=32, dtype=np.uint8):
    return rng().integers(0, 256, (m, side, side, 3)).astype(dtype)


@pytest.fixture(params=[*SYNTHETIC, "npz", "npz 16", "npz 64", "tfds"])
def source(request, npz):
    if request.param.startswith("npz"):
        return data.load(npz(images=photos(side=int(request.param[3:] or 32))))
    if request.param == "tfds":
        return data.load("tfds:cifar10:test", data_dir=str(request.getfixturevalue("shared_data") / "tfds"))
    return data.load(request.param)


def test_draws_have_shape_and_follow_the_seed(source):
    for draw, shape in ((source.images, (32, 32, 3)), (source.patches, (3, 3, 1))):
        first = draw(rng(1), 6)
        assert first.shape == (6, *shape)
        assert first.dtype == np.float32
        np.testing.assert_array_equal(first, draw(rng(1), 6))
        assert not np.array_equal(first, draw(rng(2), 6))
        assert len(np.unique(first.reshape(6, -1), axis=0)) == 6


def test_record_describes_the_data(source):
    assert len(source.fingerprint) == 16
    assert source.name
    assert "\n" not in source.description


def test_plain_synthetic_is_the_default_kind():
    assert data.load("synthetic") == data.load(f"synthetic:{data.DEFAULT_SYNTHETIC}")


@pytest.mark.parametrize("spec", SYNTHETIC)
def test_synthetic_is_standardised(spec):
    for x in (data.load(spec).images(rng(), 1000), data.load(spec).patches(rng(), 4000)):
        assert abs(x.mean()) < 0.05
        assert x.std() == pytest.approx(1, abs=0.05)


def test_gaussian_is_white():
    images = data.load("synthetic:gaussian").images(rng(), 200)
    np.testing.assert_allclose(np.corrcoef(images.reshape(-1, 3).T), np.eye(3), atol=0.01)
    assert abs((images[:, 1:] * images[:, :-1]).mean()) < 0.01


def test_pink_has_correlated_colours_and_a_one_over_f_spectrum():
    images = data.load("synthetic:pink").images(rng(), 500)
    np.testing.assert_allclose(np.corrcoef(images.reshape(-1, 3).T), 0.9 + 0.1 * np.eye(3), atol=0.01)
    power = (np.abs(np.fft.fft2(images, axes=(1, 2))) ** 2).mean((0, 3))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32)))
    inside = (frequency > 0) & (frequency <= 0.5)
    slope, _ = np.polyfit(np.log(frequency[inside]), np.log(power[inside]), 1)
    assert slope == pytest.approx(-2, abs=0.03)  # of power; -1 of amplitude


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float64])
def test_any_precision_comes_out_as_float32(npz, dtype):
    source = data.load(npz(images=photos(dtype=dtype)))
    assert source.images(rng(), 3).dtype == source.patches(rng(), 3).dtype == np.float32


def test_missing_package_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match="needs tensorflow-datasets: pip install it"):
        data.load("tfds:cifar10")


def test_npz_images_are_crops_and_mirrors_padded_with_black(npz):
    pixels = photos(1)
    source = data.load(npz("cifar10.npz", images=pixels))
    raw = source.images(rng(), 40) * np.float32(data.CIFAR_STD) + np.float32(data.CIFAR_MEAN)
    padded = np.pad(pixels[0], ((4, 4), (4, 4), (0, 0)))
    crops = {
        padded[y : y + 32, x : x + 32][:, ::step].tobytes() for y in range(9) for x in range(9) for step in (1, -1)
    }
    drawn = {image.tobytes() for image in np.rint(raw).astype(np.uint8)}
    assert drawn <= crops
    assert len(drawn) > 20


def test_patches_are_standardised_pieces_of_the_images(npz):
    pixels = photos(2)
    source = data.load(npz(images=pixels))
    raw = source.patches(rng(), 50)[..., 0, None] * np.float32(source.std) + np.float32(
        source.mean
    )  # [n, 3, 3, channel]
    pieces = np.lib.stride_tricks.sliding_window_view(pixels, (3, 3), axis=(1, 2))
    allowed = {(c, piece.tobytes()) for c in range(3) for piece in pieces[:, :, :, c].reshape(-1, 9)}
    drawn = np.rint(raw).astype(np.uint8)
    assert all(any((c, np.ascontiguousarray(patch[..., c]).tobytes()) in allowed for c in range(3)) for patch in drawn)


def test_own_moments_standardise_other_data(npz):
    images = rng().normal([1, 2, 3], [0.1, 0.2, 0.3], (500, 32, 32, 3))
    source = data.load(npz(images=images.astype(np.float64)))
    np.testing.assert_allclose(source.mean, [1, 2, 3], rtol=0.01)
    np.testing.assert_allclose(source.std, [0.1, 0.2, 0.3], rtol=0.01)
    assert data.load(npz("cifar10.npz", images=photos())).std == data.CIFAR_STD


def test_small_images_are_enlarged_and_large_ones_reduced(npz):
    small = data.load(npz(images=photos(side=16))).images(rng(), 5)
    np.testing.assert_array_equal(small[:, ::2, ::2], small[:, 1::2, 1::2])
    blocks = data.load(npz(images=photos().repeat(2, 1).repeat(2, 2))).patches(rng(), 500)
    assert (blocks[:, 1:] == blocks[:, :-1]).mean() < 0.1


def test_images_repeat_only_when_there_are_too_few(npz):
    source = data.load(npz(images=photos(20)))
    drawn = source.draw(rng(), 20)
    assert len(np.unique(drawn.reshape(20, -1), axis=0)) == 20
    assert source.images(rng(), 50).shape == (50, 32, 32, 3)


def test_fingerprint_follows_the_data(npz):
    pixels = photos()
    prints = {data.load(npz(images=x)).fingerprint for x in (pixels, pixels[::-1], pixels[:-1])}
    prints |= {data.load(spec).fingerprint for spec in SYNTHETIC}
    assert len(prints) == 5
    assert data.load(npz(images=pixels)).fingerprint == data.load(npz(images=pixels)).fingerprint


def test_the_only_array_needs_no_name(npz):
    assert data.load(npz(anything=photos())).description == "20 images of 32x32x3"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": photos(3, 20)}, r"\[3, 20, 20, 3\]; allowed is \[M, side, side, 3\]"),
        ({"images": photos(3).transpose(0, 3, 1, 2)}, r"allowed is \[M, side, side, 3\]"),
        ({"images": photos(3)[..., 0]}, r"allowed is \[M, side, side, 3\]"),
        ({"images": photos(3)[:0]}, "holds no images"),
        ({"images": photos(3, dtype=np.int64)}, "int64; allowed are uint8 and floating point"),
        ({"images": np.where(photos(3) > 5, 1.0, np.nan)}, "NaN or infinite pixels"),
        ({"images": np.where(photos(3) > 5, 1.0, np.inf)}, "NaN or infinite pixels"),
        ({"images": photos(3) * np.uint8(0)}, "constant"),
        ({"x": photos(3), "y": photos(3)}, "no array 'images', only: x, y"),
        ({"images": np.array([{}])}, "not a readable .npz archive"),
        ({}, "no array 'images', only: nothing"),
    ],
)
def test_bad_arrays_are_one_clear_line(npz, arrays, message):
    with pytest.raises(UserError, match=message) as error:
        data.load(npz(**arrays))
    assert "\n" not in str(error.value)


def test_unreadable_files_are_one_clear_line(npz, tmp_path):
    whole = (tmp_path / "images.npz", npz(images=photos()))[0].read_bytes()
    contents = {
        "short": whole[:2000],
        "empty": b"",
        "foreign": b"idx,arch\n",
        "flipped": whole.replace(b"NUMPY", b"NUMPI"),
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"not a readable .npz archive: .+") as error:
            data.load(str(path))
        assert "\n" not in str(error.value)
    np.save(tmp_path / "array", photos())
    with pytest.raises(UserError, match=r"not a readable .npz archive"):
        data.load(str((tmp_path / "array.npy").rename(tmp_path / "array.npz")))
    with pytest.raises(UserError, match="does not exist"):
        data.load(str(tmp_path / "missing.npz"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("synthetc", r"unknown data 'synthetc'; did you mean 'synthetic'\?"),
        ("synthetic:pnk", r"did you mean 'pink'\? choose from: gaussian, pink"),
        ("cifar10", "tfds:NAME"),
    ],
)
def test_unknown_specification_names_the_nearest(spec, message):
    with pytest.raises(UserError, match=message):
        data.load(spec)


def test_tfds_images_are_real_and_need_no_tensorflow(shared_data):
    code = (
        "import sys, numpy as np\n"
        "from jaxnas import data\n"
        f"source = data.load('tfds:cifar10', data_dir={str(shared_data / 'tfds')!r})\n"
        "images = source.images(np.random.default_rng(0), 64)\n"
        "assert images.shape == (64, 32, 32, 3) and abs(images.mean()) < 0.5 and 0.7 < images.std() < 1.4\n"
        "assert source.patches(np.random.default_rng(0), 10).shape == (10, 3, 3, 1)\n"
        "assert 'tensorflow' not in sys.modules, 'TensorFlow was imported'\n"
        "print(source.name, source.description, source.mean == data.CIFAR_MEAN)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == "tfds:cifar10:train 12,000 images of 32x32x3 True"


def test_importing_data_is_light():
    code = "import sys; from jaxnas import data; assert not {'tensorflow_datasets', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar10", r"not there as array_record files\): check --data-dir, or add --download"),
        ("cifarr", "did you mean 'cifar10'"),
    ],
)
def test_missing_tfds_data_set_is_one_clear_line(tmp_path, name, message):
    with pytest.raises(UserError, match=message) as error:
        data.load(f"tfds:{name}", data_dir=str(tmp_path))
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_tfds_split_says_which_there_are(shared_data):
    with pytest.raises(UserError, match=r"Unknown split 'valid'. Should be one of \['train', 'test'\]"):
        data.load("tfds:cifar10:valid", data_dir=str(shared_data / "tfds"))
