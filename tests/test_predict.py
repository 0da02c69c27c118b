"""`python -m jaxnas.predict`: the table it writes, its figures, and bad input."""

import json

import jax
import numpy as np
import polars as pl
import pytest

from jaxnas import spaces
from jaxnas.correlate import command as correlate
from jaxnas.learn import models, transfer
from jaxnas.learn.training import Training
from jaxnas.predict import fitting
from jaxnas.predict.command import main
from jaxnas.tables.store import Store

SPACE = spaces.get("nasbench201")
N, M = 40, 60
COLUMNS = {"arch", "predicted", "lower", "upper", "measured", "params", "flops", "live_flops"}
GRAPH = ["--source", "a.csv", "--source-target", "b", "--model", "graph"]


@pytest.fixture(autouse=True)
def short_training(monkeypatch):
    for module in (models, transfer):
        monkeypatch.setattr(module, "Training", lambda: Training(width=8, layers=1, steps=20, batch=8))
    monkeypatch.setattr(transfer, "STEPS", 20)


@pytest.fixture
def files(tmp_path):
    """A table of labels, one of others to predict, and a directory of scores that lacks some of them."""
    rng = np.random.default_rng(0)
    archs = SPACE.sample(jax.random.key(0), N + M)
    strings, quality = [SPACE.decode(arch) for arch in archs], SPACE.params(archs) / 1e6
    other = quality + rng.normal(scale=0.1, size=len(archs))
    table = pl.DataFrame({"arch_str": strings, "top1": quality * 10, "error": 90 - quality * 10, "proxy": other})
    table[:N].write_csv(tmp_path / "train.csv")
    table[N:].select("arch_str", "proxy").write_parquet(tmp_path / "others.parquet")
    scored = pl.DataFrame({"row": range(80), "arch": strings[:80], "ntk": -other[:80], "params": 0, "flops": 0})
    manifest = {"settings": {"space": SPACE.name}, "part_size": 80, "scorers": {"ntk": {"sign": -1}}}
    Store.open(tmp_path / "run", manifest).write(0, scored)
    return tmp_path


def run(files, *arguments, target="top1"):
    return main(["--train", str(files / "train.csv"), "--target", target, "--model", "ridge", *arguments])


def result(capsys, files, *arguments, **options):
    assert run(files, "--json", *arguments, **options) == 0
    return json.loads(capsys.readouterr().out)


def test_predictions_are_a_directory_of_scores(files, capsys):
    others = str(files / "others.parquet")
    assert run(files, "--predict", others, "--scores", str(files / "run"), "--out", str(files / "out")) == 0
    assert f"written to {files / 'out'}" in capsys.readouterr().out
    written = pl.read_parquet(files / "out" / "part-00000.parquet")
    assert set(written.columns) == {"row", "held_out", *COLUMNS}
    assert written["arch"].to_list() == pl.read_parquet(others)["arch_str"].to_list()
    assert written["measured"].null_count() == M
    archs = np.stack([SPACE.encode(arch) for arch in written["arch"]])
    np.testing.assert_array_equal(written["params"], SPACE.params(archs))
    written.select("arch", truth=pl.col("params") / 1e6).write_csv(files / "truth.csv")
    figures = [str(files / "out"), str(files / "truth.csv"), "--target", "truth", "--bootstrap", "10", "--json"]
    assert correlate.main(figures) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["predicted"]["spearman"] > 0.9
    assert json.loads((files / "out" / "result.json").read_text())["labels"] == N


def test_json_has_the_baselines_beside_the_held_out_predictions(files, capsys):
    found = result(capsys, files, "--predict", "random:20", "--scores", str(files / "run"))
    assert (found["labels"], found["predicted"], found["scores"]) == (
        N,
        20,
        ["ntk", "params", "flops", "live_flops", "live_layers"],
    )
    assert list(found["agreements"]) == [
        "held-out",
        "zero-label",
        "ntk",
        "live_layers",
        "params",
        "flops",
        "live_flops",
    ]
    assert found["agreements"]["params"]["spearman"] == pytest.approx(1)
    assert found["agreements"]["held-out"]["kendall"] > 0.7
    assert set(found["best"][0]) == COLUMNS
    assert len(found["best"]) == 5


