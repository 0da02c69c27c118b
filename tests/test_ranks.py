"""Rank statistics against brute force and SciPy."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from jaxnas import ranks


def brute_force_tau(x, y):
    concordant = discordant = tied_x = tied_y = 0
    for i, j in itertools.combinations(range(len(x)), 2):
        a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
        concordant += a * b > 0
        discordant += a * b < 0
        tied_x += a == 0
        tied_y += b == 0
    pairs = len(x) * (len(x) - 1) // 2
    scale = math.sqrt((pairs - tied_x) * (pairs - tied_y))
    return (concordant - discordant) / scale if scale else math.nan


def brute_force_rho(x, y):
    def rank(values):
        return [sum(v < u for v in values) + (sum(v == u for v in values) + 1) / 2 for u in values]

    return np.corrcoef(rank(x), rank(y))[0, 1]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("levels", [2, 4, 1000])
def test_correlations_match_brute_force_on_resamples_with_ties(seed, levels):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(9, 20))
    x, y = (ranks.ordering(rng.integers(levels, size=n)) for _ in range(2))
    counts = np.bincount(rng.integers(n, size=n), minlength=n)
    drawn = np.repeat(np.arange(n), counts)
    tau = ranks.KendallTau(x, y)
    np.testing.assert_allclose(tau(), brute_force_tau(x, y), atol=1e-12)
    np.testing.assert_allclose(tau(counts), brute_force_tau(x[drawn], y[drawn]), atol=1e-12)
    np.testing.assert_allclose(ranks.spearman_rho(x, y), brute_force_rho(x, y), atol=1e-12)
    np.testing.assert_allclose(ranks.spearman_rho(x, y, counts), brute_force_rho(x[drawn], y[drawn]), atol=1e-12)


def test_correlations_match_scipy_on_many_rows():
    rng = np.random.default_rng(0)
    a = rng.normal(size=5000)
    b = np.round(a + rng.normal(size=5000), 1)
    x, y = ranks.ordering(a), ranks.ordering(b)
    np.testing.assert_allclose(ranks.KendallTau(x, y)(), scipy.stats.kendalltau(a, b)[0], rtol=1e-12)
    np.testing.assert_allclose(ranks.spearman_rho(x, y), scipy.stats.spearmanr(a, b)[0], rtol=1e-12)


def test_known_values():
    up, down = np.arange(10), np.arange(10)[::-1].copy()
    assert ranks.spearman_rho(up, up) == ranks.KendallTau(up, up)() == 1
    assert ranks.spearman_rho(up, down) == ranks.KendallTau(up, down)() == -1
    x, y = np.array([0, 1, 2, 3]), np.array([0, 2, 1, 3])
    assert ranks.KendallTau(x, y)() == pytest.approx(4 / 6)
    assert ranks.spearman_rho(x, y) == pytest.approx(1 - 6 * 2 / (4 * 15))


def test_constant_is_undefined():
    flat, up = np.zeros(5, np.int64), np.arange(5)
    for x, y in [(flat, up), (up, flat), (flat, flat), (up[:1], up[:1])]:
        assert math.isnan(ranks.spearman_rho(x, y)) and math.isnan(ranks.KendallTau(x, y)())


def test_failures_rank_worst_and_tied():
    values = [3.0, math.nan, 1.0, math.inf, 3.0]
    assert ranks.ordering(values).tolist() == [2, 0, 1, 0, 2]
    assert ranks.ordering(values, sign=-1).tolist() == [1, 0, 2, 0, 1]


def test_partial_correlation_is_that_of_the_residuals():
    rng = np.random.default_rng(1)
    z = rng.normal(size=200)
    x, y = z + rng.normal(size=200), z + rng.normal(size=200)
    a, b, c = (scipy.stats.rankdata(v) for v in (x, y, z))
    expected = np.corrcoef(a - np.polyval(np.polyfit(c, a, 1), c), b - np.polyval(np.polyfit(c, b, 1), c))[0, 1]
    assert ranks.partial_rho(*map(ranks.ordering, (x, y, z))) == pytest.approx(expected)
    assert math.isnan(ranks.partial_rho(*map(ranks.ordering, (z, y, 2 * z))))


def test_top_tenth_is_by_target():
    target = np.arange(100)
    score = np.concatenate([np.arange(90), np.arange(100, 90, -1)])
    assert ranks.top_rho(ranks.ordering(score), target) == pytest.approx(-1)


def test_bootstrap_is_reproducible():
    rng = np.random.default_rng(0)
    x, y = (ranks.ordering(rng.normal(size=30)) for _ in range(2))

    def interval(seed):
        return ranks.bootstrap_intervals([ranks.KendallTau(x, y)], 30, resamples=50, seed=seed)

    assert interval(0) == interval(0) != interval(1)


def test_two_architectures_have_no_interval():
    tau = ranks.KendallTau(np.array([0, 1]), np.array([0, 1]))
    assert ranks.bootstrap_intervals([tau, tau], 2, resamples=50, seed=0) == [None, None]


def test_bootstrap_covers_the_population_tau():
    rng, correlation, n, trials = np.random.default_rng(0), 0.6, 60, 60
    truth = 2 / math.pi * math.asin(correlation)  # of a bivariate normal: Kruskal 1958, JASA 53:814
    hits = 0
    for trial in range(trials):
        a, b = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], size=n).T
        tau = ranks.KendallTau(ranks.ordering(a), ranks.ordering(b))
        ((low, high),) = ranks.bootstrap_intervals([tau], n, resamples=150, seed=trial)
        hits += low <= truth <= high
    assert hits / trials >= 0.85


def test_top_precision_and_regret():
    target = np.array([1.0, 5, 4, 4, 3, 2, 0, -1, -2, -3])
    y = ranks.ordering(target)
    assert ranks.top_precision(y, y, 0.2) == 1
    assert ranks.top_precision(ranks.ordering([9, 0, 8, 7, 0, 0, 0, 0, 0, 0]), y, 0.2) == 0.5
    assert ranks.top_precision(ranks.ordering([0, 0, 8, 9, 0, 0, 0, 0, 0, 0]), y, 0.2) == 1  # both tie for second
    assert ranks.top_precision(-y, y, 0.01) == 0  # at least one is picked
    assert ranks.regret(y, target, 1) == 0
    assert ranks.regret(-y, target, 3) == 5 + 1
    assert ranks.best_rows(np.array([1, 3, 3, 0]), 3).tolist() == [1, 2, 0]


def literal_sparse_kendall(scores, accuracies, threshold):
    """The published recipe, step by step: ranks shared within a bin, listed by accuracy and by score."""
    bins = [round(a / threshold, 6) // 1 for a in accuracies]
    rank = {b: i for i, b in enumerate(sorted(set(bins)))}
    by_accuracy = [rank[b] for b in sorted(bins)]
    by_score = [rank[bins[i]] for i in sorted(range(len(scores)), key=lambda i: scores[i])]
    return scipy.stats.kendalltau(by_accuracy, by_score)[0]


@pytest.mark.parametrize("threshold", [1e-1, 1e-2, 1e-3, 1e-4])
def test_sparse_kendall_is_the_published_recipe(threshold):
    rng = np.random.default_rng(0)
    accuracies = 0.8 + 0.15 * rng.beta(5, 2, 200)
    scores = np.round(accuracies + 0.02 * rng.normal(size=200), 3)  # some are tied
    found = ranks.sparse_kendall(scores, accuracies, threshold)
    assert found == pytest.approx(literal_sparse_kendall(scores, accuracies, threshold), abs=1e-12)


def test_sparse_kendall_forgives_differences_within_a_bin():
    accuracies, scores = [0.9101, 0.9104, 0.93, 0.95], [2, 1, 3, 4]
    assert ranks.sparse_kendall(scores, accuracies) == 1
    assert ranks.sparse_kendall(scores, accuracies, 1e-4) == pytest.approx(4 / 6)
    assert ranks.sparse_kendall([4, 3, 2, 1], [0.91, 0.92, 0.93, 0.95]) == -1
    assert ranks.sparse_kendall([1, 1, 1], [0.91, 0.92, 0.93]) == 1  # ties of the score keep the order of the list
    assert math.isnan(ranks.sparse_kendall(scores, [0.9101, 0.9102, 0.9103, 0.9104]))


def test_sparse_kendall_bins_do_not_depend_on_rounding():
    steps = np.arange(800, 1000)
    assert (np.floor(steps / 1000 / 1e-3) != steps).any()  # what is guarded against
    assert ranks.sparse_kendall(steps, steps / 1000) == 1
    assert ranks.sparse_kendall(-steps, steps / 1000) == -1


def test_top_figures():
    accuracies = np.arange(100) / 100
    assert ranks.top_precision(np.arange(100), ranks.ordering(accuracies), 0.05) == 1
    assert ranks.top_precision(np.arange(100)[::-1], ranks.ordering(accuracies), 0.05) == 0
    found = ranks.percentiles_of_top([1, 9, 8, 2], [0.1, 0.495, 0.985, 0.2], accuracies, k=2)
    np.testing.assert_allclose(found, [0.5, 0.745, 0.99])


def test_surpasses_random_is_the_share_of_worse_draws():
    assert ranks.surpasses_random(15_625, 15_625, 10) == 1
    assert ranks.surpasses_random(50, 100, 2) == 0.25
