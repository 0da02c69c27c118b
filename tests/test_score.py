"""`jaxnas.score`: the table, resuming, shards, copies of isomorphic architectures, and every kind of bad input."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from jaxnas import scorers, spaces
from jaxnas.cli.progress import duration
from jaxnas.network.recipe import Recipe
from jaxnas.score.command import main
from jaxnas.score.work import PROGRAMS, Work
from jaxnas.scorers.training.targets import load_task, to_record
from jaxnas.tables.store import read_scores
from jaxnas.types import Finished, Status

SPACE = spaces.get("nasbench201")
CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
LOST = "|none~0|+|none~0|none~1|+|none~0|skip_connect~1|nor_conv_1x1~2|"
LOST_TOO = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
TABLE = ["row", "arch_id", "arch", "scored_as"]
REGIONS = ["--scorers", "regions", "--regions.batches", "1", "--regions.samples", "40"]
PARAMS = ["--scorers", "params"]
MANY = ["--archs", "random:150", "--batch-size", "1", *REGIONS]
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start its background jobs without one
from jaxnas.cli.main import script
script("score")
"""


def columns(*names):
    return [column for name in names for column in (name, f"{name}_std", f"{name}_status")]


def plain(*names):
    return [column for name in names for column in (name, f"{name}_status")]


COUNTS = plain("params", "flops", "live_flops")


@pytest.fixture
def score(capsys, tmp_path):
    """Run the command in this process; return exit code, output, errors and, if there is one, the table."""

    def run(*args, out="out", reads=True):
        code = main(["--out", str(tmp_path / out), *map(str, args)])
        captured = capsys.readouterr()
        table = read_scores(tmp_path / out)[0] if code == 0 and reads else None
        return code, captured.out, captured.err, table

    return run


@pytest.fixture
def table(score):
    """Run the command, which must succeed quietly, and return the table."""

    def run(*args, out="out"):
        code, _, errors, found = score(*args, out=out)
        assert (code, errors) == (0, "")
        return found

    return run


@pytest.fixture
def bad(score):
    """Run the command on bad input and return its one line."""

    def run(*args, out="out"):
        code, output, errors, _ = score(*args, out=out)
        assert (code, output, errors.count("\n")) == (2, "", 1), errors
        assert errors.startswith("jaxnas score: ")
        return errors

    return run


@pytest.fixture
def toys(monkeypatch):
    """Let ntk and regions be cheap functions of the architecture, the weights, the inputs and the key."""

    def measure(self, network, params, arch, inputs, key):
        weights = sum(leaf.sum() for leaf in jax.tree.leaves(params))
        return jnp.sin(arch * 1.7 + jnp.arange(6)).sum() + 0.1 * (jax.random.uniform(key) + inputs.mean() + weights)

    def kappa(self, raw):
        lost = raw < 0
        status = np.where(lost, Status.rank_deficient, Status.ok)
        return Finished(np.where(lost, np.nan, raw), status, {"spectrum": np.stack([raw, raw + 1], -1)})

    for scorer in (scorers.NTK, scorers.Regions):
        monkeypatch.setattr(scorer, "measure", measure)
        monkeypatch.setattr(scorer, "draw", lambda self, source, rng: source.images(rng, 2))
        monkeypatch.setattr(scorer, "recipe", Recipe("patches"))
    monkeypatch.setattr(scorers.NTK, "finish", kappa)
    monkeypatch.setattr(
        scorers.Regions, "finish", lambda self, raw: Finished(np.round(4 * raw), np.full(len(raw), Status.ok), {})
    )


def assert_same(one, two):
    assert_frame_equal(one, two, check_exact=True, check_column_order=False)


def parts(folder):
    return sorted(folder.glob("part-*.parquet"))


# The table


