"""One name space for objectives and limits: scores, columns of a table, numbers of a function."""

import contextlib
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import jaxnas.search.command as program
from jaxnas import run_search, spaces
from jaxnas.engine import Here
from jaxnas.errors import UserError
from jaxnas.search.goal import Goal, complete
from jaxnas.search.names import Names
from jaxnas.search.oracle import Function, Table
from jaxnas.types import Finished

SPACE = spaces.get("nasbench201")
MEASURE = """
calls = []
def measure(arch):
    calls.append(arch)
    return {"ms": 1 + arch.count("nor_conv_3x3"), "latency": 10.0, "ntk": 1.0}
def one(arch):
    return 1 + arch.count("nor_conv_3x3")
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "measure.py").write_text(MEASURE)
    return f"{tmp_path / 'measure.py'}"


@pytest.fixture
def table(tmp_path):
    archs = SPACE.enumerate()[::50]
    ms = [1 + SPACE.decode(arch).count("nor_conv_3x3") for arch in archs]
    frame = pl.DataFrame({"arch": [SPACE.decode(arch) for arch in archs], "ms": ms, "flops": -1.0})
    frame.write_csv(tmp_path / "table.csv")
    return tmp_path / "table.csv"


def search(capsys, tmp_path, *words):
    code = program.main([*map(str, words), "--out", str(tmp_path / "run"), "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_tables_columns_come_first(table):
    names = Names([], Table(SPACE, [table]))
    assert [names(name) for name in ("ms", "flops", "params", "live-flops", "score:flops")] == [
        "ms", "flops", "params", "live_flops", "flops",
    ]  # fmt: skip
    assert names.numbers == {"ms": "ms", "flops": "flops"}
    assert names.scores == dict.fromkeys(("params", "live_flops", "flops"), None) | {n: n for n in names.scores}
    with pytest.raises(UserError, match="flops would be a score and a number of --oracle; say oracle:flops"):
        names.check()


def test_of_a_function_scores_come_first(file):
    names = Names([], Function(SPACE, f"{file}:measure"))
    assert [names(name) for name in ("consensus", "live-flops", "latency", "ms", "oracle:ntk")] == [
        "consensus", "live_flops", "latency", "ms", "oracle:ntk",
    ]  # fmt: skip
    assert names.numbers == {"latency": "latency", "ms": "ms", "oracle:ntk": "ntk"}


def test_without_an_oracle_all_are_scores():
    names = Names(["examples/own_score.py:GRAD_NORM"], None)
    own = names("examples/own_score.py:GRAD_NORM")
    assert names.scores == {own: "examples/own_score.py:GRAD_NORM"} and names(own) == own
    with pytest.raises(UserError, match=r"unknown score 'consensuss'; did you mean 'consensus'\?"):
        names("consensuss")
    with pytest.raises(UserError, match="oracle:ms is a number of an oracle; say which: --oracle"):
        names("oracle:ms")


def test_the_front_is_of_architectures_with_all_numbers():
    archs = np.array([[0], [1], [0], [2]])
    scores = {
        "a": Finished(np.array([[1.0, 2.0, 3.0, np.nan]]), np.zeros((1, 4)), {}),
        "b": Finished(np.array([[1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0]]), np.zeros((2, 4)), {}),
    }
    found, means = complete(archs, scores, Goal({"a": 1}, at_most={"b": 3}))
    assert found.tolist() == [[0], [1]]
    assert {name: of.value.tolist() for name, of in means.items()} == {"a": [[2, 2]], "b": [[3, 3]]}


# --- searches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["random", "evolve", "local", "sift"])
def test_a_score_within_a_measured_limit(capsys, tmp_path, file, method):
    """The most spectral capacity among cells with at most two 3x3 convolutions, no label."""
    words = ["--method", method, "--budget", 60, "--oracle", f"{file}:one", "--at-most", "ms=3"]
    found = search(capsys, tmp_path, *words, "--maximize", "spectral-capacity")
    assert found["scores"]["ms"] <= 3 and found["scores"]["feasible"]
    assert found["scores"]["spectral_capacity"] > 1000
    assert found["settings"]["goal"] == {"signs": {"spectral_capacity": 1}, "at_most": {"ms": 3}}
    assert found["settings"]["oracle"]["name"] == f"{file}:one"
    again = search(capsys, tmp_path, *words, "--maximize", "spectral-capacity")
    assert again == found


@pytest.mark.parametrize("method", ["random", "sift"])
@pytest.mark.parametrize("place", ["file", "table"])
def test_a_front_of_a_score_and_a_measurement(capsys, tmp_path, file, table, method, place):
    oracle = f"{file}:one" if place == "file" else table
    words = ["--method", method, "--budget", 60, "--oracle", oracle, "--maximize", "live-params", "--minimize", "ms"]
    front = search(capsys, tmp_path, *words)["front"]
    points = sorted({(point["ms"], point["live_params"]) for point in front})
    assert len(points) > 1
    assert all(a < c and b < d for (a, b), (c, d) in itertools.pairwise(points))
    assert program.main([*map(str, words), "--out", str(tmp_path / "run")]) == 0
    assert f"Pareto front: {len(front)}" in capsys.readouterr().out


def test_scores_alone_have_directions_and_fronts(capsys, tmp_path):
    words = ["--method", "random", "--budget", 80, "--maximize", "spectral_capacity", "--minimize", "params"]
    found = search(capsys, tmp_path, *words, "--record", "live-layers")
    assert len(found["front"]) > 2 and found["settings"]["goal"]["signs"] == {"spectral_capacity": 1, "params": -1}
    assert "live_layers" in found["scores"]


@pytest.mark.parametrize("scores", [["--scorers", "FAKE"], ["--maximize", "live-params"], []])
def test_one_engine_measures_scores_and_asks_a_function(capsys, tmp_path, file, monkeypatch, scores):
    scores = [f"{Path(__file__).with_name('fake.py')}:FAKE" if word == "FAKE" else word for word in scores]
    words = ["--method", "random", "--budget", 12, "--oracle", f"{file}:one", "--minimize", "ms", *scores]
    alone, crews = search(capsys, tmp_path, *words), []

    def hire(crew):
        crews.append(crew)
        engine = Here(crew)
        assert crew.differs(crew.about(engine.state)) == ""
        return engine

    monkeypatch.setattr(program, "named", lambda on: contextlib.nullcontext(hire))
    shutil.rmtree(tmp_path / "run")
    found = search(capsys, tmp_path, *words, "--on", "ray")
    assert len(crews) == 1
    assert all(found[name] == alone[name] for name in ("arch", "scores", "settings", "best_so_far"))


def test_from_python(file):
    found = run_search(SPACE, "random", scorers="live_flops", oracle=f"{file}:measure", at_most={"ms": 2}, budget=40)
    assert found.feasible and found.scores["ms"] <= 2 and found.arch.count("nor_conv_3x3") < 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--maximize", "ntk", "--minimize", "ms"],
            "ntk is a score, and a number of --oracle: say score:ntk or",
        ),
        (["--maximize", "te_nas"], "te_nas compares the whole set; say --scorers te_nas"),
        (["--maximize", "ms", "--minimize", "ms"], "name the same number"),
        (["--scorers", "flops"], "nothing asks --oracle: name a number of it"),
        ([], "--oracle needs to know what to look for; say --maximize NAME"),
        (["--maximize", "ms", "--at-most", "score:flop=1"], "unknown score with a limit 'flop'; did you mean 'flops'?"),
        (["--method", "sift", "--maximize", "ms"], "--method sift goes by training-free scores, not by an --oracle"),
    ],
)
def test_names_that_do_not_fit_are_one_line(capsys, tmp_path, file, words, says):
    method = [] if "--method" in words else ["--method", "random", "--budget", "4"]
    assert program.main([*method, "--oracle", f"{file}:measure", *words, "--out", str(tmp_path / "run")]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert says in captured.err


@pytest.mark.slow
def test_a_measured_score_within_a_measured_latency(capsys, tmp_path, file):
    words = ["--scorers", "regions", "--sift.draws", 1, "--budget", 32]
    found = search(capsys, tmp_path, "--oracle", f"{file}:one", "--at-most", "latency=3", *words)
    assert found["method"] == "sift" and found["settings"]["goal"]["signs"] == {"regions": 1}
    assert found["scores"]["latency"] <= 3 and found["scores"]["regions"] > 0
    answers = (tmp_path / "run" / "answers.jsonl").read_text().splitlines()
    assert len(answers) <= 32
