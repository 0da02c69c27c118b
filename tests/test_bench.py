"""The bench measures what it says: on fake cases, so quickly and without PyTorch."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from matplotlib.image import imread

from jaxnas.evaluate import devices

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "bench" / "results").glob("*.json"))
TIMES = {"seconds", "seconds_per_arch", "archs_per_second", "peak_rss_bytes", "peak_device_bytes", "competitors"}
ABOUT = {"case", "kind", "command", "created", "machine", "versions", "rounds"}
FIELDS = {
    "scorer": TIMES
    | {"dtype", "archs", "batch", "mode", "repeats", "rounds", "settings"}
    | {"flops_per_arch", "flops_counted_as", "bytes_per_arch", "bytes_counted_as"}
    | {"ceilings", "floor_seconds_per_arch", "floor_bound_by", "share_of_floor"},
    "command": {"rounds", "command_line", "networks", "seconds", "networks_per_second", "peak_rss_bytes"},
    "curves": {"rounds", "settings", "by_archs", "by_batch", "breakdown"},
    "transfer": {"target", "sources", "scores", "source_labels", "test", "figures", "seconds"},
    "spaces": {"results"},
}
MODULES = {  # names in these tests
    **{name: f"core.{name}" for name in ("harness", "machine", "case", "commands", "curves", "plots", "tables")},
    **{name: f"scorers.{name}" for name in ("ceilings", "counts")},
    "scorers": "scorers.case",
    "cases": "cases",
}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of `bench`, which is not installed."""
    monkeypatch.syspath_prepend(ROOT)
    modules = {name: importlib.import_module(f"bench.{module}") for name, module in MODULES.items()}
    return SimpleNamespace(**modules, main=importlib.import_module("bench.__main__"))