def test_columns(toys, table):
    found = table("--archs", "random:60", "--seed", 1, "--scorers", "te_nas", "--batch-size", 16)
    assert set(found.columns) == {*TABLE, *columns("ntk", "regions"), *plain("te_nas"), "ntk_spectrum", *COUNTS}
    assert found["row"].to_list() == list(range(60))
    expected = SPACE.sample(jax.random.key(1), 60)
    assert found["arch"].to_list() == [SPACE.decode(arch) for arch in expected]
    assert found["params"].to_list() == SPACE.params(expected).tolist()
    for name in ("ntk", "regions", "te_nas", "params", "flops"):
        assert found[name].dtype == (pl.Int64 if name in ("params", "flops") else pl.Float64)
        assert (found[name].is_null() == ~found[f"{name}_status"].is_in(["ok", "saturated"])).all()
        assert name in COUNTS or not found[name].is_nan().any()
    for name in ("ntk_std", "regions_std"):
        assert found[name].dtype == pl.Float64 and found[name].is_null().all()
    assert found["ntk_spectrum"].dtype == pl.List(pl.List(pl.Float32))
    lost = SPACE.is_disconnected(expected)
    assert lost.any()
    assert (found["ntk_status"] == "disconnected").to_list() == lost.tolist()
    assert found["ntk_spectrum"].is_null().to_list() == lost.tolist()
    spectrum = found["ntk_spectrum"].drop_nulls()[0]
    assert np.shape(spectrum.to_list()) == (1, 2)  # one for each repeat


def test_te_nas_ranks_the_whole_table(toys, table):
    found = table("--archs", "random:60", "--seed", 1, "--scorers", "te_nas", "--batch-size", 16)
    assert {"ok", "rank_deficient", "disconnected"} == set(found["ntk_status"])
    both = found.filter(pl.col("ntk").is_not_null() & pl.col("regions").is_not_null())
    expected = both["ntk"].rank("average") + both["regions"].rank("average", descending=True) - 2
    np.testing.assert_allclose(both["te_nas"], expected)
    assert found["te_nas"].null_count() == len(found) - len(both)
    worst = found.filter(pl.col("te_nas").is_null())
    assert worst["te_nas_status"].to_list() == worst["ntk_status"].to_list()


def test_repeats_give_a_deviation(toys, table):
    one = table("--archs", "random:12", "--scorers", "ntk", out="one")
    four = table("--archs", "random:12", "--scorers", "ntk", "--repeats", 4, out="four")
    ok = four.filter(pl.col("ntk_status") == "ok")
    values = np.array(ok["ntk_spectrum"].to_list())[:, :, 0]  # the toy's value, for each repeat
    np.testing.assert_allclose(ok["ntk"], values.mean(1), rtol=1e-5)
    np.testing.assert_allclose(ok["ntk_std"], values.std(1, ddof=1), rtol=1e-3)
    assert (ok["ntk_std"] > 0).all()
    first = one.filter(pl.col("row").is_in(ok["row"].to_list()))["ntk"]
    np.testing.assert_allclose(first, values[:, 0], rtol=1e-5)
    assert four.columns.count("ntk_repeats") == 1 and "ntk_repeats" not in one.columns
    every = np.array(ok["ntk_repeats"].to_list())
    assert every.shape == (len(ok), 4)
    np.testing.assert_array_equal(every.mean(1), ok["ntk"])
    assert four["ntk_repeats"].is_null().to_list() == (four["ntk_status"] == "disconnected").to_list()


def test_manifest(toys, table, tmp_path):
    table("--archs", "random:6", "--scorers", "te_nas", "--ntk.bn", "batch", "--repeats", 2, "--seed", 3)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    settings = manifest["settings"]
    assert (settings["space"], settings["seed"], settings["repeats"]) == ("nasbench201", 3, 2)
    assert settings["scorers"]["ntk"] == {"bn": "batch", "preset": "paper", "images": 72}
    assert settings["scorers"]["regions"]["samples"] == 1000
    assert settings["archs"]["number"] == 6 and len(settings["archs"]["fingerprint"]) == 16
    assert settings["data"]["name"] == "synthetic:leaves" and settings["data"]["fingerprint"]
    assert {name: entry["sign"] for name, entry in manifest["scorers"].items()} == {
        "ntk": -1,
        "regions": 1,
        "te_nas": -1,
        "params": 1,
        "flops": 1,
        "live_flops": 1,
    }
    assert all(entry["paper"] and entry["cost"] for entry in manifest["scorers"].values())
    assert {"python", "jax", "numpy"} <= manifest["versions"].keys()
    assert manifest["device"] and manifest["created"] and manifest["data"]
    assert manifest["seconds"] > 0
    assert manifest["part_size"] <= 6


