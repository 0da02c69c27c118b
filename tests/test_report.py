"""The page about runs: its data and charts without a browser, and the whole of it in headless Chromium."""

import html
import importlib.metadata
import json
import re
import shutil
import subprocess

import numpy as np
import polars as pl
import pytest

from jaxnas import spaces
from jaxnas.cli.main import main
from jaxnas.report import axes
from jaxnas.report.page import cells, document, javascript, redo, scores, search, specs
from jaxnas.report.page.tab import Section, Tab, short
from jaxnas.tables.runs import read_run
from jaxnas.tables.store import Store

SPACE = spaces.get("nasbench201")
N = 40
ROWS = SPACE.enumerate()[(SPACE.canonical(SPACE.enumerate()) == SPACE.enumerate()).all(1)][-N:]  # of different classes
ARCHS = [SPACE.decode(arch) for arch in ROWS]
ACCURACY = np.random.default_rng(0).uniform(80, 94, N)
GOLDEN = "report_specs.json"
COMMAND = "jaxnas score --space nasbench201 --scorers ntk --out run"
NASTY = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, which has no charts' JavaScript to make."""
    monkeypatch.setenv("JAXNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_javascript(monkeypatch):
    monkeypatch.setattr(javascript, "version", lambda: "0")
    monkeypatch.setattr(javascript, "bundle", lambda: "/* charts */")


def scored(path, seed=0, *, space=SPACE, archs=ARCHS):
    """A run of `jaxnas score`: `ntk` with repeats, a failure and spectra, and counts."""
    size = len(archs)
    noise = np.random.default_rng(seed).normal(scale=2, size=size)
    ntk = pl.Series(100 - np.resize(ACCURACY, size) + noise)
    rows = space.from_table({space.string_columns[0]: pl.Series(archs)})
    columns = {
        "row": range(size),
        "arch": archs,
        "ntk": ntk.set(pl.int_range(size, eager=True) == 0, None),
        "ntk_std": [None] + [0.5] * (size - 1),
        "ntk_status": ["nonfinite"] + ["ok"] * (size - 1),
        "ntk_spectrum": [None] + [[[3.0, 1.0, 0.25]]] * (size - 1),
        "params": space.params(rows).astype(float),
        "flops": space.flops(rows).astype(float),
    }
    settings = {"space": space.name, "seed": seed, "repeats": 2, "scorers": {"ntk": {"bn": "frozen", "images": 8}}}
    manifest = {"settings": settings, "part_size": size, "scorers": {"ntk": {"sign": -1, "paper": "TE-NAS"}}}
    Store.open(path, {**manifest, "seconds": 2.0, "device": "2 x cpu", "command": COMMAND}).write(
        0, pl.DataFrame(columns)
    )
    return str(path)


def searched(path, seed=0, *, method="random", two=False, asked=ROWS, result=None, **more):
    """A run of `jaxnas search` by an oracle, in rounds of ten."""
    signs = {"acc": 1, "latency": -1} if two else {"acc": 1}
    goal = {"signs": signs, **({"at_most": {"latency": 5.0}} if two else {})}
    oracle = {"name": "acc.csv", "fingerprint": "0", "record": []}
    settings = {"space": "nasbench201", "seed": seed, "oracle": oracle, "goal": goal, "method": method, "budget": N}
    store = Store.open(path, {"settings": settings | more, "part_size": 10, "command": COMMAND})
    values = np.random.default_rng(seed).permutation(ACCURACY)
    for part in range(0, len(asked), 10):
        own = slice(part, min(part + 10, len(asked)))
        numbers = {"acc": values[own], **({"latency": np.arange(own.start, own.stop) / 4} if two else {})}
        store.write(part // 10, pl.DataFrame({
            "row": np.arange(own.start, own.stop), "round": [part // 10] * (own.stop - own.start),
            "asked": asked[own].reshape(own.stop - own.start, -1).astype(int).tolist(),
            **{name: of[:, None].tolist() for name, of in numbers.items()},
            **{f"{name}_status": [[0]] * len(of) for name, of in numbers.items()},
            "seconds": [0.5] * (own.stop - own.start),
        }))  # fmt: skip
    if result is not None:
        store.put("result.json", json.dumps(result).encode())
    return str(path)


