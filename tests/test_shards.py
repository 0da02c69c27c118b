"""`jaxnas status` and `jaxnas merge`: what of a run is there, and shards that ran into directories of their own."""

import json
import time

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from jaxnas.cli.main import main
from jaxnas.commands import status
from jaxnas.tables.store import Store, read_scores

PARTS, SIZE = 5, 2
SETTINGS = {
    "space": "nasbench201",
    "seed": 0,
    "scorers": {"ntk": {"bn": "frozen"}, "regions": {}, "te_nas": {}},
    "archs": {"number": PARTS * SIZE},
}
MANIFEST = {
    "settings": SETTINGS,
    "part_size": SIZE,
    "parts": PARTS,
    "shards": 2,
    "scorers": {name: {"sign": -1} for name in SETTINGS["scorers"]},
    "versions": {"jaxnas": "1.0", "jax": "0.10.2"},
    "arithmetic": {"processor": "cpu A", "parts": 1, "flags": ""},
    "created": "2026-01-01T00:00:00Z",
    "seconds": 1.5,
}
ELSEWHERE = MANIFEST | {"arithmetic": MANIFEST["arithmetic"] | {"processor": "cpu B"}}


def part(index, shift=0.0):
    rows = range(index * SIZE, (index + 1) * SIZE)
    failed = index == 3
    return pl.DataFrame(
        {
            "row": rows,
            "arch": [f"arch{row}" for row in rows],
            "ntk": [None if failed else 10.0 - row + shift for row in rows],
            "ntk_status": ["rank_deficient" if failed else "ok"] * SIZE,
            "regions": [float(row * row) for row in rows],
            "regions_status": ["ok"] * SIZE,
        },
        schema_overrides={"ntk": pl.Float64},
    )


def made(path, parts, manifest=MANIFEST, **changes):
    store = Store.open(path, manifest)
    for index in parts:
        store.write(index, part(index, **changes))
    return str(path)


@pytest.fixture
def run(capsys):
    """Run a command; return exit code, output and errors."""

    def of(*words):
        code = main([*map(str, words)])
        return code, *capsys.readouterr()

    return of


def test_status_of_what_is_not_finished(run, tmp_path):
    path = made(tmp_path / "run", [0, 2, 3])
    code, out, errors = run("status", path)
    assert code == 3
    assert errors == f"jaxnas status: {path} lacks 2 of 5 parts; run its jaxnas score again with --shard 0/2, 1/2\n"
    for line in ("3 of 5", "1, 4", "1 of 0/2, 1 of 1/2", "6 of 10", "4 ok, 2 rank_deficient", "not yet", "cpu A"):
        assert line in out
    code, out, errors = run("status", path, "--format", "json")
    found = json.loads(out)
    assert (code, found["finished"], found["missing_parts"]) == (3, False, [1, 4])
    assert found["missing_by_shard"] == {"0/2": 1, "1/2": 1}
    assert found["made_by"] == {"cpu A, jaxnas 1.0, jax 0.10.2": [0, 2, 3]}
    assert found["last_written"] > found["began"]


def test_status_before_the_first_part(run, tmp_path):
    code, out, _ = run("status", made(tmp_path / "run", [], MANIFEST | {"shards": 1}))
    assert code == 3
    assert "0 of 10" in out


def test_status_of_parts_without_their_ranks(run, tmp_path):
    code, _, errors = run("status", path := made(tmp_path / "run", range(PARTS)))
    assert (code, errors) == (
        3,
        f"jaxnas status: {path} has all parts, but not yet te_nas; run its jaxnas score again\n",
    )


def test_status_of_a_finished_run(run, tmp_path):
    assert run("score", "--archs", "random:5", "--scorers", "params", "--out", tmp_path / "run")[0] == 0
    code, out, errors = run("status", tmp_path / "run")
    assert (code, errors) == (0, "")
    assert "5 of 5" in out and "1 of 1" in out and "5 ok" in out


def test_status_says_who_works_how_fast_and_what_failed(run, tmp_path, monkeypatch):
    path = made(tmp_path / "run", [0, 1])
    (tmp_path / "run" / "claim-00003").write_text("gone 7\nnode1 12\n")
    store, now = Store.existing(path), time.time()
    for index, lost in ((0, {}), (1, {"lost": {"arch2": "it died"}})):
        line = {
            "part": index,
            "rows": SIZE,
            "host": f"node{index}",
            "pid": 1,
            "seconds": 2.0,
            "ended": now - 4 + 2 * index,
        }
        store.append("parts.jsonl", line | lost)
    found = json.loads(run("status", path, "--format", "json")[1])
    assert found["hosts"].keys() == {"node0", "node1"} and found["hosts"]["node1"]["rows"] == SIZE
    assert found["rows_per_second"] == pytest.approx(4 / 6, rel=0.2)
    assert found["seconds_left"] == pytest.approx(9, rel=0.2)
    assert (found["at_work"], found["lost"]) == ({"3": "node1 12"}, {"arch2": "it died"})
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        made(path, range(PARTS))
        Store.existing(path).finish(
            range(PARTS), lambda table: table.with_columns(te_nas=1.0, te_nas_status=pl.lit("ok"))
        )

    monkeypatch.setattr(status.time, "sleep", sleep)
    code, out, _ = run("status", path, "--watch")
    assert (code, looks) == (0, [status.WATCH_SECONDS])
    assert "2 of 5" in out and "5 of 5" in out and "arch2 (it died)" in out