def test_all_with_copies(table):
    found = table("--archs", "all", *PARAMS)
    assert found.columns == [*TABLE, *COUNTS]
    everything = SPACE.enumerate()
    assert found["arch"].to_list() == [SPACE.decode(arch) for arch in everything]
    assert found["params"].to_list() == SPACE.params(everything).tolist()  # of each one, copy or not
    ran = found.select(pl.coalesce("scored_as", "arch"))
    assert ran.n_unique() == found["scored_as"].null_count() == 6466


def test_copies_are_marked(toys, table):
    found = table("--archs", "random:3000", "--scorers", "ntk", "--batch-size", 512)
    copies = found.filter(pl.col("scored_as").is_not_null())
    joined = copies.join(found, left_on="scored_as", right_on="arch", suffix="_ran")
    assert len(copies) > len(joined) > 100  # others were scored as an architecture that was not asked for
    for column in ("ntk", "ntk_status", "ntk_spectrum"):
        assert joined[column].equals(joined[f"{column}_ran"], null_equal=True, check_names=False)
    canonical = SPACE.canonical(np.stack([SPACE.encode(arch) for arch in copies["arch"]]))
    assert copies["scored_as"].to_list() == [SPACE.decode(arch) for arch in canonical]


class Grouped:
    """Stands for an evaluator with a program for each beginning of an architecture."""

    def groups(self, archs):
        return list(map(tuple, archs[:, :4].tolist()))

    def step(self, groups):
        return 512


def test_what_one_program_runs_stands_together_in_small_parts():
    space = spaces.get("transnas101_macro")
    archs = space.enumerate()[::7]
    work = Work.plan(space, archs, [Grouped()], dedup=False)
    np.testing.assert_array_equal(work.representatives[work.owner], archs)
    groups = Grouped().groups(work.representatives)
    assert sum(a != b for a, b in itertools.pairwise(groups)) == len(set(groups)) - 1
    assert work.part_size == PROGRAMS * len(archs) // len(set(groups)) < len(archs) / 2
    assert Work.plan(space, archs, [], dedup=False).part_size == len(archs)


def test_no_dedup_scores_every_architecture(toys, table):
    whole = table("--archs", "random:200", "--scorers", "ntk", "--no-dedup", out="whole")
    assert whole["scored_as"].null_count() == 200
    dedup = table("--archs", "random:200", "--scorers", "ntk", out="dedup")
    originals = dedup.filter(pl.col("scored_as").is_null())
    assert 0 < len(originals) < 200
    assert_same(originals, whole.filter(pl.col("row").is_in(originals["row"].to_list())))


def test_random_depends_on_the_seed(table):
    first, again = (table("--archs", "random:50", *PARAMS, out=out)["arch"].to_list() for out in ("a", "b"))
    other = table("--archs", "random:50", *PARAMS, "--seed", 1, out="c")["arch"].to_list()
    assert first == again != other
    assert len(set(first)) == 50


def test_one_string(table):
    found = table("--archs", CELL, *PARAMS)
    assert found["arch"].to_list() == [CELL]
    assert found["params"].to_list() == SPACE.params(SPACE.encode(CELL)[None]).tolist()


def test_files(table, tmp_path):
    archs = [SPACE.decode(arch) for arch in SPACE.sample(jax.random.key(2), 20)]
    frame = pl.DataFrame({"accuracy": range(20), "arch": archs})
    frame.write_csv(tmp_path / "some[1].csv")
    frame.with_columns(pl.col("arch").cast(pl.Categorical)).write_parquet(tmp_path / "list.parquet")
    first = table("--archs", tmp_path / "some[1].csv", *PARAMS, out="csv")
    assert first["arch"].to_list() == archs
    assert_same(table("--archs", tmp_path / "list.parquet", *PARAMS, out="parquet"), first)


