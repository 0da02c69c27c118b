"""One architecture, however it is written, is one in every command; what a join leaves out of either side is said."""

import json

import jax
import numpy as np
import polars as pl
import pytest

from jaxnas import spaces
from jaxnas.correlate import command as correlate
from jaxnas.predict.command import main as predict
from jaxnas.score.command import main as score
from jaxnas.search.oracle import Table
from jaxnas.supernet.guides import read_teacher
from jaxnas.tables.joins import different, distinct, match
from jaxnas.tables.measured import Target, read_measured
from jaxnas.tables.store import Store

CELLS, EDGES = spaces.get("nasbench101"), spaces.get("nasbench201")
N = 12


def rewritten(string):
    """The same cell of NAS-Bench-101 with the vertices inside in another order that keeps edges upward."""
    spec = json.loads(string)
    matrix, ops, last = np.array(spec["matrix"]), spec["ops"], len(spec["ops"]) - 1
    for x in range(1, last - 1):
        if not matrix[x, x + 1] and ops[x] != ops[x + 1]:
            order = [*range(x), x + 1, x, *range(x + 2, last + 1)]
            return json.dumps({"matrix": matrix[np.ix_(order, order)].tolist(), "ops": [ops[i] for i in order]})
    return None


@pytest.fixture(scope="module")
def cells():
    """Strings of cells, and the same cells written in another way."""
    drawn = [CELLS.decode(arch) for arch in CELLS.sample(jax.random.key(0), 200)]
    pairs = [(string, other) for string in drawn if (other := rewritten(string))][:N]
    strings, others = map(list, zip(*pairs, strict=True))
    encoded = (np.stack([CELLS.encode(string) for string in side]) for side in (strings, others))
    assert (np.not_equal(*encoded)).any(1).all()
    return strings, others


@pytest.fixture
def files(tmp_path, cells):
    """Scores of cells in one wording, and accuracies of them in another, and of one more, in three rows each."""
    strings, others = cells
    archs = np.stack([CELLS.encode(string) for string in strings])
    frame = pl.DataFrame({"row": range(N), "arch": strings, "ntk": range(N), "params": range(N), "flops": range(N)})
    manifest = {"settings": {"space": CELLS.name}, "part_size": N, "scorers": {"ntk": {"sign": 1}}}
    Store.open(tmp_path / "run", manifest).write(0, frame)
    rows = [(other, number + seed / 10) for number, other in enumerate(others) for seed in (-1, 0, 1)]
    rows += [(CELLS.example, 99.0), (others[0], None)]
    pl.DataFrame(rows, schema=["architecture", "acc"], orient="row").write_csv(tmp_path / "table.csv")
    return tmp_path, archs


def test_correlate_finds_cells_in_any_wording_and_averages_their_rows(files, capsys):
    folder, _ = files
    words = [str(folder / "run"), str(folder / "table.csv"), "--target", "acc", "--bootstrap", "5"]
    assert correlate.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["compared"], found["scores"]["ntk"]["spearman"]) == (N, pytest.approx(1))
    assert found["join"] == {
        "scored": N, "scored_twice": 0, "scored_left_out": 0,
        "measured": N + 1, "measured_left_out": 1, "isomorphic": 0,
    }  # fmt: skip
    assert found["rows"] == {
        "rows": 3 * N + 2, "rows_without_value": 1, "architectures": N + 1, "most_rows_per_architecture": 3,
        "median_spread_of_several_rows": pytest.approx(0.1),
    }  # fmt: skip
    assert correlate.main(words) == 0
    said = capsys.readouterr().out
    assert f"{N} of {N} scored architectures are measured; 1 of {N + 1} measured ones have no score" in said
    assert f"1 of {3 * N + 2} rows have no value; up to 3 rows per architecture: their means; standard dev" in said


def test_predict_finds_cells_in_any_wording(files, capsys, cells):
    folder, _ = files
    pl.DataFrame({"arch": cells[0]}).write_csv(folder / "asked.csv")
    words = ["--space", CELLS.name, "--train", str(folder / "table.csv"), "--target", "acc", "--model", "ridge"]
    words += ["--predict", str(folder / "asked.csv"), "--scores", str(folder / "run"), "--json"]
    assert predict(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["labels"], found["predicted"]) == (N + 1, N)
    assert found["coverage"] == {"ntk": {"labelled": N, "asked-for": N}}
    assert all(row["arch"] in cells[0] and row["measured"] is not None for row in found["best"])


def test_tables_of_measurements_and_teachers_know_cells_in_any_wording(files):
    folder, archs = files
    oracle = Table(CELLS, [folder / "table.csv"], ["acc"])
    np.testing.assert_allclose(oracle(archs)["acc"].value[0], range(N), atol=1e-9)
    assert oracle.counts["architectures"] == N + 1
    assert (
        "38 rows for 13 architectures: their means; standard deviation over the rows (median): acc 0.1" in oracle.note()
    )
    assert len(read_teacher(CELLS, f"{folder / 'run'}:ntk").archs) == N


