"""The bench of search methods at equal numbers of queries."""

import json

import jax
import numpy as np
import pytest

from bench.queries import __main__ as query_search
from bench.queries import tables


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


def test_intervals_hold_the_mean():
    low, high = query_search._interval(np.array([1.0, 2, 3, 4]))
    assert low < 2.5 < high
    assert query_search._interval(np.full(3, 7.0)) == (7, 7)


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


@pytest.mark.parametrize("argv", [["--methods", "agnat"], ["--table", "nasbench21"]])
def test_unknown_names_are_refused(shared_data, monkeypatch, capsys, argv):
    monkeypatch.setenv("JAXNAS_DATA", str(shared_data))
    assert query_search.main(argv) == 2
    assert "choose from" in capsys.readouterr().err
