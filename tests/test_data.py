"""Input images: synthetic, stored in an .npz file, and TensorFlow Datasets without TensorFlow."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxnas import data, spaces
from jaxnas.data import images
from jaxnas.data.image_files import Records
from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.scorers import NTK, Regions, Regression, Sequences
from jaxnas.scorers.training.any_task import AnyTask
from jaxnas.scorers.training.targets import load_task

SYNTHETIC = ["synthetic:leaves", "synthetic:pink", "synthetic:gaussian"]


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
    assert data.load("synthetic") == data.load("synthetic:leaves")


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


def statistics(images):
    """Kurtosis and variance of horizontal differences, deviation of brightness, and mean contrast."""
    images = (images - images.mean((0, 1, 2))) / images.std((0, 1, 2))
    edges = np.diff(images, axis=2)
    return (edges**4).mean() / edges.var() ** 2, edges.var(), images.mean((1, 2)).std(), images.std((1, 2)).mean()


def test_leaves_have_edges_brightness_and_contrast_as_real_images_do(shared_data):
    real = data.load("tfds:cifar10", data_dir=str(shared_data / "tfds")).images(rng(), 300)
    leaves = data.load("synthetic:leaves").images(rng(), 300)
    np.testing.assert_allclose(statistics(leaves), statistics(real), rtol=0.35)
    assert statistics(data.load("synthetic:pink").images(rng(), 300))[0] < 4  # no edges
    assert leaves.std() == pytest.approx(1, abs=0.05) and abs(leaves.mean()) < 0.05


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
    source = data.load(npz(images=pixels))
    drawn = np.concatenate([source.images(generator, 1) for generator in [rng()] * 40])
    raw = drawn * np.float32(source.std) + np.float32(source.mean)
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


def test_a_file_is_standardised_by_its_own_moments_whatever_it_is_called(npz):
    sources = [data.load(npz(name, images=photos())) for name in ("cifar10.npz", "tfds_cifar10.npz", "mine.npz")]
    for source in sources:
        assert (source.mean, source.std) == (sources[-1].mean, sources[-1].std)
        np.testing.assert_array_equal(source.images(rng(), 20), sources[-1].images(rng(), 20))
    drawn = np.concatenate([sources[0].patches(rng(seed), 1000) for seed in range(9)])
    assert (drawn.mean(), drawn.std()) == pytest.approx((0, 1), abs=0.05)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "cifar10_corrupted", "cifar"])
def test_only_cifar_itself_has_the_published_moments(monkeypatch, name):
    records = Records(f"tfds:{name}:train", 20, lambda at: [{"image": image} for image in photos()[at]])
    monkeypatch.setattr(images, "open_tfds", lambda *_: records)
    published = data.load(f"tfds:{name}").mean == images.CIFAR_MEAN
    assert published == (name in ("cifar10", "cifar100"))


def test_small_images_are_enlarged_and_large_ones_reduced(npz):
    small = data.load(npz(images=photos(side=16))).images(rng(), 5)
    np.testing.assert_array_equal(small[:, ::2, ::2], small[:, 1::2, 1::2])
    blocks = data.load(npz(images=photos().repeat(2, 1).repeat(2, 2))).patches(rng(), 500)
    assert (blocks[:, 1:] == blocks[:, :-1]).mean() < 0.1


def test_more_images_than_there_are_are_refused(npz):
    source = data.load(npz("few.npz", images=photos(20)))
    drawn = source.draw(rng(), 20)
    assert len(np.unique(drawn.reshape(20, -1), axis=0)) == 20
    with pytest.raises(
        UserError, match=r"few.npz has 20 different images, but the call asks for 21: .* lower it to 20"
    ):
        source.images(rng(), 21)
    assert data.load("synthetic").images(rng(), 21).shape == (21, 32, 32, 3)


def test_patches_of_few_images_are_refused_only_where_crops_repeat(npz):
    assert data.load(npz(images=photos(2))).patches(rng(), 3000).shape == (3000, 3, 3, 1)
    tiny = data.load(npz(images=photos(2, 4)))  # 2 images, 2x2 places, 3 channels
    assert tiny.patches(rng(), 24).shape == (24, 3, 3, 1)
    with pytest.raises(UserError, match="24 different 3x3 patches, but the call asks for 25"):
        tiny.patches(rng(), 25)


@pytest.mark.parametrize(
    ("scorer", "words"),
    [
        (NTK(), r"10 different images, but --ntk.images asks for 72: .* lower it to 10"),
        (Regression(), r"10 different images, but --regression.images asks for 16: .* lower it to 10"),
        (AnyTask(drawn=load_task("nb101"), most=64), r"but --images asks for 16"),
        (Regions(samples=9001), r"27000 different 3x3 patches, but --regions.batches times --regions.samples asks"),
    ],
)
def test_an_evaluator_says_which_option_wants_too_many_images(npz, scorer, words):
    source = data.load(npz(images=photos(10)))
    with pytest.raises(UserError, match=words):
        Evaluator(spaces.get("nasbench201"), scorer, source).check()
    for fitting in (NTK(images=10), Regions(), Regression(images=10)):
        Evaluator(spaces.get("nasbench201"), fitting, source).check()
    Evaluator(spaces.get("nasbench_nlp"), Sequences(), source).check()


def test_fingerprint_follows_the_data(npz):
    pixels = photos()
    prints = {data.load(npz(images=x)).fingerprint for x in (pixels, pixels[::-1], pixels[:-1])}
    prints |= {data.load(spec).fingerprint for spec in SYNTHETIC}
    assert len(prints) == 6
    assert data.load(npz(images=pixels)).fingerprint == data.load(npz(images=pixels)).fingerprint


def test_the_only_array_needs_no_name(npz):
    assert data.load(npz(anything=photos())).description == "20 images of 32x32x3"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": photos(3, 20)}, r"\[3, 20, 20, 3\]; allowed is \[M, side, side, 3\]"),
        ({"images": photos(3)[:0]}, "holds no images"),
        ({"images": photos(3).astype(str)}, "<U3; allowed are integers and floating point"),
        ({"images": photos(3, dtype=np.complex64)}, "complex64; allowed are integers and floating point"),
        ({"images": np.where(photos(3) > 5, 1.0, np.nan)}, "NaN or infinite pixels"),
        ({"images": np.where(photos(3) > 5, 1.0, np.inf)}, "NaN or infinite pixels"),
        ({"images": photos(3) * 1e300}, r"pixels of up to 2.55e\+302 overflow float32: scale the images"),
        (
            {"images": np.where(np.arange(20)[:, None, None, None] > 0, -3e38, 3e38) + 0 * photos(20)},
            "overflow float32",
        ),
        ({"images": photos(3) * np.uint8(0)}, "constant"),
        ({"images": photos(3) * 1e-300}, "constant"),
        ({"x": photos(3), "y": photos(3)}, "no array 'images', only: x, y"),
        ({"images": np.array([{}])}, "not a readable .npz archive"),
        ({}, "no array 'images', only: nothing"),
    ],
)
def test_bad_arrays_are_one_clear_line(npz, arrays, message):
    with pytest.raises(UserError, match=message) as error:
        data.load(npz(**arrays))
    assert "\n" not in str(error.value)


GREY, SQUARE = "np.repeat(images, 3, -1)", "jax.image.resize(images, (5, 32, 32, 3), 'linear')"


@pytest.mark.parametrize(
    ("shape", "remedies", "says"),
    [
        ((5, 3, 32, 32), ["images.transpose(0, 2, 3, 1)"], "the channels come first"),
        ((5, 28, 28), ["np.repeat(images[..., None], 3, -1)", SQUARE], "grey, without channels"),
        ((5, 32, 32, 1), [GREY], "they are grey"),
        ((5, 1, 28, 28), ["images.transpose(0, 2, 3, 1)", GREY, SQUARE], "the channels come first"),
        ((5, 32, 32, 4), ["images[..., :3]"], "a fourth channel, opacity"),
        ((5, 48, 48, 3), [SQUARE], "48 pixels are no such side"),
        ((32, 32, 3), ["images[None]"], "a single image"),
        ((5, 32, 48, 3), [], "not square: crop or pad the 32x48 pixels"),
        ((5, 32, 32, 2), [], "2 channels: keep or make three"),
        ((5, 3072), [], "give the images the axes [M, height, width, channels]"),
    ],
)
def test_images_of_another_shape_are_told_remedies_that_work(npz, shape, remedies, says):
    images = rng().integers(0, 256, shape).astype(np.uint8)
    with pytest.raises(UserError, match=r"allowed is \[M, side, side, 3\], whatever the space") as error:
        data.load(npz(images=images))
    message = str(error.value)
    assert says in message
    assert str(list(shape)) in message
    assert sorted(remedies, key=message.index) == remedies
    for remedy in remedies:
        images = eval(remedy, {"np": np, "jax": jax, "images": images})
    if remedies:
        assert data.load(npz(images=images)).images(rng(), 1).shape == (1, 32, 32, 3)


@pytest.mark.parametrize("dtype", [bool, np.int64, np.uint16, np.float16, np.float64])
def test_pixels_of_any_width_are_read(npz, dtype):
    bits = photos() // 128
    sources = [data.load(npz(images=images)) for images in (bits, bits.astype(dtype))]
    np.testing.assert_array_equal(*(source.images(rng(), 20) for source in sources))
    wide = data.load(npz(images=photos().astype(np.uint16) * 257))
    np.testing.assert_allclose(wide.images(rng(), 20), data.load(npz(images=photos())).images(rng(), 20), atol=1e-5)


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
        ("synthetic:pnk", r"did you mean 'pink'\? choose from: gaussian, leaves, pink"),
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
        "print(source.name, source.description, source.mean == data.images.CIFAR_MEAN)"
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
