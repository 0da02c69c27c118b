"""The NTK score: against the PyTorch loop and the reference, in batches, and on models of other libraries."""

import dataclasses
import functools
import json
import logging
from pathlib import Path

import equinox
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import spaces
from jaxnas.network.network import Config
from jaxnas.network.recipe import Recipe
from jaxnas.scorers.gradient.ntk import NTK, ntk, ntk_gram
from jaxnas.spaces.cell.network import CellNetwork
from jaxnas.types import Status

SPACE = spaces.get("nasbench201")
GOLDEN = json.loads((Path(__file__).parent / "golden" / "torch.json").read_text())
TOLERANCE = 1e-4  # relative, of float32 against float64; 3e-6 was measured in both modes
SMALL = Config(channels=3, cells=1, stages=1, stem=False, image=(8, 8, 3))

measure = jax.jit(NTK.measure, static_argnums=(0, 1))


def is_mask(arch):
    return np.ndim(arch) == 2


def set_up(bn, golden_inputs, nested_weights):
    """The network, weights and images of the golden values."""
    settings = GOLDEN["settings"]["ntk"]
    network = SPACE.network("thin", bn=bn)
    shapes = golden_inputs.classifier_shapes(settings["channels"], settings["cells"])
    flat = golden_inputs.golden_weights(shapes, settings["weights_seed"])
    images = golden_inputs.golden_inputs({"images": settings["images"]}, settings["inputs_seed"])["images"]
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    like = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return network, nested_weights(flat, like), images


