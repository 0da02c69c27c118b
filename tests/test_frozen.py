"""Scores and counts of every space stay what they were: `tests/golden/frozen.json`, see `tests/golden/make_frozen.py`.

Counts and `regions` are equal. The relative error of a condition number grows with it: rounding moves the smallest
eigenvalue. `FAST` are the rows that the plain suite has time for; the others compile for half an hour and more, so they
are run by hand when the structure changes: `pytest -m by_hand tests/test_frozen.py`.
"""

import json
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"
FROZEN = json.loads((GOLDEN / "frozen.json").read_text())
CASES = [(space, score) for space, own in FROZEN.items() for score in own.keys() - {"archs", "params", "flops"}]
FAST = {
    *(("nasbench201", score) for score in ("ntk", "ntk_batch", "regions", "regression")),
    ("transnas101_micro", "ntk"),
    ("transnas101_micro", "regions"),
    ("nasbench_macro", "regions"),
    ("nasbench101", "regions"),
    ("nats_size", "ntk"),
    ("darts", "regions"),
}
WELL = 1e3  # condition numbers up to which the eigenvalues are good to four digits


def marks(case):
    """When a row is measured: in the plain suite or by hand."""
    return [] if case in FAST else [pytest.mark.by_hand]


def test_every_score_of_every_space_is_frozen(make_frozen):
    assert {space: {*own} - {"archs", "params", "flops"} for space, own in FROZEN.items()} == {
        space: {*scores} for space, scores in make_frozen.SCORES.items()
    }


@pytest.mark.parametrize("space", FROZEN)
def test_samples_and_counts(space, make_frozen):
    own = FROZEN[space]
    assert make_frozen.chosen(space, thin=True) == own["archs"]
    assert make_frozen.counts(space, own["archs"]) == {name: own[name] for name in ("params", "flops")}


@pytest.mark.parametrize(
    ("space", "score"),
    [pytest.param(*case, marks=marks(case)) for case in sorted(CASES)],
)
def test_scores(space, score, make_frozen):
    golden = FROZEN[space][score]
    value, status = make_frozen.measure(space, make_frozen.quick(space)[score], FROZEN[space]["archs"])
    assert status == golden["status"]
    own, wanted = np.array(value, float), np.array(golden["value"], float)
    if score == "regions":
        np.testing.assert_array_equal(own, wanted)
    elif score.startswith("ntk"):
        np.testing.assert_allclose(own, wanted, rtol=1e-3)
        np.testing.assert_allclose(own[wanted < WELL], wanted[wanted < WELL], rtol=2e-4)
    else:
        np.testing.assert_allclose(own, wanted, rtol=1e-3)
