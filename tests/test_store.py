"""Run directories: resume, refusals, and what a kill, a full disk or a damaged file leaves behind."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from jaxnas.errors import UserError
from jaxnas.tables.store import Store, fitting, read_scores

MANIFEST = {
    "settings": {"space": "nasbench201", "seed": 0, "scorers": {"ntk": {"bn": "frozen", "batch": 32}}},
    "part_size": 4,
    "device": "cpu",
}
WRITER = """
import sys
from tests_support import MANIFEST, frame
from jaxnas.tables.store import Store
store = Store.open(sys.argv[1], MANIFEST)
index = 0
while True:
    store.write(index % 50, frame(index % 50))
    print(index, flush=True)
    index += 1
"""
OPENER = """
import sys
from tests_support import MANIFEST, frame
from jaxnas.tables.store import Store
print("ready", flush=True)
input()
store = Store.open(sys.argv[1], MANIFEST)
for index in map(int, sys.argv[2:]):
    store.write(index, frame(index))
"""


def frame(index, rows=4):
    first = 4 * index
    return pl.DataFrame(
        {
            "row": range(first, first + rows),
            "arch": [f"arch{i}" for i in range(first, first + rows)],
            "ntk": [float(-i) if i % 5 else None for i in range(first, first + rows)],
            "spectrum": [[1.0, float(i)] for i in range(first, first + rows)],
        },
        schema_overrides={"ntk": pl.Float64},
    )


def with_rank(table):
    return table.with_columns(rank=pl.col("ntk").rank("dense"))


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "run", MANIFEST)


@pytest.fixture
def spawn(tmp_path):
    """Start a script in another process that can import this file as `tests_support`."""
    support = tmp_path / "support"
    support.mkdir()
    (support / "tests_support.py").write_text(Path(__file__).read_text())
    root = Path(__file__).resolve().parents[1]
    path = os.pathsep.join([str(support), str(root), os.environ.get("PYTHONPATH", "")])
    started = []

    def start(script, *args):
        command = [sys.executable, "-c", script, *map(str, args)]
        env, pipe = os.environ | {"PYTHONPATH": path}, subprocess.PIPE
        process = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_parts_come_back_sorted_by_row(store):
    for index in (2, 0, 1):
        store.write(index, frame(index))
    assert store.parts() == {0, 1, 2}
    expected = pl.concat([frame(i) for i in range(3)])
    assert store.read().equals(expected)
    table, manifest = read_scores(store.path)
    assert table.equals(expected)
    assert manifest["settings"] == MANIFEST["settings"]


def test_resume_keeps_the_stored_manifest(store):
    store.write(0, frame(0))
    store.update_manifest(seconds=1.5)
    again = Store.open(str(store.path), MANIFEST | {"part_size": 99, "device": "gpu"})
    assert again.parts() == {0}
    assert again.part_size == 4
    assert (again.manifest["device"], again.manifest["seconds"]) == ("cpu", 1.5)


def test_settings_survive_json(tmp_path):
    manifest = {"settings": {"weights": (1, 1.5), "data": Path("a")}, "part_size": 4}
    Store.open(tmp_path, manifest)
    Store.open(tmp_path, manifest)


def test_other_settings_are_named_with_both_values(store):
    other = {"space": "nasbench201", "seed": 1, "scorers": {"ntk": {"bn": "batch", "batch": 32}}, "repeats": 2}
    with pytest.raises(UserError) as error:
        Store.open(store.path, MANIFEST | {"settings": other})
    assert str(error.value) == (
        f'{store.path} was made with seed=0, scorers.ntk.bn="frozen", no repeats, '
        'this command says seed=1, scorers.ntk.bn="batch", repeats=2; use another --out or the same settings'
    )


def test_foreign_directory_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"holds other files \(thesis.tex, ...\).*empty or a new directory"):
        Store.open(tmp_path, MANIFEST)
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("path", ["file", "file/run"])
def test_a_file_is_no_directory(tmp_path, path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a file; give a directory"):
        Store.open(tmp_path / path, MANIFEST)


def test_no_permission(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may do everything, so no chmod
    with pytest.raises(UserError, match=r"cannot open .*: no permission to read and write"):
        Store.open(tmp_path, MANIFEST)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"settings"', "not readable JSON"),
        (b"\xff\xfe\x00", "not readable JSON"),
        (b"[]", "not written by jaxnas"),
        (b'{"name": "web app"}', "not written by jaxnas"),
        (b'{"format": 99, "settings": {}, "part_size": 1}', "has format 99, this version reads format "),
    ],
)
def test_manifest_of_something_else(tmp_path, content, message):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=message):
        Store.open(tmp_path, MANIFEST)
    with pytest.raises(UserError, match=message):
        read_scores(tmp_path)


def test_a_run_of_an_earlier_format_is_refused(store):
    store.write(0, frame(0))
    path = store.path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    for read in (lambda: Store.open(store.path, MANIFEST), lambda: read_scores(store.path)):
        with pytest.raises(UserError, match="has format 2, this version reads format 3; use another directory"):
            read()


# --- what else decides the bits of a score ---------------------------------------------------------------------------

MADE = MANIFEST | {
    "versions": {"python": "3.11.1", "jaxnas": "1.0", "jax": "0.10.2"},
    "arithmetic": {"processor": "cpu A avx2", "parts": 1, "flags": ""},
}
OTHERS = {
    "processor": MADE | {"arithmetic": MADE["arithmetic"] | {"processor": "cpu B avx512f"}},
    "parts": MADE | {"arithmetic": MADE["arithmetic"] | {"parts": 2}},
    "flags": MADE | {"arithmetic": MADE["arithmetic"] | {"flags": "--xla_cpu_enable_fast_math=true"}},
    "jaxnas": MADE | {"versions": MADE["versions"] | {"jaxnas": "1.1"}},
    "jax": MADE | {"versions": MADE["versions"] | {"jax": "0.11.0"}},
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_arithmetic_is_refused_by_name(tmp_path, name):
    Store.open(tmp_path, MADE)
    with pytest.raises(UserError, match=rf"was made with \w+\.{name}=.*, here is \w+\.{name}=.*say --mixed") as error:
        Store.open(tmp_path, OTHERS[name])
    assert "\n" not in str(error.value)


def test_another_python_is_not(tmp_path):
    Store.open(tmp_path, MADE)
    Store.open(tmp_path, MADE | {"versions": MADE["versions"] | {"python": "3.12.0"}})


def test_what_is_mixed_on_request_is_recorded_by_part(tmp_path):
    own, other = Store.open(tmp_path, MADE), Store.open(tmp_path, OTHERS["processor"], mixed=True)
    own.write(0, frame(0))
    other.write(1, frame(1))
    assert other.finish(range(2), with_rank)  # writes both again, and makes neither
    (record,) = other.records("makers.jsonl")
    assert record == {"part": 1, "arithmetic.processor": "cpu B avx512f"} | {
        f"{group}.{name}": value
        for group in ("versions", "arithmetic")
        for name, value in MADE[group].items()
        if name not in ("python", "processor")
    }
    again = Store.open(tmp_path, MADE)
    assert again.manifest["arithmetic"] == MADE["arithmetic"]
    again.write(1, frame(1))
    assert again.records("makers.jsonl")[-1]["arithmetic.processor"] == "cpu A avx2"  # the last line counts


@pytest.mark.parametrize("keep", [0, 3, 0.5, -1])
def test_damaged_part_counts_as_missing(store, keep):
    for index in range(2):
        store.write(index, frame(index))
    path = store.path / "part-00001.parquet"
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(len(content) * keep)])
    assert Store.open(store.path, MANIFEST).parts() == {0}
    with pytest.raises(UserError, match=r"part-00001.parquet is damaged; delete it and run the command"):
        read_scores(store.path)
    store.write(1, frame(1))
    assert store.read().height == 8


def test_part_of_the_wrong_kind_counts_as_missing(store):
    store.write(0, frame(0).drop("row"))
    store.write(1, frame(1).head(0))
    assert store.parts() == set()


def test_part_may_hold_copies_beside_what_was_run(store):
    store.write(2, frame(2, rows=5))  # more than part_size
    assert store.parts() == {2}


def test_a_supernet_has_makers_of_no_part(store):
    store.append("makers.jsonl", {"from_epoch": 3, "versions.jax": "2"})
    store.write(0, frame(0))
    assert [*store.makers()] == [0]


def test_kill_loses_at_most_the_part_in_flight(tmp_path, spawn):
    run = tmp_path / "run"
    for delay in (0.0, 0.003, 0.008):
        writer = spawn(WRITER, run)
        while int(writer.stdout.readline()) < 5:
            pass
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        written = [int(line) for line in writer.stdout]
        store = Store.open(run, MANIFEST)
        assert store.parts() >= set(range(5)) | {index % 50 for index in written}
        assert not [name for name in os.listdir(run) if ".tmp" in name]
        assert all(pl.read_parquet(run / f"part-{i:05d}.parquet").equals(frame(i)) for i in store.parts())


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(store, spawn):
    dead, alive = spawn("pass"), spawn("input()")
    dead.wait()
    host = os.uname().nodename
    names = {
        who: f"part-00000.parquet.tmp-{who}" for who in (f"{host}-{dead.pid}", f"{host}-{alive.pid}", "else-1", "old-1")
    }
    for name in names.values():
        (store.path / name).write_bytes(b"PAR1")
    os.utime(store.path / names["old-1"], (0, 0))
    assert Store.open(store.path, MANIFEST).parts() == set()
    left = {name for name in os.listdir(store.path) if ".tmp" in name}
    assert left == {names[f"{host}-{alive.pid}"], names["else-1"]}


def test_killed_before_its_manifest(tmp_path):
    (tmp_path / "manifest.json.tmp-elsewhere-1").write_bytes(b"{")
    assert Store.open(tmp_path, MANIFEST).parts() == set()


def test_shards_open_at_once(tmp_path, spawn):
    shards = [spawn(OPENER, tmp_path / "run", *range(i, 12, 3)) for i in range(3)]
    assert [shard.stdout.readline() for shard in shards] == ["ready\n"] * 3
    for shard in shards:
        shard.stdin.write("\n")
        shard.stdin.flush()
    assert [shard.wait() for shard in shards] == [0, 0, 0]
    table, _ = read_scores(tmp_path / "run")
    assert table["row"].to_list() == list(range(48))


def test_the_second_to_open_must_agree_with_the_first(tmp_path, monkeypatch):
    def overtaken(tmp, path, link=os.link):
        other = json.loads(tmp.read_text())
        other["settings"]["seed"] = 7
        path.write_text(json.dumps(other))
        link(tmp, path)

    monkeypatch.setattr(os, "link", overtaken)
    with pytest.raises(UserError, match="made with seed=7, this command says seed=0"):
        Store.open(tmp_path, MANIFEST)


def test_file_system_without_hard_links(tmp_path, monkeypatch):
    def refuse(tmp, path):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    Store.open(tmp_path, MANIFEST).write(0, frame(0))
    assert Store.open(tmp_path, MANIFEST).parts() == {0}


def test_full_disk_keeps_what_was_written(store, monkeypatch):
    store.write(0, frame(0))

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for write in (lambda: store.write(0, frame(1)), lambda: store.write(1, frame(1)), store.update_manifest):
            with pytest.raises(
                UserError, match=r"disk is full.*free some space and run the same command again, it resumes"
            ):
                write()
    assert sorted(os.listdir(store.path)) == ["manifest.json", "part-00000.parquet"]
    assert Store.open(store.path, MANIFEST).read().equals(frame(0))


def test_finish_derives_from_the_whole_table(store):
    store.write(1, frame(1))
    assert not store.finish(range(2), with_rank)
    assert store.read().columns == frame(1).columns
    store.write(0, frame(0))
    assert store.finish(range(2), with_rank)
    assert store.read().equals(with_rank(pl.concat([frame(0), frame(1)])))


def test_finish_again_changes_nothing(store):
    for index in range(2):
        store.write(index, frame(index))
    store.finish(range(2), with_rank)
    files = [store.path / f"part-0000{i}.parquet" for i in range(2)]
    before = [(path.stat().st_ino, path.read_bytes()) for path in files]
    assert store.finish(range(2), with_rank)
    assert [(path.stat().st_ino, path.read_bytes()) for path in files] == before


def test_finish_after_a_kill_halfway(store):
    for index in range(2):
        store.write(index, frame(index))
    store.finish(range(2), with_rank)
    finished = store.read()
    store.write(1, frame(1))  # as if only part 0 had been rewritten, or part 1 scored again
    assert store.finish(range(2), with_rank)
    assert store.read().equals(finished)


def test_part_of_nulls_joins_the_others(store):
    store.write(0, frame(0))
    store.write(1, frame(1).with_columns(ntk=None))
    assert store.read().schema["ntk"] == pl.Float64


def test_nothing_to_read(store, tmp_path):
    with pytest.raises(UserError, match="is not a directory"):
        read_scores(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no manifest.json, so it is not the directory of a run"):
        read_scores(tmp_path)
    with pytest.raises(UserError, match="has no scores yet"):
        read_scores(store.path)


def test_machines_that_do_not_fit_a_run_are_told_why(tmp_path):
    here = {"versions": {"jax": "1", "python": "3.11"}, "arithmetic": {"processor": "cpu A"}}
    settings = {"seed": 0, "data": {"name": "synthetic"}, "files": {"own.py": "ab"}}
    own = {name: settings[name] for name in ("data", "files")}
    Store.open(tmp_path / "run", {"settings": settings, "part_size": 4, **here})
    other = {"versions": {"jax": "2", "python": "3.12"}, "arithmetic": {"processor": "cpu B"}}
    for path in (tmp_path / "run", tmp_path / "new"):  # where there is no run yet, the first decides
        fits, mixed = (fitting(path, mixed=mixed) for mixed in (False, True))
        for differs in (fits, mixed):
            assert differs({"settings": own, **here}) == ""
            changed = own | {"files": {"own.py": "cd"}}
            assert 'files.own.py="ab", there is files.own.py="cd"' in differs({"settings": changed, **here})
        assert fits({"settings": own, **other}) == (
            f'{path} is made with versions.jax="1", arithmetic.processor="cpu A", there is versions.jax="2", '
            'arithmetic.processor="cpu B"; --mixed lets other processors and versions take part'
        )
        assert mixed({"settings": own, **other}) == ""


def test_parts_say_by_what_they_were_made_elsewhere(tmp_path):
    here, there = ({"versions": {"jax": version}, "arithmetic": {"processor": "cpu"}} for version in "12")
    run = Store.open(tmp_path / "run", {"settings": {}, "part_size": 1, **here}, mixed=True)
    for index, made in enumerate([here, there, None]):
        run.write(index, pl.DataFrame({"row": [index]}), made)
    assert [run.makers()[index]["versions.jax"] for index in range(3)] == ["1", "2", "1"]
