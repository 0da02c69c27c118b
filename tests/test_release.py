"""Tables of whole spaces: built of runs, read by name, fetched from a host, scored again."""

import functools
import http.server
import json
import shutil
import threading
import tomllib
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest

import jaxnas
from jaxnas.cli.main import main
from jaxnas.errors import UserError
from jaxnas.score.command import main as score
from jaxnas.supernet.guides import read_teacher
from jaxnas.tables import named, release
from jaxnas.tables.archs import read_architectures
from jaxnas.tables.store import Store, read_scores
from jaxnas.tables.verbs import build, fetch

SPACE = jaxnas.spaces.get("nasbench201")
N = 12
ARCHS = [SPACE.decode(arch) for arch in SPACE.sample(jax.random.key(0), N)]
MAKER = {"device": "1 x cpu", "arithmetic": {}, "versions": {"jaxnas": "0", "jax": "0"}, "created": "", "seconds": 1.0}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "jaxnas" / "tables"


def made(path, seed=0, *, scores=("ntk",), rows=N, **settings):
    """A run of `jaxnas score`, whose scores are the row plus the seed; the second network is disconnected."""
    values = [None if row == 1 else float(row + seed) for row in range(N)]
    status = ["disconnected" if row == 1 else "ok" for row in range(N)]
    spectra = [None if row == 1 else [[float(row), row + seed + 1.0]] for row in range(N)]
    columns = {"row": range(N), "arch_id": range(N)[::-1], "arch": ARCHS, "scored_as": [None] * N}
    for name in scores:
        columns |= {name: values, f"{name}_std": [None] * N, f"{name}_status": status, f"{name}_spectrum": spectra}
    for name in ("params", "flops"):
        columns |= {name: [float(row) for row in range(N)], f"{name}_std": [None] * N, f"{name}_status": ["ok"] * N}
    about = {name: {"sign": -1, "paper": "a paper", "cost": "one pass"} for name in (*scores, "params", "flops")}
    options = {name: {"images": 72} for name in about}
    own = {"space": SPACE.name, "scorers": options, "repeats": 1, "seed": seed, "data": {"name": "synthetic"}}
    manifest = {
        "settings": own | settings, "part_size": N, "rows": {"architectures": N}, "scorers": about,
        "counted": "of networks", "data": "discs", **MAKER,
    }  # fmt: skip
    frame = pl.DataFrame(columns, schema_overrides={"scored_as": pl.String, **{f"{n}_std": pl.Float64 for n in about}})
    Store.open(path, manifest).write(0, frame.head(rows))
    return str(path)


def one_line(capsys):
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1, captured
    return captured.err


# --- build -----------------------------------------------------------------------------------------------------------


def test_seeds_are_rows_and_scores_are_columns(tmp_path, cache, capsys):
    runs = [made(tmp_path / f"{score}{seed}", seed, scores=[score]) for seed in (0, 5) for score in ("ntk", "zen")]
    assert main(["tables", "build", *runs, "--name", "mine"]) == 0
    assert f"{2 * N} rows" in capsys.readouterr().out
    table = jaxnas.tables.load("mine")
    assert table.columns == [
        "arch_id", "arch", "scored_as", "seed", "ntk", "ntk_status", "zen", "zen_status", "params", "flops",
    ]  # fmt: skip
    assert table["arch_id"].to_list() == sorted([*range(N)] * 2) and table["seed"].to_list() == [0, 5] * N
    assert table.schema["params"] == table.schema["flops"] == pl.Int64 and table.schema["ntk_status"] == pl.Enum
    row = table.filter(arch=ARCHS[1], seed=5).row(0, named=True)
    assert (row["ntk"], row["ntk_status"], row["params"]) == (None, "disconnected", 1)
    manifest = release.manifest_of(cache / "mine.parquet")
    assert (manifest["seeds"], manifest["settings"]["space"], list(manifest["scorers"])) == (
        [0, 5], "nasbench201", ["ntk", "params", "flops", "zen"],
    )  # fmt: skip
    assert release.checksums(cache / release.SUMS)["mine.parquet"] == release.checksum(cache / "mine.parquet")
    card = (cache / "mine.md").read_text()
    assert (
        "| `ntk` | Condition number of the neural tangent kernel | lower | a paper | one pass | 2 disconnected |"
        in card
    )


def test_scores_of_several_seeds_are_means(tmp_path):
    main(["tables", "build", made(tmp_path / "a", 0), made(tmp_path / "b", 4), "--name", "mine"])
    frame, manifest = read_scores("table:mine")
    assert (frame.height, manifest["settings"]["space"]) == (N, SPACE.name)
    assert dict(frame.select("arch", "ntk").iter_rows()) == {
        arch: None if row == 1 else row + 2 for row, arch in enumerate(ARCHS)
    }


