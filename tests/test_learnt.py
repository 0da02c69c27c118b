"""What predictions say beside their value: intervals, effects of choices, and the Gaussian process behind them."""

import jax
import numpy as np
import pytest
from sklearn.linear_model import BayesianRidge

from jaxnas import spaces
from jaxnas.learn import gaussian
from jaxnas.learn.features import make_pool
from jaxnas.learn.graph_features import graph_features
from jaxnas.learn.intervals import coverage, intervals, level
from jaxnas.learn.models import MODELS
from jaxnas.learn.transfer import joined, on_pools, with_prior
from jaxnas.predict.effects import effects, factors
from jaxnas.ranks import ordering, spearman_rho

NB201, MICRO, NB101 = (spaces.get(name) for name in ("nasbench201", "transnas101_micro", "nasbench101"))
VALUE = np.array([-3.0, 1.0, 2.0, 4.0, 0.5])  # of each op of NAS-Bench-201


def pool(space, archs):
    return make_pool(space, archs, {"flat": space.flops(archs).astype(float)})


# --- intervals -------------------------------------------------------------------------------------------------------


def test_intervals_leave_out_one_in_twenty_on_either_side():
    fold, misses = np.arange(39) % 3, np.arange(39.0)
    parts = np.array([[0.0, 100], [0, 100], [0, 100]])
    np.testing.assert_array_equal(intervals(parts, fold, misses), [[1, 101], [37, 137]])  # the second from either end
    between = intervals(parts[:, :1], fold[:29], misses[:29])
    np.testing.assert_allclose(between, [[0.5], [27.5]])
    np.testing.assert_array_equal(intervals(parts[:, :1], fold[:7], misses[:7]), [[0], [6]])
    assert (level(39), level(7)) == (0.9, 0.75)


def test_intervals_hold_what_they_say():
    rng, held = np.random.default_rng(0), []
    for _ in range(200):
        fold, misses = np.arange(40) % 5, rng.exponential(size=40)
        low, high = intervals(np.zeros((5, 1)), fold, misses)
        new = rng.exponential(size=100)
        held.append(np.mean((low <= new) & (new <= high)))
        assert 0.5 < coverage(fold, misses) <= 1
    assert 0.88 < np.mean(held) < 0.93


# --- effects ---------------------------------------------------------------------------------------------------------


def test_effects_of_a_sum_are_its_terms():
    archs, weights = NB201.enumerate()[::7], np.array([3, 2, 2, 1, 1, 1])
    found = effects(factors(NB201, archs), VALUE[archs] @ weights, np.stack([VALUE[archs] @ weights] * 3))
    assert found.explained == pytest.approx((1, 1))
    by_place = {(row["place"], row["choice"]): row["effect"] for row in found.single}
    for edge, weight in zip(NB201.supernet.edges, weights, strict=True):
        own = [by_place[edge, op] for op in NB201.ops]
        np.testing.assert_allclose(np.diff(own), weight * np.diff(VALUE), atol=1e-8)
    assert max(abs(row["effect"]) for row in found.pairs) < 1e-8
    assert max(row["error"] for row in found.single) < 1e-8


def test_the_pair_that_matters_is_found():
    archs = NB201.enumerate()
    both = (archs[:, 0] == 3) & (archs[:, 4] == 1)
    parts = 5.0 * both + np.random.default_rng(0).normal(size=(2, len(archs)))
    first = effects(factors(NB201, archs), 5.0 * both, parts).pairs[0]
    assert first["of"] == [{"place": "1<-0", "choice": "nor_conv_3x3"}, {"place": "3<-1", "choice": "skip_connect"}]
    assert first["effect"] == pytest.approx(5 * 0.8 * 0.8)
    assert first["error"] > 0


def test_elsewhere_numbers_of_operations_have_effects():
    space = spaces.get("darts")
    archs = space.sample(jax.random.key(0), 20)
    given = {factor.name: factor.values for factor in factors(space, archs)}
    np.testing.assert_array_equal(given["cell 2: skip_connect"], (space.split(archs)[0][:, 1] == 1).sum(1))
    assert factors(spaces.get("resnet"), spaces.get("resnet").sample(jax.random.key(0), 5)) == []
    assert effects([], np.arange(9.0), np.zeros((2, 9))) is None


# --- the Gaussian process --------------------------------------------------------------------------------------------


def test_the_process_is_regression_in_the_leaves():
    archs = NB201.enumerate()[::50]
    found = gaussian.leaves(pool(NB201, archs).described, seed=0)
    dense, rows = found.toarray(), np.arange(0, len(archs), 11)
    np.testing.assert_allclose((dense**2).sum(1), 1)  # an architecture is in one leaf of each tree
    labels = VALUE[archs[rows]].sum(1) / 5
    shape = gaussian.SHAPE
    known = BayesianRidge(
        alpha_1=shape, alpha_2=shape * gaussian.NOISE, lambda_1=shape, lambda_2=shape * gaussian.SIGNAL
    ).fit(dense[rows], labels)
    np.testing.assert_allclose(gaussian.fit_predict(found, rows, labels), known.predict(dense), atol=0.02)


# --- what a source teaches -------------------------------------------------------------------------------------------


def test_operations_of_one_name_are_one_in_both_spaces():
    cells, same = NB201.enumerate()[[7000, 9000]], MICRO.enumerate()[:3]
    both = joined(pool(MICRO, same), pool(NB201, cells))
    assert both.code.classes[:2] == ("output", "input")
    assert set(both.code.classes[2:]) == {"none", "identity", "conv1x1", "conv3x3", "avgpool3x3"}
    own = pool(NB201, cells)
    alone = {tuple(sorted(row)) for row in graph_features(own.code, own.graphs)}
    assert {tuple(sorted(row)) for row in both.structure[3:]} == alone
    mixed = joined(pool(NB101, NB101.encode(NB101.example)[None]), own)  # a pool of one
    assert mixed.graphs.ops.shape[-1] == NB201.graph_code.nodes and len(mixed.ranks) == 3


def test_what_was_learnt_is_half_of_where_the_target_starts():
    archs = NB201.enumerate()[::31]
    own, values = pool(NB201, archs), VALUE[archs] @ [3.0, 2, 2, 1, 1, 1]
    rows = np.random.default_rng(0).permutation(len(archs))[None, :200]
    (taught,) = with_prior(MODELS["gp"], own, own, rows, values[rows], seed=0)
    learnt = 2 * taught.zero_label - own.zero_label
    assert spearman_rho(ordering(learnt), ordering(values)) > 0.8
    few = rows[:, :2]
    found = on_pools(MODELS["gp"], [taught], own, few, np.full(few.shape, np.nan), seed=0)
    np.testing.assert_array_equal(found[0], taught.zero_label)
