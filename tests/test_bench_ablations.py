"""The bench of the papers' ablations, on searches that are there already."""

import json

import numpy as np
import pytest

from bench.ablations.__main__ import ARMS, main, mean_accuracy
from jaxnas import spaces

SPACE = spaces.get("nasbench201")


def test_the_mean_accuracy_is_that_of_the_architectures_of_the_mask():
    accuracy = {SPACE.decode(arch): float(arch.sum()) for arch in SPACE.enumerate()}
    assert mean_accuracy(np.ones((6, 5), bool), accuracy) == pytest.approx(12)
    assert mean_accuracy(np.eye(5, dtype=bool)[[0, 1, 2, 3, 4, 4]], accuracy) == 14


def test_searches_that_are_there_are_read(shared_data, tmp_path, capsys):
    arch = SPACE.decode(np.full(6, 3))
    for number, arm in enumerate(ARMS):
        folder = tmp_path / "-".join([*arm.split(), "ntk.bn", "frozen", "0"])
        folder.mkdir()
        rounds = [{"mask": np.eye(5, dtype=int)[np.full(6, 3)].tolist()}] if number < 3 else []
        (folder / "result.json").write_text(
            json.dumps({"arch": arch, "evaluations": 58, "seconds": 2.0, "rounds": rounds})
        )
    assert main(["--seeds", "1", "--runs", str(tmp_path), "--out", str(tmp_path / "record.json")]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == len(ARMS)
    assert rows[0].startswith("| pruning by ntk and regions | 93.76 [93.76, 93.76] (93.76) | 58 | 2 | 93.76 |"), rows
    assert json.loads((tmp_path / "record.json").read_text())["results"].keys() == ARMS.keys()
