"""The bench of all spaces: what it times, and that it takes up its record again."""

import json

import jax
import numpy as np
import pytest

from bench.spaces import __main__ as bench
from jaxnas import spaces
from jaxnas.errors import UserError
from jaxnas.scorers import DEFAULTS


@pytest.fixture
def timed(monkeypatch):
    """What was measured, in this process instead of a new one."""
    calls = []

    def in_this_process(function, *arguments):
        calls.append(arguments[1:3])
        return function(*arguments)

    monkeypatch.setattr(bench.harness, "in_new_process", in_this_process)
    return calls


@pytest.mark.slow
def test_the_record_has_what_the_space_has_and_is_taken_up_again(timed, tmp_path, capsys):
    out = tmp_path / "new" / "record.json"
    argv = ["--spaces", "nasbench_macro", "--archs", "8", "--rounds", "2", "--seconds", "0.01", "--out", str(out)]
    chosen = ["--scorers", "regions", "sequence"]
    assert bench.main([*argv, *chosen]) == 0
    assert timed == [("nasbench_macro", DEFAULTS["regions"])]
    printed = capsys.readouterr()
    assert "no network for 'sequence'" in printed.err
    *_, row = printed.out.splitlines()
    assert row.startswith("| nasbench_macro | regions | ") and "| 1 (of 1) | 8 in " in row
    assert row.count("|") == bench.tables.TABLES["spaces"].header.count("|") + 2
    record = out.read_text()
    (found,) = json.loads(record)["results"]["nasbench_macro"].values()
    first, each = found["first_call_seconds"], found["seconds_per_arch"]["median"]
    assert found["estimated_seconds"] == pytest.approx(first["lower"] + first["compile"] + 8 * each)
    assert first["total"] > first["lower"] + first["compile"] > 0
    assert found["archs_per_second"] == pytest.approx(1 / each)

    assert bench.main([*argv, *chosen]) == 0
    assert capsys.readouterr().out == printed.out
    assert len(timed) == 1 and out.read_text() == record

    assert bench.main([*argv, *chosen, "--seconds", "0.02"]) == 0
    assert len(timed) == 2

    elsewhere = json.loads(record)
    elsewhere["results"]["nasbench_macro"]["regions"]["machine"]["processor"] = "another"
    out.write_text(json.dumps(elsewhere))
    assert bench.main([*argv, *chosen]) == 0
    assert len(timed) == 3


def test_what_is_finished_stays_when_interrupted(monkeypatch, tmp_path):
    spread = {"median": 2.0, "min": 1.0, "max": 3.0}
    figures = {
        "created": "2001-01-01",
        "machine": {},
        "versions": {},
        "first_call_seconds": {"lower": 1.0, "compile": 9.0, "total": 12.0},
        "archs": 1,
        "rounds": 1,
        "seconds_per_arch": spread,
        "archs_per_second": 0.5,
    }

    def in_new_process(function, config, name, scorer, group):
        if scorer.name == "regions":
            raise KeyboardInterrupt
        return dict(figures)

    monkeypatch.setattr(bench.harness, "in_new_process", in_new_process)
    out = tmp_path / "record.json"
    argv = ["--spaces", "transnas101_macro", "--scorers", "ntk", "regions", "--archs", "50", "--out", str(out)]
    assert bench.main(argv) == 130
    ((name, found),) = json.loads(out.read_text())["results"]["transnas101_macro"].items()
    assert name == "ntk"
    assert found["groups"]["space"] == 297
    assert found["estimated_seconds"] == 10 * found["groups"]["sample"] + 2 * 50


@pytest.mark.parametrize("name", ["transnas101_macro", "resnet"])
def test_what_is_timed_begins_with_an_average_architecture(name):
    space, scorer = spaces.get(name), DEFAULTS["regression"]
    archs = space.sample(jax.random.key(0), 200)
    group, count = bench.to_time(space, scorer, archs)
    sizes = [len(rows) for rows in _by_group(space, archs).values()]
    alone = max(sizes) == 1
    assert alone == (name == "resnet")
    assert (len(group), count) == (len(archs) if alone else max(sizes), len(sizes))
    assert len(_by_group(space, group)) == (count if alone else 1)
    flops, mean = space.flops(group), space.flops(archs).mean()
    distance = np.abs(flops - mean)
    assert (np.diff(distance) >= 0).all()
    if count == len(archs):
        assert distance[0] == np.abs(space.flops(archs) - mean).min()


def test_calls_grow_to_their_share_of_the_seconds(monkeypatch):
    sizes = []

    def seconds(_, archs):
        sizes.append(len(archs))
        return float(len(archs))

    monkeypatch.setattr(bench.harness, "seconds", seconds)
    config = bench.Spaces(rounds=3, seconds=20)
    assert bench.steady(None, np.zeros((100, 1)), 2, config) == (8, [8.0] * 3)
    assert sizes == [2, 4, 8, 8, 8]
    assert bench.steady(None, np.zeros((3, 1)), 2, config) == (3, [3.0] * 3)
    assert bench.steady(None, np.zeros((30, 1)), 25, config) == (25, [25.0])


def test_the_nearest_width_that_a_space_has_will_do():
    space = spaces.get("nats_size")
    group, count = bench.to_time(space, DEFAULTS["jacov"], space.sample(jax.random.key(0), 4))
    assert (len(group), count) == (4, 1)


def test_a_refusal_is_the_space_s_own():
    space = spaces.get("nats_size")
    with pytest.raises(UserError, match="differ in their channels alone"):
        bench.to_time(space, DEFAULTS["regions"], space.sample(jax.random.key(0), 4))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--spaces", "nasbench21"], "did you mean"),
        (["--scorers", "region"], "did you mean 'regions'"),
        (["--seconds", "0"], "more than 0"),
    ],
)
def test_bad_input_is_one_clear_line(capsys, argv, message):
    assert bench.main(argv) == 2
    assert message in capsys.readouterr().err


def _by_group(space, archs):
    groups: dict = {}
    for arch, group in zip(archs, space.groups(archs, "taps"), strict=True):
        groups.setdefault(group, []).append(arch)
    return groups
