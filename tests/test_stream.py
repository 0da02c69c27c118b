"""`--archs stream:N`: random architectures of which no process holds all."""

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from jaxnas import spaces
from jaxnas.score import work
from jaxnas.score.command import main
from jaxnas.score.work import BLOCK, CALLS, Span, Stream
from jaxnas.tables.store import read_scores

SPACE = spaces.get("darts")


def rows(stream, size):
    return np.concatenate([stream.piece(part, size).archs for part in range(stream.parts(size))])


def test_rows_follow_from_the_seed_and_their_number():
    stream = Stream.plan(SPACE, 0, 2 * BLOCK + 300, [])
    assert stream.part_size == CALLS * BLOCK
    whole = rows(stream, BLOCK)
    assert len(whole) == 2 * BLOCK + 300
    np.testing.assert_array_equal(rows(stream, 700), whole)
    np.testing.assert_array_equal(rows(Stream.plan(SPACE, 0, 50, []), BLOCK), whole[:50])
    assert (rows(Stream.plan(SPACE, 1, 50, []), BLOCK) != whole[:50]).any()
    for block in (whole[:BLOCK], whole[BLOCK : 2 * BLOCK]):
        assert len(np.unique(block, axis=0)) == BLOCK
    assert (whole[:BLOCK] != whole[BLOCK : 2 * BLOCK]).any()


def test_parts_and_spans():
    stream = Stream.plan(SPACE, 0, 2 * BLOCK + 300, [])
    assert stream.rows([0, 2], BLOCK) == BLOCK + 300
    assert stream.span(2, BLOCK) == Span(2, 0, 300)
    piece = stream.piece(2, BLOCK)
    some = piece.cut(10, 20)
    np.testing.assert_array_equal(some.rows, 2 * BLOCK + np.arange(10, 20))
    np.testing.assert_array_equal(some.run[some.source], piece.archs[10:20])
    assert [*Span(2, 0, 3).halves(), *Span(2, 0, 1).halves()] == [Span(2, 0, 1), Span(2, 1, 3)]


def test_a_stream_is_scored_in_parts(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(work, "CALLS", 1)
    options = ["--space", "darts", "--archs", f"stream:{BLOCK + 20}", "--scorers", "params"]
    assert main([*options, "--out", str(tmp_path / "run")]) == 0
    table, manifest = read_scores(tmp_path / "run")
    assert (len(table), manifest["parts"]) == (BLOCK + 20, 2)
    assert manifest["settings"]["archs"]["different_within"] == BLOCK
    assert table["row"].to_list() == list(range(BLOCK + 20))
    for path in (tmp_path / "run").glob("part-*"):
        path.unlink()
    for shard in ("1/2", "auto"):
        assert main([*options, "--out", str(tmp_path / "run"), "--shard", shard]) == 0
    assert_frame_equal(read_scores(tmp_path / "run")[0], table, check_exact=True)
    assert main([*options, "--out", str(tmp_path / "dry"), "--dry-run"]) == 0
    assert f"architectures: {BLOCK + 20:,}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--space", "nasbench201", "--archs", "stream:10"], "nasbench201 has 15,625 architectures; say all"),
        (["--archs", "stream:many"], "'many' is not a number from 1"),
        (["--archs", "stream:0"], "'0' is not a number from 1"),
        (["--archs", "stream:9", "--scorers", "te_nas"], "te_nas ranks the whole set, which no process holds"),
    ],
)
def test_bad_streams(tmp_path, capsys, options, says):
    assert main(["--space", "darts", "--scorers", "params", *options, "--out", str(tmp_path / "run")]) == 2
    errors = capsys.readouterr().err
    assert says in errors and errors.count("\n") == 1
