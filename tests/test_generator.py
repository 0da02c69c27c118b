"""The generator: equal to plain loops, independent of its batch, trained and stored; what is drawn from it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import spaces
from jaxnas.errors import UserError
from jaxnas.learn.agnet import pretrain, sampling, weighted
from jaxnas.learn.agnet.generator import NOISE, Logits, reconstruction
from jaxnas.learn.agnet.pretrain import Pretraining
from jaxnas.learn.agnet.weighted import Known, Retraining
from jaxnas.spaces.graphs import INPUT, OUTPUT, Graphs

SPACE = spaces.get("nasbench101")
CODE = SPACE.graph_code
CHAIN = np.stack([SPACE.encode(SPACE.example)])
SMALL = spaces.get("nasbench201")


@pytest.fixture(scope="module")
def generator():
    vectors = CODE.vectors(CODE.encode(CHAIN))[:, 0]
    return nnx.merge(*pretrain.untrained(CODE, vectors, Pretraining(32)))


@pytest.fixture(scope="module")
def noise():
    return jax.random.normal(jax.random.key(1), (5, NOISE))


def linear(layer, x):
    return x @ np.float64(layer.kernel[...]) + (0 if layer.bias is None else np.float64(layer.bias[...]))


def mlp(module, *parts):
    first, _, last = module.layers
    return linear(last, np.maximum(linear(first, np.concatenate(parts)), 0))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru(from_input, from_state, bias, state, x):
    xr, xz, xn = np.split(x @ from_input + bias, 3)
    hr, hz, hn = np.split(state @ from_state, 3)
    z = sigmoid(xz + hz)
    return (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * state


def passed(module, states, edges):
    """Messages edge by edge, of states by node."""
    names = ("message_kernel", "message_bias", "input_kernel", "state_kernel", "gates_bias")
    weights = [np.float64(getattr(module, name)[...]) for name in names]
    halves = [{node: h[:16] for node, h in states.items()}, {node: h[16:] for node, h in states.items()}]
    for way, directed in enumerate((edges, [(target, source) for source, target in edges])):
        for layer in range(2):
            kernel, offset, *unit = (weight[layer, way] for weight in weights)
            before, received = halves[way], {node: np.zeros(32) for node in states}
            for source, target in directed:
                received[target] += np.concatenate([before[source], before[target]]) @ kernel + offset
            halves[way] = {node: gru(*unit, before[node], received[node]) for node in states}
    return {node: np.concatenate([halves[0][node], halves[1][node]]) for node in states}


def read(module, states):
    """The two gated sums."""
    values = {node: linear(module.value, h).reshape(2, 32) for node, h in states.items()}
    return sum(values[node] * sigmoid(linear(module.gate, h))[:, None] for node, h in states.items())


def by_loops(module, z):
    start = np.eye(module.classes)[INPUT]
    states, edges = {0: mlp(module.start, mlp(module.embed, start), z)}, []
    ops, logits = [20 * start], []
    for place in range(1, module.nodes):
        states = passed(module.passing, states, edges)
        decide, begin = read(module.readouts, states)
        ops.append(mlp(module.op, decide, z))
        new = mlp(module.state, mlp(module.embed, ops[-1]), begin, z)
        into = [float(mlp(module.edge, states[u], new, decide, z)[0]) for u in range(place)]
        if place == 1:
            into = [20.0]
        states[place] = new
        edges += [(u, place) for u in range(place) if into[u] > 0.5]
        logits += into
    return np.array(ops), np.array(logits)


def test_the_generator_equals_plain_loops(generator, noise):
    found = generator(20 * noise)  # far out, so that some edges are there
    assert 0.05 < float((found.edges > 0.5).mean()) < 0.95
    for z, ops, edges in zip(20 * np.float64(noise), found.ops, found.edges, strict=True):
        expected = by_loops(generator, z)
        np.testing.assert_allclose(ops, expected[0], rtol=2e-4, atol=2e-4)
        np.testing.assert_allclose(edges, expected[1], rtol=2e-4, atol=2e-4)


def test_a_graph_does_not_depend_on_its_batch_mates(generator, noise):
    alone = generator(noise[2:3])
    together = generator(jnp.concatenate([noise[2:3], 5 * noise]))
    np.testing.assert_allclose(together.vectors[0], alone.vectors[0], rtol=1e-5, atol=1e-5)


def test_logits_are_ordered_like_the_vectors_and_reconstruct(generator, noise):
    archs = CODE.encode(np.tile(CHAIN, (5, 1)))
    vectors = CODE.vectors(archs)[:, 0]
    sure = Logits(40.0 * vectors[:, :35].reshape(5, 7, 5) - 20, 40.0 * vectors[:, 35:] - 20)
    assert generator(noise).vectors.shape == (5, CODE.size)
    assert np.all(reconstruction(sure, jnp.asarray(vectors)) < 1e-6)
    ops, edges = sampling.draw(CODE, sure, np.random.default_rng(0))
    np.testing.assert_array_equal(ops, archs.ops[:, 0])
    np.testing.assert_array_equal(edges, archs.edges[:, 0])


def test_edge_sets_are_drawn_as_independent_edges_would_fall_into_them():
    sets = np.array([[1, 0, 0], [0, 1, 1]])
    logits = np.tile([0.3, -0.2, 0.9], (20_000, 1))
    share = sampling._draw_set(sets, logits, np.random.default_rng(0))[:, 0].mean()
    p = sigmoid(np.array([0.3, -0.2, 0.9]))
    first, second = p[0] * (1 - p[1]) * (1 - p[2]), (1 - p[0]) * p[1] * p[2]
    assert share == pytest.approx(first / (first + second), abs=0.01)


def test_cells_of_recurrent_networks_have_edges_as_their_ops_take():
    code = spaces.get("nasbench_nlp").graph_code
    rng = np.random.default_rng(0)
    logits = Logits(rng.normal(size=(20, 26, 9)), rng.normal(size=(20, 325)))
    ops, edges = sampling.draw(code, logits, rng)
    assert (ops[:, -1] == OUTPUT).all()
    degree = np.stack([edges[:, n * (n - 1) // 2 : n * (n + 1) // 2].sum(1) for n in range(26)], 1)
    assert (degree[ops == INPUT] == 0).all()
    assert (degree[ops == OUTPUT] <= 1).all()
    assert set(degree[:, 4:][ops[:, 4:] == 2].tolist()) <= {2, 3}  # linear


@pytest.mark.slow
def test_training_lowers_the_loss_and_is_compiled_once(optimised_training, compiles):
    how = Pretraining(32 * 200)
    vectors = pretrain.training_set(SMALL, 100, 0)
    start = pretrain.untrained(SMALL.graph_code, vectors, how)
    params, losses = pretrain.train(start, vectors, how)
    assert losses[-5:].mean() < 0.9 * losses[:5].mean()
    with compiles(0):
        again, _ = pretrain.train(start, vectors, how)
    jax.tree.map(np.testing.assert_array_equal, params, again)


def test_a_pretrained_generator_is_kept(monkeypatch, tmp_path, noise):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    how = Pretraining(64)
    first = pretrain.pretrained(SMALL, how)
    monkeypatch.setattr(pretrain, "train", None)
    second = pretrain.pretrained(SMALL, how)
    apply = [nnx.merge(*each)(noise).vectors for each in (first, second)]
    np.testing.assert_array_equal(*apply)
    assert len(list(tmp_path.rglob("*.npz"))) == 1


def test_spaces_without_graphs_are_refused():
    with pytest.raises(UserError, match="resnet has no graphs"):
        pretrain.code_of(spaces.get("resnet"))


def test_rank_weights_are_the_published_ones():
    weights = weighted.rank_weights(np.arange(16.0))
    np.testing.assert_allclose(weights[:4], [6.25, 0.862, 0.463, 0.316], atol=5e-4)
    weights = weighted.rank_weights(np.array([np.nan, 1, 0]))
    np.testing.assert_allclose(weights, [0, 1 / 1.02, 50])


@pytest.fixture(scope="module")
def learner():
    vectors = pretrain.training_set(SMALL, 20, 0)
    start = pretrain.untrained(SMALL.graph_code, vectors, Pretraining(32))
    return vectors, weighted.start(start, SMALL.graph_code.size, 1, Retraining(alpha=0.9, weighed=True), seed=0)


@pytest.mark.parametrize("capped", [False, True])
def test_the_weighted_loss_is_the_formula(learner, capped):
    vectors, (models, state) = learner
    models = models._replace(how=replace(models.how, capped=capped))
    known = Known(
        vectors, np.zeros((len(vectors), 0)), np.full((len(vectors), 1), 5.0), np.linspace(0, 2, len(vectors))
    )
    noise = jax.random.normal(jax.random.key(3), (len(vectors), NOISE))
    logits = weighted.generate(models, state, noise)
    errors = (np.asarray(weighted.predict(models, state, logits.vectors)) - 5.0)[:, 0] ** 2
    lost = np.asarray(reconstruction(logits, jnp.asarray(vectors)))
    if capped:
        lost, errors = lost / np.maximum(1, lost), errors / np.maximum(1, errors)
    each = 0.1 * lost + 0.9 * errors
    found = weighted._loss(models, state.params, known, noise)
    assert float(found) == pytest.approx(np.mean(known.weights * each), rel=1e-5)


@pytest.mark.slow
def test_retraining_moves_the_generator_to_the_best_and_is_compiled_once(learner, compiles):
    vectors, (models, state) = learner
    weights = weighted.rank_weights(np.arange(len(vectors)).astype(float))
    known = Known(vectors, np.zeros((len(vectors), 0), np.float32), np.linspace(1, 0, len(vectors))[:, None], weights)
    known = Known(*(np.float32(column) for column in known))
    after = weighted.retrain(models, state, known, jax.random.key(0), 100)
    noise = jax.random.normal(jax.random.key(5), (50, NOISE))
    best = np.tile(vectors[:1], (50, 1))
    before, now = (
        reconstruction(weighted.generate(models, s, noise), jnp.asarray(best)).mean() for s in (state, after)
    )
    assert now < 0.3 * before
    with compiles(0):
        weighted.retrain(models, state, known, jax.random.key(1), 3)


def test_with_features_the_generator_learns_from_the_weights_alone(learner):
    vectors, _ = learner
    start = pretrain.untrained(SMALL.graph_code, vectors, Pretraining(32))
    models, state = weighted.start(start, SMALL.graph_code.size + 2, 1, Retraining(alpha=1.0), seed=0)
    rows = len(vectors)
    known = Known(vectors, *(np.ones(shape, np.float32) for shape in ((rows, 2), (rows, 1), (rows,))))
    after = weighted.retrain(models, state, known, jax.random.key(0), 3)
    jax.tree.map(np.testing.assert_array_equal, after.params[0], state.params[0])
    assert not np.allclose(*(weighted.predict(models, s, np.ones((1, 86), np.float32)) for s in (state, after)))


def test_two_cells_are_drawn_valid_once_their_ops_are():
    space = spaces.get("darts")
    code = space.graph_code
    graphs = code.encode(space.sample(jax.random.key(0), 30))
    ops = 40.0 * np.eye(11)[graphs.ops[:, 0]]
    rng = np.random.default_rng(0)
    drawn = [sampling.draw(code, Logits(ops, rng.normal(size=(30, 55))), rng) for _ in range(2)]
    _, valid = code.decode(Graphs(*(np.stack(parts, 1) for parts in zip(*drawn, strict=True))))
    assert valid.all()
