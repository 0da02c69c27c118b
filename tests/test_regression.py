"""The regression score: golden losses, the reference, properties, other people's models."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas import data, spaces
from jaxnas.cli.options import Options
from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.scorers import regression
from jaxnas.scorers.training.regression import Problem, Regression, fit, init_heads
from jaxnas.scorers.training.targets import load_task
from jaxnas.types import Status

GOLDEN = json.loads((Path(__file__).parent / "golden" / "torch.json").read_text())


def heads_of(flat):
    """Read the heads from interchange weights."""
    names = {"scale": "norm/scale", "bias": "norm/bias", "kernel": "conv/kernel", "offset": "conv/bias"}
    read = {k: [flat[f"heads/{tap}/{name}"] for tap in range(3)] for k, name in names.items()}
    return [{k: jnp.asarray(read[k][tap][0, 0] if k == "kernel" else read[k][tap]) for k in names} for tap in range(3)]


@pytest.fixture(scope="module")
def golden_fit(golden_inputs, nested_weights):
    """Return `(archs) -> losses` on the golden weights and inputs of the short setting, compiled once."""
    setting, targets = GOLDEN["settings"]["regression_short"], GOLDEN["settings"]["targets"]
    shapes = golden_inputs.regression_shapes(setting["channels"], setting["cells"], targets)
    flat = golden_inputs.golden_weights(shapes, setting["weights_seed"])
    images, maps, noise = golden_inputs.golden_regression(
        setting["inputs_seed"], batch=setting["batch"], steps=setting["steps"], targets=targets
    )
    network = spaces.get("nasbench201").network("taps", channels=setting["channels"], cells=setting["cells"])
    params = nested_weights(flat, network.init(jax.random.key(0)))
    problem = Problem(jnp.asarray((images + noise)[: setting["steps"] + 1]), [jnp.asarray(m) for m in maps])

    @jax.jit
    def score(archs):
        def one(arch):
            def taps(p, x, running):
                return network.taps(p, arch, x, running)

            return fit(taps, params, heads_of(flat), problem, "initial")

        return jax.lax.map(one, archs)

    return score


FITTED = ("residual", "dead_node", "pool_heavy", "skip_heavy")  # of the golden ones


@pytest.fixture(scope="module")
def golden_losses(golden_fit):
    """The losses of `FITTED`."""
    return np.asarray(golden_fit(jnp.array([GOLDEN["archs"][name] for name in FITTED])))


@pytest.mark.slow
def test_golden_losses(golden_losses):
    """Float32 training amplifies rounding: PyTorch's own float32 and float64 losses differ by up to 0.2 % here."""
    expected = [GOLDEN["regression_short"][name]["float64"] for name in FITTED]
    np.testing.assert_allclose(golden_losses, expected, rtol=1e-2)
    np.testing.assert_allclose(golden_losses[2:], expected[2:], rtol=1e-4)


@pytest.mark.parametrize(
    ("version", "weights"),
    [("initial", (1, 1, 1)), pytest.param("head", (0.25, 0.5, 1), marks=pytest.mark.slow)],
)
def test_reference(reference, golden_inputs, nested_weights, version, weights):
    """Two steps: at the third, ReLUs whose inputs are rounding errors move the reference itself by .001."""
    shapes = golden_inputs.regression_shapes(4, 1, (6, 5, 4))
    flat = golden_inputs.golden_weights(shapes, 1)
    images, maps, noise = golden_inputs.golden_regression(2, batch=4, steps=3, targets=(6, 5, 4))
    arch = np.array([3, 1, 2, 4, 0, 3])
    network = spaces.get("nasbench201").network("taps", channels=4, cells=1)
    params = nested_weights(flat, network.init(jax.random.key(0)))
    problem = Problem(jnp.asarray((images + noise)[:3]), [jnp.asarray(m) for m in maps])
    ours = jax.jit(
        lambda: fit(
            lambda p, x, r: network.taps(p, jnp.asarray(arch), x, r),
            params, heads_of(flat), problem, version,
        )
    )()  # fmt: skip
    theirs = reference.regression(flat, arch, images, maps, noise, train_weights=weights, steps=2)
    assert ours == pytest.approx(theirs, rel=5e-5)


@pytest.mark.slow
def test_batch_mates_change_nothing(golden_fit, golden_losses):
    archs = jnp.array([GOLDEN["archs"][name] for name in FITTED])
    np.testing.assert_array_equal(golden_losses[::-1], golden_fit(archs[::-1]))


