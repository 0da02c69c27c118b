"""The scores of the end-to-end commit, before any tuning of the kernels: `tests/golden/scores.json`.

Recipe: `Evaluator(space, scorer, data.load("synthetic:pink"), seed=0, repeats=1)` on NAS-Bench-201, on the first ones
of the file's `archs`, with the scorers

* `ntk`: NTK() on 64;
* `ntk_batch`: NTK(bn="batch") on 12;
* `regions`: Regions() on 64;
* `regression`: Regression(fidelity="published", steps=5) on 6.

Here fewer of them are scored. Statuses and region counts are equal. A Gram matrix in float32 moves the smallest
eigenvalue by its rounding times the largest, so the relative error of kappa grows with kappa.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxnas import data, spaces
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.scorers import NTK, Regions, Regression

SPACE = spaces.get("nasbench201")
GOLDEN = json.loads((Path(__file__).parent / "golden" / "scores.json").read_text())


def measured_and_golden(name, scorer, number):
    """The first `number` values, measured and golden; their statuses are equal."""
    archs = np.stack([SPACE.encode(arch) for arch in GOLDEN["archs"][:number]])
    found = Evaluator(SPACE, scorer, data.load("synthetic:pink"), seed=0, repeats=1)(archs)
    golden = {key: GOLDEN["scores"][name][key][:number] for key in ("value", "status")}
    assert found.status[0].tolist() == golden["status"]
    return found.value[0], np.array(golden["value"], float)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "bn", "number"), [("ntk", "frozen", 16), ("ntk_batch", "batch", 2)])
def test_condition_numbers(name, bn, number):
    own, golden = measured_and_golden(name, NTK(bn=bn), number)
    well = golden < 1e3
    assert well.any()
    np.testing.assert_allclose(own[well], golden[well], rtol=2e-4)
    np.testing.assert_allclose(own, golden, rtol=1e-3)


def test_numbers_of_regions():
    own, golden = measured_and_golden("regions", Regions(), 64)
    np.testing.assert_array_equal(own, golden)


@pytest.mark.slow
def test_regression_errors():
    own, golden = measured_and_golden("regression", Regression(fidelity="published", steps=5), 1)
    np.testing.assert_allclose(own, golden, rtol=1e-3)