def test_what_the_joins_leave_out_is_said(files, capsys):
    others = pl.read_parquet(files / "others.parquet")
    pl.concat([others[:10], others[:2]]).write_csv(files / "asked.csv")
    words = ["--predict", str(files / "asked.csv"), "--scores", str(files / "run"), "--features", "proxy"]
    found = result(capsys, files, *words)
    assert found["asked"] == {"rows": 12, "repeats": 2} and found["predicted"] == 10
    assert found["files"] == {
        str(files / "run"): {"rows": 80, "repeats": 0, "architectures": 80, "left_out": 30},
        str(files / "asked.csv"): {"rows": 12, "repeats": 2, "architectures": 10, "left_out": 0},
        str(files / "train.csv"): {"rows": N, "repeats": 0, "architectures": N, "left_out": 0},
    }
    train = pl.read_csv(files / "train.csv")
    train.with_columns(pl.when(pl.int_range(pl.len()) > 0).then("top1").alias("top1")).write_csv(files / "train.csv")
    assert run(files, *words) == 0
    said = capsys.readouterr().out
    assert f"--predict {files / 'asked.csv'}: 2 of 12 rows repeat an architecture" in said
    assert f"{files / 'run'}: 31 of 80 architectures have no label, nor are asked for" in said
    assert f"{files / 'train.csv'}: 1 of {N} architectures have no label" in said


def test_table_for_people(files, capsys):
    assert run(files, "--predict", "random:20", "--features", "proxy") == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("held-out", "zero-label", "proxy", "#params", "FLOPs", "best of 20"))


def test_an_error_is_predicted_as_well_and_best_is_lowest(files, capsys):
    up = result(capsys, files, "--predict", "random:20", "--scores", str(files / "run"))
    down = result(
        capsys, files, "--predict", "random:20", "--scores", str(files / "run"), "--lower-is-better", target="error"
    )
    assert [row["arch"] for row in up["best"]] == [row["arch"] for row in down["best"]]
    assert down["agreements"]["held-out"]["spearman"] == pytest.approx(up["agreements"]["held-out"]["spearman"])
    assert down["best"][0]["predicted"] == pytest.approx(90 - up["best"][0]["predicted"])


@pytest.mark.parametrize("model", ["graph", "trees", "gp"])
def test_other_models(files, capsys, model):
    found = result(capsys, files, "--predict", "random:20", "--scores", str(files / "run"), "--model", model)
    assert found["agreements"]["held-out"]["spearman"] > 0.3
    assert all(np.isfinite(row["predicted"]) for row in found["best"])


def test_intervals_and_effects(files, capsys):
    words = ["--predict", "random:50", "--scores", str(files / "run"), "--model", "gp"]
    assert run(files, *words, "--out", str(files / "out")) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("What the predictor learnt", "nor_conv_3x3", "intervals hold 90%"))
    found = json.loads((files / "out" / "result.json").read_text())
    assert found["intervals"]["level"] == pytest.approx(0.9)
    assert 0.8 <= found["intervals"]["held_out_within"] <= 1
    written = pl.read_parquet(files / "out" / "part-00000.parquet")
    assert (written["lower"] < written["upper"]).all()
    heavy = {row["choice"]: row["effect"] for row in found["effects"]["single"] if row["place"] == "3<-0"}
    assert heavy["nor_conv_3x3"] > heavy["none"]


def test_any_model_learns_from_a_source_first(files, capsys):
    source = ["--source", str(files / "train.csv"), "--source-target", "error", "--source-lower-is-better"]
    found = result(capsys, files, "--scores", str(files / "run"), "--predict", "random:20", *source)
    assert (found["settings"]["model"], found["settings"]["transfer"]) == ("ridge", "prior")
    assert found["agreements"]["held-out"]["spearman"] > 0.6