def test_only_disconnected_architectures(toys, table, tmp_path):
    pl.DataFrame({"arch": [LOST, LOST_TOO]}).write_csv(tmp_path / "lost.csv")
    args = ("--archs", tmp_path / "lost.csv", "--scorers", "te_nas")
    for repeats in (1, 2):
        found = table(*args, "--repeats", repeats, out=str(repeats))
        for name in ("ntk", "regions", "te_nas"):
            assert found[name].null_count() == 2
            assert found[f"{name}_status"].to_list() == ["disconnected"] * 2
        assert found["params_status"].to_list() == ["ok"] * 2


def test_a_disconnected_part_beside_others(toys, table, tmp_path):
    pl.DataFrame({"arch": [LOST, CELL, LOST_TOO]}).write_csv(tmp_path / "list.csv")
    args = ("--archs", tmp_path / "list.csv", "--scorers", "te_nas", "--no-dedup")
    alone = table(*args, "--batch-size", 1, out="alone")
    together = table(*args, "--batch-size", 3, out="together")
    assert_same(alone, together)
    assert alone["ntk_spectrum"].is_null().to_list() == [True, False, True]


def test_real_images(table, shared_data, tmp_path):
    args = ("--data", "tfds:cifar10", "--data-dir", shared_data / "tfds", *REGIONS)
    found = table("--archs", CELL, *args)
    assert 1 < found["regions"][0] <= 40
    data = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert data["settings"]["data"]["name"] == "tfds:cifar10:train"
    assert "12,000 images" in data["data"]


