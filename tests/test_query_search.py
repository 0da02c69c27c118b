"""The bench of search methods at equal numbers of queries."""

import json

import jax
import numpy as np
import pytest

from bench.queries import __main__ as query_search
from bench.queries import figure, intervals, tables
from bench.queries.settings import OPTIONS


@pytest.fixture(scope="module")
def oracle(shared_data):
    return tables.nasbench201(shared_data)


def test_the_curve_is_the_test_accuracy_of_the_best_by_validation(oracle):
    found = query_search.search(oracle, "random", 64, seed=3)
    archs = oracle.table.space.sample(jax.random.key(3), 64)
    scores = oracle.table(archs)
    valid, test = (scores[name].value[0] for name in (tables.VALID, tables.TEST))
    assert found["curve"] == [test[valid[:queries].argmax()] for queries in (16, 32, 48, 64)]
    assert found["test"] == test[valid.argmax()]
    assert found["asked"] == 64


def test_limits_are_quantiles_of_what_the_device_supports(shared_data):
    oracle = tables.latency(shared_data, "edgetpu", 0.25, joint=True)
    baselines = tables.baselines(oracle)
    assert 0.1 < baselines["feasible"] <= 0.25  # of all; a quarter of those that the device supports
    assert baselines["most FLOPs"] <= baselines["optimum"] < 94.4
    scores = oracle.table(oracle.table.space.archs)
    assert scores["c10_edgetpu_latency"].value[0][oracle.goal.feasible(scores)].min() > 0


def test_the_regret_is_that_of_what_the_search_is_told_within_the_limits(shared_data):
    oracle = tables.latency(shared_data, "edgetpu", 0.25, joint=False)
    archs = oracle.table.space.archs
    scores = oracle.table(archs)
    kept, told = oracle.goal.feasible(scores), oracle.told(scores)
    rows = np.concatenate([np.flatnonzero(~kept)[:2], np.flatnonzero(kept)[:3]])
    best, worst = told[kept].max(), told[kept].min()
    expected = [best - worst] * 2 + [best - told[rows[2 : 3 + n]].max() for n in range(3)]
    np.testing.assert_allclose(oracle.regret(oracle.table(archs[rows])), expected)
    assert oracle.regret(scores)[-1] == 0
    baselines = tables.baselines(oracle)
    assert baselines["told optimum"] == best
    assert 0 < baselines["floor"] < 2


def test_of_a_front_the_missing_hypervolume_is_the_regret(shared_data):
    assert tables.hypervolume(np.array([[1.0, 3], [2, 2], [1, 1], [0, 5]])) == 1 * 2 + 1 * 3
    oracle = tables.front(shared_data, "fpga")
    archs = oracle.table.space.archs
    everyone = oracle.table(archs)
    best = np.flatnonzero(oracle.goal.front(everyone))
    regret = oracle.regret(oracle.table(archs[best]))
    assert (np.diff(regret) <= 1e-9).all()
    assert regret[0] > 1
    assert regret[-1] == pytest.approx(0, abs=1e-9)


def test_intervals_are_student_s():
    values = np.array([1.0, 2, 3, 4])
    mean, low, high = intervals.interval(values)
    half = 3.182446 * values.std(ddof=1) / 2
    np.testing.assert_allclose([mean, low, high], [2.5, 2.5 - half, 2.5 + half], rtol=1e-6)
    assert intervals.interval(np.full(3, 7.0)) == (7, 7, 7)


def test_methods_are_compared_seed_by_seed():
    shared = np.array([[5.0, 1, 3], [2, 8, 4]])
    found = intervals.compared({"ours": shared, "worse": shared + np.array([[1.0], [-0.25]]), "same": shared})
    assert found["worse"] == {"mean": -0.375, "low": -0.375, "high": -0.375, "better": 1, "worse": 1}
    assert found["same"] == {"mean": 0, "low": 0, "high": 0, "better": 0, "worse": 0}


def test_the_first_method_given_is_the_one_compared_with():
    run = {"regret": 1.0, "test": 90.0, "feasible": 1.0}

    def of(*names):
        return {"optimum": 94.0, "floor": 0.0, "methods": {name: {"runs": [run, run]} for name in names}}

    results = query_search._beside(of("local", "evolve"), of("random", "agnet", "local"))
    together = query_search._together({"nasbench201": results})
    assert [*together["methods"]] == ["random", "agnet", "local", "evolve"]
    assert [*together["pairs"]] == ["agnet", "local", "evolve"]


def test_every_method_is_drawn_in_a_style_of_its_own():
    assert len({*figure.STYLES}) >= len(OPTIONS)


def test_the_record_has_every_run_and_a_figure(shared_data, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("JAXNAS_DATA", str(shared_data))
    out = tmp_path / "record.json"
    argv = ["--methods", "random", "evolve", "--budget", "64", "--seeds", "2", "--out", str(out)]
    assert query_search.main(argv) == 0
    (result,) = json.loads(out.read_text())["results"].values()
    assert result["optimum"] == pytest.approx(94.37, abs=0.01)
    assert [len(method["runs"]) for method in result["methods"].values()] == [2, 2]
    assert out.with_suffix(".png").stat().st_size > 1000
    assert "random" in capsys.readouterr().out


def test_methods_of_the_same_searches_come_together(shared_data, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("JAXNAS_DATA", str(shared_data))
    out = tmp_path / "record.json"
    argv = ["--budget", "32", "--seeds", "2", "--out", str(out)]
    assert query_search.main([*argv, "--methods", "random"]) == 0
    assert query_search.main([*argv, "--methods", "local"]) == 0
    record = json.loads(out.read_text())
    assert [*record["together"]["methods"]] == ["local", "random"]
    local, random = (record["results"]["nasbench201"]["methods"][name]["runs"] for name in ("local", "random"))
    difference = np.mean([one["regret"] - other["regret"] for one, other in zip(local, random, strict=True)])
    assert record["together"]["pairs"]["random"]["mean"] == pytest.approx(difference)
    assert query_search.main([*argv[:1], "48", *argv[2:], "--methods", "random"]) == 0
    assert [*json.loads(out.read_text())["together"]["methods"]] == ["random"]


def test_finished_tables_are_written_though_a_later_one_fails(oracle, shared_data, monkeypatch, tmp_path, capsys):
    def all_methods(config, name, oracle):
        if name == "second":
            raise KeyboardInterrupt
        return original(config, name, oracle)

    original, out = query_search._all_methods, tmp_path / "new" / "record.json"
    monkeypatch.setenv("JAXNAS_DATA", str(shared_data))
    monkeypatch.setattr(query_search, "_all_methods", all_methods)
    monkeypatch.setattr(query_search, "_oracles", lambda *_: {"first": oracle, "second": oracle})
    argv = ["--methods", "random", "--budget", "32", "--seeds", "1", "--out", str(out)]
    assert query_search.main(argv) == 130
    assert [*json.loads(out.read_text())["results"]] == ["first"]
    assert out.with_suffix(".png").exists()


@pytest.mark.parametrize("argv", [["--methods", "agnat"], ["--table", "nasbench21"], ["--devices", "pixel4"]])
def test_unknown_names_are_refused(shared_data, monkeypatch, capsys, argv):
    monkeypatch.setenv("JAXNAS_DATA", str(shared_data))
    assert query_search.main(argv) == 2
    assert "choose from" in capsys.readouterr().err