@pytest.mark.parametrize("mode", ["zero-shot", "finetune"])
def test_transfer_from_another_column(files, capsys, mode):
    source = ["--source", str(files / "train.csv"), "--source-target", "error", "--source-lower-is-better"]
    scores = ["--scores", str(files / "run"), "--predict", "random:20"]
    found = result(capsys, files, *scores, "--model", "graph", *source, "--transfer", mode)
    assert found["settings"]["transfer"] == mode
    assert found["agreements"]["held-out"]["spearman"] > 0.3


@pytest.fixture
def micro(files):
    """The words for a source of another space, and a directory of its scores."""
    space = spaces.get("transnas101_micro")
    archs = space.sample(jax.random.key(1), 50)
    strings = [space.decode(arch) for arch in archs]
    pl.DataFrame({"arch": strings, "miou": -space.params(archs) / 1e6}).write_csv(files / "micro.csv")
    manifest = {"settings": {"space": space.name}, "part_size": 50, "scorers": {"ntk": {"sign": -1}}}
    scored = pl.DataFrame({"row": range(50), "arch": strings, "ntk": -space.params(archs), "params": 0, "flops": 0})
    Store.open(files / "micro", manifest).write(0, scored)
    source = ["--source", str(files / "micro.csv"), "--source-target", "miou", "--source-lower-is-better"]
    return [*source, "--source-space", space.name, "--model", "graph", "--predict", "random:20"]


@pytest.mark.parametrize("mode", ["zero-shot", "finetune"])
def test_transfer_from_another_space(files, capsys, micro, mode):
    scores = ["--scores", str(files / "run"), "--source-scores", str(files / "micro")]
    found = result(capsys, files, *micro, *scores, "--transfer", mode)
    assert found["settings"]["source_space"] == "transnas101_micro"
    assert found["agreements"]["held-out"]["spearman"] > 0.3


def test_a_source_of_another_kind_is_refused_before_the_training(files, capsys, monkeypatch, micro):
    monkeypatch.setattr(fitting, "learn_source", None)
    assert run(files, *micro, "--scores", str(files / "run")) == 2
    assert (
        "the source has the scores params, flops, live_flops, live_layers, the target ntk, params"
        in capsys.readouterr().err
    )
    darts = spaces.get("darts")
    archs = darts.sample(jax.random.key(0), 4)
    pl.DataFrame({"arch": [darts.decode(a) for a in archs], "miou": [1, 2, 3, 4]}).write_csv(files / "micro.csv")
    assert run(files, *micro, "--source-space", "darts") == 2
    assert "have 2 cells, the target's 1" in capsys.readouterr().err


