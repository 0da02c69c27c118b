"""`jaxnas top`: the best rows of a table of scores."""

import csv
import io
import json

import polars as pl
import pytest

from jaxnas.cli.main import main
from jaxnas.tables.store import Store

SIGNS = {"ntk": -1, "regions": 1, "te_nas": -1, "params": 1, "flops": 1}
NTK = [3.0, None, 1.0, 2.0, None, 1.0]
STATUS = ["ok", "disconnected", "ok", "ok", "nonfinite", "ok"]


def made(path, scores=SIGNS, asked=6, **columns):
    """Write a run of six architectures."""
    frame = {"row": range(6), "arch_id": range(100, 106), "arch": [f"|op~{i}|" for i in range(6)]}
    for name in scores:
        frame |= {name: [float(i) for i in range(6)], f"{name}_std": [None] * 6, f"{name}_status": ["ok"] * 6}
    manifest = {
        "settings": {"space": "nasbench201", "archs": {"number": asked}},
        "part_size": 6,
        "scorers": {name: {"sign": SIGNS[name]} for name in scores},
    }
    store = Store.open(path, manifest)
    store.write(0, pl.DataFrame(frame | columns, strict=False))
    return str(path)


@pytest.fixture
def run(tmp_path):
    return made(tmp_path / "run", ntk=NTK, ntk_status=STATUS)


@pytest.fixture
def rows(capsys):
    """Run the command, which must succeed quietly, and return its rows of CSV."""

    def of(*words):
        assert main(["top", *map(str, words), "--format", "csv"]) == 0
        out, errors = capsys.readouterr()
        assert errors == ""
        return list(csv.DictReader(io.StringIO(out)))

    return of


def test_the_best_come_first_and_failures_never(run, rows):
    found = rows(run, "--by", "ntk")
    assert [row["row"] for row in found] == ["2", "5", "3", "0"]
    assert [row["place"] for row in found] == ["1", "2", "3", "4"]
    assert [row["row"] for row in rows(run, "--by", "regions", "-n", "2")] == ["5", "4"]
    assert list(found[0]) == ["place", "row", "arch_id", *SIGNS, "arch"]


def test_what_is_gone_by_unless_said(run, rows, tmp_path, capsys):
    assert [row["row"] for row in rows(run)] == [str(i) for i in range(6)]  # te_nas, which the others are parts of
    single = made(tmp_path / "single", ["regions", "params", "flops"])
    assert rows(single)[0]["row"] == "5"
    several = made(tmp_path / "several", ["ntk", "regions", "params"])
    assert main(["top", several]) == 2
    assert "has several scores; say --by, one of ntk, regions\n" in capsys.readouterr().err


def test_limits(run, rows, capsys):
    assert [row["row"] for row in rows(run, "--by", "ntk", "--at-most", "flops=3", "--at-least", "regions=2")] == [
        "2",
        "3",
    ]
    assert main(["top", run, "--at-most", "flops=-1"]) == 3
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.endswith(
        "none of 6 architectures keeps --at-most flops=-1; the nearest miss is |op~0| with flops 0\n"
    )


def test_for_people(run, capsys):
    assert main(["top", run, "--by", "ntk", "-n", "1"]) == 0
    text = capsys.readouterr().out
    assert "FLOPs [M]" in text and "arch_id" in text and "102" in text
    assert "by ntk, lower is better, of 6 architectures\n" in text
    assert "no ntk: 1 disconnected, 1 nonfinite\n" in text or "no ntk: 1 nonfinite, 1 disconnected\n" in text
    assert text.endswith("best: |op~2|\n")


def test_fits_a_terminal(run, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["top", run, "--by", "ntk"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100  # with escape sequences in the header


def test_json(run, capsys):
    assert main(["top", run, "--by", "ntk", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["by"], found["better"], found["without_value"], found["limits_broken"]) == ("ntk", "lower", 2, 0)
    assert found["rows"][0]["arch"] == "|op~2|"


def test_an_unfinished_run_says_so(tmp_path, capsys):
    path = made(tmp_path / "part", asked=10)
    assert main(["top", path, "--by", "params"]) == 0
    assert "the run is not finished: 4 architectures are missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--by", "ntl"], "unknown score 'ntl'; did you mean 'ntk'?"),
        (["-n", "0"], "--n is 0; it must be at least 1"),
        (["--at-most", "flops"], "--at-most flops: give NAME=NUMBER"),
        (["--at-most", "latency=5"], "unknown score with a limit 'latency'"),
    ],
)
def test_bad_input(run, capsys, words, says):
    assert main(["top", run, *words]) == 2
    out, errors = capsys.readouterr()
    assert (out, errors.count("\n")) == ("", 1)
    assert says in errors


def test_no_scores(tmp_path, capsys):
    assert main(["top", str(tmp_path)]) == 2
    assert "no manifest.json" in capsys.readouterr().err
    made(tmp_path / "run", [])
    assert main(["top", str(tmp_path / "run")]) == 2
    assert "has no scores; give a directory that jaxnas score wrote" in capsys.readouterr().err