def test_a_card_has_the_correlations_that_are_asked_for(tmp_path):
    pl.DataFrame({"arch": ARCHS, "acc": range(N)}).write_csv(tmp_path / "acc.csv")
    words = ["tables", "build", made(tmp_path / "run"), "--out", str(tmp_path / "out"), "--name", "mine"]
    assert main([*words, "--table", str(tmp_path / "acc.csv"), "--target", "acc"]) == 0
    card = (tmp_path / "out" / "mine.md").read_text()
    assert "## Agreement with acc of acc.csv" in card and "| #params | +1.000 [+1.000, +1.000] |" in card


def test_scores_can_be_left_out(tmp_path):
    run = made(tmp_path / "run", scores=["ntk", "zen"])
    assert main(["tables", "build", run, "--scores", "zen", "--name", "mine"]) == 0
    assert jaxnas.tables.load("mine").columns[4:] == ["zen", "zen_status", "params", "flops"]


def test_spectra_are_a_file_of_their_own(tmp_path, cache, capsys):
    runs = [made(tmp_path / f"run{seed}", seed) for seed in (0, 5)]
    assert main(["tables", "build", *runs, "--name", "mine", "--spectra"]) == 0
    assert [table.name for table in jaxnas.tables.available()] == ["mine", "nasbench201"]
    assert "ntk_spectrum" not in jaxnas.tables.load("mine").columns
    table = jaxnas.tables.load("mine", ["ntk"], spectra=True)
    assert table.schema["ntk_spectrum"] == pl.Array(pl.Float32, 2) and table.height == 2 * N
    for row in (0, 1, 7):
        found = table.filter(arch=ARCHS[row], seed=5)["ntk_spectrum"].to_list()
        assert found == [None if row == 1 else [row, row + 6]]
    assert release.checksums(cache / release.SUMS).keys() == {"mine.parquet", "mine.spectra.parquet"}
    assert release.manifest_of(cache / "mine.spectra.parquet")["settings"]["space"] == SPACE.name
    main(["tables", "build", *runs, "--name", "none"])
    with pytest.raises(UserError, match=r"none.parquet has no spectra beside it; build it with --spectra"):
        jaxnas.tables.load("none", spectra=True)
    capsys.readouterr()
    assert main(["tables", "build", *runs, "--scores", "params", "--spectra"]) == 2
    assert "none of these scores has a spectrum" in one_line(capsys)


def test_isomorphic_architectures_share_a_spectrum():
    repeats = [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]], [[1.0, 2.0], [3.0, 4.0]]]
    frame = pl.DataFrame({"arch": ["a", "b", "c"], "scored_as": [None, None, "a"], "seed": 0, "ntk_spectrum": repeats})
    found = build._spectra(frame, ["ntk", "params"])
    assert found.schema["ntk_spectrum"] == pl.Array(pl.Float32, (2, 2))
    assert found["arch"].to_list() == ["a", "b"] and found["ntk_spectrum"].to_list() == repeats[:2]


def test_runs_that_do_not_go_together(tmp_path, capsys):
    run, other, half = made(tmp_path / "a"), made(tmp_path / "b", repeats=2), made(tmp_path / "c", rows=5)
    for words, says in [
        ([run, other], "has repeats=1"),
        ([half], "is not finished"),
        ([run, made(tmp_path / "d", 1, scores=["zen"])], "the seeds have different scores"),
        ([run, "--scores", "nkt"], "did you mean 'ntk'?"),
        ([run, "--table", "x.csv"], "--table and --target go together"),
        ([run, "--name", "nasbench201"], "the package has a table nasbench201"),
        ([str(tmp_path)], "has no manifest.json"),
        ([run, "table:nasbench201"], "table:nasbench201 is no directory of jaxnas score"),
        (["table:nasbench201", run], "is built anew alone"),
        ([], "missing: DIR"),
    ]:
        assert main(["tables", "build", *words]) == 2
        assert says in one_line(capsys), says


# --- names -----------------------------------------------------------------------------------------------------------


