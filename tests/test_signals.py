"""GenNAS's synthetic targets against direct formulas, SciPy and the variances measured on the original."""

import json
import math

import jax
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from jaxnas import data
from jaxnas.errors import UserError
from jaxnas.scorers.training import targets as signals
from jaxnas.scorers.training.targets import Signal, Task, load_task, noise, targets

NAMES = ["nb101", "darts", "resnet", "combo"]
VARIANCES = {  # GenNAS's own, measured on stand-in images, which only `resize` depends on
    "nb101": (0.62, 6.5, 2.6),
    "darts": (0.57, 4.0, 0.51),
    "resnet": (0.62, 3.8, 2.3),
    "combo": (2.0, 1.1, 1.6),
}


def rng(seed=0):
    return np.random.default_rng(seed)


def pictures(b=16, seed=0):
    return data.load("synthetic:pink").images(rng(seed), b)


def draw(kind, channels=48, images=None, seed=0, **fields):
    """Target of a task with this one signal, `[B, 8, 8, channels]`."""
    task = Task("uniform", 0.1, (channels,), ((Signal(kind, 1.0, **fields),),))
    return targets(task, pictures() if images is None else images, rng(seed))[0]


@pytest.mark.parametrize("name", NAMES)
def test_stored_tasks_draw_finite_targets_by_seed(name):
    task = load_task(name)
    first, again, other = (targets(task, pictures(), rng(seed)) for seed in (0, 0, 1))
    for target, same, different, channels in zip(first, again, other, task.channels, strict=True):
        assert target.shape == (16, 8, 8, channels)
        assert target.dtype == np.float32
        assert np.isfinite(target).all()
        np.testing.assert_array_equal(target, same)
        assert not np.array_equal(target, different)


def test_stored_tasks_are_the_published_ones(shared_data):
    published = json.loads((shared_data / "gennas/task_configs.json").read_text())
    for name in NAMES:
        task, config = load_task(name), published[f"CONF_{name.upper()}"]
        assert (task.noise, task.noise_level) == (config["noise"]["type"], config["noise"]["noise_level"])
        for tap, channels in enumerate(task.channels):
            assert channels == int(config[f"last_channel_l{tap}"] * 64)
            features = {kind: feature for kind, feature in config["feature"][str(tap)].items() if feature}
            assert {signal.kind for signal in task.taps[tap]} == set(features)
            for signal in task.taps[tap]:
                feature = features[signal.kind]
                assert signal.level == pytest.approx(feature["level"], rel=1e-9)
                assert signal.betas == pytest.approx(feature.get("range", ()), rel=1e-8)
                assert signal.partial == feature.get("partial", 0)
                assert signal.local == feature.get("local", True)


@pytest.mark.parametrize("name", NAMES)
def test_variances_agree_with_the_original(name):
    images = data.load("synthetic:gaussian").images(rng(), 16)
    drawn = [[target.var() for target in targets(load_task(name), images, rng(seed))] for seed in range(10)]
    np.testing.assert_allclose(np.mean(drawn, 0), VARIANCES[name], rtol=0.05)


def waves_1d(betas, phases):
    """Every map of the pool, by loops over the definition: `[len(betas) * 32 * 2, 8, 8]`."""
    pool = []
    for i, beta in enumerate(betas):
        for j in range(32):
            g = math.cos if j % 2 else math.sin
            line = [g(2 * math.pi * beta * p + phases[i, j]) for p in range(1, 9)]
            pool += [np.tile(line, (8, 1)).T, np.tile(line, (8, 1))]
    return np.array(pool)


def waves_2d(betas, phases):
    pool = []
    for a, first in enumerate(betas):
        for b, second in enumerate(betas):
            for j in range(32):
                g = math.cos if j % 2 else math.sin
                plane = [
                    [g(2 * math.pi * (first * y + second * x) + 2 * phases[a, b, j]) for x in range(1, 9)]
                    for y in range(1, 9)
                ]
                pool += [np.array(plane), np.array(plane)[::-1]]
    return np.array(pool)


@pytest.mark.parametrize(("kind", "pool"), [("sin1d", waves_1d), ("sin2d", waves_2d)])
def test_sinusoids_are_distinct_maps_of_the_pool(kind, pool):
    betas = (0.1, 0.27, 0.4)
    drawn = draw(kind, betas=betas, local=False)[0]
    phases = rng(0).uniform(0, 2 * np.pi, (len(betas),) * int(kind[3]) + (32,))
    distance = np.abs(pool(betas, phases) - np.moveaxis(drawn, -1, 0)[:, None]).max((2, 3))  # [channels, pool]
    assert distance.min(1).max() < 1e-5
    assert len(set(distance.argmin(1))) == drawn.shape[-1]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("sin1d", {"betas": (0.1, 0.3)}),
        ("sin2d", {"betas": (0.1, 0.3)}),
        ("dot", {"partial": 0.5}),
        ("dot_gaussian", {"partial": 0.5}),
    ],
)
def test_samples_share_maps_unless_local(kind, fields):
    shared, own = (draw(kind, local=local, **fields) for local in (False, True))
    assert (shared == shared[:1]).all()
    assert all(not np.array_equal(own[0], sample) for sample in own[1:])
    assert np.abs(shared).max() <= 1