@pytest.fixture
def clock(bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that only the code under test moves."""
    clock = SimpleNamespace(now=0.0)
    fake_time = SimpleNamespace(perf_counter=lambda: clock.now, time=lambda: clock.now)
    for module in (bench.harness, bench.curves):
        monkeypatch.setattr(module, "time", fake_time)
    return clock


def fake(harness: ModuleType, clock: SimpleNamespace, calls: list[str], seconds: dict[str, list[float]]) -> Any:
    """A workload of two architectures that notes its calls and moves the clock by `seconds[name]`, in turn."""
    later = {name: iter(values) for name, values in seconds.items()}

    def call(name: str) -> Any:
        def run(_: Any) -> None:
            calls.append(name)
            clock.now += next(later[name])

        return run

    return harness.Workload([0, 1], lambda: call("ours"), lambda: {n: call(n) for n in seconds if n != "ours"})


def record_of(kind: str, figures: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A record as `python -m bench` writes it, on a fake machine."""
    host = {"backend": "cpu", "device": "cpu", "devices": 2, "processor": "x", "cpus": 2, "load_average": 0.0}
    about = {"case": "c", "kind": kind, "command": "", "created": "2001-01-01", "machine": host}
    return {**about, "versions": {"jax": "1"}, "rounds": 1, **figures, **changes}


def tiny_scorer(bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a quick case with a competitor that is not installed, and make the ceilings quick too."""
    monkeypatch.setattr(bench.scorers, "installed", lambda package: None)
    monkeypatch.setattr(bench.ceilings, "SIDE", 16)
    monkeypatch.setattr(bench.ceilings, "STREAM_BYTES", 2**12)
    scorer = bench.cases.Regions(batches=1, samples=4)
    return bench.scorers.ScorerCase("tiny", "", scorer, 2, {"loop": lambda *_: 0}, rounds=1)


# the harness


def test_ours_and_theirs_take_turns(bench, clock):
    calls: list[str] = []
    work = fake(bench.harness, clock, calls, {"ours": [9, 1, 1, 1] * 3, "a": [5] + [3, 4] * 3, "b": [0] * 7})
    bench.harness.measure(work, rounds=3)
    cycle = ["ours"] * 4 + ["a", "a", "b", "b"]
    assert calls == [*cycle[:4], "a", "b", *cycle[4:], *cycle, *cycle]


def test_medians_and_ratios(bench, clock):
    ours = [9, 1, 0, 6, 7, 4, 9, 3, 8, 2, 2, 5]
    work = fake(bench.harness, clock, [], {"ours": ours, "a": [50, 5, 5, 10, 10, 30, 30]})
    record = bench.harness.measure(work, rounds=3)
    assert set(record) == TIMES
    assert record["seconds"]["run"] == {"median": 2, "min": 1, "max": 4}
    assert record["seconds"]["total"] == {"median": 8, "min": 7, "max": 9}
    assert record["seconds_per_arch"]["median"] == 1
    assert record["archs_per_second"] == 1
    assert record["competitors"]["a"]["seconds_per_arch"] == {"median": 10, "min": 5, "max": 30}
    assert record["competitors"]["a"]["ratio"] == {"of_medians": 10, "min": 5, "max": 30}


def test_without_competitor(bench, clock):
    record = bench.harness.measure(fake(bench.harness, clock, [], {"ours": [1] * 4}), rounds=1)
    assert record["competitors"] is None


def test_every_round_compiles_anew(bench):
    def ours() -> Any:
        return jax.jit(lambda x: jnp.sin(x) @ jnp.cos(x))

    work = bench.harness.Workload(np.ones((3, 3), np.float32), ours, dict)
    for _ in range(2):
        found = bench.harness.time_ours(work)
        assert min(found["lower"], found["compile"], found["run"]) > 0
        assert found["lower"] + found["compile"] < found["total"] * 1.01


def test_nested_spans_count_once(bench):
    assert bench.harness.covered([(0, 4), (1, 2), (3, 6), (8, 9)]) == 7
    assert bench.harness.covered([]) == 0


def test_command_is_timed_with_its_memory_and_cache(bench, tmp_path):
    size, own = 2**29, bench.machine.peak_memory()["peak_rss_bytes"]
    program = (
        "import os, sys; assert os.environ['JAX_COMPILATION_CACHE_DIR'] == sys.argv[1]\n"
        f"block = bytearray({size})\nfor i in range(0, {size}, 4096): block[i] = 1"
    )
    child = bench.harness.time_command([sys.executable, "-c", program, str(tmp_path)], cache=tmp_path)
    assert 0 < child.seconds < 60
    assert size < child.peak_rss_bytes < max(size, own) + 2**28


def test_failed_command_is_an_error_with_its_last_words(bench, tmp_path):
    with pytest.raises(bench.harness.UserError, match="exit code 3: alas"):
        bench.harness.time_command([sys.executable, "-c", "print('alas'); raise SystemExit(3)"], cache=tmp_path)


# counts, ceilings, floor


def test_flops_of_the_regression_are_those_of_the_issue(bench):
    space, archs = bench.scorers.SPACE, bench.scorers.sample(2000)
    assert bench.counts.flops(space, bench.cases.Regression(fidelity="published"), archs) == pytest.approx(
        530e9, rel=0.1
    )


def test_bytes_of_the_regions(bench):
    archs = np.array([[3] * 6, [0] * 6])  # all nor_conv_3x3; all none
    nodes_and_head, edges = 3 * 9 + 9, 6 * 9  # of one-channel 3x3 images
    each = [4 * 3000 * (nodes_and_head + edges), 4 * 3000 * nodes_and_head]
    moved = [bench.counts.moved(bench.scorers.SPACE, bench.cases.Regions(), arch[None]) for arch in archs]
    assert moved == each
    assert bench.counts.moved(bench.scorers.SPACE, bench.cases.Regions(), archs) == np.mean(each)


def test_bytes_of_the_ntk(bench):
    large, middle, small = (3 * 32 * 32 // 2**k for k in range(3))
    tensors = large + middle + small
    written = large + 3 * tensors + 2 * (middle + small)  # stem, three nodes per cell, two per reduction
    taken = large + (2 * large + middle) + (2 * middle + small) + small  # by stem, reductions, head
    for op, read, kept in ((0, 0, 0), (1, 6 * tensors, 0), (3, 6 * tensors, 6 * tensors)):
        archs = np.full((1, 6), op)
        exact, frozen = (
            bench.counts.moved(bench.scorers.SPACE, bench.cases.NTK(bn=bn, images=5), archs)
            for bn in ("batch", "frozen")
        )
        assert frozen == 4 * 5 * (2 * (written + taken + read) + taken + kept)
        assert exact == 4 * 5 * (6 * (written + taken + read) + taken + kept)


def test_ceilings_are_work_over_time(bench, monkeypatch):
    times = iter([100, 100, 4, 2, 1, 4, 4] * 2)

    def seconds(function: Any) -> float:
        jax.block_until_ready(function())
        return next(times)

    monkeypatch.setattr(bench.harness, "seconds", seconds)
    monkeypatch.setattr(bench.ceilings, "SIDE", 8)
    monkeypatch.setattr(bench.ceilings, "STREAM_BYTES", 2**12)
    found, count = bench.ceilings.measure("highest"), len(jax.devices())
    work, moved = count * 2 * 8**3, 2 * count * (2**12 // count // 4) * 4
    assert found["flops_per_second"] == {"median": work / 4, "min": work / 4, "max": work}
    assert found["bytes_per_second"] == {"median": moved / 4, "min": moved / 4, "max": moved}


def test_floor_is_the_larger_of_arithmetic_and_memory(bench):
    rates = {"flops_per_second": {"median": 10.0}, "bytes_per_second": {"median": 5.0}}
    floor = bench.ceilings.floor
    assert floor(20, 5, rates) == {"floor_seconds_per_arch": 2, "floor_bound_by": "arithmetic"}
    assert floor(20, 15, rates) == {"floor_seconds_per_arch": 3, "floor_bound_by": "memory"}


# scorers


def test_sample_is_fixed_and_connected(bench):
    archs = bench.scorers.sample(40)
    assert archs.shape == (40, 6)
    assert not bench.scorers.SPACE.is_disconnected(archs).any()
    np.testing.assert_array_equal(bench.scorers.sample(3), archs[:3])


def test_record_of_a_scorer_and_its_rows(bench, monkeypatch, capsys):
    figures = bench.scorers.figures(tiny_scorer(bench, monkeypatch))
    assert set(figures) == FIELDS["scorer"]
    assert json.loads(json.dumps(figures)) == figures
    assert figures["competitors"] is None
    assert "torch is not installed" in capsys.readouterr().err
    share = figures["floor_seconds_per_arch"] / figures["seconds_per_arch"]["median"]
    assert figures["share_of_floor"] == pytest.approx(share)
    for name in ("speed", "floor"):
        *_, row = bench.tables.markdown(bench.tables.TABLES[name], [record_of("scorer", figures)]).splitlines()
        assert row.startswith("| c | x, 2 CPUs | ")
        assert row.count("|") == bench.tables.TABLES[name].header.count("|") + 2


# command lines


def test_command_runs_cold_then_warm(bench, monkeypatch):
    """Each round has a cache of its own, empty at first and shared by its runs; each run writes elsewhere."""
    seen: list[tuple[list[str], Path, bool]] = []
    times = iter([9.0, 3.0, 8.0, 2.0, 10.0, 1.0])

    def time_command(argv: list[str], *, cache: Path) -> Any:
        seen.append((argv, cache, not any(cache.iterdir())))
        (cache / "program").touch()
        out = Path(argv[-1])
        out.mkdir()
        for part in ("a", "b"):
            pl.DataFrame({"row": [0, 1, 2]}).write_parquet(out / f"{part}.parquet")
        return bench.harness.Child(next(times), 100 + len(seen))

    monkeypatch.setattr(bench.harness, "time_command", time_command)
    case = bench.commands.CommandCase("c", "", "m", ("--x", "1"), "all", ("cold", "warm"), rounds=3)
    figures = case.adapted(bench.case.Options(archs=7)).run()
    assert set(figures) == FIELDS["command"]
    assert figures["seconds"]["cold"] == {"median": 9, "min": 8, "max": 10}
    assert figures["seconds"]["warm"] == {"median": 2, "min": 1, "max": 3}
    assert figures["networks"] == 6
    assert figures["networks_per_second"] == 6 / 9
    assert figures["peak_rss_bytes"] == 106
    assert figures["command_line"] == "python -m m --x 1 --archs random:7 --out DIR"
    assert [empty for *_, empty in seen] == [True, False] * 3
    assert len({cache for _, cache, _ in seen}) == 3
    assert len({argv[-1] for argv, *_ in seen}) == 6
    *_, row = bench.tables.markdown(bench.tables.TABLES["whole"], [record_of("command", figures)]).splitlines()
    assert "| 6 | 9 (8 to 10) | 2 (1 to 3) | 0.667 |" in row
    assert row.count("|") == bench.tables.TABLES["whole"].header.count("|") + 2


def test_search_is_not_shortened(bench):
    options = bench.case.Options(archs=7, rounds=2)
    case = bench.cases.PRUNE_FROZEN.adapted(options)
    assert case.argv(Path("d")) == ["jaxnas.search", *bench.cases.PRUNING, "--out", "d"]
    assert case.arguments() == "--rounds 2"
    assert bench.cases.SPACE_FROZEN.adapted(options).arguments() == "--archs 7 --rounds 2"


# curves


def test_curves_of_a_tiny_scorer(bench):
    scorers = {"regions": bench.cases.Regions(batches=1, samples=4)}
    case = bench.curves.CurveCase("c", "", scorers, bench.cases.SPACE_FROZEN, sizes=(3,), batches=(4,), rounds=1)
    by_archs, by_batch = bench.curves.by_archs(case), bench.curves.by_batch(case)
    assert [point["archs"] for point in by_archs["regions"]] == [3]
    assert all(p["total"] > p["compile"] + p["lower"] > 0 for p in by_archs["regions"])
    (point,) = by_batch["regions"]
    assert point["archs"] >= bench.curves.FEW
    assert point["archs"] % (4 * len(devices.shared(jax.devices()))) == 0


def test_representatives_are_the_classes_of_the_whole_space(bench):
    archs = bench.curves.representatives()
    assert len(archs) == bench.cases.CASES["curves"].sizes[-1]
    assert not bench.scorers.SPACE.is_disconnected(archs).any()


def test_shared_moments_count_for_the_first_task(bench):
    spans = {"inner": [(2, 3), (5, 7)], "outer": [(1, 4), (6, 8)], "none": [], "all": [(0, 10)]}
    assert bench.curves.attributed(spans) == {"inner": 3, "outer": 3, "none": 0, "all": 4}


def test_timers_see_calls_and_the_functions_they_return(bench, clock):
    class Worker:
        def launch(self, seconds: float) -> Any:
            clock.now += seconds
            return self.wait

        def wait(self) -> str:
            clock.now += 10
            return "done"

    with bench.curves.timers({"work": [(Worker, "launch")]}) as spans:
        wait = Worker().launch(1)
        clock.now += 100
        assert wait() == "done"
    Worker().launch(1000)
    assert spans == {"work": [(0, 1), (101, 111)]}


def test_timed_methods_exist(bench):
    with bench.curves.timers(bench.curves.TIMED) as spans:
        assert list(spans) == list(bench.curves.TIMED)


def test_figure_has_every_task_and_curve(bench, tmp_path):
    spread = {"median": 0.2, "min": 0.1, "max": 0.3}
    tasks = dict.fromkeys(bench.plots.BARS, 1.0)
    figures = {
        "by_archs": {"ntk": [{"archs": n, "lower": 1.0, "compile": 2.0, "total": 4.0} for n in (10, 100)]},
        "by_batch": {"ntk": [{"batch": n, "archs": 64, "seconds_per_arch": spread} for n in (1, 2)]},
        "breakdown": {"command_line": "python -m x", "seconds": tasks},
    }
    bench.plots.draw(record_of("curves", figures), tmp_path / "curves.png")
    image = (255 * imread(tmp_path / "curves.png")[..., :3]).round().astype(int)
    drawn = {f"#{color:06x}" for color in np.unique(image @ [2**16, 2**8, 1])}
    assert image.shape[1] == 1200
    assert {color for _, color in bench.plots.BARS.values()} <= drawn


def test_tasks_have_a_place_in_the_bar(bench):
    measured = {"start, imports", "lower", "compile", *bench.curves.TIMED, "other"}
    assert measured == set(bench.plots.BARS)


# the command, the tables


def test_table_has_a_row_for_each_competitor(bench, clock):
    work = fake(bench.harness, clock, [], {"ours": [1] * 4, "a": [1] * 3, "b": [4] * 3})
    record = record_of("scorer", bench.harness.measure(work, rounds=1), archs=2)
    rows = bench.tables.markdown(bench.tables.TABLES["speed"], [record]).splitlines()[2:]
    assert len(rows) == 2
    assert "| b | 4000 | 8x (8 to 8) |" in rows[1]


def test_newest_record_of_each_case_and_device_counts(bench, tmp_path):
    gpu = {"device": "gpu"}
    for name, changes in {
        "old": {"created": "2001"},
        "new": {"created": "2002"},
        "other": {"case": "a"},
        "gpu": {"machine": gpu},
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(record_of("scorer", {}, **changes)))
    assert [path.stem for path in bench.tables.read(tmp_path)] == ["other", "new", "gpu"]


def test_readme_has_the_tables_of_the_results(bench):
    text = (ROOT / "bench" / "README.md").read_text()
    for name, block in bench.tables.blocks(bench.tables.read(ROOT / "bench" / "results")).items():
        assert f"<!-- {name} -->\n{block}<!-- end of {name} -->" in text, "run python -m bench --table"


def test_results_are_records():
    for path in RESULTS:
        record = json.loads(path.read_text())
        kind = record["kind"]
        assert set(record) == FIELDS[kind] | (ABOUT - {"rounds"} if kind in ("transfer", "spaces") else ABOUT), path


def test_tables_replace_only_themselves(bench, tmp_path):
    readme, names = tmp_path / "README.md", [*bench.tables.TABLES, "curves"]
    readme.write_text("before\n" + "".join(f"<!-- {n} -->\nold\n<!-- end of {n} -->\nafter {n}\n" for n in names))
    bench.tables.write(readme, tmp_path)
    new = bench.tables.blocks({})
    assert readme.read_text() == "before\n" + "".join(
        f"<!-- {n} -->\n{new[n]}<!-- end of {n} -->\nafter {n}\n" for n in names
    )


def test_record_says_what_it_is_and_how_to_repeat_it(bench, monkeypatch, tmp_path):
    monkeypatch.setattr(bench.harness, "in_new_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(bench.commands.CommandCase, "run", lambda case: {"found": case.archs})
    assert bench.main.main(["space_exact", "--archs", "3", "--rounds", "2", "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.iterdir()
    record = json.loads(path.read_text())
    assert set(record) == ABOUT - {"rounds"} | {"found"}
    assert record["command"] == "python -m bench space_exact --archs 3 --rounds 2"
    assert record["found"] == "random:3"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["region"], "did you mean 'regions'"),
        (["regions", "--rounds", "0"], "at least 1"),
        (["curves", "--batches", "4", "0"], "at least 1"),
        (["regions", "prune_frozen", "--out", "one.json"], "give a directory"),
        (["regression", "--steps", "0"], "at least 2 images and 1 step"),
    ],
)
def test_bad_input(bench, capsys, arguments, message):
    assert bench.main.main(arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_command_lists_the_cases(bench):
    done = subprocess.run([sys.executable, "-m", "bench"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(bench.cases.CASES)