def test_real_table(shared_data, tmp_path, capsys):
    table = pl.read_parquet(shared_data / "nasbench201" / "accuracies.parquet").sample(200, seed=0)
    table.write_parquet(tmp_path / "few.parquet")
    arguments = ["--target", "c10_valid_200", "--predict", "random:50", "--model", "trees", "--json"]
    assert main(["--train", str(tmp_path / "few.parquet"), *arguments]) == 0
    found = json.loads(capsys.readouterr().out)["agreements"]
    assert found["held-out"]["kendall"] > found["flops"]["kendall"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "forest"], "unknown model 'forest'"),
        (["--transfer", "copy"], "unknown transfer 'copy'"),
        (["--folds", "1"], "--folds is 1"),
        (["--seed", "-1"], "--seed is -1"),
        (["--seed", "5000000000", "--predict", "random:5"], "--seed is 5000000000; it must lie in 0 to 4294967295"),
        (["--source", "a.csv"], "go together"),
        (["--transfer", "prior"], "--transfer without --source; give both or neither"),
        (["--source-lower-is-better"], "--source-lower-is-better without --source"),
        (
            ["--transfer", "head", "--source", "a.csv", "--source-target", "b"],
            "--transfer head needs the model graph, not ridge; say --transfer prior",
        ),
        (["--source-space", "darts"], "give both or neither"),
        (["--source-scores", "a"], "goes with --source-space"),
        ([*GRAPH, "--source-space", SPACE.name], "is the --space itself"),
        ([*GRAPH, "--source-space", SPACE.name, "--space", f"{SPACE.name}:cifar10"], "is the --space itself"),
        ([*GRAPH, "--source-space", "dart", "--predict", "random:5"], "did you mean 'darts'"),
        (["--predict", "random:x"], "--predict random:x"),
        (["--predict", "nothing.csv"], "no such file"),
        (["--scores", "nowhere"], "nowhere is not a directory"),
        (["--features", "nothing", "--predict", "random:5"], "none of the architectures has the score 'nothing'"),
        (["--features", "arch_str", "--predict", "random:5"], "the column 'arch_str' holds text, no numbers"),
    ],
)
def test_bad_option(files, capsys, arguments, says):
    assert run(files, *arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert says in captured.err
    assert captured.out == ""


def test_bad_tables(files, capsys):
    assert run(files, target="topl") == 2
    assert "did you mean 'top1'?" in capsys.readouterr().err
    pl.read_csv(files / "train.csv")[:3].write_csv(files / "train.csv")
    assert run(files, "--predict", "random:5") == 2
    assert "give at least 4" in capsys.readouterr().err


def test_scores_of_another_space_are_refused(files, capsys):
    manifest = {"settings": {"space": "darts"}, "part_size": 1, "scorers": {"ntk": {"sign": -1}}}
    frame = pl.DataFrame({"row": [0], "arch": ["x"], "ntk": [1.0], "params": [1], "flops": [1]})
    Store.open(files / "darts", manifest).write(0, frame)
    assert run(files, "--scores", str(files / "darts")) == 2
    assert "of the space darts, not of nasbench201" in capsys.readouterr().err
    assert run(files, "--scores", f"{files / 'run'},{files / 'run'}") == 2
    assert "give one of them" in capsys.readouterr().err


def test_scores_do_not_depend_on_the_data_set_but_counts_do(files, capsys):
    words = ["--scores", str(files / "run"), "--predict", str(files / "train.csv"), "--space"]
    one, other = (result(capsys, files, *words, f"nasbench201:{dataset}") for dataset in ("cifar10", "cifar100"))
    assert one["coverage"] == other["coverage"] == {"ntk": {"labelled": N, "asked-for": N}}
    arch = np.stack([SPACE.encode(other["best"][0]["arch"])])
    assert other["best"][0]["params"] == SPACE.on("cifar100").params(arch)[0] != SPACE.params(arch)[0]


def test_scores_of_a_few_labels_are_refused_unless_told(files, capsys):
    manifest = {"settings": {"space": SPACE.name}, "part_size": 1, "scorers": {"ntk": {"sign": -1}}}
    labels = pl.read_csv(files / "train.csv")
    frame = pl.DataFrame({"row": [0], "arch": labels["arch_str"][:1], "ntk": [1.0], "params": [1], "flops": [1]})
    Store.open(files / "few", manifest).write(0, frame)
    words = ["--scores", str(files / "few"), "--predict", str(files / "train.csv")]
    assert run(files, *words) == 2
    said = capsys.readouterr()
    assert "1 of the 40 labelled architectures have the score 'ntk'" in said.err and said.out == ""
    found = result(capsys, files, *words, "--allow-missing-scores")
    assert found["coverage"] == {"ntk": {"labelled": 1, "asked-for": 1}}
    assert run(files, *words, "--allow-missing-scores") == 0
    assert "ntk is there for 1 of 40 labelled, 1 of 40 asked-for" in capsys.readouterr().out