def model(params, x):
    """Two convolutions, both tapped."""
    first = jax.nn.relu(jax.lax.conv(x.transpose(0, 3, 1, 2), params["a"], (2, 2), "SAME"))
    second = jax.lax.conv(first, params["b"], (2, 2), "SAME")
    return [first.transpose(0, 2, 3, 1), second.transpose(0, 2, 3, 1)]


def test_any_model_under_jit_and_vmap():
    keys = jax.random.split(jax.random.key(0), 6)
    params = {"a": jax.random.normal(keys[0], (8, 3, 3, 3)) / 5, "b": jax.random.normal(keys[1], (8, 8, 3, 3)) / 9}
    x = jax.random.normal(keys[2], (4, 32, 32, 3))
    target = [jax.random.normal(key, (4, 8, 8, 5)) for key in keys[3:5]]
    run = jax.jit(lambda k: regression(model, params, x, target, k, task=load_task("nb101"), steps=5))
    one = run(keys[5])
    assert one.status == Status.ok
    assert 0 < one.value < 10
    many = jax.vmap(run)(jnp.stack([keys[5], keys[4]]))
    np.testing.assert_allclose(many.value[0], one.value, rtol=1e-4)
    more = jax.jit(lambda k: regression(model, params, x, target, k, steps=60))(keys[5])
    assert more.value < one.value


def test_logits_and_errors():
    params = {"kernel": jnp.ones((12, 3))}

    def logits(p, x):
        return x.reshape(4, -1) @ p["kernel"]

    x = jax.random.normal(jax.random.key(0), (4, 2, 2, 3))
    target = [jnp.ones((4, 1, 1, 2))]
    assert regression(logits, params, x, target, jax.random.key(1), steps=3).status == Status.ok
    with pytest.raises(ValueError, match="1 outputs for 2 targets"):
        regression(logits, params, x, target * 2, jax.random.key(1))
    broken = regression(logits, params, x * jnp.nan, target, jax.random.key(1), steps=2)
    assert broken.status == Status.nonfinite
    assert np.isnan(broken.value)


def test_heads_follow_pytorch_default_bounds():
    head, _ = init_heads(jax.random.key(0), (16, 32), (64, 8))
    assert abs(head["kernel"]).max() <= 0.25
    assert abs(head["kernel"]).max() > 0.24
    assert head["offset"].shape == (64,)


def test_the_task_is_that_of_the_space():
    source = data.load("synthetic")
    for name, task in (("nasbench201", "nb101"), ("darts", "darts"), ("resnext_a", "resnet")):
        assert Evaluator(spaces.get(name), Regression(), source).scorer.task == task
        assert Evaluator(spaces.get(name), Regression(task="combo"), source).scorer.task == "combo"
        options = Options(space=name, scorers="regression")
        settings = options.settings(options.select(spaces.get(name)), source)
        assert settings["scorers"]["regression"]["task"] == task


def test_a_resolution_is_that_of_images_and_network():
    space, source = spaces.get("nasbench201"), data.load("synthetic")
    score = Regression(resolution=8, images=2).on(space)
    ((network, _),) = space.networks(space.sample(jax.random.key(0), 1), score.recipe)
    assert network.config.image == (8, 8, 3) and network.flow.taps == ((8, 8, 4), (4, 4, 8), (2, 2, 16))
    whole = source.images(np.random.default_rng(3), 2)
    images, maps = score.draw(source, np.random.default_rng(3))
    np.testing.assert_allclose(images[1, 7, 0], whole[1, 28:, :4].mean((0, 1)), rtol=1e-5)
    assert images.dtype == np.float32 and [m.shape[:3] for m in maps] == [(2, 8, 8)] * 3
    published = Regression(fidelity="published").on(space)
    assert published.draw_images(source, np.random.default_rng(3)).shape == (16, 32, 32, 3)


def test_a_task_with_another_number_of_taps_is_refused():
    space = spaces.get("nasbench201")
    measure = Evaluator(space, Regression(task="nlp"), data.load("synthetic"))
    with pytest.raises(UserError, match="task nlp has 2 taps, the networks of this space have 3"):
        measure(space.sample(jax.random.key(0), 1))


@pytest.mark.parametrize("options", [{"images": 1}, {"steps": 0}, {"task": "nb102"}, {"resolution": 15}])
def test_options_are_checked(options):
    with pytest.raises(UserError):
        Regression(**options).check()
