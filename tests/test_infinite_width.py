"""Networks of infinite width: against NumPy in float64, stax by hand, and wide networks; what is refused."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import Status, data, scorers, spaces
from jaxnas.cli.main import main
from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.scorers.infinite import neural_tangents
from jaxnas.scorers.infinite.infinite_width import InfiniteWidth
from jaxnas.spaces import cell_space, own

SPACE = spaces.get("nasbench201")
SOURCE = data.load("synthetic")
SUMMED = [1, 4, 3, 1, 4, 1]  # adds feature maps that depend on one another
ARCHS = np.array([[3, 1, 2, 4, 3, 2], SUMMED, [0, 1, 3, 2, 4, 3]])


def needs_package(test):
    """Mark a slow test that is skipped without neural-tangents."""
    missing = importlib.util.find_spec("neural_tangents") is None
    skip = pytest.mark.skipif(missing, reason="needs neural-tangents: docs/install.md says how to install it")
    return pytest.mark.slow(skip(test))


class Conv(nnx.Module):
    """ReLU and 3x3 convolution, which says what it is at infinite width."""

    def __init__(self, channels, rngs):
        self.conv = own.Conv2d(channels, channels, (3, 3), rngs=rngs)

    def __call__(self, x):
        return self.conv(jax.nn.relu(x))

    @staticmethod
    def stax(stax):
        return stax.serial(stax.Relu(), stax.Conv(1, (3, 3), padding="SAME", W_std=2**0.5))


@pytest.fixture(scope="module")
def images():
    return InfiniteWidth(3, 4, "none", 1).draw(SOURCE, np.random.default_rng(0))


@pytest.fixture(scope="module")
def measured():
    """Return both kernels of a few architectures."""

    def of(archs, images, norm="none", space=SPACE, stages=1):
        reads = InfiniteWidth(len(images), images.shape[1], norm, 1)
        network = space.network("thin", **reads.recipe.changes(), stages=stages)
        run = jax.jit(lambda arch: reads.measure(network, None, arch, jnp.asarray(images), None))
        return [run(jnp.asarray(arch)) for arch in archs]

    return of


@needs_package
@pytest.mark.parametrize(("norm", "stages"), [("none", 1), ("pixel", 1), ("layer", 2), ("batch", 1)])
def test_kernels_are_those_of_numpy(images, measured, reference, norm, stages):
    for arch, found in zip(ARCHS, measured(ARCHS, images, norm, stages=stages), strict=True):
        expected = reference.infinite_kernels(arch, images, norm, stages)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@needs_package
@pytest.mark.filterwarnings("ignore:`FanIn` layers assume independent inputs")
def test_kernels_are_those_of_stax_by_hand(images, measured):
    """Of 1<-0 conv3x3, 2<-0 skip, 2<-1 pool and conv1x1 in turn, 3<-2 conv3x3: only independent things are added."""
    stax = neural_tangents.load().stax

    def conv(size, relu=True):
        return stax.serial(*[stax.Relu()] * relu, stax.Conv(1, (size, size), padding="SAME", W_std=2**0.5))

    pool = stax.AvgPool((3, 3), (1, 1), "SAME", normalize_edges=True)
    for arch, middle in (([3, 1, 2, 0, 0, 3], conv(1)), ([3, 1, 4, 0, 0, 3], pool)):
        residual = stax.FanOut(2), stax.parallel(stax.Identity(), stax.serial(conv(3), middle)), stax.FanInSum()
        head = stax.Relu(), stax.GlobalAvgPool(), stax.Dense(1, W_std=2**0.5)
        _, _, kernel_fn = stax.serial(conv(3, relu=False), *residual, conv(3), *head)
        with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
            theirs = jax.jit(lambda x, run=kernel_fn: run(x, None, ("nngp", "ntk")))(np.asarray(images, np.float64))
        (ours,) = measured([arch], images)
        np.testing.assert_allclose(ours.nngp, theirs.nngp, rtol=1e-9)
        np.testing.assert_allclose(ours.ntk, theirs.ntk, rtol=1e-9)


@needs_package
def test_wide_networks_come_near(images, measured):
    """The squared error of one draw's kernels falls as 1 / width."""
    (limit,) = measured([SUMMED], images)

    def error(width):
        network = SPACE.network("thin", channels=width, stages=1, classes=1, bn="identity", image=(4, 4, 3))

        def drawn(key):
            params = network.init(key)
            arch, x = jnp.array(SUMMED), jnp.asarray(images)
            pooled = jax.nn.relu(network.taps(params, arch, x)[0][-1]).mean((1, 2))
            rows = jax.jacrev(lambda params: network.apply(params, arch, x)[:, 0])(params)
            ntk = 0.0
            for path, leaf in nnx.to_flat_state(rows):
                if path[-1] == "kernel":  # [B, ..., inputs, outputs]: its NTK is by weights of deviation one
                    fan_in = width if path[0] == "head" else int(np.prod(leaf[...].shape[-4:-1]))
                    flat = leaf[...].reshape(len(x), -1)
                    ntk += 2 / fan_in * flat @ flat.T
            return 2 / width * pooled @ pooled.T, ntk

        found = jax.jit(lambda keys: jax.lax.map(drawn, keys))(jax.random.split(jax.random.key(0), 64))
        pairs = zip(map(np.asarray, found), map(np.asarray, limit), strict=True)
        return np.array([np.square(ours - theirs).mean() / np.square(theirs).mean() for ours, theirs in pairs])

    narrow, wide = error(8), error(64)
    assert (wide < 0.1).all()
    assert ((narrow / wide > 4) & (narrow / wide < 16)).all(), narrow / wide