def test_the_table_in_the_package_is_the_space():
    table = jaxnas.tables.load("nasbench201", scores=["ntk"])
    assert table.columns == ["arch_id", "arch", "scored_as", "seed", "ntk", "ntk_status", "params", "flops"]
    assert table["arch_id"].to_list() == list(range(SPACE.size))
    rows = table.sample(20, seed=1)
    archs = read_architectures(Path("table:nasbench201"), SPACE).archs[rows["arch_id"].to_numpy()]
    assert [SPACE.decode(arch) for arch in archs] == rows["arch"].to_list()
    np.testing.assert_array_equal(SPACE.arch_ids(archs), rows["arch_id"])
    np.testing.assert_array_equal(SPACE.params(archs), rows["params"])
    np.testing.assert_array_equal(SPACE.flops(archs), rows["flops"])
    counts = jaxnas.tables.load("nasbench201", ["live_flops"])["live_flops"]
    np.testing.assert_array_equal(SPACE.flops(SPACE.live(archs)), counts.gather(rows["arch_id"]))
    copies = rows["scored_as"].fill_null(rows["arch"]).to_list()
    np.testing.assert_array_equal(SPACE.canonical(archs), np.stack([SPACE.encode(arch) for arch in copies]))


@pytest.mark.slow
def test_the_scores_in_the_package_are_those_of_a_fresh_run(capsys):
    assert main(["tables", "verify", "nasbench201", "--share", "0.0002", "--seed", "7"]) == 0
    assert "regions: 3 of 3 equal" in capsys.readouterr().out


def test_the_package_data_is_in_the_wheel():
    packaging = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["tool"]["setuptools"]
    (pattern,) = packaging["package-data"]["jaxnas.tables"]
    files = {path.name for path in named.PACKAGED.parent.glob(pattern)}
    assert files == {"nasbench201.parquet", "nasbench201.md", release.SUMS}
    assert (named.PACKAGED / "nasbench201.parquet").stat().st_size < 1e6


def test_a_table_by_name_is_architectures_and_a_teacher(tmp_path, capsys):
    words = ["--space", "nasbench201", "--scorers", "params", "--out", str(tmp_path / "run")]
    main(["tables", "build", made(tmp_path / "a"), "--name", "mine"])
    assert score([*words, "--archs", "table:mine"]) == 0
    assert read_scores(tmp_path / "run")[0]["arch"].to_list() == jaxnas.tables.load("mine")["arch"].to_list()
    teacher = read_teacher(SPACE, "table:nasbench201:regions")
    assert (teacher.rows, teacher.empty) == (SPACE.size, 341)


