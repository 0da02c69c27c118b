"""The reference sample of the consensus: the distribution function and the weights, against plain loops in float64."""

import math

import numpy as np
import pytest

from jaxnas.scorers.reference import Distribution, Reference

RNG = np.random.default_rng(0)


def share(sample, value):
    """F of one value in a sample without failures, as the formulas say it."""
    sample = sorted(sample)
    n = len(sample)
    knots = sorted(set(sample))
    at = {v: (sum(s < v for s in sample) + sample.count(v) / 2) / n for v in knots}
    count = max(8, n // 16)
    if value > knots[-1]:
        scale = sum(sample[-count:]) / count - sample[-count - 1]
        return 1 - (1 - at[knots[-1]]) * math.exp(-(value - knots[-1]) / scale)
    if value < knots[0]:
        scale = sample[count] - sum(sample[:count]) / count
        return at[knots[0]] * max(math.exp(-(knots[0] - value) / scale), 1 / 4)
    below, above = max(v for v in knots if v <= value), min(v for v in knots if v >= value)
    if below == above:
        return at[below]
    return at[below] + (at[above] - at[below]) * (value - below) / (above - below)


@pytest.mark.parametrize("size", [20, 200])
def test_shares_are_those_of_the_formulas(size):
    sample = RNG.normal(size=size).round(1).tolist()
    values = np.concatenate([np.linspace(-6, 6, 61), sample])
    found = Reference({"one": np.array(sample)}).log_share("one", values)
    np.testing.assert_allclose(found, [math.log(share(sample, value)) for value in values], atol=1e-12)


def test_shares_rise_with_the_value_also_above_all_of_the_sample():
    found = Reference({"one": RNG.normal(size=100)}).log_share("one", np.linspace(-2, 12, 400))
    assert (np.diff(found) > 0).all() and found[-1] < 0


def test_a_sample_of_mostly_equal_values_has_tails():
    spread = Distribution.of(np.array([0.0] * 40 + [1.0]), 41)
    assert spread.above > 0 and spread.below > 0 and np.isfinite(spread(np.array([-1.0, 0.5, 2.0]))).all()


def test_what_failed_is_below_everything():
    reference = Reference({"one": np.array([*RNG.normal(size=99), np.nan])})
    low, failed = reference.log_share("one", np.array([-1e9, np.nan]))
    assert failed == pytest.approx(math.log(1 / 1600)) and failed < low


def test_weights_are_the_first_eigenvector_of_the_rank_correlations():
    common = RNG.normal(size=400)
    scores = {name: common + noise * RNG.normal(size=400) for name, noise in {"a": 0.3, "b": 0.5, "c": 1.0}.items()}
    ranks = np.array([np.argsort(np.argsort(values)) for values in scores.values()], float)
    _, _, vectors = np.linalg.svd(np.corrcoef(ranks))
    weights = np.abs(vectors[0])
    np.testing.assert_allclose([*Reference(scores).weights.values()], weights / weights.sum(), atol=1e-9)


def test_scores_of_a_family_count_as_one():
    common = RNG.normal(size=300)
    scores = {name: common + noise * RNG.normal(size=300) for name, noise in (("a", 0.2), ("b", 0.5), ("c", 0.8))}
    twin = Reference({**scores, "aa": scores["a"]}, [{"a", "aa"}])
    weights = Reference(scores).weights
    assert twin.weights == pytest.approx({**weights, "a": weights["a"] / 2, "aa": weights["a"] / 2})
    np.testing.assert_allclose(twin.combine({**scores, "aa": scores["a"]}), Reference(scores).combine(scores))


def test_a_score_that_contradicts_the_others_has_no_say():
    common = RNG.normal(size=200)
    scores = {"a": common, "b": common + 0.1 * RNG.normal(size=200), "c": common**3, "d": -common}
    reference = Reference(scores)
    assert reference.weights["d"] == 0 and reference.agreement[1]
    assert np.argmax(reference.combine({**scores, "d": np.zeros(200)})) == np.argmax(reference.combine(scores))


def test_scores_without_anything_in_common_count_the_same():
    reference = Reference({name: RNG.normal(size=3000) for name in "abc"})
    assert not reference.agreement[1]
    assert [*reference.weights.values()] == pytest.approx([1 / 3] * 3)


def test_constant_and_failing_scores_are_left_out():
    values = RNG.normal(size=100)
    often = values.copy()
    often[:6] = np.nan
    assert Reference({"a": values, "b": np.ones(100), "c": often}).usable == ["a"]


def test_the_sum_is_that_of_single_architectures():
    scores = {name: RNG.normal(size=64) for name in "abc"}
    reference = Reference({name: RNG.normal(size=200) + scores["a"].mean() for name in scores})
    alone = [reference.combine({name: values[i : i + 1] for name, values in scores.items()})[0] for i in range(64)]
    np.testing.assert_array_equal(reference.combine(scores), alone)