@needs_package
def test_scores_are_those_of_the_kernels(networks, reference, compiles):
    """Batch-mates change nothing, a second batch compiles nothing."""
    options = {"images": 3, "resolution": 4}
    nngp, ntk = scorers.InfiniteNNGP(**options), scorers.InfiniteNTK(**options, over="largest")
    measure = Evaluator(networks.small(SPACE), nngp, SOURCE, together=[ntk], batch=2)
    found = {name: wait() for name, wait in measure.launch_each(ARCHS).items()}
    assert (found["infinite_nngp"].status == Status.ok).all() and (found["infinite_ntk"].status == Status.ok).all()
    with compiles(0):
        again = measure.launch_each(ARCHS[::-1])
        for name, wait in again.items():
            np.testing.assert_array_equal(wait().value[:, ::-1], found[name].value)
    (_, images, _), *_ = measure.program().draw()
    for i, arch in enumerate(ARCHS):
        kernels = reference.infinite_kernels(arch, np.asarray(images), "none", 1)
        assert found["infinite_nngp"].value[0, i] == pytest.approx(reference.mean_correlation(kernels[0]), rel=1e-6)
        assert found["infinite_ntk"].value[0, i] == pytest.approx(reference.condition_number(kernels[1]), rel=1e-6)


def test_the_mean_over_the_smallest_eigenvalue():
    kernels = np.stack([np.diag([1.0, 2, 9]), np.ones((3, 3))])
    found, largest = (scorers.InfiniteNTK(over=over).finish(kernels) for over in ("mean", "largest"))
    np.testing.assert_allclose((found.value[0], largest.value[0]), (4, 9))
    assert list(found.status) == [Status.ok, Status.rank_deficient] and np.isnan(found.value[1])


@needs_package
def test_an_edge_of_a_supernet_has_the_mean_of_its_operations(images, measured):
    masks = np.stack([SPACE.to_mask(ARCHS[0]).astype(np.int32)] * 3)
    masks[1:, 5] = np.array([[0, 0, 1, 1, 0], [0, 0, 0, 1, 0]])  # both convolutions, one
    index, (same, both, conv3x3) = measured(ARCHS[:1], images)[0], measured(masks, images)
    np.testing.assert_allclose(same.ntk, index.ntk, rtol=1e-9)
    mean, one, other = (np.asarray(kernels.nngp) for kernels in (both, same, conv3x3))
    assert (mean < np.maximum(one, other)).all()  # independent maps: half of the mean of what either passes on


@needs_package
def test_an_operation_of_ones_own_says_what_it_is(images, measured):
    space = cell_space("mine", edges=((1, 0),), ops={"skip": own.identity, "conv": Conv})
    (ours,) = measured([[1]], images, space=space)
    (same,) = measured([[0, 0, 0, 3, 0, 0]], images)
    np.testing.assert_allclose(ours.nngp, same.nngp, rtol=1e-9)
    np.testing.assert_allclose(ours.ntk, same.ntk, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nasbench101", "neural-tangents has no kernel of maxpool3x3; "),
        ("darts", "no kernel of sep_conv_3x3 and 13 more"),
        ("transnas101_macro", "there are ReLUs or masks between its operations"),
        ("nats_size", "there are ReLUs or masks between its operations"),
        ("examples/own_space.py:space", "no kernel of separable and 1 more"),
    ],
)
def test_what_has_no_kernels_is_refused(name, why):
    space = spaces.get(name)
    assert not scorers.InfiniteNNGP().fits(space)
    with pytest.raises(UserError, match=why):
        Evaluator(space, scorers.InfiniteNNGP(), SOURCE).check()


def test_without_the_package(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "neural_tangents", None)
    neural_tangents._load.cache_clear()
    words = ["score", "--archs", "random:2", "--scorers", "infinite-nngp", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "pip install 'jaxnas[neural-tangents]'" in message


def test_what_is_lent_is_taken_back():
    before = {name: {*vars(module)} for name, module in sys.modules.items() if name.startswith("jax.")}
    with neural_tangents.lent_names():
        assert jax.core.Jaxpr and "neural_tangents.experimental" in sys.modules
    assert "neural_tangents.experimental" not in sys.modules
    assert {name: {*vars(sys.modules[name])} for name in before} == before


@pytest.mark.parametrize(
    ("options", "says"),
    [({"images": 1}, "at least 2 images"), ({"resolution": 6}, "4, 8, 16, 32"), ({"cells": 0}, "1 cell")],
)
def test_options_that_make_no_sense(options, says):
    with pytest.raises(UserError, match=says):
        scorers.InfiniteNTK(**options).check()