@pytest.mark.parametrize("partial", [0.0, 0.1, 37 / 64, 1.0])
def test_dots_are_spikes_of_either_sign(partial):
    dots = draw("dot", partial=partial)
    assert (np.abs(dots).sum((1, 2)) == int(partial * 64)).all()
    assert set(np.unique(dots)) <= {-1, 0, 1}
    assert abs(dots.mean()) < 0.02


def test_blurred_dots_are_scipys():
    dots, blurred = (draw(kind, partial=0.3) for kind in ("dot", "dot_gaussian"))
    expected = np.stack(
        [[gaussian_filter(m, 1.0) for m in np.moveaxis(sample, -1, 0)] for sample in dots.astype(float)]
    )
    expected /= np.abs(expected).max((2, 3), keepdims=True)
    np.testing.assert_allclose(np.moveaxis(blurred, -1, 1), expected, atol=1e-6)


@pytest.mark.parametrize("size", [2, 5, 8, 16])
def test_blur_mirrors_the_border_at_every_size(size):
    image = rng().normal(size=(size, size))
    blur = signals._blur_matrix(size)
    np.testing.assert_allclose(blur @ image @ blur.T, gaussian_filter(image, 1.0), atol=1e-12)


def test_resize_is_every_fourth_pixel_scaled_over_the_batch():
    images = pictures()
    drawn = draw("resize", images=images)
    small = images[:, ::4, ::4]
    small = 2 * (small - small.min()) / (small.max() - small.min()) - 1
    assert (drawn.min(), drawn.max()) == (-1, 1)
    colours = [int(np.abs(small - drawn[..., [c]]).max((0, 1, 2)).argmin()) for c in range(48)]
    np.testing.assert_allclose(drawn, small[..., colours], atol=1e-6)
    assert set(colours) == {0, 1, 2}


def test_components_are_added_with_their_levels():
    resize, dot = Signal("resize", 2.0), Signal("dot", 0.5, partial=1.0)
    images = pictures()
    both = targets(Task("uniform", 0.0, (12,), ((resize, dot),)), images, rng())[0]
    first = targets(Task("uniform", 0.0, (12,), ((resize,),)), images, rng())[0]
    np.testing.assert_allclose(np.abs(both - first), 0.5, atol=1e-6)


def test_noise_has_its_kind_and_level_under_jit():
    draw_noise = jax.jit(noise, static_argnums=(0, 2))
    shape, key = (20, 16, 16, 3), jax.random.key(0)
    uniform, normal = (np.asarray(draw_noise(Task(kind, 0.3, (1,), ((),)), key, shape)) for kind in signals.NOISES)
    assert uniform.dtype == normal.dtype == np.float32
    assert np.abs(uniform).max() <= 0.3
    assert uniform.std() == pytest.approx(0.3 / 3**0.5, rel=0.02)
    assert normal.std() == pytest.approx(0.3, rel=0.02)
    assert not noise(load_task("combo"), key, shape).any()


def test_task_file_has_the_stored_form(tmp_path):
    path = tmp_path / "task.json"
    path.write_text(json.dumps(json.loads(signals._TASKS.read_text())["nb101"]))
    assert load_task(str(path)) == load_task("nb101")


GOOD = {"noise": "uniform", "noise_level": 0.1, "taps": [{"channels": 4, "signals": [{"kind": "resize", "level": 1}]}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": "uniforn"}, "did you mean 'uniform'"),
        ({"noise_level": -1}, "noise_level is -1; it must be 0 or a positive number"),
        ({"taps": []}, "at least one tap"),
        ({"taps": [{"channels": 0, "signals": []}]}, "positive number of channels"),
        ({"taps": [{"channels": 4, "signals": [{"kind": "sin3d", "level": 1}]}]}, "unknown signal 'sin3d'"),
        ({"taps": [{"channels": 4, "signals": [{"kind": "sin1d", "level": 1}]}]}, "needs betas"),
        ({"taps": [{"channels": 4, "signals": [{"kind": "dot", "level": 1, "partial": 2}]}]}, "partial is 2"),
        ({"taps": [{"channels": 4, "signals": [{"kind": "resize", "level": math.nan}]}]}, "finite"),
        ({"taps": [{"channels": 4, "signals": [{"kind": "resize", "size": 1}]}]}, "malformed"),
        ({"taps": 3}, "malformed"),
    ],
)
def test_bad_task_files_are_one_clear_line(tmp_path, change, message):
    path = tmp_path / "task.json"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(UserError, match=message) as error:
        load_task(str(path))
    assert "\n" not in str(error.value)


def test_missing_tasks_are_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"unknown task 'nb102'; did you mean 'nb101'\?"):
        load_task("nb102")
    with pytest.raises(UserError, match="cannot read task file"):
        load_task(str(tmp_path / "none.json"))
    (tmp_path / "cut.json").write_text('{"noise": ')
    with pytest.raises(UserError, match="is not JSON"):
        load_task(str(tmp_path / "cut.json"))


def test_targets_that_cannot_be_drawn_say_why():
    with pytest.raises(UserError, match=r"no dot on a 8x8 map \(0/0\); it must be at least 1/64"):
        draw("dot_gaussian", partial=0.01)
    with pytest.raises(UserError, match="96 channels, but its betas give 64 maps"):
        draw("sin1d", betas=(0.1,), channels=96)
    with pytest.raises(UserError, match="constant or not finite"):
        draw("resize", images=np.zeros((2, 32, 32, 3)))
