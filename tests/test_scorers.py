"""The registry, the counts and TE-NAS's sum of ranks."""

import dataclasses
import itertools

import numpy as np
import pytest

from jaxnas import scorers, spaces
from jaxnas.errors import UserError
from jaxnas.ranks import mean_ranks
from jaxnas.types import Finished, Status

NAN = float("nan")
COUNTS = ("params", "flops", "live_flops")
LOWER = {"infinite_ntk", "latency", "ntk", "regression", "sequence", "te_nas"}
PAPERS = {
    "ntk": "TE-NAS",
    "regions": "TE-NAS",
    "te_nas": "TE-NAS",
    "regression": "GenNAS",
    "sequence": "GenNAS",
    "jacov": "Mellor",
    "nwot": "NASWOT",
    "swap": "SWAP",
    "zen": "Zen-NAS",
    "az_expressivity": "AZ-NAS",
    "vkdnw": "VKDNW",
    "intrain_capacity": "InTrain",
    "synflow": "Tanaka",
    "logsynflow": "FreeREA",
    "zico": "ZiCo",
    "snip": "SNIP",
    "flops": "baseline",
}


def finished(values, status=Status.ok):
    values = np.array(values, np.float64)
    return Finished(values, np.where(np.isnan(values), status, Status.ok), {})


def combine(kappa, count):
    return scorers.TeNas().combine({"ntk": finished(kappa), "regions": finished(count)})


def rank_sum_loop(kappa, count):
    """Rank of each value = how many are better, plus half of the others that equal it."""

    def rank(values, i):
        better = sum(v < values[i] for v in values)
        return better + (sum(v == values[i] for v in values) - 1) / 2

    count = [-c for c in count]
    return [rank(kappa, i) + rank(count, i) for i in range(len(kappa))]


def test_registry_says_what_each_score_is():
    for name, scorer in scorers.DEFAULTS.items():
        assert scorer.name == name
        assert scorer.sign == (-1 if name in LOWER else 1)
        assert PAPERS.get(name, "") in scorer.paper
        assert scorer.paper and scorer.cost
        assert hash(scorer) == hash(dataclasses.replace(scorer))
    assert scorers.NTK(bn="batch").cost != scorers.NTK(bn="frozen").cost


def test_select_keeps_the_order_and_adds_the_counts():
    assert list(scorers.select("regions, ntk")) == ["regions", "ntk", *COUNTS]
    assert list(scorers.select("flops,regions,")) == ["flops", "regions", "params", "live_flops"]
    assert list(scorers.select("params,params")) == [*COUNTS]


def test_te_nas_brings_what_it_needs():
    assert list(scorers.select("te_nas")) == ["ntk", "regions", "te_nas", *COUNTS]
    assert list(scorers.select("regions,te_nas")) == ["regions", "ntk", "te_nas", *COUNTS]


def test_select_takes_the_given_options():
    options = scorers.NTK(bn="batch"), scorers.Regions(samples=7)
    chosen = scorers.select("te_nas", options)
    assert (chosen["ntk"], chosen["regions"]) == options
    assert scorers.DEFAULTS["ntk"] == scorers.NTK()


@pytest.mark.parametrize(
    ("typo", "nearest"), [("nkt", "ntk"), ("ntk,region", "regions"), ("tenas", "te_nas"), ("Flops", "flops")]
)
def test_unknown_name_gets_the_nearest(typo, nearest):
    with pytest.raises(UserError, match=f"did you mean '{nearest}'") as error:
        scorers.select(typo)
    assert all(name in str(error.value) for name in scorers.DEFAULTS)


@pytest.mark.parametrize("empty", ["", " ", ",,"])
def test_no_name_at_all(empty):
    with pytest.raises(UserError, match="choose from"):
        scorers.select(empty)


