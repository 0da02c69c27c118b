"""Predictors from a few labels: features, ridge, the graph network, and what carries over."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx
from sklearn.linear_model import Ridge

from jaxnas import spaces
from jaxnas.errors import UserError
from jaxnas.learn import ridge, training, transfer
from jaxnas.learn.features import Pool, RankScale, make_pool, with_squares
from jaxnas.learn.graph_features import graph_features, op_sets
from jaxnas.learn.graph_net import inputs_of
from jaxnas.learn.models import MODELS, graph_network, keys, prior_start
from jaxnas.learn.training import Training
from jaxnas.ranks import ordering, spearman_rho
from jaxnas.scorers.consensus import FAMILIES
from jaxnas.scorers.reference import Reference
from jaxnas.spaces.graphs import Graphs, adjacency

NB201, MICRO = spaces.get("nasbench201"), spaces.get("transnas101_micro")
SMALL = Training(width=8, layers=2, steps=20, batch=8)
VALUE = np.array([-3.0, 1.0, 2.0, 4.0, 0.5])  # of each op of NAS-Bench-201, in the made-up target


def made_up(n=200, space=NB201, seed=0):
    """A pool and a target: a sum over the ops in which the first edges count more."""
    archs = space.sample(jax.random.key(seed), n)
    target = VALUE[archs] @ np.array([3, 2, 2, 1, 1, 1])
    noisy = target + np.random.default_rng(seed).normal(scale=10, size=n)
    noisy[0] = np.nan
    return make_pool(space, archs, {"noisy": noisy}), target


POOL, TARGET = made_up()


def lists(n, models=2, seed=0):
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.permutation(len(TARGET))[:n] for _ in range(models)])
    return rows, TARGET[rows]


# --- features --------------------------------------------------------------------------------------------------------


def test_ranks_are_shares_of_the_pool():
    rng = np.random.default_rng(0)
    pool, values = (rng.integers(5, size=(n, 3)).astype(float) for n in (20, 7))
    pool[3, 1] = values[2, 0] = np.nan
    pool[4, 1] = -np.inf
    low, asked = (np.where(np.isfinite(x), x, -np.inf) for x in (pool, values))
    expected = [[(p < v).sum() + (p <= v).sum() for p, v in zip(low.T, row, strict=True)] for row in asked]
    np.testing.assert_allclose(RankScale.fit(pool)(values), np.array(expected) / 20 - 1)


def test_ranks_ignore_monotone_changes_and_other_rows():
    values = np.random.default_rng(0).normal(size=(30, 2))
    scale = RankScale.fit(values)
    np.testing.assert_array_equal(RankScale.fit(np.exp(values))(np.exp(values)), scale(values))
    np.testing.assert_array_equal(scale(values[:3]), scale(values)[:3])
    assert np.abs(scale(values)).max() < 1


def test_zero_label_score_is_the_consensus():
    archs = NB201.enumerate()[::97]
    cut, rng = NB201.is_disconnected(archs), np.random.default_rng(0)
    live = NB201.live(archs)
    counts = {"live_flops": np.log(NB201.flops(live)), "live_layers": NB201.layers(live).astype(float)}
    scores = {name: counts["live_flops"] + rng.normal(size=len(archs)) for name in "ab"}
    pool = make_pool(NB201, archs, scores)
    members = {**counts, **scores}
    reference = Reference({name: values[~cut] for name, values in members.items()}, FAMILIES)
    expected = reference.combine(members)
    order = ordering(np.where(cut, expected.min() - 1, expected))
    np.testing.assert_array_equal(ordering(pool.zero_label), order)
    assert cut.any() and (pool.zero_label[cut] == pool.zero_label.min()).all()
    given = make_pool(NB201, archs, {**scores, "consensus": scores["a"]})
    np.testing.assert_array_equal(ordering(given.zero_label), ordering(scores["a"]))
    assert not make_pool(NB201, archs, {}).zero_label.any()


def test_what_is_dead_changes_no_feature_but_the_counts_of_all():
    alive, dead = "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|{}~1|none~2|".format, "nor_conv_1x1"
    archs = np.stack([NB201.encode(alive("none")), NB201.encode(alive(dead))])  # node 1 has no input
    pool = make_pool(NB201, archs, {})
    ranks = dict(zip(pool.names, pool.ranks.T, strict=True))
    assert np.ptp(ranks["flops"]) > 0 == np.ptp(ranks["live_flops"]) == np.ptp(ranks["live_layers"])
    np.testing.assert_array_equal(*pool.structure)
    assert all((part[0] == part[1]).all() for part in inputs_of(pool)[:3])


def paths(ops, edges, allowed, node):
    """Yield the ops on every path from the input to `node`, by recursion."""
    if node == 0:
        yield ()
    for before in np.flatnonzero(edges[node]):
        for path in paths(ops, edges, allowed, before):
            if ops[node] in allowed:
                yield (*path, ops[node])


def test_graph_features_are_those_of_the_listed_paths():
    code, archs = NB201.graph_code, NB201.sample(jax.random.key(1), 40)
    graphs = code.encode(archs)
    ops, edges = graphs.ops[:, 0], adjacency(graphs)[:, 0]
    found = graph_features(code, graphs)
    last = code.nodes - 1
    real = {2 + k for k, name in enumerate(NB201.ops) if name != "none"}
    for row in range(len(archs)):
        expected = [(ops[row] == 2 + k).sum() for k in range(len(NB201.ops))]
        live = np.isin(ops[row], [*real, 0, 1])
        linked = edges[row] * live[:, None] * live[None]
        expected += [linked[:, 0].sum(), linked[last].sum()]
        for chosen in op_sets(code):
            within = [len(path) for path in paths(ops[row], edges[row], {*chosen, 0}, last)]
            most = [sum(op in chosen for op in path) for path in paths(ops[row], edges[row], {*real, 0}, last)]
            expected += [min(within, default=0), max(most, default=0)]
        np.testing.assert_array_equal(found[row], expected)


# --- ridge and trees -------------------------------------------------------------------------------------------------


def test_ridge_is_scikit_learns():
    (rows, *_), (labels, *_) = lists(30)
    known = Ridge(alpha=1.0).fit(POOL.prior[rows], labels).predict(POOL.prior)
    np.testing.assert_allclose(ridge.fit_predict(POOL.prior, rows, labels), known, atol=1e-9)


def test_labels_are_ranked_and_predictions_have_their_unit():
    rows, labels = lists(30)
    found = MODELS["ridge"](POOL, rows, labels)
    for own, used, values in zip(found, rows, labels, strict=True):
        np.testing.assert_allclose((own[used].mean(), own[used].std()), (values.mean(), values.std()))
    stretched = MODELS["ridge"](POOL, rows, np.exp(labels / 10))
    assert all(spearman_rho(ordering(a), ordering(b)) > 0.9999 for a, b in zip(found, stretched, strict=True))


def test_ridge_starts_from_the_weights_that_it_is_given():
    start = np.random.default_rng(0).normal(size=POOL.prior.shape[1])
    none = np.zeros(0, int)
    np.testing.assert_allclose(ridge.fit_predict(POOL.prior, none, np.zeros(0), start=start), POOL.prior @ start)
    (rows, *_), _ = lists(10)
    exact = POOL.prior[rows] @ start  # a target that these weights explain leaves them as they are
    found = ridge.fit_predict(POOL.prior, rows, exact, start=start)
    shift = exact.mean() - (POOL.prior[rows] @ start).mean()
    np.testing.assert_allclose(found, POOL.prior @ start + shift, atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_without_two_different_labels_all_predict_the_zero_label_score(name):
    rows = np.array([[0, 1], [2, 3]])
    model = MODELS[name] if name != "graph" else lambda *a, **k: graph_network(*a, **k, how=SMALL)
    for labels in (np.full((2, 2), np.nan), np.ones((2, 2))):
        found = model(POOL, rows, labels, seed=0)
        np.testing.assert_allclose(found, np.stack([POOL.zero_label] * 2), atol=1e-4)


@pytest.mark.parametrize(("name", "least"), [("ridge", 0.6), ("trees", 0.7), ("graph", 0.7)])
def test_models_learn_from_few_labels(name, least):
    rows, labels = lists(64)
    model = MODELS[name] if name != "graph" else lambda *a, **k: graph_network(*a, **k, how=replace(SMALL, steps=300))
    found = model(POOL, rows, labels, seed=0)
    assert found.shape == (2, len(TARGET))
    for own, used in zip(found, rows, strict=True):
        rest = np.setdiff1d(np.arange(len(TARGET)), used)
        assert spearman_rho(ordering(own[rest]), ordering(TARGET[rest])) > least
        assert abs(own.mean() - TARGET.mean()) < TARGET.std()
    np.testing.assert_array_equal(found, model(POOL, rows, labels, seed=0))


def edges_of(matrix):
    return matrix[..., *np.tril_indices(matrix.shape[-1], -1)]


# --- the graph network -----------------------------------------------------------------------------------------------


def reference_score(params, ops, matrices, prior):
    """The score and the residual of one architecture, in float64 and node by node."""
    weights = {path: np.asarray(leaf[...], np.float64) for path, leaf in nnx.to_flat_state(params)}
    table, width, cells = weights["embedding", "kernel"], SMALL.width, []
    for cell_ops, matrix in zip(ops, matrices, strict=True):
        states = table[cell_ops]
        for layer in range(SMALL.layers):
            both = []
            for direction, edges in enumerate((matrix, matrix.T)):

                def of(part, kind="kernel", layer=layer, direction=direction):
                    return weights["layers", layer, part, kind][..., direction * width : (direction + 1) * width]

                new = []
                for node, op in enumerate(cell_ops):
                    sources = np.flatnonzero(edges[node])
                    received = states[sources].mean(0) @ of("message") if len(sources) else np.zeros(width)
                    gate = 1 / (1 + np.exp(-(table[op] @ of("gate") + of("gate", "bias"))))
                    new.append(np.maximum(gate * received + states[node] @ of("own") + of("own", "bias"), 0))
                both.append(np.array(new))
            states = (both[0] + both[1]) / 2
        cells.append(states[[v for v in range(len(cell_ops)) if matrix[v].any()]].mean(0))
    hidden = np.maximum(np.concatenate(cells) @ weights["hidden", "kernel"] + weights["hidden", "bias"], 0)
    residual = float((hidden @ weights["head", "kernel"])[0])
    return prior @ weights["prior",] + residual, residual


def untrained(pool):
    return training.initial(inputs_of(pool), prior_start(pool), SMALL, seed=0, models=2)


def trained(how=SMALL):
    inputs = inputs_of(POOL)
    rows, labels = lists(16)
    return inputs, training.fit(untrained(POOL), inputs.at(rows), labels, how, keys(0, 2))


def test_network_is_the_reference():
    inputs, params = trained()
    found = training.predict(params, inputs, SMALL)
    for model in range(2):
        own = jax.tree.map(lambda part, model=model: part[model], params)
        for row in range(6):
            graphs = POOL.graphs
            expected, residual = reference_score(own, graphs.ops[row], adjacency(graphs)[row], POOL.prior[row])
            assert abs(residual) > 1e-5
            np.testing.assert_allclose(SMALL.margin * found[model, row], expected, rtol=1e-4, atol=1e-6)


def test_padding_and_neighbours_change_nothing():
    inputs, params = trained()
    whole = training.predict(params, inputs, SMALL)
    np.testing.assert_allclose(training.predict(params, inputs.at(np.arange(5)), SMALL), whole[:, :5], atol=1e-6)
    ops = np.pad(POOL.graphs.ops, [(0, 0), (0, 0), (0, 3)])  # of the class of the output
    edges = edges_of(np.pad(adjacency(POOL.graphs), [(0, 0), (0, 0), (0, 3), (0, 3)]))
    padded = inputs_of(POOL._replace(graphs=Graphs(ops, edges)))
    np.testing.assert_allclose(training.predict(params, padded, SMALL), whole, atol=1e-5)


def test_models_do_not_see_each_other():
    inputs, params = trained()
    rows, labels = lists(16)
    rows[1], labels[1] = rows[0, ::-1], np.arange(16)
    other = training.fit(untrained(POOL), inputs.at(rows), labels, SMALL, keys(0, 2))
    found, whole = (training.predict(p, inputs, SMALL) for p in (other, params))
    np.testing.assert_allclose(found[0], whole[0], atol=1e-5)
    assert np.abs(found[1] - whole[1]).max() > 1e-3
    three = training.initial(inputs, prior_start(POOL), SMALL, seed=0, models=3)
    assert all(np.array_equal(a[:2], b) for a, b in zip(*map(jax.tree.leaves, (three, untrained(POOL))), strict=True))


def test_second_fit_compiles_nothing(compiles):
    for n in (9, 16):
        graph_network(POOL, *lists(n), seed=n, how=SMALL)
    with compiles(0):
        graph_network(POOL, *lists(12, seed=5), seed=7, how=SMALL)


def reference_hinge(scores, labels, margin):
    short = [
        max(0.0, margin - (s - t))
        for s, x in zip(scores, labels, strict=True)
        for t, y in zip(scores, labels, strict=True)
        if x > y
    ]
    return float(np.mean(short)) if short else 0.0


@pytest.mark.parametrize("labels", [[3.0, 1, 2, 2], [1.0, np.nan, 0, np.nan], [1.0, 1, 1, 1]])
def test_hinge_is_the_mean_over_pairs(labels):
    scores, labels = np.array([0.3, 0.1, 0.25, 0.9]), np.array(labels)
    np.testing.assert_allclose(training.hinge(scores, labels, 0.1), reference_hinge(scores, labels, 0.1), rtol=1e-6)


def test_hinge_wants_the_better_one_to_lead():
    assert training.hinge(np.array([1.0, 0.0]), np.array([2.0, 1.0]), 0.1) == 0
    assert training.hinge(np.array([0.0, 1.0]), np.array([2.0, 1.0]), 0.1) > 1
    assert training.hinge(np.array([0.0, 0.0]), np.array([2.0, 1.0]), 0.1) == pytest.approx(0.1)


def test_a_hold_keeps_the_residual_small():
    """Agreement with the zero-label score is .893 instead of .880, on average over lists of labels.

    The weights of what the prior is made of learn in both: with no residual at all it is .892.
    """

    def kept(hold):
        how = replace(SMALL, steps=100, hold=hold)
        found = np.concatenate([graph_network(POOL, *lists(8, seed=seed), seed=0, how=how) for seed in range(3)])
        return np.mean([spearman_rho(ordering(own), ordering(POOL.zero_label)) for own in found])

    assert kept(1000.0) > kept(0.0) + 0.01


def test_space_without_graphs_is_refused():
    pool = Pool(("a",), np.zeros((3, 1)), np.zeros(3), None, None)
    with pytest.raises(UserError, match="use the model ridge, trees or gp"):
        inputs_of(pool)
    assert pool.described.shape == (3, 2)  # the zero-label score and the rank of a


# --- transfer --------------------------------------------------------------------------------------------------------


def source(pool=POOL, target=TARGET, n=64):
    rows = np.stack([np.random.default_rng(s).permutation(len(target))[:n] for s in range(2)])
    return transfer.learn_source(pool, rows, target[rows], how=SMALL)


@pytest.mark.parametrize(
    ("names", "common"),
    [
        (("nor_conv_3x3", "conv3x3-bn-relu", "conv_3x3"), "conv3x3"),
        (("skip_connect", "identity", "skip"), "identity"),
        (("maxpool3x3", "max_pool_3x3"), "maxpool3x3"),
        (("none", "zero"), "none"),
        (("avg_pool_3x3",), "avgpool3x3"),
    ],
)
def test_common_names(names, common):
    assert {transfer.common_name(name) for name in names} == {common}


def test_embeddings_of_common_ops_are_copied_and_others_fresh():
    learnt = transfer.Source(untrained(POOL), POOL, SMALL)
    pool, _ = made_up(50, MICRO)
    carried = transfer.carried(learnt, pool, seed=0)
    old, new = learnt.pool.code.classes, pool.code.classes
    table, before = (np.asarray(p["embedding"]["kernel"][...]) for p in (carried, learnt.params))
    for place, name in enumerate(new):
        np.testing.assert_array_equal(table[:, place], before[:, old.index(name)])
    back = transfer.carried(transfer.Source(untrained(pool), pool, SMALL), POOL, seed=0)
    fresh = untrained(POOL)
    pooling = old.index("avg_pool_3x3")
    tables = [np.asarray(p["embedding"]["kernel"][...])[:, pooling] for p in (back, fresh)]
    np.testing.assert_array_equal(*tables)
    assert learnt.params["embedding"]["kernel"][...].shape[1] == len(old)


@pytest.mark.parametrize("mode", transfer.TRANSFERS)
def test_without_labels_every_mode_is_the_source(mode):
    learnt = source()
    rows, labels = lists(4)
    found = transfer.TRANSFERS[mode](learnt, POOL, rows, np.full_like(labels, np.nan), seed=0)
    expected = training.predict(learnt.params, inputs_of(POOL), SMALL)
    for own, known in zip(found, expected, strict=True):
        assert spearman_rho(ordering(np.round(own, 4)), ordering(np.round(known, 4))) > 0.999


def test_head_leaves_the_body_alone():
    learnt = source()
    rows, labels = lists(16)
    inputs = inputs_of(POOL)
    after = training.fit(learnt.params, inputs.at(rows), labels, SMALL, keys(1, 2), head_only=True)
    changed = {
        path[0]
        for (path, new), (_, old) in zip(nnx.to_flat_state(after), nnx.to_flat_state(learnt.params), strict=True)
        if not np.array_equal(new[...], old[...])
    }
    assert changed == {"head", "prior"}


def test_transfer_to_a_related_target_beats_scratch_with_few_labels():
    learnt = source()
    other = TARGET + np.random.default_rng(1).normal(scale=3, size=len(TARGET))
    rows = lists(8)[0]
    scores = {
        mode: np.mean([spearman_rho(ordering(own), ordering(other)) for own in model(rows, other[rows], seed=0)])
        for mode, model in {
            "scratch": lambda *a, **k: graph_network(POOL, *a, **k, how=SMALL),
            "finetune": lambda *a, **k: transfer.finetune(learnt, POOL, *a, **k),
            "residual": lambda *a, **k: transfer.residual(learnt, POOL, *a, **k),
        }.items()
    }
    assert min(scores["finetune"], scores["residual"]) > scores["scratch"]


def test_source_and_target_must_fit():
    pool, _ = made_up(50, MICRO)
    with pytest.raises(UserError, match="give both the same ones"):
        transfer.check_alike(POOL, pool._replace(names=("other", "params")))


def test_squares_come_behind_the_ranks():
    np.testing.assert_array_equal(with_squares(np.array([[0.5, -1.0]])), [[0.5, -1.0, 0.25, 1.0]])


def test_network_reads_several_cells():
    ops, edges = np.array([[[1, 2, 0], [1, 3, 0]]]), np.array([[[1, 0, 1], [1, 0, 1]]])
    code = replace(NB201.graph_code, cells=2)
    pool = Pool(("a",), np.zeros((1, 1)), np.ones(1), code, Graphs(ops, edges))
    params = training.initial(inputs_of(pool), prior_start(pool), SMALL, seed=0, models=1)
    assert params["hidden"]["kernel"].shape == (1, 2 * SMALL.width, SMALL.width)
    assert training.predict(params, inputs_of(pool), SMALL).shape == (1, 1)
