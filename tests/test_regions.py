"""The number of linear regions: golden counts, the reference, properties, other people's models."""

import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from jaxnas import data, spaces
from jaxnas.errors import UserError
from jaxnas.kernels.relus import relu_inputs
from jaxnas.scorers import regions
from jaxnas.scorers.forward.regions import Regions
from jaxnas.types import Status

GOLDEN = json.loads((Path(__file__).parent / "golden" / "torch.json").read_text())


@pytest.fixture(scope="module")
def counted(golden_inputs, nested_weights):
    """Return `(archs) -> counts` on the golden weights and patches, and those two."""
    setting = GOLDEN["settings"]["regions"]
    shapes = golden_inputs.classifier_shapes(setting["channels"], setting["cells"], stages=1)
    flat = golden_inputs.golden_weights(shapes, setting["weights_seed"])
    patches = golden_inputs.golden_inputs({"patches": setting["patches"]}, setting["inputs_seed"])["patches"]
    network = spaces.get("nasbench201").network("patches")
    params = nested_weights(flat, network.init(jax.random.key(0)))
    scorer, key = Regions(), jax.random.key(0)

    @jax.jit
    def run(archs):
        return jax.lax.map(lambda arch: scorer.measure(network, params, arch, jnp.asarray(patches), key), archs)

    return lambda archs: scorer.finish(np.asarray(run(archs))).value.astype(int), flat, patches


def test_golden_counts_are_equal(counted):
    for name, arch in GOLDEN["archs"].items():
        assert counted[0](jnp.array([arch]))[0] == GOLDEN["regions"][name]["float64"], name


def test_reference_counts_are_equal(counted, reference):
    run, flat, patches = counted
    archs = spaces.get("nasbench201").sample(jax.random.key(1), 12)
    assert run(jnp.asarray(archs)).tolist() == [reference.regions(flat, a, patches) for a in archs]


def test_batch_mates_and_order_change_nothing(counted):
    archs = jnp.asarray(spaces.get("nasbench201").sample(jax.random.key(2), 12))
    np.testing.assert_array_equal(counted[0](archs)[::-1], counted[0](archs[::-1]))


class LinenModel(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(linen.relu(linen.Dense(16)(x)))


def models():
    """Yield (name, apply, params): the same shape of model in four libraries."""
    key = jax.random.key(0)
    plain = {"w": jax.random.normal(key, (2, 16)), "v": jnp.ones((16, 3))}
    yield "plain", lambda p, x: jnp.maximum(x @ p["w"], 0) @ p["v"], plain
    module = nnx.Sequential(nnx.Linear(2, 16, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(16, 3, rngs=nnx.Rngs(1)))
    graph, state = nnx.split(module)
    yield "nnx", lambda p, x: nnx.merge(graph, p)(x), state
    yield "linen", LinenModel().apply, LinenModel().init(key, jnp.ones((1, 2)))
    mlp = eqx.nn.MLP(2, 3, 16, 1, key=key)
    arrays, static = eqx.partition(mlp, eqx.is_array)
    yield "equinox", lambda p, x: jax.vmap(eqx.combine(p, static))(x), arrays


MODELS = list(models())


@pytest.mark.parametrize(("name", "apply", "params"), MODELS, ids=[name for name, *_ in MODELS])
def test_any_model_under_jit_and_vmap(name, apply, params):
    x = jax.random.normal(jax.random.key(3), (200, 2))
    score = jax.jit(lambda x: regions(apply, params, x))(x)
    signs = np.concatenate(relu_inputs(apply, params, x)[1], -1) > 0
    assert signs.shape == (200, 16)
    assert score.value == len(np.unique(signs, axis=0))
    assert 1 < score.value < 200
    assert score.status == Status.ok
    both = jax.vmap(lambda x: regions(apply, params, x).value)(jnp.stack([x, 2 * x]))
    assert both[0] == score.value


def test_saturated():
    x = jnp.array([[1.0], [-1.0]])
    score = regions(lambda p, x: jax.nn.relu(x * p), jnp.ones(()), x)
    assert (score.value, score.status) == (2, Status.saturated)


def test_models_that_cannot_be_counted():
    x = jnp.ones((3, 2))
    with pytest.raises(ValueError, match="no ReLU"):
        regions(lambda p, x: jnp.tanh(x), None, x)

    def looped(p, x):
        return jax.lax.fori_loop(0, 3, lambda i, y: jnp.maximum(y, 0.0), x)

    with pytest.raises(ValueError, match=r"inside lax\.(scan|while)"):
        regions(looped, None, x)


@pytest.mark.parametrize("options", [{"batches": 0}, {"samples": 1}])
def test_options_are_checked(options):
    with pytest.raises(UserError):
        Regions(**options).check()


@pytest.mark.parametrize("factor", [np.nan, np.inf, 1e38])
def test_a_network_that_is_not_finite_has_no_regions(factor):
    """Every pattern of NaN is the same: that would be one region, and `ok`."""
    space, scorer = spaces.get("nasbench201"), Regions(batches=1, samples=300)
    network = space.network("patches", **scorer.recipe.changes())
    params = network.init(jax.random.key(0))
    spoilt = jax.tree.map(lambda leaf: leaf * factor if leaf.ndim > 1 else leaf, params)
    inputs = scorer.draw(data.load("synthetic"), np.random.default_rng(0))
    arch = space.encode("|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|none~1|avg_pool_3x3~2|")
    scores = [np.asarray(scorer.measure(network, weights, arch, inputs, None)) for weights in (params, spoilt)]
    found = scorer.finish(np.stack(scores))
    assert found.status.tolist() == [Status.ok, Status.nonfinite]
    assert found.value[0] > 1 and np.isnan(found.value[1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nor_has_a_function_that_is_not_finite(bad):
    weights = jnp.ones((3, 4)).at[0, 0].set(bad)
    score = jax.jit(lambda w: regions(lambda w, x: jax.nn.relu(x @ w), w, jnp.ones((5, 3))))(weights)
    assert score.status == Status.nonfinite and jnp.isnan(score.value)
