"""The consensus: which members a space has, its reference, and that it is a function of one architecture."""

import json
from importlib import resources

import numpy as np
import polars as pl
import pytest

from jaxnas import scorers, spaces
from jaxnas.cli.options import Options
from jaxnas.errors import UserError
from jaxnas.evaluate import references
from jaxnas.evaluate.references import FEW_ARCHS, LEAST_ARCHS, STORED_ARCHS, reference, sample, to_measure
from jaxnas.score.command import main as score
from jaxnas.scorers.protocol import options_of
from jaxnas.scorers.reference import Reference
from jaxnas.search.command import main as search
from jaxnas.types import Finished, Status

SPACE = spaces.get("nasbench201")
TOY = """
from jaxnas.scorers import Scorer
import jax.numpy as jnp
import numpy as np


class Toy(Scorer):
    name = "toy"
    archs_per_call = 16

    def draw(self, source, rng):
        return np.float32(rng.uniform(0, 0.1))

    def measure(self, network, params, arch, inputs, key):
        return (arch == 3).sum() + 0.3 * (arch == 2).sum() + inputs


class Twin(Toy):
    name = "twin"


TOY, TWIN = Toy(), Twin()
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The options that name a consensus of two counts, one family, and two toys."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "toy.py").write_text(TOY)
    members = ["--consensus.members", "live_flops,live_layers,toy,twin"]
    return ["--scorers", f"{tmp_path}/toy.py:TOY,{tmp_path}/toy.py:TWIN,consensus", *members]


def ok(*values):
    return Finished(np.array(values, float), np.zeros(len(values), int), {})


def members(name):
    return scorers.select("consensus", space=spaces.get(name))["consensus"].needs


def test_a_space_has_the_members_that_it_can_have():
    assert members("nasbench201") == ("live_flops", "live_layers", "jacov", "az_trainability", "regression")
    assert members("darts") == members("resnet") == ("live_params", "live_flops")


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("nasbench_nlp", None, "--scorers sequence"),
        ("resnet", "live_flops,ntk,swap", "resnet has live_flops: say --scorers regression,jacov"),
        ("nasbench201", "flops,live_flops,jacov", "needs members of 3 families"),
        ("nasbench201", "flops,jacov", "needs members of 3 families"),
        ("nasbench201", "flops,jacov,nwot,te_nas", "te_nas"),
    ],
)
def test_what_cannot_be_added_up_is_refused(name, given, message):
    with pytest.raises(UserError, match=message):
        scorers.select("consensus", [scorers.Consensus(given)], spaces.get(name))


def test_a_reference_has_different_live_architectures():
    archs = sample(SPACE)
    assert len(archs) == STORED_ARCHS == len(np.unique(SPACE.canonical(archs), axis=0))
    assert not SPACE.is_disconnected(archs).any()


def test_the_sum_is_what_the_formula_says_and_failures_are_below_everything():
    rng = np.random.default_rng(0)
    counts = {"flops": np.exp(rng.normal(size=64)), "layers": np.exp(rng.normal(size=64))}
    measured = {name: np.log(values) for name, values in counts.items()} | {"error": rng.normal(size=64)}
    names = {"live_flops": "flops", "live_layers": "layers", "regression": "error"}
    ref = Reference({name: measured[short] for name, short in names.items()}, [{"live_flops", "jacov"}])
    chosen = {name: scorers.DEFAULTS[name] for name in names}
    consensus = scorers.Consensus(",".join(names)).against(chosen, ref)
    given = {"live_flops": ok(2.0, 3.0, 1.0), "live_layers": ok(1.0, 2.0, 1.0)}
    status = np.array([Status.ok, Status.nonfinite, Status.disconnected])
    given["regression"] = Finished(np.array([-0.5, np.nan, np.nan]), status, {})
    found = consensus.combine(given)
    logs = {
        "live_flops": ref.log_share("live_flops", np.log([2, 3])),
        "live_layers": ref.log_share("live_layers", np.log([1, 2])),
        "regression": [ref.log_share("regression", np.array([0.5]))[0], np.log(1 / (16 * 64))],
    }
    expected = sum(ref.weights[name] * np.asarray(log) for name, log in logs.items())
    np.testing.assert_allclose(found.value[:2], expected)
    assert np.isnan(found.value[2]) and [*found.status] == [Status.ok, Status.ok, Status.disconnected]
    np.testing.assert_allclose(found.info["live_flops"][0], np.exp(logs["live_flops"][0]))


def test_members_that_say_nothing_are_told():
    flat = {name: np.zeros(30) for name in ("live_flops", "nwot")} | {"jacov": np.arange(30.0)}
    with pytest.raises(UserError, match="only jacov"):
        scorers.Consensus(",".join(flat)).against({}, Reference(flat))


def test_counts_alone_are_the_consensus_where_networks_are_measured_at_full_size(tmp_path, capsys):
    words = ["--space", "resnet", "--archs", "random:8", "--out", str(tmp_path / "run")]
    assert score(words) == 0
    table = pl.read_parquet(tmp_path / "run" / "*.parquet")
    params, flops, found = (table[name].to_numpy() for name in ("live_params", "live_flops", "consensus"))
    larger = (params[:, None] > params) & (flops[:, None] > flops)
    assert larger.any() and (found[:, None] > found)[larger].all()
    assert search(["--space", "resnet", "--sift.pool", "50", "--budget", "8", "--out", str(tmp_path / "search")]) == 0
    assert "the consensus is of counts alone" in capsys.readouterr().err


def test_members_of_two_families_that_vary_have_equal_weights():
    rng = np.random.default_rng(0)
    size = rng.normal(size=40)
    values = {"live_flops": size, "regions": size + rng.normal(size=40), "ntk": np.full(40, np.nan)}
    consensus = scorers.Consensus(",".join(values)).against({}, Reference(values))
    assert consensus.reference.weights == pytest.approx({"live_flops": 0.5, "regions": 0.5})
    assert "ntk contradicts the others here, does not vary, or fails too often" in consensus.said


@pytest.mark.parametrize("silent", [np.zeros(40), np.full(40, np.nan)], ids=["constant", "failed"])
def test_members_that_say_nothing_leave_the_sum_alone(silent):
    rng = np.random.default_rng(0)
    values = {"live_flops": rng.normal(size=40), "regions": rng.normal(size=40)}
    chosen = {name: scorers.DEFAULTS[name] for name in ("live_flops", "regions", "ntk")}
    given = {"live_flops": ok(2.0, 3.0), "regions": ok(5.0, 4.0), "ntk": ok(1.0, 9.0)}
    two = scorers.Consensus("live_flops,regions").against(chosen, Reference(values))
    three = scorers.Consensus(",".join(chosen)).against(chosen, Reference(values | {"ntk": silent}))
    np.testing.assert_array_equal(three.combine(given).value, two.combine(given).value)
    nothing = three.combine({"ntk": given["ntk"]})
    assert np.isnan(nothing.value).all() and [*nothing.status] == [Status.skipped] * 2


def test_two_families_that_contradict_each_other_have_equal_weights():
    ref = Reference({"live_flops": np.arange(40.0), "regions": -np.arange(40.0)})
    assert ref.agreement[1] is False and ref.weights == {"live_flops": 0.5, "regions": 0.5}


def test_a_stored_reference_is_used_only_under_its_own_settings(tmp_path, monkeypatch):
    jacov, values = scorers.Jacov(), np.random.default_rng(1).normal(size=STORED_ARCHS)
    options = {name: getattr(jacov, name) for name in ("bn", "init", "width", "images")}
    kept = {"settings": {"repeats": 1}, "scores": {"jacov": {"options": options, "values": values.tolist()}}}
    (tmp_path / "references").mkdir()
    (tmp_path / "references" / "nasbench201.json").write_text(json.dumps(kept))
    monkeypatch.setattr(references.resources, "files", lambda package: tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    chosen = {"live_flops": scorers.DEFAULTS["live_flops"], "jacov": jacov}
    found = reference(SPACE, chosen, [], {"repeats": 1})
    np.testing.assert_array_equal(found.scores["jacov"], values)
    assert found.size == STORED_ARCHS
    assert [*reference(SPACE, {"live_flops": chosen["live_flops"]}, [], {"repeats": 2}).scores] == ["live_flops"]
    both = chosen | {"nwot": scorers.Nwot()}
    assert to_measure([], SPACE, both, {"repeats": 1}) == 0
    with pytest.raises(KeyError, match="nwot"):  # the stored one is kept, the other measured by nothing
        reference(SPACE, both, [], {"repeats": 1})
    with pytest.raises(KeyError, match="jacov"):
        reference(SPACE, chosen, [], {"repeats": 2})


def test_an_architecture_has_the_same_score_alone_and_in_company(toy, tmp_path, capsys):
    assert score([*toy, "--archs", "random:30", "--out", str(tmp_path / "many")]) == 0
    assert "weights" in capsys.readouterr().out
    many = pl.read_parquet(tmp_path / "many" / "*.parquet").sort("row")
    one = many["arch"][7]
    assert score([*toy, "--archs", one, "--out", str(tmp_path / "one")]) == 0
    alone = pl.read_parquet(tmp_path / "one" / "*.parquet")
    assert alone["consensus"][0] == many["consensus"][7]
    kept = json.loads((tmp_path / "many" / "reference.json").read_text())
    assert kept["size"] == FEW_ARCHS and sum(kept["weights"].values()) == pytest.approx(1)
    assert many["consensus_toy"].list.get(0).rank().to_list() == many["toy"].rank().to_list()
    best = many.sort("consensus")["arch"][-1]
    assert many.filter(pl.col("arch") == best)["toy"][0] >= many["toy"].quantile(0.8)


def test_sift_finds_the_best_of_the_space_and_resumes(toy, tmp_path, capsys):
    words = [*toy, "--method", "sift", "--budget", "32", "--seed", "3", "--repeats", "2"]
    words += ["--out", str(tmp_path / "run"), "--json"]
    assert search(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["arch"].count("nor_conv_3x3") == 6
    assert [r["scored"] for r in found["rounds"]] == [6461, 32, 8, 8]
    for part in sorted((tmp_path / "run").glob("part-*.parquet"))[2:]:
        part.unlink()
    assert search(words) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["arch"], again["scores"], again["rounds"]) == (found["arch"], found["scores"], found["rounds"])


STORED = sorted(path.name for path in resources.files("jaxnas.scorers").joinpath("references").iterdir())


@pytest.mark.parametrize("file", STORED)
def test_a_stored_reference_is_that_of_the_default_members(file):
    """If not: `python -m bench.ranking.references SPACE`."""
    name = file.removesuffix(".json")
    kept = json.loads(resources.files("jaxnas.scorers").joinpath("references", file).read_text())
    given, space = Options(space=name), spaces.get(name)
    chosen = given.select(space)
    assert kept["settings"] == json.loads(json.dumps(given.shared_settings(chosen, given.source())))
    measured = {n: s for n, s in chosen.items() if isinstance(s, scorers.Scorer)}
    assert {n: kept["scores"][n]["options"] for n in measured} == {n: options_of(s) for n, s in measured.items()}
    assert all(LEAST_ARCHS <= len(score["values"]) <= STORED_ARCHS for score in kept["scores"].values())
