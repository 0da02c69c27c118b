"""The scores are those of the first end-to-end version, before anything was made fast.

Recipe of `golden/scores.json`, at that version: `Evaluator(nasbench201, scorer, data.load("synthetic"), seed=0)` on the
first n of its architectures, `NTK()` (64), `NTK(bn="batch")` (12), `Regions()` (64), `Regression(steps=5)` (6).
"""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxnas import data, scorers, spaces
from jaxnas.runner import Evaluator

SPACE = spaces.get("nasbench201")
GOLDEN = json.loads((Path(__file__).parent / "golden" / "scores.json").read_text())
CASES = {  # scorer, architectures, relative tolerance: of the NTK the rounding of float32 grows with kappa
    "ntk": (scorers.NTK(), 24, 5e-4),
    "ntk_batch": (scorers.NTK(bn="batch"), 4, 5e-4),
    "regions": (scorers.Regions(), 64, 0.0),
    "regression": (scorers.Regression(steps=5), 1, 1e-3),
}


@pytest.mark.parametrize("name", CASES)
def test_scores_are_unchanged(name):
    scorer, count, tolerance = CASES[name]
    archs = np.stack([SPACE.encode(string) for string in GOLDEN["archs"][:count]])
    scores = Evaluator(SPACE, scorer, data.load("synthetic"), seed=0)(archs)
    expected = GOLDEN["scores"][name]
    np.testing.assert_array_equal(scores.status[0], expected["status"][:count])
    np.testing.assert_allclose(scores.value[0], np.array(expected["value"][:count], float), rtol=tolerance)
