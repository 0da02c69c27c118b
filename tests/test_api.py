"""The commands as functions: what `import jaxnas` gives."""

import inspect
import json
import pkgutil
import runpy
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest

import jaxnas
from jaxnas import UserError, scorers, spaces
from jaxnas.cli.main import main

ROOT = Path(__file__).parents[1]
SPACE = spaces.get("nasbench201")
ROWS = SPACE.sample(jax.random.key(0), 5)
ARCHS = [SPACE.decode(arch) for arch in ROWS]
OPS = ("nor_conv_3x3", "avg_pool_3x3")


def threes(arch):
    """How many convolutions of an architecture are 3x3."""
    return arch.count(OPS[0])


# --- names -----------------------------------------------------------------------------------------------------------


def test_everything_public_is_there():
    assert {name: getattr(jaxnas, name) for name in jaxnas.__all__}
    assert set(jaxnas.__all__) <= set(dir(jaxnas))
    assert jaxnas.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = jaxnas.nothing


def test_no_function_bears_the_name_of_a_subpackage():
    inside = {module.name for module in pkgutil.iter_modules(jaxnas.__path__)}
    functions = {name for name in jaxnas.__all__ if inspect.isfunction(getattr(jaxnas, name))}
    assert functions == {"compare", "read_run", "run_search", "score_archs"}
    assert not functions & inside


def test_a_name_is_imported_on_first_use():
    code = "import sys, jaxnas; assert 'polars' not in sys.modules; jaxnas.read_run; assert 'polars' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- score_archs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("archs", "rows"),
    [(ARCHS, ARCHS), (ARCHS[0], ARCHS[:1]), (ROWS, ARCHS), (ROWS[0], ARCHS[:1]), (ROWS.tolist(), ARCHS)],
)
def test_ways_of_giving_architectures(archs, rows):
    found = jaxnas.score_archs("nasbench201", archs, "live_layers")
    assert found["arch"].to_list() == rows
    assert found["flops"].to_list() == SPACE.flops(SPACE.arrays(rows)).tolist()


@pytest.mark.parametrize(
    "chosen", ["live_layers,params", ["live_layers"], scorers.LiveLayers(), [scorers.LiveLayers()]]
)
def test_ways_of_giving_scores(chosen):
    found = jaxnas.score_archs(SPACE, "random:3", chosen, seed=1)
    assert len(found) == 3 and {"live_layers", "params", "flops", "live_flops"} <= set(found.columns)


def test_the_table_is_that_of_the_command(tmp_path):
    options = ["--space", "nasbench201", "--archs", "random:9", "--scorers", "live_layers", "--out", str(tmp_path)]
    assert main(["score", *options]) == 0
    run = jaxnas.read_run(tmp_path)
    assert jaxnas.score_archs("nasbench201", "random:9", "live_layers").equals(run.frame.drop("row"))
    assert (run.command, run.kind, run.seed, run.space.name) == ("score", "scores", 0, "nasbench201")


def test_a_space_and_a_score_of_ones_own():
    class Answer(scorers.Count):
        name = "answer"

        def of(self, space, archs):
            return np.full(len(archs), 42.0)

    found = jaxnas.score_archs(SPACE, ARCHS, ["params", Answer()])
    assert found["answer"].to_list() == [42.0] * 5


# --- run_search ------------------------------------------------------------------------------------------------------


def test_a_search_by_a_function():
    found = jaxnas.run_search("nasbench201", "random", oracle=threes, maximize="threes", budget=30, seed=3)
    assert found.scores["threes"] == found.arch.count(OPS[0]) == found.record["scores"]["threes"]
    assert (found.evaluations, found.feasible, found.path, found.front) == (30, True, None, [])
    assert json.dumps(found.record)


def test_a_search_by_a_frame_is_that_by_its_file(tmp_path):
    archs = [SPACE.decode(arch) for arch in SPACE.enumerate()[::50]]
    frame = pl.DataFrame({"arch": archs, "threes": [threes(arch) for arch in archs], "cost": range(len(archs))})
    frame.write_csv(tmp_path / "table.csv")
    how = {"maximize": ["threes"], "minimize": ["cost"], "at_most": {"cost": 200}, "budget": 20}
    one, other = (jaxnas.run_search(SPACE, "local", oracle=o, **how) for o in (frame, tmp_path / "table.csv"))
    assert (one.arch, one.scores, one.front) == (other.arch, other.scores, other.front)
    assert one.feasible and one.front


