"""The bench of rankings: what it prints, and what it makes of a run that goes on."""

import json
from types import SimpleNamespace

import pytest

from bench.core import benchmarks
from bench.ranking import __main__ as ranking
from bench.ranking.truths import Sample
from jaxnas.errors import UserError


@pytest.mark.parametrize(
    ("value", "text"),
    [(10.5, "10.500"), (20.31, "20.310"), (100.2, "100.200"), (0.5, ".500"), (-0.25, "-.250"), (1, "1.000")],
)
def test_only_a_leading_zero_is_left_out(value, text):
    assert ranking._text(value) == text


@pytest.fixture
def compute(monkeypatch, tmp_path):
    used = iter([0.0, 7.0] * 2)
    usage = lambda _: SimpleNamespace(ru_utime=next(used), ru_stime=0.0)  # noqa: E731
    monkeypatch.setattr(ranking.resource, "getrusage", usage)
    monkeypatch.setattr(ranking.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0))
    return lambda: ranking.computed("nasbench201", "ntk", 0, tmp_path / "archs.csv", tmp_path / "seed0")


def test_the_cost_of_a_run_is_kept(compute):
    assert [compute(), compute()] == [7.0, 7.0]


def test_the_cost_of_a_run_that_was_stopped_before_is_not_known(compute, tmp_path):
    (tmp_path / "seed0").mkdir()
    assert [compute(), compute()] == [None, None]
    assert json.loads((tmp_path / "seed0.json").read_text()) == {"cpu_seconds": None}


def test_scores_of_other_architectures_are_not_gone_on_with(tmp_path):
    chosen = Sample(["a,b", "c"], {})
    listed = ranking.listing(tmp_path / "new" / "archs.csv", chosen)
    assert ranking.listing(listed, chosen) == listed
    with pytest.raises(UserError, match="give another --runs"):
        ranking.listing(listed, chosen._replace(archs=["a,b", "d"]))


def test_the_tables_are_beside_the_checkout_unless_said_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXNAS_DATA", str(tmp_path))
    assert benchmarks.folder() == tmp_path
    monkeypatch.delenv("JAXNAS_DATA")
    monkeypatch.setattr(benchmarks, "BESIDE", tmp_path / "none")
    with pytest.raises(UserError, match="set JAXNAS_DATA"):
        benchmarks.folder()