@pytest.fixture
def table(tmp_path):
    pl.DataFrame({"arch": ARCHS, "acc": ACCURACY, NASTY: ACCURACY}).write_csv(tmp_path / "acc.csv")
    return str(tmp_path / "acc.csv")


def page(capsys, *words):
    """The HTML of a page and its data by tab."""
    capsys.readouterr()
    code = main(["report", *words, "--bootstrap", "20"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert captured.out.startswith("report.html: ")
    with open("report.html", encoding="utf-8") as file:
        text = file.read()
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return text, json.loads(data)


def refused(capsys, *words):
    capsys.readouterr()
    assert main(["report", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1, captured.err
    return captured.err


# --- scores ----------------------------------------------------------------------------------------------------------


def test_a_page_of_scores_and_accuracies(tmp_path, table, capsys, no_javascript):
    text, (tab,) = page(capsys, scored(tmp_path / "run"), "--table", table, "--target", "acc")
    rows = tab["data"]["rows"]
    assert rows["arch"] == ARCHS and rows["t"] == pytest.approx(ACCURACY, rel=1e-4)
    assert rows["s0"][0] is None and rows["r0"][0] == 1.0  # a failure ranks last
    assert sorted(rows["r0"]) == pytest.approx(np.arange(1, N + 1))
    assert rows["r0"][int(np.argmin([v or 1e9 for v in rows["s0"]]))] == N  # lower is better
    assert [title for _, title, _ in tab["columns"]] == ["architecture", "acc", "ntk", "#params", "FLOPs", "live FLOPs"]
    assert list(tab["charts"]) == ["health", "noise", "agreement", "ranks", "rho", "pair"]
    assert tab["data"]["health"] == {"score": ["ntk"] * 2, "status": ["ok", "nonfinite"], "count": [N - 1, 1]}
    assert set(tab["data"]["agreement"]["score"]) == {"ntk", "#params", "FLOPs", "live FLOPs"}
    domain = tab["charts"]["ranks"]["concat"][0]["encoding"]["y"]["scale"]["domain"]
    least, best = np.percentile(ACCURACY, 10), ACCURACY.max()
    assert domain == pytest.approx([least, best + 0.04 * (best - least)])
    assert tab["details"]["1"]["spectrum"] == [3, 1, 0.25] and "0" not in tab["details"]
    for heading in ("Health", "Agreement", "Ranks", "Architectures", "Scores against scores", "Cost", "How to redo it"):
        assert f"<h2>{heading}</h2>" in text
    assert "39 ok, 1 nonfinite" in text and "TE-NAS" in text and "20.0" in text  # architectures a second
    assert COMMAND in text


def test_without_accuracies_ranks_stand_against_flops(tmp_path, capsys, no_javascript):
    text, (tab,) = page(capsys, scored(tmp_path / "run"))
    assert "<h2>Agreement</h2>" not in text and "t" not in tab["data"]["rows"]
    titles = [view["encoding"]["y"]["title"] for view in tab["charts"]["ranks"]["concat"]]
    assert titles == ["rank by FLOPs"] * 3


def test_seeds_become_intervals_and_spaces_tabs(tmp_path, table, capsys, no_javascript):
    other = spaces.get("transnas101_micro")
    strings = [other.decode(arch) for arch in other.enumerate()[:12]]
    runs_ = [scored(tmp_path / "a", 0), scored(tmp_path / "b", 1), scored(tmp_path / "c", space=other, archs=strings)]
    text, tabs = page(capsys, *runs_)
    assert len(tabs) == 2 and text.count("<main ") == 2 and text.count("<button type") == 3
    assert "2 seeds" in text and tabs[0]["data"]["noise"]["score"] == ["ntk", "ntk, between seeds"]
    assert "make a page for each" in refused(capsys, *runs_, "--table", table, "--target", "acc")
    text, _ = page(capsys, *runs_[:2], "--table", table, "--target", "acc")
    assert "rho between seeds" in text and "['" not in text


def test_lower_targets_and_targets_that_are_scores(tmp_path, table, capsys, no_javascript):
    run = scored(tmp_path / "run")
    text, (tab,) = page(capsys, run, "--table", table, "--target", "acc", "--lower-is-better")
    scale = tab["charts"]["ranks"]["concat"][0]["encoding"]["y"]["scale"]
    best, most = ACCURACY.min(), np.percentile(ACCURACY, 90)
    assert scale["reverse"] and scale["domain"] == pytest.approx([best - 0.04 * (most - best), most])
    assert "lower is better" in text and "--lower-is-better" in text
    _, (tab,) = page(capsys, run, "--target", "score:ntk")
    assert tab["charts"]["ranks"]["concat"][0]["encoding"]["y"]["title"] == "score:ntk"


def test_of_many_rows_some_are_there_and_all_are_counted(tmp_path, capsys, no_javascript, monkeypatch):
    for name, value in (("MOST", 30), ("BEST", 5), ("RANDOM", 10), ("DETAILED", 3)):
        monkeypatch.setattr(scores, name, value)
    text, (tab,) = page(capsys, scored(tmp_path / "run"))
    rows, bins = tab["data"]["rows"], tab["data"]["bins"]
    assert len(rows["arch"]) == 15 and {40.0, 39.0, 38.0} <= set(rows["r0"])
    assert {sum(n for n, s in zip(bins["count"], bins["score"], strict=True) if s == score) for score in (0, 1)} == {N}
    assert len(tab["details"]) == 3 and "all 40" in text
    assert "layer" in tab["charts"]["ranks"]["concat"][0]


def test_names_are_escaped(tmp_path, table, capsys, no_javascript):
    run = scored(tmp_path / "a<b>&c")
    text, (tab,) = page(capsys, run, "--table", table, "--target", NASTY)
    assert "<img" not in text and "a<b>" not in text
    assert text.count("</script>") == 3
    assert tab["columns"][1][1] == NASTY
    assert html.escape(NASTY) in text


def test_the_page_asks_no_host(tmp_path, capsys, no_javascript):
    text, _ = page(capsys, scored(tmp_path / "run"))
    shown = text.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")  # a name, no address
    assert not re.search(r"https?:|src=|href=|@import|url\(", shown)
    assert "default-src 'none'" in text


def test_predictions(tmp_path, capsys, no_javascript):
    frame = pl.DataFrame(
        {
            "row": range(N), "arch": ARCHS, "predicted": ACCURACY, "measured": [90.0, 91.0] + [None] * (N - 2),
            "held_out": [89.0, 92.0] + [None] * (N - 2), "params": 1.0, "flops": 1.0, "live_flops": 1.0,
        }
    )  # fmt: skip
    settings = {"space": "nasbench201", "train": "t.csv", "target": "acc", "model": "ridge", "seed": 0, "labels": 2}
    manifest = {"settings": settings, "part_size": N, "scorers": {"predicted": {"sign": 1, "paper": ""}}}
    manifest["command"] = COMMAND
    store = Store.open(tmp_path / "run", manifest)
    store.write(0, frame)
    figures = {"label": "held-out", "n": 2, "spearman": 0.5, "kendall": None, "partial_given_flops": None}
    single = [{"place": "1<-0", "choice": "none", "effect": -1.5, "error": 0.2, "architectures": 9}]
    pair = {"of": [{"place": f"{k}<-0", "choice": "none"} for k in (1, 2)], "effect": 0.25, "error": 0.1}
    learnt = {"single": single, "pairs": [pair], "explained": [0.7, 0.9]}
    store.put("result.json", json.dumps({"agreements": {"held-out": figures}, "effects": learnt}).encode())
    text, (tab,) = page(capsys, str(tmp_path / "run"))
    assert tab["data"]["held_out"] == {"arch": ARCHS[:2], "measured": [90, 91], "predicted": [89, 92]}
    assert "<h2>Prediction</h2>" in text and "+0.500" in text
    assert "<h2>What the predictor learnt</h2>" in text and "none at 2&lt;-0" in text
    assert tab["data"]["effects"]["effect"] == [-1.5] and "effects" in tab["charts"]
    assert COMMAND in text
    said, texts = drawn(capsys, str(tmp_path / "run"))
    assert "held-out predictions" in said and "nasbench201, ridge, seed 0, n = 2" in texts


def test_a_supernet(tmp_path, capsys, no_javascript):
    frame = pl.DataFrame(
        {"row": range(N), "arch": ARCHS, "supernet_accuracy": ACCURACY / 100, "params": 1.0, "flops": 1.0}
    )
    settings = {"space": "nasbench201", "seed": 0, "arm": {"name": "plain"}}
    scorers = {"supernet_accuracy": {"sign": 1, "paper": "SPOS"}}
    manifest = {"settings": settings, "part_size": 1, "scorers": scorers, "command": COMMAND}
    Store.open(tmp_path / "run", manifest).write(0, frame)
    curves = {
        "epoch": [1, 2],
        "loss": [2.3, 2.1],
        "rank_loss": [0.1, 0.2],
        "strength": [0.0, 1.0],
        "seconds": [3.0] * 2,
    }
    pl.DataFrame(curves).write_parquet(tmp_path / "run" / "curves.parquet")
    text, (tab,) = page(capsys, str(tmp_path / "run"))
    assert tab["data"]["curves"]["loss"] == [2.3, 2.1] and len(tab["charts"]["curves"]["hconcat"]) == 2
    assert "<h2>Training of the supernet</h2>" in text
    said, texts = drawn(capsys, str(tmp_path / "run"))
    assert "the losses" in said and "nasbench201, plain, seed 0" in texts


# --- searches --------------------------------------------------------------------------------------------------------


def test_a_search_shows_the_best_so_far(tmp_path, capsys, no_javascript):
    result = {"arch": ARCHS[0], "scores": {"acc": 93.5, "params": 1e6}, "rounds": [{"scored": 10, "best acc": 93.5}]}
    text, (tab,) = page(capsys, searched(tmp_path / "run", result=result))
    data = tab["data"]
    assert data["best"]["n"] == list(range(1, N + 1))
    values = np.array(data["evaluated"]["s0"])
    assert data["best"]["s0"] == pytest.approx(np.maximum.accumulate(values))
    assert data["best"]["seconds"][::10] == [0.5, 1.0, 1.5, 2.0]
    assert data["band"]["n"] == [] and sorted(data["rows"]["arch"]) == sorted(ARCHS)
    assert "<h2>Rounds of" in text and "1,000,000" in text
    assert COMMAND in text


def test_seeds_of_a_search_are_a_band(tmp_path, capsys, no_javascript):
    runs_ = [searched(tmp_path / f"seed{seed}", seed) for seed in (0, 1)]
    _, (tab,) = page(capsys, *runs_, searched(tmp_path / "other", method="local"))
    band = tab["data"]["band"]
    assert band["run"] == ["random"] * N + ["local"] * N
    assert all(low <= mean <= high for low, mean, high in zip(band["low"], band["mean"], band["high"], strict=True))
    assert any(low < high for low, high in zip(band["low"][:N], band["high"][:N], strict=True))


def test_two_objectives_have_a_front_in_steps_and_limits(tmp_path, capsys, no_javascript):
    text, (tab,) = page(capsys, searched(tmp_path / "run", two=True))
    front, spec = tab["data"]["front"], tab["charts"]["front"]
    assert front["s0"] == sorted(front["s0"]) and front["s1"] == sorted(front["s1"])  # more accurate is slower
    assert max(front["s1"]) <= 5
    assert spec["layer"][1]["mark"]["interpolate"] == "step-before"
    (rule,) = [layer for layer in spec["layer"] if layer["mark"]["type"] == "rule"]
    assert rule["data"]["values"] == [{"limit": 5.0, "of": "latency at most"}]
    assert "with latency at most 5" in text and "unfinished" in text


def test_pruning_shows_the_operations_that_live(tmp_path, capsys, no_javascript):
    net = SPACE.supernet
    first = np.ones((6, 5), bool)
    first[:, list(net.banned)] = False
    last = np.eye(5, dtype=bool)[[1, 2, 3, 4, 1, 2]]
    result = {"arch": ARCHS[0], "scores": {}, "rounds": [{"mask": last.astype(int).tolist(), "pruned": []}]}
    run = searched(tmp_path / "run", method="prune", asked=np.stack([first, last]), result=result)
    text, (tab,) = page(capsys, run)
    live = tab["data"]["live0"]
    assert live["round"] == [0] * 6 + [1] * 6 and live["count"] == [4] * 6 + [1] * 6
    assert live["live"][6:8] == ["skip_connect", "nor_conv_1x1"]
    assert "<h2>Best so far</h2>" not in text and tab["data"]["rows"]["arch"] == []


@pytest.mark.parametrize(
    ("values", "log"), [([1, 150], True), ([1, 50], False), ([-1, 500], False), ([], False), ([np.nan, 1, 1e5], True)]
)
def test_values_that_span_decades_get_a_logarithmic_axis(values, log):
    assert axes.spans_decades(np.array(values, float)) == log


# --- parts -----------------------------------------------------------------------------------------------------------


def example_specs():
    fields = [specs.Field(0, "ntk"), specs.Field(1, "#params")]
    objective = specs.Objective(fields[0], "ntk (lower is better)", (1.0, 200.0), True, {"ntk at most": 100.0})
    other = specs.Objective(fields[1], "#params (lower is better)", (0.0, 2.0), False, {})
    return {
        "panels": specs.panels(fields, specs.Axis("t", "acc", (80.0, 94.0)), 40, binned=False),
        "binned": specs.panels(fields[:1], specs.Axis("t", "acc", (80.0, 94.0), True), 40_000, binned=True),
        "best": specs.best(objective, several=True),
        "front": specs.front(objective, other, higher=False),
    }


def test_specifications_are_those_that_were_looked_at(request):
    path = request.config.rootpath / "tests" / "golden" / GOLDEN
    assert example_specs() == json.loads(path.read_text())


def test_charts_name_data_that_the_page_has(tmp_path, table, capsys, no_javascript):
    _, (tab,) = page(capsys, scored(tmp_path / "run"), "--table", table, "--target", "acc")
    for name, spec in tab["charts"].items():
        named = set(re.findall(r'"data": {"name": "(\w+)"}', json.dumps(spec)))
        assert named and named <= tab["data"].keys(), name
        fields = set(re.findall(r'"field": "([sr]\d+|t)"', json.dumps(spec)))
        assert fields <= tab["data"]["rows"].keys(), name


@pytest.mark.parametrize("name", ["nasbench201", "nasbench101", "darts", "transnas101_micro", "nasbench_macro"])
def test_cells_are_drawn_as_they_are(name):
    space = spaces.get(name)
    archs = np.stack([space.encode(space.example)])
    key, (text,) = cells.drawing(space, archs)
    if "edges" in key:
        assert [cells.DIGITS.index(digit) for digit in text] == archs[0].tolist()
        return
    graphs = space.graph_code.encode(archs)
    for ops, edges, cell in zip(graphs.ops[0], graphs.edges[0], text.split("|"), strict=True):
        nodes, bits = cell.split(":")
        assert [cells.DIGITS.index(digit) for digit in nodes] == ops[: len(nodes)].tolist()
        own = np.unpackbits(np.frombuffer(bytes.fromhex(bits), np.uint8))
        np.testing.assert_array_equal(own[: len(edges)], edges)


def test_spaces_without_cells_are_not_drawn():
    space = spaces.get("resnet")
    assert cells.drawing(space, space.encode(space.example)[None]) == (None, [None])


def test_numbers_of_the_page():
    assert short(np.array([1.23456789, 1288506.0, np.nan, np.inf, -0.0])) == [1.2346, 1288506, None, None, 0]


def test_sections_and_scripts_are_escaped():
    tab = Tab("<a>", "<b>", [Section("<c>", "", {"<d>": {}}), Section("")], {"rows": {"arch": ["<e>"]}})
    text = document.document([tab], command="<f>", bundle="'</script>'")
    assert not re.search(r"<[b-f]>", text) and "<a>" not in text
    assert text.count("</script>") == 3


def test_commands_of_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--method", "random", "--budget", "3", "--scorers", "params", "--out", "a run"]
    assert main(["search", *words]) == 0
    assert (
        read_run("a run").manifest["command"]
        == "jaxnas search --method random --budget 3 --scorers params --out 'a run'"
    )
    assert "--out &#x27;a run&#x27;" in redo.redo([read_run("a run")]).body


@pytest.mark.parametrize("first", ["single", "front"])
def test_searches_with_different_objectives(tmp_path, first):
    one, other = searched(tmp_path / "one", two=first == "front"), searched(tmp_path / "two", two=first != "front")
    found = search.tab([read_run(one), read_run(other)])
    assert [section.title for section in found.sections if section.charts] == ["Best so far", "Front"]


# --- figures ---------------------------------------------------------------------------------------------------------


def drawn(capsys, *words, out="figure.svg"):
    """What the command says of a figure, and its words."""
    capsys.readouterr()
    assert main(["report", *words, "--out", out, "--bootstrap", "20"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{out}: ")
    with open(out, encoding="utf-8") as file:
        return said, re.findall(r"<!-- (.*?) -->", file.read())


def test_a_figure_of_scores(tmp_path, table, capsys):
    words = [scored(tmp_path / "run"), "--table", table, "--target", "acc"]
    said, texts = drawn(capsys, *words)
    assert "acc against the ranks by each score" in said
    assert f"nasbench201, seed 0, n = {N}" in texts and "Kendall tau, 95 % bootstrap interval" in texts
    assert main(["report", *words, "--out", "figure.pdf", "--bootstrap", "20"]) == 0
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


def test_a_figure_of_searches(tmp_path, capsys):
    runs = [searched(tmp_path / f"seed{seed}", seed, two=True) for seed in (0, 1)]
    said, texts = drawn(capsys, *runs, searched(tmp_path / "other", method="local", two=True))
    assert "best so far, front" in said
    assert f"nasbench201, random, local, seeds 0, 1, n = {3 * N}" in texts
    assert {"acc (higher is better)", "latency (lower is better)", "random", "local"} <= set(texts)
    assert texts.count("architectures evaluated") == 2
    searched(tmp_path / "pruned", method="prune")
    assert "prune compares within its rounds alone" in refused(capsys, "pruned", "--out", "figure.png")
    scored(tmp_path / "run")
    assert "here are search on nasbench201, score on nasbench201" in refused(capsys, "pruned", "run", "--out", "a.png")


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "missing: DIR"),
        (["nowhere"], "nowhere is not a directory"),
        (["run", "--table", "acc.csv"], "--table and --target go together"),
        (["run", "--target", "acc"], "--table and --target go together"),
        (["run", "--out", "page.txt"], "ends in .html, .png, .pdf, .svg"),
        (["run", "--out", "page.pdf"], "a figure shows scores against a target; say --table FILE --target COLUMN"),
        (["run", "table:nasbench201", "run", "--out", "no/page.pdf"], "no directory no"),
        (["run", "--out", "no/page.html"], "no directory no"),
        (["run", "--bootstrap", "0"], "at least 1"),
        (["run", "--table", "acc.csv", "--target", "ac"], "did you mean 'acc'"),
        (["table:nothing"], "unknown table 'nothing'"),
    ],
)
def test_bad_input_is_one_line(tmp_path, table, capsys, no_javascript, words, says):
    scored(tmp_path / "run")
    assert says in refused(capsys, *words)


def test_directories_of_other_commands_are_refused(tmp_path, capsys, no_javascript):
    Store.open(tmp_path / "run", {"settings": {"space": "nasbench201"}, "part_size": 1}).write(
        0, pl.DataFrame({"row": [0]})
    )
    assert "give directories of jaxnas score, search, predict or supernet" in refused(capsys, "run")


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path, capsys, monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    scored(tmp_path / "run")
    monkeypatch.setattr(importlib.metadata, "version", version)
    assert "pip install 'jaxnas[report]'" in refused(capsys, "run")


def test_the_javascript_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setattr(javascript, "version", lambda: "7")
    kept = tmp_path / "cache" / "charts" / "vega-7.js"
    kept.parent.mkdir(parents=True)
    kept.write_text("kept")
    assert javascript.bundle() == "kept"


# --- in a browser ----------------------------------------------------------------------------------------------------

WATCH = """<script>
window.problems = [];
window.addEventListener("error", (event) => problems.push(event.message));
console.error = console.warn = (...words) => problems.push(words.join(" "));
</script>"""
DRIVE = """<script>
(async () => {
  const { views, table } = await jaxnas.ready;
  const rows = () => table.csv().split("\\n").length - 2;
  const found = { before: rows(), charts: document.querySelectorAll(".chart canvas").length };
  const canvas = document.querySelector('[data-chart="ranks"] canvas');
  const box = canvas.getBoundingClientRect();
  const pointer = async (kind, x, y) => {
    const at = { clientX: box.left + x, clientY: box.top + y, bubbles: true, cancelable: true, buttons: 1 };
    canvas.dispatchEvent(new PointerEvent("pointer" + kind, at));
    await new Promise((done) => setTimeout(done, 50));
  };
  const way = [["move", 180, 60], ["down", 180, 60], ["move", 220, 120], ["move", 260, 147], ["up", 260, 147]];
  for (const [kind, x, y] of way) await pointer(kind, x, y);
  found.brushed = rows();
  found.signal = views.ranks.signal("brush");
  document.querySelector("[data-part=table] tbody tr").dispatchEvent(new MouseEvent("mouseenter"));
  found.graphs = document.querySelectorAll("[data-part=cell] svg.graph").length;
  found.images = document.querySelectorAll("img").length;
  found.problems = problems;
  document.body.setAttribute("data-found", JSON.stringify(found));
})();
</script>"""


@pytest.mark.slow
def test_the_page_works_in_a_browser_without_a_network(tmp_path, table, capsys):
    pytest.importorskip("vl_convert", reason="needs the extra `report`")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs Chromium")
    text, _ = page(capsys, scored(tmp_path / "run"), "--table", table, "--target", NASTY)
    path = tmp_path / "driven.html"
    start, end = text.index("<header>"), text.rindex("</body>")
    path.write_text(text[:start] + WATCH + text[start:end] + DRIVE + text[end:], encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
               "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000", "--dump-dom"]  # fmt: skip
    done = subprocess.run([browser, *options, path.as_uri()], capture_output=True, text=True, check=True, timeout=300)
    (found,) = re.findall(r'data-found="([^"]*)"', done.stdout)
    told = json.loads(html.unescape(found))
    assert told["problems"] == [] and told["charts"] == 6
    assert told["before"] == N and 0 < told["brushed"] < N, told
    assert told["graphs"] == 1 and told["images"] == 0
