"""Scores that read one forward pass: against formulas in NumPy float64, on modules wired by hand."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import polars
import pytest
from flax import nnx

from jaxnas import Status, data, scorers, spaces
from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.kernels.patterns import agreement
from jaxnas.kernels.relus import relu_inputs
from jaxnas.ranks import ordering, spearman_rho
from jaxnas.scorers.forward.forward_pass import ForwardPass, ForwardScore

SPACE = spaces.get("nasbench201")
SOURCE = data.load("synthetic")
ARCHS = np.array([[3, 1, 2, 4, 3, 2], [0, 1, 3, 2, 4, 3], [3, 3, 3, 3, 3, 3]])
IMAGES = 6
KEY = jax.random.key(1)
SCORES = [score for score in scorers.DEFAULTS.values() if isinstance(score, ForwardScore)]


def log_det(signs):
    """NASWOT's score of signs `[B, U]`, in float64."""
    active = np.asarray(signs, np.float64)
    sign, value = np.linalg.slogdet(active @ active.T + (1 - active) @ (1 - active).T)
    return value if sign > 0 else np.nan


@pytest.fixture(scope="module")
def measured(networks):
    """Every raw score of architectures of the small space by name, with its weights and images."""
    reads = ForwardPass(4, IMAGES)
    network = networks.small(SPACE, stages=2).network_for(reads.recipe)
    params, x = network.init(jax.random.key(0)), jnp.asarray(SOURCE.images(np.random.default_rng(0), IMAGES))

    @jax.jit
    def of_one(arch):
        seen = reads.measure(network, params, arch, x, KEY)
        return {score.name: score.read(seen) for score in SCORES}

    return network, params, x, [jax.device_get(of_one(arch)) for arch in ARCHS[:2]]


def by_hand(module, x, noise):
    """What ReLUs read, the variances of normalisations, the blocks' outputs, and how noise moves the last of them."""
    norms = [norm for _, norm in nnx.iter_modules(module.blocks) if isinstance(norm, nnx.BatchNorm)]
    for norm in norms:
        norm.momentum = 0.0  # so that the running moments become the batch's
    graphdef, state = nnx.split(module)

    def run(state, x):
        module = nnx.merge(graphdef, state)
        outputs = [x := block(x) for block in module.blocks]
        logits = module.classifier(jax.nn.relu(module.norm(x)).mean((1, 2)))
        norms = [norm for _, norm in nnx.iter_modules(module.blocks) if isinstance(norm, nnx.BatchNorm)]
        return outputs, [norm.var[...] for norm in norms], logits

    def everything(state, x, noise):
        (outputs, variances, _), read = relu_inputs(run, state, x)
        return read, variances, outputs, jnp.abs(run(state, x + noise)[0][-1] - outputs[-1]).sum((1, 2, 3))

    return jax.device_get(jax.jit(everything)(state, x, noise))


@pytest.fixture(scope="module")
def wired(networks, measured):
    """The same of modules wired by hand, of the first two architectures."""
    network, params, x, raws = measured
    noise = 0.01 * jax.random.normal(KEY, x.shape)
    modules = [networks.stand_alone(network, params, arch) for arch in ARCHS[:2]]
    return [(own, by_hand(module, x, noise)) for own, module in zip(raws, modules, strict=True)]


def test_agreement_is_that_of_the_modules_wired_by_hand(wired):
    """Every edge has a ReLU of its own; those behind an edge that is left out read zeros."""
    for raw, (read, *_) in wired:
        signs = np.concatenate([tensor > 0 for tensor in read if tensor.any()], -1)
        np.testing.assert_array_equal(raw["nwot"], (signs[:, None] == signs[None]).sum(-1))
        np.testing.assert_allclose(scorers.Nwot().finish(raw["nwot"][None]).value, log_det(signs), rtol=1e-9)


def test_zen_is_that_of_the_modules_wired_by_hand(wired):
    for raw, (_, variances, _, moved) in wired:
        reached = [variance.mean() for variance in variances if variance.any()]
        expected = np.log(moved.mean()) + np.log(reached).sum() / 2
        np.testing.assert_allclose(raw["zen"], expected, rtol=1e-4)


def test_scores_of_blocks_are_those_of_the_modules_wired_by_hand(wired):
    for raw, (_, _, blocks, _) in wired:
        spectra = [np.linalg.eigvalsh(np.cov(block.reshape(-1, block.shape[-1]).T.astype(float))) for block in blocks]
        shares = [spectrum / spectrum.sum() for spectrum in spectra]
        entropies = np.array([-(share * np.log(share + 1e-8)).sum() for share in shares])
        assert len(blocks) == 4  # stem, cell, reduction, cell
        np.testing.assert_allclose(raw["az_expressivity"], entropies.sum(), rtol=1e-3)
        np.testing.assert_allclose(raw["az_progressivity"], np.diff(entropies).min(), atol=1e-3)
        capacity = -sum(np.log((share**2).sum()) for share in shares)
        np.testing.assert_allclose(raw["intrain_capacity"], capacity, rtol=1e-3)


