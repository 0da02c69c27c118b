"""The bench of supernets compares what it says: the right accuracies, no landmark among the judged, fair arms."""

import importlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def bench(shared_data):
    """The module, which is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        module = importlib.import_module("bench.supernet.__main__")
        patch.setenv("JAXNAS_DATA", str(shared_data))
        yield module


@pytest.fixture(scope="module")
def rankings(bench):
    return importlib.import_module("bench.supernet.rankings")


@pytest.fixture(scope="module")
def figures(bench):
    return importlib.import_module("bench.supernet.ground").figures


@pytest.fixture(scope="module")
def ground(bench):
    return bench.common(100, 30)


def test_accuracies_are_those_of_the_architectures(bench, rankings, figures, ground):
    string = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    assert ground.everything[bench.SPACE.index(bench.SPACE.encode(string)[None])[0]] == pytest.approx(0.9437, abs=1e-4)
    np.testing.assert_array_equal(ground.accuracies, ground.everything[bench.SPACE.index(ground.archs)])
    found = rankings.untrained(ground, 0)
    taus = {name: figures(scores, ground)["kendall"] for name, scores in found.items()}
    assert taus["FLOPs"] > 0.45 and taus["ridge"] > 0.6 and taus["gp"] > 0.6 and taus["consensus"] > 0.6
    assert abs(taus["random"]) < 0.2


def test_landmarks_ascend_and_are_not_judged(bench, ground):
    canonical = {arch.tobytes() for arch in bench.SPACE.canonical(ground.archs).astype(np.int32)}
    assert len(ground.archs) == 100 and len(ground.landmarks) == 10
    for archs in ground.landmarks.values():
        accuracies = ground.everything[bench.SPACE.index(archs)]
        assert len(archs) == 30 and (np.diff(accuracies) >= 0).all()
        assert canonical.isdisjoint(arch.tobytes() for arch in bench.SPACE.canonical(archs).astype(np.int32))


def test_arms_differ_in_what_they_say(bench, ground):
    config = bench.Bench()
    arms = {name: bench.arm(config, name, 0, ground) for name in bench.ARMS}
    ordered, shuffled = arms["landmarks"][0].archs, arms["shuffled"][0].archs
    assert sorted(ordered.tolist()) == sorted(shuffled.tolist()) and ordered.tolist() != shuffled.tolist()
    assert [arms[name][1].epochs for name in ("plain", "landmarks", "teacher", "shuffled")] == [120] * 4
    assert arms["even"][1].epochs == arms["odd"][1].epochs == arms["odd"][0].epochs == 60
    assert arms["longer"][1].epochs == 46 + 3 * 74  # no rank loss in the 45 epochs of the warm-up and the one after


def test_halves_share_no_landmark(bench, ground):
    even, odd = (bench.arm(bench.Bench(), name, 0, ground)[0].archs for name in ("even", "odd"))
    np.testing.assert_array_equal(np.stack([even, odd], 1).reshape(30, -1), ground.landmarks[0])


def fake(losses, marks):
    """A run whose two rankings have these mean losses."""
    return {
        "losses": [losses - 0.5, losses + 0.5],
        "landmark_losses": [marks - 0.5, marks + 0.5],
        "accuracies": [1 - losses] * 2,
    }


def test_a_landmark_has_its_loss_from_the_supernet_that_was_not_trained_on_it(rankings):
    judged, right, leaked = np.arange(4.0), np.full(6, 1.5), np.full(6, -9.0)
    even, odd = right.copy(), right.copy()
    even[0::2], odd[1::2] = leaked[0::2], leaked[1::2]
    found = rankings.held_out({"even": fake(judged, even), "odd": fake(judged * 10, odd * 10)})
    np.testing.assert_allclose(found, 0)
    np.testing.assert_allclose(rankings.ranked(fake(judged, even))[0], [0.75, 0.25, -0.25, -0.75])


@pytest.mark.slow
def test_a_loss_that_knows_the_accuracy_lifts_a_regression_and_a_sum_of_ranks(rankings, figures, ground):
    truth = ground.everything[rankings.SPACE.index(ground.landmarks[0])]
    runs = {name: fake(-ground.accuracies, -truth) for name in ("landmarks", "even", "odd")}
    found = rankings.of_seed(ground, runs, 0)
    taus = {name: figures(scores, ground)["kendall"] for name, scores in found.items()}
    assert taus["landmarks, loss"] == 1 and "even, loss" not in taus
    assert taus["ridge with loss"] > taus["ridge"] + 0.05
    assert taus["landmarks + live FLOPs"] > taus["live FLOPs"] + 0.05


def test_figures_of_a_perfect_and_a_reversed_score(figures, ground):
    best = figures(ground.accuracies, ground)
    assert best["sparse_kendall"] == best["spearman"] == best["precision_top_5_percent"] == 1
    assert figures(-ground.accuracies, ground)["spearman"] == -1


def test_a_difference_from_itself_is_none_and_from_a_reverse_is_sure(bench, ground, monkeypatch):
    report = importlib.import_module("bench.supernet.report")
    monkeypatch.setattr(report, "RESAMPLES", 10)
    baselines = {0: {"ridge": -ground.accuracies, "gp": ground.accuracies}}
    above = report._above({0: ground.accuracies}, baselines, ground)
    assert above[0].startswith("+1.99") and above[1] == "+0.000 [+0.000, +0.000]"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arms": "plane"}, "did you mean 'plain'"),
        ({"seeds": (10,)}, "choose from 0 to 9"),
        ({"evaluations": 30}, "too few for 30 evaluations"),
    ],
)
def test_bad_input_is_one_clear_line(bench, options, message):
    with pytest.raises(bench.UserError, match=message):
        bench.check(bench.Bench(**options))