def test_progress_on_a_terminal(toys, score, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, _, errors, _ = score("--archs", "random:20", "--scorers", "ntk", "--batch-size", 5, "--no-dedup")
    assert code == 0
    assert "20/20" in errors and "a second" in errors


def test_report(toys, score, tmp_path):
    code, output, errors, _ = score("--archs", "random:20", "--scorers", "ntk", out="a folder [/b]")
    assert (code, errors) == (0, "")
    assert f"20 architectures are in {tmp_path / 'a folder [/b]'}" in output
    assert "params: " in output and "(20 ok)" in output


def test_a_dry_run_says_what_would_be_done(toys, score, tmp_path):
    args = ("--archs", "random:200", "--scorers", "te_nas", "--batch-size", 16)
    code, output, errors, _ = score(*args, "--dry-run", out="dry", reads=False)
    assert (code, errors) == (0, "")
    assert not (tmp_path / "dry").exists()
    classes = len(np.unique(SPACE.canonical(SPACE.sample(jax.random.key(0), 200)), axis=0))
    assert f"architectures: 200, in {classes} classes that are scored once\n" in output
    assert "programs to compile, or to find in the cache: ntk 1, regions 1\n" in output
    assert output.endswith("nothing was scored or written\n")
    score(*args, "--shard", "0/2", reads=False)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    whole, half = (score(*args, "--dry-run", "--shard", of, reads=False)[1] for of in ("0/1", "0/2"))
    assert ", of which 0 are to do here, with 0 classes" in half
    assert int(re.search(r"of which (\d+) are to do", whole)[1]) == len(parts(tmp_path / "out"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    code, _, errors, _ = score(*args, "--dry-run", "--seed", 1, reads=False)
    assert (code, errors.count("\n")) == (2, 1) and "this command says seed=1" in errors


def test_a_dry_run_estimates_time_from_what_runs_took_here(toys, score, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXNAS_CACHE", str(tmp_path / "cache"))
    args = ("--scorers", "te_nas", "--batch-size", 16, "--devices", 2)

    def said(*more):
        output = score(*args, "--archs", "random:200", *more, "--dry-run", out="dry", reads=False)[1]
        return next(line for line in output.split("\n") if line.startswith("time: "))

    assert said().startswith("time: not known before ntk, regions was measured on this machine with these options;")
    score(*args, "--archs", "random:40")
    paces = {path: json.loads(path.read_text()) for path in (tmp_path / "cache" / "paces").iterdir()}
    connected = int((~SPACE.is_disconnected(SPACE.canonical(SPACE.sample(jax.random.key(0), 40)))).sum())
    assert [(pace["programs"], 0 < pace["archs"] <= connected) for pace in paces.values()] == [(1, True)] * 2
    for path, pace in paces.items():
        path.write_text(json.dumps(pace | {"archs": 10, "seconds": 40.0, "compiling": 15.0, "day": "2026-01-02"}))
    run = np.unique(SPACE.canonical(SPACE.sample(jax.random.key(0), 200)), axis=0)
    seconds = 2 * (15 + 4 / 2 * int((~SPACE.is_disconnected(run)).sum()))
    assert said() == (
        f"time: about {duration(seconds)}, of which up to 30 s compile; so long took 10 architectures on this machine, "
        "last on 2026-01-02"
    )
    assert said("--seed", 1).startswith("time: about ")
    assert said("--repeats", 2).startswith("time: not known")


# Resuming


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted")
    assert main(["--out", str(out), *MANY]) == 0
    return read_scores(out)[0]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_interrupted_run_equals_a_whole_one(table, tmp_path, uninterrupted, sent, code):
    out = tmp_path / "out"
    root = str(Path(__file__).resolve().parents[1])
    env = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--out", str(out), *MANY], env=env, stderr=subprocess.PIPE, text=True
    )
    while len(parts(out)) < 3 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(sent)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == code
    said = "jaxnas score: interrupted; finished parts are kept, and the same command goes on from there\n"
    assert errors == (said if code == 130 else "")
    before = {part: part.stat().st_mtime_ns for part in parts(out)}
    assert 3 <= len(before) < uninterrupted["scored_as"].is_null().sum()
    assert_same(table(*MANY), uninterrupted)
    assert {part: part.stat().st_mtime_ns for part in before} == before  # not scored again
    assert not list(out.glob("*.tmp*"))


def test_finished_run_is_left_alone(toys, table, tmp_path, monkeypatch):
    args = ("--archs", "random:20", "--scorers", "te_nas", "--batch-size", 6)
    first = table(*args)
    content = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(scorers.NTK, "measure", None)
    assert_same(table(*args), first)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == content


def test_lost_and_damaged_parts_are_scored_again(toys, table, tmp_path):
    args = ("--archs", "random:20", "--scorers", "te_nas", "--batch-size", 3)
    first = table(*args)
    _, damaged, lost, *_ = parts(tmp_path / "out")
    damaged.write_bytes(damaged.read_bytes()[:100])
    lost.unlink()
    assert_same(table(*args), first)


def test_resuming_with_another_batch_size(toys, table, tmp_path):
    args = ("--archs", "random:20", "--scorers", "te_nas")
    whole = table(*args, "--batch-size", 20, out="whole")
    assert_same(table(*args, "--batch-size", 4), whole)
    parts(tmp_path / "out")[1].unlink()
    assert_same(table(*args, "--batch-size", 7), whole)


def test_shards_equal_a_whole_run(toys, score, table):
    args = ("--archs", "random:40", "--scorers", "te_nas", "--batch-size", 5)
    whole = table(*args, out="whole")
    code, output, errors, half = score(*args, "--shard", "1/2")
    assert (code, errors) == (0, "")
    assert "parts of others are still missing" in output
    assert 0 < len(half) < 40 and "te_nas" not in half.columns
    code, output, errors, both = score(*args, "--shard", "0/2")
    assert (code, errors) == (0, "")
    assert "missing" not in output
    assert_same(both, whole)


def test_more_shards_than_parts(toys, score, capsys, tmp_path):
    args = ("--out", str(tmp_path / "out"), "--archs", CELL, "--scorers", "ntk", "--shard")
    assert main([*args, "1/2"]) == 0
    assert "parts of others are still missing" in capsys.readouterr().out
    assert main([*args, "0/2"]) == 0
    assert "1 architectures are in" in capsys.readouterr().out


# Bad input


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--space", "nasbench210"), "unknown space 'nasbench210'; did you mean 'nasbench201'?"),
        (("--scorers", "ntk,region"), "unknown scorer 'region'; did you mean 'regions'?"),
        (("--scorers", ""), "choose from: az_expressivity"),
        (("--repeats", "0"), "--repeats is 0; it must be at least 1"),
        (("--batch-size", "0"), "--batch-size is 0; it must be at least 1"),
        (("--devices", "0"), "--devices is 0; it must be at least 1"),
        (("--shard", "2/2"), "0 <= i < N"),
        (("--shard", "half"), "0 <= i < N"),
        (("--shard", "²/3"), "0 <= i < N"),
        (("--scorers", "ntk", "--ntk.images", "1"), "at least 2 images"),
        (("--scorers", "regions", "--regions.samples", "1"), "2 samples"),
        (("--scorers", "regression", "--regression.images", "1"), "at least 2 images"),
        (("--scorers", "regression", "--regression.task", "nb11"), "did you mean 'nb101'?"),
        (("--data", "sinthetic"), "did you mean 'synthetic'?"),
        (("--data", "missing.npz"), "missing.npz does not exist"),
        (("--archs", "everything"), "'everything' is none of all, random:N"),
        (("--archs", ""), "none of all, random:N"),
        (("--space", "darts", "--archs", "AmoebaNet"), "normal has 10 entries; darts has 8"),
        (("--archs", "random:many"), "'many' is not a number"),
        (("--archs", "random:²"), "'²' is not a number"),
        (("--archs", f"random:{'9' * 5000}"), "is not a number"),
        (("--shard", f"0/{'9' * 5000}"), "is not i/N"),
        (("--scorers", "sequence"), "nasbench201 has no sequence: its networks read images"),
        (
            ("--scorers", "regression", "--regression.task", "nlp"),
            "task nlp has 2 taps, the networks of this space have 3",
        ),
        (("--archs", "random:0"), "ask for 1 to 15625"),
        (("--archs", "random:15626"), "ask for 1 to 15625"),
        (("--archs", "missing.csv"), "missing.csv: no such file"),
        (("--archs", CELL.replace("none~1", "non~1")), "edge 4 (3<-1): unknown operation 'non'; did you mean 'none'?"),
        (("--archs", CELL.replace("none~1", "none~2")), "edge 4 (3<-1) is 'none~2', expected OP~1 with OP one of none"),
        (("--archs", CELL.rpartition("+")[0]), "2 nodes instead of 3; expected |op~0|+"),
        (("--archs", CELL.rpartition("avg")[0]), "node 3 needs 3 edges"),
    ],
)
def test_bad_option_is_one_line(bad, tmp_path, args, says):
    options = {"--archs": CELL, "--scorers": "params"} | dict(zip(args[::2], args[1::2], strict=True))
    assert says in bad(*(word for pair in options.items() for word in pair))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--ntk.bn", "frozn"], ["--ntk.bn", "frozn", "frozen", "batch"]),
        (["--seed", "one"], ["--seed", "one"]),
        (["--repeets", "3"], ["--repeets", "--repeats"]),
    ],
)
def test_bad_syntax_is_explained(score, args, says):
    code, output, errors, _ = score("--archs", CELL, *args)
    assert (code, output) == (2, "")
    assert all(word in errors for word in says)
    assert "Traceback" not in errors


