"""`jaxnas spaces` and `jaxnas scorers`: what spaces and scores say of themselves, in every form."""

import csv
import io
import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from jaxnas import scorers, spaces
from jaxnas.cli.main import main
from jaxnas.errors import UserError
from jaxnas.scorers import COUNTS, DEFAULTS, select
from jaxnas.scorers.registry import listed
from jaxnas.spaces import SPACES


@pytest.fixture
def shown(capsys):
    """Run a command, which must succeed quietly, and return what it prints."""

    def run(*words):
        assert main([*words]) == 0
        out, errors = capsys.readouterr()
        assert errors == ""
        return out

    return run


def test_every_space_is_listed(shown):
    rows = json.loads(shown("spaces", "--format", "json"))["rows"]
    assert {row["space"]: row["architectures"] for row in rows} == {s.name: s.size for s in SPACES.values()}
    by_name = {row["space"]: row for row in rows}
    assert by_name["nasbench_nlp"]["scores"] == ["sequence"]
    assert "ntk" not in by_name["resnet"]["scores"] and "jacov" in by_name["resnet"]["scores"]
    text = shown("spaces")
    assert "15,625" in text and "1 of 5 operations on each of 6 edges of a cell" in text and "1.5e+24" in text


@pytest.mark.parametrize("name", SPACES)
def test_a_space_says_all_of_itself(name):
    space = spaces.get(name)
    assert space.searched != "not stated" and space.reads != "its string" and space.convention
    np.testing.assert_array_equal(space.encode(space.example), space.encode(space.decode(space.encode(space.example))))


def test_one_space(shown):
    text = shown("spaces", "nasbench201:cifar100")
    assert "of the networks for CIFAR-100" in text and "naslib:(...)" in text and "uniformly" in text
    found = json.loads(shown("spaces", "nats-size", "--format", "json"))
    assert (found["space"], found["example"], found["pruning"]) == ("nats_size", "8:16:32:48:64", False)
    assert found["data_sets"] == ["cifar10", "cifar100", "imagenet16-120"]


def test_a_space_of_a_user(shown):
    assert "operations on each of" in shown("spaces", "examples/own_space.py:space")


def test_every_score_is_listed(shown):
    rows = list(csv.DictReader(io.StringIO(shown("scorers", "--format", "csv"))))
    assert [row["score"] for row in rows] == [*DEFAULTS]
    better = {row["score"]: row["better"] for row in rows}
    assert (better["ntk"], better["regions"]) == ("lower", "higher")


def test_the_api_has_every_score_with_its_options():
    text = (Path(__file__).parents[1] / "docs" / "api.md").read_text()
    for score in (score for name, score in DEFAULTS.items() if name not in COUNTS):
        members = ", ".join(field.name for field in fields(score))
        assert f"::: jaxnas.scorers.{type(score).__name__}\n    options:\n      members: [{members}]\n" in text
        assert getattr(scorers, type(score).__name__) is type(score)


def test_one_score(shown):
    found = json.loads(shown("scorers", "te-nas", "--format", "json"))
    assert found["score"] == "te_nas" and "rank" in found["what"].lower()
    assert "nasbench201" in found["spaces"] and not {"nats_size", "resnet", "nasbench_nlp"} & {*found["spaces"]}
    text = shown("scorers", "ntk")
    assert "--ntk.images" in text and "(default: 72)" in text
    assert "resnet" in json.loads(shown("scorers", "params", "--format", "json"))["spaces"]
    assert "nasbench_nlp" not in json.loads(shown("scorers", "consensus", "--format", "json"))["spaces"]


def test_a_score_of_a_user(shown):
    assert "GRAD_NORM" not in shown("scorers", "examples/own_score.py:GRAD_NORM")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["spaces", "nasbench20"], "unknown space 'nasbench20'; did you mean 'nasbench201'?"),
        (["scorers", "ntl"], "unknown scorer 'ntl'; did you mean 'ntk'?"),
        (["scorers", "ntk,regions"], "unknown scorer 'ntk,regions'"),
        (["spaces", "--format", "word"], "invalid choice 'word' for argument '--format'"),
    ],
)
def test_what_there_is_not(capsys, words, says):
    assert main(words) == 2
    out, errors = capsys.readouterr()
    assert (out, errors.count("\n")) == ("", 1)
    assert says in errors


def test_hyphens_are_underscores():
    assert spaces.get("nats-size:imagenet16_120").name == "nats_size:imagenet16-120"
    assert listed("te-nas, my-file.py:S") == ["te_nas", "my-file.py:S"]
    assert [*select("te-nas")][:3] == ["ntk", "regions", "te_nas"]
    with pytest.raises(UserError, match="unknown space"):
        spaces.get("nats size")


@pytest.mark.parametrize("words", [["--ntk.preset", "as-shipped"], ["--ntk.preset=as-shipped"]])
def test_hyphens_in_a_choice(capsys, tmp_path, words):
    given = ["score", "--archs", "random:3", "--scorers", "ntk", "--out", str(tmp_path / "out"), "--dry-run", *words]
    assert main(given) == 0
    assert main([word.replace("shipped", "sold") for word in given]) == 2
    assert "invalid choice 'as-sold' for argument '--ntk.preset'" in capsys.readouterr().err
