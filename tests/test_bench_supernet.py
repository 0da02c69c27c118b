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
        patch.setattr(module, "SHARED", shared_data)
        yield module


@pytest.fixture(scope="module")
def ground(bench):
    return bench.common(bench.Bench(pool=100))


def test_accuracies_are_those_of_the_architectures(bench, ground):
    string = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    assert ground.everything[bench.SPACE.index(bench.SPACE.encode(string)[None])[0]] == pytest.approx(0.9437, abs=1e-4)
    np.testing.assert_array_equal(ground.accuracies, ground.everything[bench.SPACE.index(ground.archs)])
    found = bench.untrained(ground, 0)
    assert found["flops"]["kendall"] > 0.45
    assert found["ridge"]["kendall"] > 0.6


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
    assert {recipe.epochs for name, (_, recipe) in arms.items() if name != "longer"} == {120}
    assert arms["longer"][1].epochs == 46 + 3 * 74  # no rank loss in the 45 epochs of the warm-up and the one after


def test_figures_of_a_perfect_and_a_reversed_score(bench, ground):
    best = bench.figures(ground.accuracies, ground)
    assert best["sparse_kendall"] == best["spearman"] == best["precision_top_5_percent"] == 1
    assert bench.figures(-ground.accuracies, ground)["spearman"] == -1


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