def test_merged_shards_are_verified(run, tmp_path):
    for shard in ("0/2", "1/2"):
        options = ["--archs", "random:9", "--scorers", "params", "--shard", shard, "--out", tmp_path / shard[0]]
        assert run("score", *options)[0] == 0
    words = ["merge", tmp_path / "0", tmp_path / "1", "--out", tmp_path / "all", "--verify"]
    code, out, errors = run(*words)
    assert (code, errors) == (0, "")
    assert "params: 1 of 1 equal" in out
    wrong = Store.existing(tmp_path / "all")
    wrong.write(0, wrong.part(0).with_columns(pl.col("params") * 2))
    code, _, errors = run(*words)
    assert code == 3 and "params made again differ by more than 0.001" in errors


def test_shards_are_joined_and_ranked(run, tmp_path):
    one, two = made(tmp_path / "a", [0, 2, 4]), made(tmp_path / "b", [1, 3])
    (tmp_path / "b" / "reference.json").write_text("{}")
    Store.existing(two).append("parts.jsonl", {"part": 3, "host": "b", "rows": 2, "seconds": 1.0, "ended": 0.0})
    code, out, errors = run("merge", one, two, "--out", tmp_path / "all")
    assert (code, out, errors) == (0, f"10 of 10 architectures are in {tmp_path / 'all'}\n", "")
    table, manifest = read_scores(tmp_path / "all")
    assert_frame_equal(table.select(part(0).columns), pl.concat([part(index) for index in range(PARTS)]))
    assert table["te_nas_status"].to_list() == ["ok"] * 6 + ["rank_deficient"] * 2 + ["ok"] * 2
    assert table["te_nas"].to_list() == [14, 12, 10, 8, 6, 4, None, None, 2, 0]  # both get better with the row
    assert manifest["seconds"] == 3.0
    assert (tmp_path / "all" / "reference.json").read_text() == "{}"
    assert [line["part"] for line in Store.existing(tmp_path / "all").records("parts.jsonl")] == [3]
    assert run("status", tmp_path / "all")[0] == 0
    before = sorted((path.name, path.read_bytes()) for path in (tmp_path / "all").iterdir())
    assert run("merge", one, two, "--out", tmp_path / "all")[0] == 0
    assert sorted((path.name, path.read_bytes()) for path in (tmp_path / "all").iterdir()) == before


def test_what_is_missing_comes_later(run, tmp_path):
    one, two = made(tmp_path / "a", [0, 2, 4]), made(tmp_path / "b", [1])
    code, out, errors = run("merge", one, two, "--out", tmp_path / "all")
    assert (code, out.startswith("8 of 10 architectures")) == (3, True)
    assert errors.endswith("lacks 1 of 5 parts; run its jaxnas score again with --shard 1/2\n")
    made(tmp_path / "b", [3])
    assert run("merge", one, two, "--out", tmp_path / "all")[0] == 0


def test_other_settings_are_refused_by_name(run, tmp_path):
    one = made(tmp_path / "a", [0])
    two = made(tmp_path / "b", [1], MANIFEST | {"settings": SETTINGS | {"seed": 1}, "part_size": 3})
    code, out, errors = run("merge", one, two, "--out", tmp_path / "all")
    assert (code, out) == (2, "")
    assert f"{two} was made with settings.seed=1, part_size=3, {one} with settings.seed=0, part_size=2" in errors
    assert not (tmp_path / "all").exists()


def test_other_makers_are_joined_on_request(run, tmp_path):
    one, two = made(tmp_path / "a", [0, 2, 4]), made(tmp_path / "b", [1, 3], ELSEWHERE)
    code, _, errors = run("merge", one, two, "--out", tmp_path / "all")
    assert code == 2
    assert 'arithmetic.processor="cpu B"' in errors and "say --mixed" in errors
    assert run("merge", one, two, "--out", tmp_path / "all", "--mixed")[0] == 0
    assert run("merge", two, one, "--out", tmp_path / "all", "--mixed")[0] == 0
    found = json.loads(run("status", tmp_path / "all", "--format", "json")[1])["made_by"]
    assert found == {"cpu A, jaxnas 1.0, jax 0.10.2": [0, 2, 4], "cpu B, jaxnas 1.0, jax 0.10.2": [1, 3]}


def test_parts_that_both_have_must_agree(run, tmp_path):
    one, two = made(tmp_path / "a", [0, 1, 2, 3]), made(tmp_path / "b", [3, 4])
    assert run("merge", one, two, "--out", tmp_path / "all")[0] == 0
    three = made(tmp_path / "c", [2], shift=1.0)
    code, _, errors = run("merge", one, two, three, "--out", tmp_path / "other")
    assert code == 2
    assert f"part 2 of {three} is not that of {one}" in errors


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["merge", "--out", "x"], "missing: DIR; give the directories of the shards"),
        (["merge", "a"], "missing: --out PATH"),
        (["merge", "nowhere", "--out", "x"], "nowhere is not a directory"),
        (["status", "nowhere"], "nowhere is not a directory"),
        (["status"], "missing: DIR"),
    ],
)
def test_bad_input(run, words, says):
    code, out, errors = run(*words)
    assert (code, out, errors.count("\n")) == (2, "", 1)
    assert says in errors


def test_out_is_another_directory(run, tmp_path):
    one = made(tmp_path / "a", [0])
    assert "is one of the directories" in run("merge", one, "--out", one)[2]
    other = Store.open(tmp_path / "search", {"settings": {}, "part_size": 1})
    assert "was not written by jaxnas score" in run("status", other.path)[2]
    assert "was not written by jaxnas score" in run("merge", other.path, "--out", tmp_path / "x")[2]