def test_a_teacher_says_what_it_leaves_out(tmp_path, cells, capsys):
    frame = pl.DataFrame({"row": range(2 * N), "arch": [*cells[0], *cells[1]], "ntk": [None, *range(2 * N - 1)]})
    manifest = {"settings": {"space": CELLS.name}, "part_size": 2 * N, "scorers": {"ntk": {"sign": 1}}}
    Store.open(tmp_path / "run", manifest).write(0, frame)
    counts = read_teacher(CELLS, f"{tmp_path / 'run'}:ntk").counts()
    assert counts == {"rows": 2 * N, "rows_without_value": 1, "repeats": N - 1, "architectures": N}
    said = capsys.readouterr().err
    assert f"1 of {2 * N} have no value" in said and f"{N - 1} of {2 * N - 1} rows repeat an architecture" in said


def test_tables_are_joined_by_architecture_and_say_what_has_no_partner(files, cells):
    folder, archs = files
    latency = {"arch": [*cells[0], CELLS.example.replace("3x3", "1x1")], "latency": range(N + 1)}
    pl.DataFrame(latency).write_parquet(folder / "latency.parquet")
    oracle = Table(CELLS, [folder / "table.csv", folder / "latency.parquet"], ["acc", "latency"])
    np.testing.assert_array_equal(oracle(archs)["latency"].value[0], range(N))
    assert oracle.counts["left_out"] == {str(folder / "latency.parquet"): {"before": 1, "own": 1}}
    assert "1 rows before it and 1 of" in oracle.note()


def test_a_cell_is_scored_once_and_counted_as_the_benchmark_does(tmp_path, cells, capsys):
    strings = [*cells[0], *cells[1]]
    pl.DataFrame({"Architecture": strings}).write_csv(tmp_path / "archs.csv")
    words = ["--space", CELLS.name, "--scorers", "params"]
    assert score([*words, "--archs", str(tmp_path / "archs.csv"), "--out", str(tmp_path / "one")]) == 0
    assert f"{N} of {2 * N} rows repeat an architecture" in capsys.readouterr().err
    pl.DataFrame({"mine": cells[1]}).write_csv(tmp_path / "other.csv")
    words += ["--archs", str(tmp_path / "other.csv"), "--key", "mine"]
    assert score([*words, "--out", str(tmp_path / "two")]) == 0
    one, two = (pl.read_parquet(tmp_path / name / "*.parquet") for name in ("one", "two"))
    assert one["params"].to_list() == two["params"].to_list()


def test_no_dedup_scores_cells_in_both_wordings(tmp_path, cells, capsys):
    pl.DataFrame({"arch": [*cells[0], *cells[1], cells[0][0]]}).write_csv(tmp_path / "archs.csv")
    words = ["--space", CELLS.name, "--scorers", "params", "--archs", str(tmp_path / "archs.csv")]
    for name, options, number in (("apart", ["--no-dedup"], 2 * N), ("once", [], N)):
        assert score([*words, *options, "--out", str(tmp_path / name)]) == 0
        scored = pl.read_parquet(tmp_path / name / "*.parquet")["arch"]
        wanted = [CELLS.encode(cell).tolist() for cell in [*cells[0], *cells[1]][:number]]
        assert [CELLS.encode(cell).tolist() for cell in scored] == wanted
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        assert manifest["rows"] == {"rows": 2 * N + 1, "repeats": 2 * N + 1 - number, "architectures": number}


def test_different_arrays_in_their_order():
    archs = np.random.default_rng(0).integers(-1, 2, (300, 4))
    first, owner = different(archs)
    _, expected, inverse = np.unique(archs, axis=0, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(first, np.sort(expected))
    np.testing.assert_array_equal(archs[first][owner], archs)
    np.testing.assert_array_equal(first[owner], expected[inverse.reshape(-1)])
    assert [part.tolist() for part in different(archs[:0])] == [[], []]


def test_itself_before_an_isomorphic_one_which_is_used_once():
    everyone = EDGES.enumerate()
    copies = np.flatnonzero((EDGES.canonical(everyone) != everyone).any(1))
    copy, other = everyone[copies[0]], everyone[-1]
    first = EDGES.canonical(copy[None])[0]
    assert match(EDGES, np.stack([copy, first, other]), np.stack([first, copy])).rows.tolist() == [1, 0, -1]
    alone = match(EDGES, np.stack([copy, first]), first[None])
    assert (alone.rows.tolist(), alone.isomorphic) == ([0, 0], 1)
    once = match(EDGES, np.stack([copy, first]), first[None], once=True)
    assert (once.rows.tolist(), once.isomorphic) == ([-1, 0], 0)
    once = match(EDGES, np.stack([copy, copy]), first[None], once=True)
    assert (once.rows.tolist(), once.isomorphic) == ([0, -1], 1)


def test_distinct_keeps_the_first_wording(cells):
    archs = np.stack([CELLS.encode(string) for pair in zip(*cells, strict=True) for string in pair])
    first, owner = distinct(CELLS, archs)
    assert first.tolist() == list(range(0, 2 * N, 2))
    assert owner.tolist() == np.repeat(range(N), 2).tolist()


def test_means_do_not_depend_on_the_order_of_the_rows(files):
    folder, _ = files
    whole = read_measured(CELLS, Target(folder / "table.csv", "acc"))
    pl.read_csv(folder / "table.csv").reverse().write_csv(folder / "table.csv")
    turned = read_measured(CELLS, Target(folder / "table.csv", "acc"))
    assert sorted(zip(whole.archs.tolist(), whole.repeats, strict=True)) == sorted(
        zip(turned.archs.tolist(), turned.repeats, strict=True)
    )