def test_a_run_without_a_directory_is_found_again(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--archs", "random:5", *PARAMS]
    for more in ([], ["--shard", "0/1"], ["--seed", "1"], ["--archs", "random:6"]):
        assert main([*words, *more]) == 0
    found = {path.name for path in (tmp_path / "runs").iterdir()}
    assert len(found) == 3 and all(re.fullmatch(r"score-nasbench201-[0-9a-f]{8}", name) for name in found)
    capsys.readouterr()
    assert main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.split("\n")[0].removeprefix("directory: runs/") in found and "of which 0 are to do here" in said


def truncated(path):
    pl.DataFrame({"arch": [SPACE.decode(arch) for arch in SPACE.enumerate()[:300]]}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", f"cell,x\n{CELL},1\n", "or 'architecture'; the columns are cell, x"),
        ("a.csv", "arch\n", "the list of architectures is empty"),
        ("a.csv", "", "cannot be read"),
        ("a.csv", f"arch\n{CELL}\n{LOST[:40]}", "line 3: malformed architecture"),
        ("a.csv", f'arch,x\n{CELL},1\n"{LOST}', "cannot be read"),
        ("a.csv", f"arch\n{CELL}\n{LOST},7\n", "line 3: malformed architecture"),
        ("a.csv", f"arch,x\n{CELL},1\n,2\n", "line 3: malformed architecture ''"),
        ("a.csv", "arch\n01\n2\n", "line 2: malformed architecture '01'"),
        ("a.csv", b"arch\n\xff\xfe\n", "line 2: malformed"),
        ("a.parquet", "arch\n", "cannot be read"),
        ("a.parquet", truncated, "cannot be read"),
        ("a.parquet", pl.DataFrame({"arch": [[CELL]]}).write_parquet, "the column 'arch' holds List(String)"),
    ],
)
def test_bad_file_of_architectures(bad, tmp_path, name, content, says):
    path = tmp_path / name
    if callable(content):
        content(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = bad("--archs", path, *PARAMS)
    assert name in line and says in line
    assert not (tmp_path / "out").exists()


def test_bad_images(bad, tmp_path):
    images = np.random.default_rng(0).random((4, 32, 32, 3), np.float32)
    images[2, 3, 4, 1] = np.nan
    np.savez(tmp_path / "nan.npz", images=images)
    assert "NaN or infinite pixels" in bad("--archs", CELL, "--data", tmp_path / "nan.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "nan.npz").read_bytes()[:500])
    assert "not a readable .npz" in bad("--archs", CELL, "--data", tmp_path / "cut.npz")
    assert not (tmp_path / "out").exists()


def test_data_set_that_is_not_there(bad, tmp_path):
    line = bad("--archs", CELL, "--data", "tfds:cifar10", "--data-dir", tmp_path)
    assert "'cifar10' cannot be read from" in line and "--download" in line


def test_foreign_directory(bad, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    assert "thesis.tex" in bad("--archs", CELL, *PARAMS)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 99, "settings": {}, "part_size": 1}'])
def test_foreign_manifest(bad, tmp_path, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text(content)
    assert "use another directory" in bad("--archs", CELL, *PARAMS)


def test_directory_that_cannot_be(bad, tmp_path):
    (tmp_path / "file").touch()
    assert "give a directory" in bad("--archs", CELL, *PARAMS, out="file")
    assert "give a directory" in bad("--archs", CELL, *PARAMS, out="file/out")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_directory_without_permission(bad, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    assert "no permission" in bad("--archs", CELL, *PARAMS)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (["--seed", "1"], "seed=0, this command says seed=1"),
        (["--repeats", "2"], "repeats=1, this command says repeats=2"),
        (["--ntk.bn", "batch"], 'scorers.ntk.bn="frozen", this command says scorers.ntk.bn="batch"'),
        (["--data", "synthetic:gaussian"], 'data.name="synthetic:leaves"'),
        (["--archs", LOST], "archs.fingerprint="),
        (["--scorers", "ntk,regions"], "scorers.regions.samples=1000"),
    ],
)
def test_settings_that_differ(toys, table, bad, changed, says):
    args = ["--archs", CELL, "--scorers", "ntk"]
    first = table(*args)
    assert says in bad(*args, *changed)
    assert_same(table(*args), first)


def test_dedup_is_a_setting_where_it_matters(toys, table, bad):
    args = ["--archs", "random:60", "--scorers", "ntk"]
    table(*args)
    assert "dedup=true, this command says dedup=false" in bad(*args, "--no-dedup")


def test_an_edited_task_is_another(table, bad, tmp_path):
    path, task = tmp_path / "task.json", load_task("nb101")
    path.write_text(json.dumps(to_record(task)))
    args = ["--archs", LOST, "--scorers", "regression", "--regression.task", path]
    table(*args)
    path.write_text(json.dumps(to_record(replace(task, noise_level=task.noise_level + 1))))
    assert f"files.{path}=" in bad(*args)
