"""`python -m jaxnas.supernet`: train, resume, rank, refuse."""

import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from jaxnas import spaces
from jaxnas.correlate import command as correlate
from jaxnas.supernet import command
from jaxnas.supernet.command import main

SPACE = spaces.get("nasbench201")
SMALL = [
    "--data",
    "synthetic",
    "--channels",
    "8",
    "--cells",
    "1",
    "--side",
    "8",
    "--batch",
    "64",
    "--rank-batches",
    "1",
]


@pytest.fixture
def table(tmp_path):
    """Write accuracies that are the FLOPs, and return the file."""
    archs = SPACE.enumerate()[::120]
    frame = pl.DataFrame({"arch": [SPACE.decode(a) for a in archs], "accuracy": SPACE.flops(archs) / 1e6})
    frame.write_parquet(tmp_path / "table.parquet")
    return tmp_path / "table.parquet"


@pytest.mark.slow
def test_a_run_resumes_and_ranks_into_a_table_of_scores(tmp_path, table, capsys):
    out = tmp_path / "run"
    argv = [*SMALL, "--out", str(out), "--landmarks", str(table), "--target", "accuracy", "--warmup", "1"]
    argv += ["--save-every", "1"]
    assert main([*argv, "--epochs", "2", "--archs", str(table)]) == 0
    said = capsys.readouterr().out
    assert "2 epochs" in said and "ranked after epochs 1, 2" in said
    curves, scores = pl.read_parquet(out / "curves.parquet"), pl.read_parquet(out / "part-00000.parquet")
    assert curves["epoch"].to_list() == [1, 2] and (out / "curves.png").stat().st_size > 0
    assert len(scores) <= len(pl.read_parquet(table)) - 30  # no landmarks
    rows, total = json.loads((out / "manifest.json").read_text())["rows"], len(pl.read_parquet(table))
    assert rows["archs"] == {"rows": total, "repeats": 0, "architectures": total, "landmarks": total - len(scores)}
    assert (rows["landmarks"]["rows"], rows["landmarks"]["architectures"]) == (total, total)
    archs = np.stack([SPACE.encode(arch) for arch in scores["arch"]])
    np.testing.assert_array_equal(scores["flops"], SPACE.flops(archs))
    assert scores["supernet_accuracy"].is_between(0, 1).all() and (scores["supernet_loss"] > 0).all()
    assert correlate.main([str(out), str(table), "--target", "accuracy", "--json", "--bootstrap", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["compared"] == len(scores)
    assert set(found["scores"]) == {"supernet_accuracy", "supernet_loss", "params", "flops", "live_flops"}

    assert main([*argv, "--epochs", "2", "--archs", "random:3"]) == 0  # nothing is trained again
    assert pl.read_parquet(out / "curves.parquet").equals(curves)
    assert json.loads((out / "manifest.json").read_text())["rows"]["archs"]["rows"] == 3
    again = pl.read_parquet(out / "part-00000.parquet")
    assert len(again) == 3
    capsys.readouterr()

    assert main([*argv, "--epochs", "3"]) == 2
    assert "was made with epochs=2" in capsys.readouterr().err


def test_scores_are_means_over_the_newest_states():
    class Ranking:
        def measure(self, params, archs):
            for part in np.array_split(archs, 2):
                yield np.full(len(part), params), params * part.sum(1)

    archs = SPACE.enumerate()[100:105]
    states = [SimpleNamespace(params=number) for number in (0.25, 0.75)]
    table = command._rank(SPACE, Ranking(), states, archs)
    assert table["supernet_accuracy"].to_list() == [0.5] * 5
    np.testing.assert_allclose(table["supernet_loss"], 0.5 * archs.sum(1))
    assert set(table["supernet_loss_status"]) == {"ok"}
    table = command._rank(SPACE, Ranking(), [*states, SimpleNamespace(params=np.nan)], archs)
    assert table["supernet_loss"].null_count() == 5 and set(table["supernet_loss_status"]) == {"nonfinite"}


def test_nothing_is_trained_where_all_to_rank_are_landmarks(tmp_path, table, capsys):
    pl.read_parquet(table)[:30].write_parquet(table)
    argv = [*SMALL, "--out", str(tmp_path / "run"), "--landmarks", str(table), "--target", "accuracy"]
    assert main([*argv, "--archs", str(table)]) == 2
    assert "every one of them is a landmark" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_labels_that_do_not_begin_at_0_are_said(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "my.npz",
        images=rng.integers(256, size=(60, 8, 8, 3)).astype(np.uint8),
        labels=np.arange(60) % 10 + 1,
    )
    words = [*SMALL, "--out", str(tmp_path / "run"), "--batch", "5000", "--data", str(tmp_path / "my.npz")]
    assert main(words) == 2  # there are too few images, too
    assert "note: my.npz: labels 1 to 10: 11 classes, counted from 0; no image has 0\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--landmarks", "t.csv"], "needs --target"),
        (["--landmarks", "t.csv", "--target", "a", "--teacher", "flops"], "give one of them"),
        (["--landmarks", "missing.csv", "--target", "a"], "no such file"),
        (["--teacher", "flips"], "DIR:SCORE"),
        (["--shares", "0.5", "0.5", "0.5"], "add up to 1"),
        (["--space", "resnet"], "several sizes"),
        (["--epochs", "0"], "at least 1 epoch"),
        (["--batch", "5000"], "make no batch of 5000"),
        (["--rank-batch", "32"], "at least 1 of 64"),
        (["--seed", "-1"], "must lie in 0"),
        (["--strength", "-1"], "at least 0"),
        (["--rankings", "0"], "at least 1"),
        (["--schedule", "cosin"], "did you mean cosine"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, options, message):
    assert main([*SMALL, "--out", str(tmp_path / "run"), *options]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.out == ""
    assert not (tmp_path / "run").exists()