def test_a_search_by_a_frame_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXNAS_CACHE", str(tmp_path / "cache"))
    archs = [SPACE.decode(arch) for arch in SPACE.enumerate()[::50]]
    frame = pl.DataFrame({"arch": archs, "threes": [threes(arch) for arch in archs]})
    how = {"maximize": "threes", "at_most": {"threes": np.float64(4)}, "budget": 5, "out": tmp_path / "run"}
    first, again = (jaxnas.run_search(SPACE, "random", oracle=frame, **how) for _ in range(2))
    assert first.record == again.record
    with pytest.raises(UserError, match="oracle"):
        jaxnas.run_search(SPACE, "random", oracle=frame.head(100), **how)


def test_limits_that_nothing_keeps():
    found = jaxnas.run_search(method="random", oracle=threes, maximize="threes", at_least={"threes": 7}, budget=5)
    assert not found.feasible


def test_a_search_that_is_kept_goes_on(tmp_path):
    asked = []

    def oracle(arch):
        asked.append(arch)
        return {"threes": threes(arch), "pools": arch.count(OPS[1])}

    small = {"population": 6, "tournament": 3, "brood": 3}
    how = {"maximize": ["threes"], "minimize": ["pools"], "budget": 12, "options": small, "out": tmp_path / "run"}
    first = jaxnas.run_search(SPACE, "evolve", oracle=oracle, **how)
    number = len(asked)
    again = jaxnas.run_search(SPACE, "evolve", oracle=oracle, **how)
    assert again.record == first.record and len(asked) == number and again.path == tmp_path / "run"
    assert jaxnas.read_run(tmp_path / "run").result == first.record


# --- compare ---------------------------------------------------------------------------------------------------------


def test_frames_are_compared_as_files_are(tmp_path, capsys):
    scored = jaxnas.score_archs("nasbench201", "random:60", "live_layers,spectral_capacity")
    table = scored.select("arch", acc=pl.col("live_layers") ** 2.0)
    found = jaxnas.compare(scored, table, "acc", space="nasbench201", bootstrap=5)
    assert found["score"].to_list() == ["live_layers", "spectral_capacity", "params", "flops", "live_flops"]
    assert found.row(0, named=True)["spearman"] == pytest.approx(1)
    scored.write_parquet(tmp_path / "scores.parquet")
    table.write_csv(tmp_path / "table.csv")
    files = [str(tmp_path / name) for name in ("scores.parquet", "table.csv")]
    capsys.readouterr()
    options = ["--target", "acc", "--space", "nasbench201", "--bootstrap", "5", "--json"]
    assert main(["correlate", *files, *options]) == 0
    told = json.loads(capsys.readouterr().out)["scores"]
    for row in found.iter_rows(named=True):
        assert row["kendall"] == told[row["score"]]["kendall"]
        assert [row["spearman_low"], row["spearman_high"]] == told[row["score"]]["spearman_interval"]


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: jaxnas.score_archs("nasbench2O1"), "did you mean 'nasbench201'"),
        (lambda: jaxnas.score_archs(3), "the space is 3; give its name"),
        (lambda: jaxnas.score_archs(SPACE, ["|avg_pool..."], "params"), "row 0: malformed"),
        (lambda: jaxnas.score_archs(SPACE, np.zeros((2, 5), int), "params"), r"an array \[2, 5\]"),
        (lambda: jaxnas.score_archs(SPACE, np.full(6, 9), "params"), "has no choice 9"),
        (lambda: jaxnas.score_archs(SPACE, [], "params"), r"an array \[0\]"),
        (lambda: jaxnas.score_archs(SPACE, "random:x", "params"), "^archs random:x"),
        (lambda: jaxnas.score_archs(SPACE, ARCHS, "parms"), "did you mean 'params'"),
        (lambda: jaxnas.score_archs(SPACE, ARCHS, [3]), "a score is 3"),
        (lambda: jaxnas.run_search(method="rand"), "did you mean 'random'"),
        (lambda: jaxnas.run_search(method="evolve", options={"populaton": 3}), "did you mean 'population'"),
        (lambda: jaxnas.run_search(method="random", options={"size": 3}), "unknown option of random 'size'"),
        (lambda: jaxnas.run_search(method="random", oracle=threes), "maximize"),
        (lambda: jaxnas.compare([], None, "acc"), "no scores to compare"),
        (lambda: jaxnas.compare("table:nasbench201", None, "acc"), "no table has the target"),
        (lambda: jaxnas.compare(pl.DataFrame({"arch": ARCHS}), None, "score:x"), "give space"),
        (lambda: jaxnas.read_run("nowhere"), "nowhere is not a directory"),
    ],
)
def test_bad_input_is_one_line(call, says):
    with pytest.raises(UserError, match=says) as error:
        call()
    assert "\n" not in str(error.value)


def test_the_optuna_example(capsys):
    pytest.importorskip("optuna")
    runpy.run_path(str(ROOT / "examples" / "optuna_search.py"), run_name="__main__")
    assert capsys.readouterr().out.startswith("spectral_capacity ")