def check(bn, archs, golden_inputs, nested_weights):
    """Compare the scores of `archs`, op indices or masks by name, with the golden values."""
    network, params, images = set_up(bn, golden_inputs, nested_weights)
    score = NTK(bn=bn)
    grams = np.stack([measure(score, network, params, jnp.array(arch, int), images, None) for arch in archs.values()])
    finished = score.finish(grams)
    assert (finished.status == Status.ok).all()
    for name, gram, kappa, spectrum in zip(archs, grams, finished.value, finished.info["spectrum"], strict=True):
        expected = GOLDEN["ntk"][name][bn]
        np.testing.assert_allclose(kappa, expected["kappa"], rtol=TOLERANCE, err_msg=name)
        np.testing.assert_allclose(spectrum, expected["spectrum"], rtol=TOLERANCE, err_msg=name)
        np.testing.assert_allclose(np.diag(gram), expected["diagonal"], rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(gram[0], expected["first_row"], atol=1e-5 * gram[0, 0], err_msg=name)


@pytest.mark.slow
def test_frozen_kappa_equals_pytorch(golden_inputs, nested_weights):
    """Op indices, as in scoring."""
    archs = {name: arch for name, arch in GOLDEN["archs"].items() if not is_mask(arch)}
    check("frozen", archs, golden_inputs, nested_weights)


@pytest.mark.slow
def test_exact_kappa_equals_pytorch(golden_inputs, nested_weights):
    """Op masks, as in pruning; those of single architectures are one-hot."""
    masks = {name: arch if is_mask(arch) else SPACE.to_mask(np.array(arch)) for name, arch in GOLDEN["archs"].items()}
    check("batch", masks, golden_inputs, nested_weights)


# --- a small network: one cell on images of 8 x 8, without stem ------------------------------------------------------


class Batched:
    """The NTKs of a batch of architectures by one compiled program, as the runner makes it."""

    def __init__(self, bn):
        self.network = CellNetwork(SPACE.cell, dataclasses.replace(SMALL, bn=bn))
        self.params = self.network.init(jax.random.key(1))
        self.images = np.random.default_rng(2).standard_normal((6, 8, 8, 3), np.float32)
        score = NTK(bn=bn)

        @jax.jit
        def grams(params, archs, images):
            return jax.lax.map(lambda arch: score.measure(self.network, params, arch, images, None), archs)

        self.grams = grams

    def __call__(self, archs, params=None, images=None):
        params = self.params if params is None else params
        return np.asarray(self.grams(params, jnp.asarray(archs), self.images if images is None else images))


@pytest.fixture(scope="module")
def batched():
    return functools.cache(Batched)


MASK = [[0, 1, 0, 1, 1], [0, 0, 1, 1, 0], [1, 0, 1, 0, 0], [0, 1, 1, 0, 1], [0, 0, 1, 1, 0], [0, 1, 0, 0, 0]]
ARCHS = {"index": [[3, 1, 2, 4, 3, 2], [0, 1, 3, 2, 4, 3]], "mask": [MASK, [[0, 1, 1, 1, 1]] * 6]}


@pytest.mark.parametrize(("form", "bn"), [("index", "frozen"), ("index", "batch"), ("mask", "frozen")])
def test_gram_equals_the_reference(form, bn, batched, reference, flat_weights, monkeypatch):
    monkeypatch.setattr(reference.Network, "taps", lambda self, images: [self.stage(reference.Var(images), 0)])
    small = batched(bn)
    for arch, gram in zip(ARCHS[form], small(ARCHS[form]), strict=True):
        expected = reference.ntk_gram(flat_weights(small.params), np.array(arch), small.images, bn)
        np.testing.assert_allclose(gram, expected, rtol=1e-4, atol=1e-5 * expected.max())


def test_batch_mates_and_order_change_no_bit(batched):
    small, archs = batched("frozen"), SPACE.sample(jax.random.key(0), 2)
    for pair in (archs, archs[::-1], archs[[0, 0]], np.stack([np.full(6, 3), archs[1]])):
        for arch, gram in zip(pair, small(pair), strict=True):
            for known, expected in zip(archs, small(archs), strict=True):
                if (arch == known).all():
                    np.testing.assert_array_equal(gram, expected)


def test_a_second_batch_compiles_nothing(batched, caplog):
    small = batched("frozen")
    archs = SPACE.sample(jax.random.key(4), 2)
    other = jax.tree.map(lambda leaf: np.asarray(leaf) / 2, small.params)
    images = 3 * small.images

    def compilations(archs, params, images):
        caplog.clear()
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            small(archs, params, images)
        return sum("Finished XLA compilation" in record.getMessage() for record in caplog.records)

    small(archs)
    assert compilations(archs[::-1], other, images) == 0
    assert compilations(np.concatenate([archs, archs]), other, images) > 0  # another batch size


def test_finish_gives_every_architecture_its_own_status():
    good = np.diag([1.0, 2.0, 8.0]).astype(np.float32)
    deficient, broken = good.copy(), good.copy()
    deficient[0, 0], broken[1, 2] = 1e-7, np.nan
    finished = NTK().finish(np.stack([good, deficient, broken, np.zeros_like(good)]))
    assert [Status(s).name for s in finished.status] == ["ok", "rank_deficient", "nonfinite", "rank_deficient"]
    np.testing.assert_array_equal(finished.value, [8.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(finished.info["spectrum"][0], [1, 2, 8])


def test_presets_choose_initialisation_and_repeats():
    assert NTK().recipe == Recipe("thin", bn="frozen", init="kaiming")
    assert NTK(bn="batch", preset="as_shipped").recipe == Recipe("thin", bn="batch", init="pytorch")
    assert not NTK().shared_weights
    assert NTK(preset="as_shipped").shared_weights


# --- the public function, on a perceptron 4 -> 6 -> 3 in four libraries ----------------------------------------------


def layers(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"first": (4, 6), "second": (6, 3)}
    return {
        name: {"kernel": rng.standard_normal(shape, np.float32), "bias": rng.standard_normal(shape[1], np.float32)}
        for name, shape in shapes.items()
    }


X = np.random.default_rng(9).standard_normal((5, 4), np.float32)


def expected_gram(weights, x):
    """The NTK by the chain rule, in float64."""
    x = x.astype(np.float64)
    first, second = weights["first"], weights["second"]
    hidden = np.tanh(x @ first["kernel"] + first["bias"])
    back = second["kernel"].sum(1) * (1 - hidden**2)
    return (x @ x.T) * (back @ back.T) + 3 * hidden @ hidden.T


def in_plain_jax(weights):
    def apply(params, x):
        hidden = jnp.tanh(x @ params["first"]["kernel"] + params["first"]["bias"][None])
        return hidden @ params["second"]["kernel"] + params["second"]["bias"][None]

    return apply, weights


def in_nnx(weights):
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.first, self.second = nnx.Linear(4, 6, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)

        def __call__(self, x):
            return self.second(jnp.tanh(self.first(x)))

    model = Model(nnx.Rngs(0))
    for name, values in weights.items():
        for leaf, value in values.items():
            setattr(getattr(model, name), leaf, nnx.Param(jnp.asarray(value)))
    graph, params = nnx.split(model)
    return lambda params, x: nnx.merge(graph, params)(x), params


def in_linen(weights):
    class Model(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x):
            hidden = jnp.tanh(flax.linen.Dense(6, name="first")(x))
            return flax.linen.Dense(3, name="second")(hidden)

    return Model().apply, {"params": weights}


def in_equinox(weights):
    def linear(values):
        layer = equinox.nn.Linear(*values["kernel"].shape, key=jax.random.key(0))
        new = jnp.asarray(values["kernel"].T), jnp.asarray(values["bias"])
        return equinox.tree_at(lambda layer: (layer.weight, layer.bias), layer, new)

    model = equinox.nn.Sequential([linear(weights["first"]), equinox.nn.Lambda(jnp.tanh), linear(weights["second"])])
    params, static = equinox.partition(model, equinox.is_array)
    return lambda params, x: jax.vmap(equinox.combine(params, static))(x), params


LIBRARIES = {"plain": in_plain_jax, "nnx": in_nnx, "linen": in_linen, "equinox": in_equinox}
every_library = pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)


@every_library
@pytest.mark.parametrize("independent", [False, True])
def test_every_library_under_jit_and_vmap(library, independent):
    apply, params = library(layers())
    several = jnp.stack([X, X[::-1], 2 * X])
    scores = jax.jit(jax.vmap(lambda x: ntk(apply, params, x, independent=independent)))(several)
    spectra = [np.linalg.eigvalsh(expected_gram(layers(), np.asarray(x))) for x in several]
    np.testing.assert_allclose(scores.info["spectrum"], spectra, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scores.value, [s[-1] / s[0] for s in spectra], rtol=1e-3)
    assert (scores.status == Status.ok).all()
    assert scores.status.dtype == np.int32


@pytest.mark.parametrize("independent", [False, True])
def test_gram_equals_the_chain_rule(independent):
    apply, params = in_plain_jax(layers())
    gram = ntk_gram(apply, params, X, independent=independent)
    np.testing.assert_allclose(gram, expected_gram(layers(), X), rtol=1e-4, atol=1e-4)


def test_vmap_over_parameters():
    apply, _ = in_plain_jax(layers())
    several = jax.tree.map(lambda *leaves: jnp.stack(leaves), layers(0), layers(1))
    scores = jax.vmap(lambda params: ntk(apply, params, X))(several)
    for seed, kappa in enumerate(scores.value):
        spectrum = np.linalg.eigvalsh(expected_gram(layers(seed), X))
        np.testing.assert_allclose(kappa, spectrum[-1] / spectrum[0], rtol=1e-3)


def test_two_equal_images_are_rank_deficient_and_nan_is_nonfinite():
    apply, params = in_plain_jax(layers())
    twice, nan = X.copy(), X.copy()
    twice[1], nan[2, 0] = twice[0], np.nan
    for x, status in ((twice, Status.rank_deficient), (nan, Status.nonfinite)):
        score = ntk(apply, params, x)
        assert score.status == status
        assert np.isnan(score.value)
    assert np.isnan(ntk(apply, params, nan).info["spectrum"]).all()


def test_a_single_image_has_condition_number_one():
    score = ntk(*in_plain_jax(layers()), X[:1])
    assert score.value == 1
    assert score.status == Status.ok


def test_errors_say_what_was_expected():
    _, params = in_plain_jax(layers())
    with pytest.raises(ValueError, match=r"logits \[B, K\] with B = 5; got shape \(5,\)"):
        ntk(lambda p, x: x.sum(1), params, X)
    with pytest.raises(ValueError, match=r"got shape \(4, 5\)"):
        ntk(lambda p, x: x.T, params, X)
    with pytest.raises(ValueError, match="no weights"):
        ntk(lambda p, x: x + p["bias"][None], {"bias": jnp.zeros(4)}, X)