def test_absent_blocks_do_not_count():
    present, entropy = np.array([True, True, False, True]), np.array([1.0, 2.0, 2.0, 1.5])
    seen = SimpleNamespace(entropy=entropy, participation=np.exp(entropy), present=present)
    assert scorers.AZExpressivity().read(seen) == 4.5
    assert scorers.AZProgressivity().read(seen) == -0.5
    assert scorers.InTrainCapacity().read(seen) == 4.5


def test_nwot_of_any_model():
    def apply(params, x):
        return jax.nn.relu(x @ params[0]) @ params[1] + jnp.maximum(x @ params[0] - 1, 0) @ params[1]

    rng = np.random.default_rng(0)
    params = [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in ((5, 40), (40, 3))]
    x = jnp.asarray(rng.standard_normal((8, 5)), jnp.float32)
    hidden = np.asarray(x @ params[0])
    expected = log_det(np.concatenate([hidden > 0, hidden > 1], -1))
    np.testing.assert_allclose(scorers.nwot(apply, params, x).value, expected, rtol=1e-5)
    same = scorers.nwot(apply, params, x.at[1].set(x[0]))
    assert same.status == Status.rank_deficient and np.isnan(same.value)
    with pytest.raises(ValueError, match="no ReLU"):
        scorers.nwot(lambda params, x: x @ params, params[0], x)


def test_scores_of_one_preset_share_a_program_and_batch_mates_change_nothing(networks, compiles):
    first, *others = [replace(score, images=IMAGES) for score in SCORES]
    measure = Evaluator(networks.small(SPACE, stages=2), first, SOURCE, together=others, batch=2)

    def run(archs):
        return {name: wait() for name, wait in measure.launch_each(archs).items()}

    found = run(ARCHS)
    for scores in found.values():
        assert (scores.status == Status.ok).all() and len(np.unique(scores.value)) == 3
    with compiles(0):
        for name, scores in run(ARCHS[::-1]).items():
            np.testing.assert_array_equal(scores.value[:, ::-1], found[name].value)


def test_presets():
    """Scores with the same sizes read the same pass; a space gets the width that it can have."""
    assert {score.reads for score in SCORES} == {ForwardPass(4, 64)}
    assert scorers.Nwot(preset="paper").reads == ForwardPass(None, 128)
    assert spaces.get("nats_size").network_for(scorers.Nwot().recipe).config.channels == 8
    with pytest.raises(UserError, match="zen: 1 images, width None; give at least 2 images"):
        scorers.Zen(images=1).check()


@pytest.mark.parametrize("name", ["nasbench101", "transnas101_micro"])
def test_shapes_on_other_spaces(name):
    space, reads = spaces.get(name), ForwardPass(4, 3)
    arch = space.encode(space.example)
    ((network, _),) = space.networks(arch[None], replace(reads.recipe, cells=1))
    params = jax.eval_shape(network.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((3, *network.config.image), jnp.float32)

    def raws(params, x):
        seen = reads.measure(network, params, arch, x, KEY)
        return [score.read(seen) for score in SCORES]

    found = jax.eval_shape(raws, params, x)
    assert [raw.shape for raw in found] == [(3, 3), *[()] * (len(SCORES) - 1)]


def test_a_mask_with_one_op_on_every_edge_is_the_architecture(measured):
    network, params, x, raws = measured
    mask = jnp.asarray(SPACE.to_mask(ARCHS[0]))
    look = partial(network.observe, look=lambda observed: agreement(observed.read), look_at_block=lambda x: ())
    np.testing.assert_array_equal(jax.jit(look)(params, mask, x).total, raws[0]["nwot"])


@pytest.mark.by_hand
@pytest.mark.parametrize(("name", "column", "least"), [("nwot", "c10_nwot", 0.95), ("zen", "c10_zen", 0.9)])
def test_ranks_are_those_of_published_scores(shared_data, name, column, least):
    """Those of NASLib's code: other weights, 16 channels, real images."""
    table = polars.read_parquet(shared_data / "published_proxies" / "nasbench201_naslib_9445.parquet")
    rows = np.random.default_rng(0).choice(len(table), 60, replace=False)
    published = table[column].to_numpy()[rows]
    found = Evaluator(SPACE, scorers.DEFAULTS[name], SOURCE)(SPACE.from_ids(table["idx"].to_numpy()[rows]))
    assert spearman_rho(ordering(found.value[0]), ordering(published)) > least