def test_list_says_what_is_where(tmp_path, capsys, monkeypatch):
    main(["tables", "build", made(tmp_path / "a", 0), made(tmp_path / "b", 4), "--name", "mine"])
    monkeypatch.setattr(named, "known_checksums", lambda: {"darts.parquet": "0" * 64})
    capsys.readouterr()
    assert main(["tables", "list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(line[0], line[-1]) for line in lines] == [
        ("darts", "fetch)"), ("mine", "(cache)"), ("nasbench201", "(package)"),
    ]  # fmt: skip
    assert lines[1][1:6] == [str(2 * N), "rows,", "seeds", "0,", "4,"]


def test_unknown_names_have_the_nearest(capsys, monkeypatch):
    with pytest.raises(UserError, match="unknown table 'nasbench210'; did you mean 'nasbench201'"):
        jaxnas.tables.load("nasbench210")
    with pytest.raises(UserError, match="unknown score of nasbench201 'nkt'; did you mean 'ntk'"):
        jaxnas.tables.load("nasbench201", ["nkt"])
    monkeypatch.setattr(named, "known_checksums", lambda: {"darts.parquet": "0" * 64})
    with pytest.raises(UserError, match="run `jaxnas tables fetch darts`"):
        read_scores("table:darts")


def test_a_file_that_is_no_table_of_scores(tmp_path):
    pl.DataFrame({"arch": ARCHS}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(UserError, match="is not a directory"):
        read_scores(tmp_path / "other.parquet")
    release.write(tmp_path / "measured.parquet", pl.DataFrame({"arch": ARCHS}), {"columns": []})
    with pytest.raises(UserError, match="has measured values, no scores"):
        read_scores(tmp_path / "measured.parquet")
    named.cached("cut").write_bytes((named.PACKAGED / "nasbench201.parquet").read_bytes()[:-9])
    with pytest.raises(UserError, match=r"cut.parquet: cannot be read .*; is it truncated"):
        jaxnas.tables.load("cut")
    metadata = {release.KEY: json.dumps({"format": 99})}
    pl.DataFrame({"arch": ARCHS}).write_parquet(tmp_path / "later.parquet", metadata=metadata)
    with pytest.raises(UserError, match="has format 99, this version reads format 1"):
        read_scores(tmp_path / "later.parquet")


# --- fetch -----------------------------------------------------------------------------------------------------------


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host with the table `far`, which the package knows; the folder that it serves."""
    folder = tmp_path / "host"
    folder.mkdir()
    shutil.copy(named.PACKAGED / "nasbench201.parquet", folder / "far.parquet")
    (folder / "far.spectra.parquet").write_bytes(b"spectra")
    known = {path.name: release.checksum(path) for path in folder.iterdir()} | {"gone.parquet": "0" * 64}
    for module in (named, fetch):
        monkeypatch.setattr(module, "known_checksums", lambda: known)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(fetch.HOST, f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield folder
    server.shutdown()
    server.server_close()


def test_fetch_brings_a_table_once(host, cache, capsys):
    for says in ("far.parquet: fetched", "far.parquet: is here already"):
        assert main(["tables", "fetch", "far"]) == 0
        assert says in capsys.readouterr().out
    assert jaxnas.tables.load("far", ["regions"]).height == SPACE.size
    assert (cache / "far.spectra.parquet").read_bytes() == b"spectra"


def test_what_cannot_be_fetched_is_one_line(host, capsys, cache, monkeypatch):
    (host / "far.parquet").write_bytes(b"another file")
    for name, says in [
        ("far", "it is not the file that was released"),
        ("gone", "cannot be fetched (HTTP 404)"),
        ("fra", "did you mean 'far'?"),
    ]:
        assert main(["tables", "fetch", name]) == 2
        assert says in one_line(capsys)
    assert list(cache.glob("*")) == []
    monkeypatch.setenv(fetch.HOST, "http://127.0.0.1:9/")
    assert main(["tables", "fetch", "far"]) == 2
    assert "cannot be fetched (ConnectionError)" in one_line(capsys)
    monkeypatch.delenv(fetch.HOST)
    assert main(["tables", "fetch", "far"]) == 2
    assert "no host has released tables yet; set JAXNAS_TABLES" in one_line(capsys)


# --- verify ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(tmp_path):
    """A table of counts, which take no time, in a file."""
    words = ["--space", "nasbench201", "--archs", "random:30", "--scorers", "live_layers", "--seed", "3"]
    assert score([*words, "--out", str(tmp_path / "run")]) == 0
    assert main(["tables", "build", str(tmp_path / "run"), "--out", str(tmp_path), "--name", "counts"]) == 0
    return tmp_path / "counts.parquet"


def test_build_by_name_makes_the_same_table_again(counted, cache, tmp_path, monkeypatch):
    cache.mkdir(parents=True, exist_ok=True)
    shutil.copy(counted, cache / "counts.parquet")
    monkeypatch.chdir(tmp_path)
    assert main(["tables", "build", "counts", "--out", "again", "--name", "counts"]) == 0
    assert (tmp_path / "runs" / "table-counts" / "seed3" / "manifest.json").exists()
    assert pl.read_parquet("again/counts.parquet").equals(pl.read_parquet(counted))


def test_verify_scores_a_share_again(counted, capsys):
    capsys.readouterr()
    assert main(["tables", "verify", str(counted), "--share", "0.2"]) == 0
    out = capsys.readouterr().out
    assert "its SHA-256 is as published" in out and "live_layers: 6 of 6 equal" in out


def test_verify_finds_other_bytes_and_other_scores(counted, capsys):
    table, manifest = release.read(counted)
    release.write(counted, table.with_columns(pl.col("live_layers") + 1), manifest)
    capsys.readouterr()
    assert main(["tables", "verify", str(counted)]) == 2
    assert "it is damaged or was changed" in one_line(capsys)
    counted.with_name(release.SUMS).unlink()
    assert main(["tables", "verify", str(counted), "--share", "1"]) == 3
    captured = capsys.readouterr()
    assert "no SHA256SUMS says what its bytes were" in captured.out and "live_layers: 0 of 30 equal" in captured.out
    assert captured.err.count("\n") == 1 and "live_layers made again differ by more than 0.001" in captured.err


def test_verify_of_nothing(capsys, tmp_path):
    for words, says in [
        (["nasbench"], "did you mean 'nasbench201'?"),
        (["nasbench201", "--share", "2"], "from 0 to 1"),
        (["nasbench201", "--seed", "-1"], "--seed is -1"),
    ]:
        assert main(["tables", "verify", *words]) == 2
        assert says in one_line(capsys)


def test_help_and_unknown_verbs(capsys):
    assert main(["tables", "--help"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert all(f"\n  {verb} " in said for verb in ("build", "list", "fetch", "verify", "convert"))
    assert main(["tables", "lsit"]) == 2
    assert "did you mean 'list'?" in one_line(capsys)
    assert main(["tables"]) == 2
    assert "usage: jaxnas tables [-h] VERB" in capsys.readouterr().err
