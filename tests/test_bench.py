"""The bench measures what it says: on fake cases, so quickly and without PyTorch."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "bench" / "results").glob("*.json"))
FIGURES = {"seconds", "seconds_per_arch", "archs_per_second", "peak_rss_bytes", "peak_device_bytes", "competitors"}
SETTING = {
    *("case", "created", "command", "machine", "versions", "dtype", "archs", "batch", "repeats", "rounds", "settings"),
    *("flops_per_arch", "flops_counted_as"),
}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of `bench`, which is not installed."""
    monkeypatch.syspath_prepend(ROOT)
    return SimpleNamespace(
        harness=importlib.import_module("bench.harness"),
        cases=importlib.import_module("bench.cases"),
        main=importlib.import_module("bench.__main__"),
    )


@pytest.fixture
def clock(bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that only the code under test moves."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(bench.harness, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def fake(harness: ModuleType, clock: SimpleNamespace, calls: list[str], seconds: dict[str, list[float]]) -> Any:
    """Return a workload of two architectures that notes its calls and moves the clock by `seconds[name]`, in turn."""
    later = {name: iter(values) for name, values in seconds.items()}

    def call(name: str) -> Any:
        def run(_: Any) -> None:
            calls.append(name)
            clock.now += next(later[name])

        return run

    return harness.Workload([0, 1], lambda: call("ours"), lambda: {n: call(n) for n in seconds if n != "ours"})


def test_ours_and_theirs_take_turns(bench, clock):
    calls: list[str] = []
    work = fake(bench.harness, clock, calls, {"ours": [9, 1] * 3, "a": [5] + [3, 4] * 3, "b": [0] * 7})
    bench.harness.measure(work, rounds=3)
    cycle = ["ours", "ours", "a", "a", "b", "b"]
    assert calls == [*cycle[:2], "a", "b", *cycle[2:], *cycle, *cycle]


def test_medians_and_ratios(bench, clock):
    work = fake(bench.harness, clock, [], {"ours": [9, 1, 7, 4, 8, 2], "a": [50, 5, 5, 10, 10, 30, 30]})
    record = bench.harness.measure(work, rounds=3)
    assert set(record) == FIGURES
    assert record["seconds"]["run"] == {"median": 2, "min": 1, "max": 4}
    assert record["seconds"]["total"] == {"median": 8, "min": 7, "max": 9}
    assert record["seconds_per_arch"]["median"] == 1
    assert record["archs_per_second"] == 1
    assert record["competitors"]["a"]["seconds_per_arch"] == {"median": 10, "min": 5, "max": 30}
    assert record["competitors"]["a"]["ratio"] == {"of_medians": 10, "min": 5, "max": 30}


def test_without_competitor(bench, clock):
    record = bench.harness.measure(fake(bench.harness, clock, [], {"ours": [1, 1]}), rounds=1)
    assert record["competitors"] is None


def test_every_round_compiles_anew(bench):
    def ours() -> Any:
        return jax.jit(lambda x: jnp.sin(x) @ jnp.cos(x))

    work = bench.harness.Workload(np.ones((3, 3), np.float32), ours, dict)
    for _ in range(2):
        found = bench.harness.time_ours(work)
        assert min(found["lower"], found["compile"], found["run"]) > 0
        assert found["lower"] + found["compile"] < found["total"] * 1.01


def test_nested_spans_count_once(bench):
    assert bench.harness.covered([(0, 4), (1, 2), (3, 6), (8, 9)]) == 7
    assert bench.harness.covered([]) == 0


def test_sample_is_fixed_and_connected(bench):
    archs = bench.cases.sample(40)
    assert archs.shape == (40, 6)
    assert not bench.cases.SPACE.is_disconnected(archs).any()
    np.testing.assert_array_equal(bench.cases.sample(3), archs[:3])


def test_flops_of_the_regression_are_those_of_the_issue(bench):
    assert bench.cases.flops(bench.cases.Regression(), bench.cases.sample(2000)) == pytest.approx(530e9, rel=0.1)


def test_record_of_a_case_and_its_row(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench.harness, "installed", lambda package: None if package == "torch" else "1")
    case = bench.cases.Case("tiny", "", bench.cases.Regions(batches=1, samples=4), 2, {"loop": lambda *_: 0})
    record = bench.cases.run(case, archs=2, rounds=1, command="python -m bench tiny")
    assert set(record) == FIGURES | SETTING
    assert json.loads(json.dumps(record)) == record
    assert record["competitors"] is None
    assert "torch is not installed" in capsys.readouterr().err
    *_, row = bench.main.table([record]).splitlines()
    assert row.startswith("| tiny | ")
    assert row.count("|") == bench.main.table([]).splitlines()[0].count("|")


def test_table_has_the_newest_record_of_a_case(bench, clock):
    figures = bench.harness.measure(
        fake(bench.harness, clock, [], {"ours": [1, 1], "a": [1] * 3, "b": [4] * 3}), rounds=1
    )
    host = {"backend": "cpu", "device": "cpu", "processor": "x", "cpus": 2}
    old = {
        **figures,
        "case": "c",
        "machine": host,
        "archs": 2,
        "rounds": 1,
        "flops_per_arch": 1e9,
        "created": "2001-01-01",
    }
    rows = bench.main.table([old | {"created": "2002-02-02"}, old]).splitlines()[2:]
    assert len(rows) == 2
    assert all("2002-02-02" in row for row in rows)
    assert "| b | 4000 | 8x (8 to 8) |" in rows[1]


def test_readme_has_the_table_of_the_results(bench):
    records = [json.loads(path.read_text()) for path in RESULTS]
    assert bench.main.table(records) in (ROOT / "bench" / "README.md").read_text(), "run python -m bench --table"


def test_results_are_records():
    for path in RESULTS:
        assert set(json.loads(path.read_text())) == FIGURES | SETTING, path


def test_table_replaces_only_itself(bench, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- table -->\nold\n<!-- end of table -->\nafter\n")
    bench.main.write_table(readme, tmp_path)
    expected = f"before\n<!-- table -->\n{bench.main.table([])}<!-- end of table -->\nafter\n"
    assert readme.read_text() == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["region"], "did you mean 'regions'"),
        (["regions", "--rounds", "0"], "at least 1"),
        (["regions", "regression", "--out", "one.json"], "give a directory"),
        (["regression", "--steps", "0"], "at least 2 images and 1 step"),
    ],
)
def test_bad_input(bench, capsys, arguments, message):
    assert bench.main.main(arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_command_lists_the_cases(bench):
    done = subprocess.run([sys.executable, "-m", "bench"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(bench.cases.CASES)
