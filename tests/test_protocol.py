"""Scores are open: a user's own from a file, and several that read one pass in one program."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from jaxnas import data, spaces
from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.network.recipe import Recipe
from jaxnas.score.command import main
from jaxnas.scorers import DEFAULTS, Combined, Count, Pass, Scorer, select
from jaxnas.scorers.protocol import pass_of
from jaxnas.search.command import main as search

OWN = Path(__file__).parents[1] / "examples" / "own_score.py"
SPACE = spaces.get("nasbench201")
SOURCE = data.load("synthetic")
FILE = """
from dataclasses import dataclass
from jaxnas.scorers import Combined, Count, Params
from jaxnas.types import Finished

class Edges(Count):
    name = "edges"
    def of(self, space, archs):
        return (archs > 0).sum(1)

class Twice(Combined):
    name, needs = "twice", ("flops",)
    def combine(self, scores):
        return scores["flops"]._replace(value=2 * scores["flops"].value)

EDGES, TWICE, TAKEN = Edges(), Twice(), Params()
NAMELESS = type("Nameless", (Count,), {"name": "not a name", "of": Edges.of})()
COLUMN = type("Column", (Count,), {"name": "row", "of": Edges.of})()
NESTED = type("Nested", (Twice,), {"name": "nested", "needs": ("te_nas",)})()
OTHER = type("Other", (Count,), {"name": "edges", "of": lambda self, space, archs: (archs > 1).sum(1)})()
"""


@dataclass(frozen=True)
class Logits(Pass):
    """The logits of a few images."""

    name: ClassVar[str] = "logits"
    recipe: ClassVar[Recipe] = Recipe("thin", cells=1, stages=1)

    def draw(self, source, rng):
        return source.images(rng, 4)

    def measure(self, network, params, arch, inputs, key):
        return network.apply(params, arch, inputs)


@dataclass(frozen=True)
class Largest(Scorer):
    name: ClassVar[str] = "largest"
    reads: ClassVar[Pass] = Logits()

    def read(self, seen):
        return seen.max()


@dataclass(frozen=True)
class Spread(Scorer):
    name: ClassVar[str] = "spread"
    sign: ClassVar[int] = -1
    reads: ClassVar[Pass] = Logits()

    def read(self, seen):
        return jnp.std(seen, 0).mean()


@pytest.fixture(scope="module")
def archs():
    return SPACE.sample(jax.random.key(3), 5)


def test_scores_of_one_pass_are_compiled_once_and_are_the_same_alone(archs, compiled_programs):
    alone = {one.name: Evaluator(SPACE, one, SOURCE, repeats=2)(archs) for one in (Largest(), Spread())}
    together = Evaluator(SPACE, Largest(), SOURCE, together=[Spread()], repeats=2)
    before = compiled_programs()
    waiting = together.launch_each(archs)
    found = {name: wait() for name, wait in waiting.items()}
    assert compiled_programs() == before + 1
    assert list(found) == ["largest", "spread"]
    for name, scores in found.items():
        np.testing.assert_array_equal(scores.value, alone[name].value)
        np.testing.assert_array_equal(scores.status, alone[name].status)
    assert len(np.unique(found["spread"].value[np.isfinite(found["spread"].value)])) > 2


def test_a_score_of_ones_own(archs, tmp_path):
    argv = ["--archs", "random:4", "--scorers", f"{OWN}:GRAD_NORM,regions", "--regions.samples", "20"]
    assert main([*argv, "--out", str(tmp_path)]) == 0
    table = pl.read_parquet(tmp_path / "*.parquet")
    assert table["gradient_norm"].drop_nulls().min() > 0 and {"regions", "gradient_norm_status"} <= {*table.columns}
    settings = json.loads((tmp_path / "manifest.json").read_text())["settings"]
    assert settings["scorers"]["gradient_norm"] == {}
    assert list(settings["files"]) == [str(OWN)]
    assert len(OWN.read_text().splitlines()) <= 30


def test_counts_and_combinations_of_ones_own(tmp_path, capsys):
    (tmp_path / "own.py").write_text(FILE)
    argv = ["--archs", "random:4", "--out", str(tmp_path / "out"), "--scorers"]
    assert main([*argv, f"{tmp_path}/own.py:EDGES,{tmp_path}/own.py:TWICE"]) == 0
    table = pl.read_parquet(tmp_path / "out" / "*.parquet")
    assert (table["twice"] == 2 * table["flops"]).all()
    assert table["edges"].max() <= 6
    refused = {
        "TAKEN": "another score is called 'params'",
        "NAMELESS": "letters, digits",
        "COLUMN": "'row' is a column of every table",
        "NESTED": "unknown score that nested needs 'te_nas'",
        "X": "X",
    }
    for variable, says in refused.items():
        assert main([*argv, f"{tmp_path}/own.py:{variable}"]) == 2
        assert says in capsys.readouterr().err


def test_every_score_is_of_one_kind():
    for name, score in select(",".join(DEFAULTS)).items():
        assert sum(isinstance(score, kind) for kind in (Scorer, Count, Combined)) == 1
        assert score.name == name and score.cost and score.paper
        assert not isinstance(score, Scorer) or score.recipe == pass_of(score).recipe


def test_a_scorer_neither_measures_nor_reads():
    class Empty(Scorer):
        name = "empty"

    with pytest.raises(AssertionError, match="empty neither measures nor reads"):
        Empty().measure(None, None, None, None, None)


def test_what_does_not_go_with_a_space_is_said():
    with pytest.raises(UserError, match=r"nasbench_nlp has no ntk: its cells read sequences.*; say --scorers sequence"):
        Evaluator(spaces.get("nasbench_nlp"), DEFAULTS["ntk"], SOURCE).check()


def test_a_search_by_scores_of_ones_own(tmp_path, capsys):
    (tmp_path / "own.py").write_text(FILE)
    argv = ["--method", "random", "--budget", "20", "--repeats", "1", "--json", "--out", str(tmp_path / "out")]
    assert search([*argv, "--scorers", f"{tmp_path}/own.py:EDGES"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scores"]["edges"] == max((SPACE.sample(jax.random.key(0), 20) > 0).sum(1))
    assert search([*argv, "--scorers", f"{tmp_path}/own.py:TWICE"]) == 2
    assert "twice is made of the whole set; say --scorers flops" in capsys.readouterr().err


def test_a_run_does_not_go_on_with_another_variable_of_the_file(tmp_path, capsys):
    (tmp_path / "own.py").write_text(FILE)
    argv = ["--archs", "random:4", "--out", str(tmp_path / "out"), "--scorers"]
    assert main([*argv, f"{tmp_path}/own.py:EDGES"]) == 0
    assert main([*argv, f"{tmp_path}/own.py:OTHER"]) == 2
    assert "own_scores" in capsys.readouterr().err


def test_variables_of_one_file_share_a_pass(tmp_path):
    source = Path(__file__).read_text()
    start = source.index("@dataclass(frozen=True)\nclass Logits")
    shared = source[start : source.index("@pytest.fixture", start)]
    imports = "from dataclasses import dataclass\nfrom typing import ClassVar\nimport jax.numpy as jnp\n"
    imports += "from jaxnas.network.recipe import Recipe\nfrom jaxnas.scorers import Pass, Scorer\n"
    (tmp_path / "own.py").write_text(f"{imports}\n{shared}\nA, B = Largest(), Spread()\n")
    chosen = select(f"{tmp_path}/own.py:A,{tmp_path}/own.py:B")
    assert chosen["largest"].reads == chosen["spread"].reads