@pytest.mark.parametrize(
    ("scorer", "says"),
    [
        (scorers.NTK(images=1), "at least 2 images"),
        (scorers.Regions(batches=0), "at least 1 batch"),
        (scorers.Regions(samples=1), "2 samples"),
        (scorers.Regression(images=1), "at least 2 images"),
        (scorers.Regression(steps=0), "1 step"),
        (scorers.Regression(task="nb11"), "did you mean 'nb101'"),
    ],
)
def test_options_that_make_no_sense(scorer, says):
    with pytest.raises(UserError, match=says) as error:
        scorer.check()
    assert "\n" not in str(error.value)


def test_default_options_make_sense():
    for scorer in (scorers.NTK(), scorers.Regions(), scorers.Regression()):
        scorer.check()


def test_counts_are_those_of_the_benchmark():
    space = spaces.get("nasbench201")
    archs = np.array([[3] * 6, [0] * 6, [1] * 6])
    assert space.params(archs).tolist() == [1531546, 73306, 73306]  # published: 1.531546 and .073306 M
    counts = scorers.Params().finish(space.params(archs))
    assert counts.value.dtype == np.float64
    assert counts.value.tolist() == [1531546, 73306, 73306]
    assert (counts.status == Status.ok).all() and counts.info == {}


def test_te_nas_by_hand():
    # ranks of kappa 1, 0, 2; of regions 0, 2, 1
    assert combine([20, 10, 30], [300, 100, 200]).value.tolist() == [1, 2, 3]


def test_te_nas_equals_the_loop():
    rng = np.random.default_rng(0)
    for n in (1, 2, 13, 60):
        kappa, count = rng.integers(0, 20, n).astype(float), rng.integers(0, 8, n).astype(float)
        np.testing.assert_allclose(combine(kappa, count).value, rank_sum_loop(kappa.tolist(), count.tolist()))


def test_te_nas_knows_ties_and_order_alone():
    for order in itertools.permutations(range(4)):
        kappa, count = np.array([2.0, 2.0, 1.0, 9.0])[list(order)], np.array([5.0, 5.0, 5.0, 6.0])[list(order)]
        np.testing.assert_array_equal(combine(kappa, count).value, np.array([3.5, 3.5, 2.0, 3.0])[list(order)])
    kappa, count = np.array([3.0, 1.0, 2.0]), np.array([30.0, 10.0, 20.0])
    np.testing.assert_array_equal(combine(np.exp(kappa), count**3).value, combine(kappa, count).value)


def test_te_nas_leaves_failures_out():
    scores = {
        "ntk": Finished(
            np.array([10.0, NAN, NAN, 30.0, 20.0]),
            np.array([Status.ok, Status.rank_deficient, Status.disconnected, Status.ok, Status.ok]),
            {},
        ),
        "regions": Finished(
            np.array([1.0, 9.0, NAN, 3000.0, NAN]),
            np.array([Status.ok, Status.ok, Status.disconnected, Status.saturated, Status.nonfinite]),
            {},
        ),
    }
    found = scorers.TeNas().combine(scores)
    np.testing.assert_array_equal(found.value, [1, NAN, NAN, 1, NAN])
    assert [Status(s).name for s in found.status] == ["ok", "rank_deficient", "disconnected", "ok", "nonfinite"]


def test_intrain_by_hand():
    scores = {"intrain_capacity": finished([2, 3, NAN]), "intrain_health": finished([1, 0, 1])}
    found = scorers.InTrain().combine({**scores, "live_layers": finished(np.e ** np.array([1, 2, 1]) - 1)})
    np.testing.assert_allclose(found.value, [4, 1.5, NAN])


def test_te_nas_of_failures_alone():
    lost = finished([NAN, NAN], Status.disconnected)
    found = scorers.TeNas().combine({"ntk": lost, "regions": lost})
    assert np.isnan(found.value).all()
    assert (found.status == Status.disconnected).all()


def test_mean_ranks_by_hand():
    assert mean_ranks(np.array([5.0, 1.0, 5.0, 7.0, 5.0])).tolist() == [2, 0, 2, 4, 2]
    assert mean_ranks(np.empty(0)).shape == (0,)
