"""Rank statistics against brute force and SciPy; the command's output, figures and errors."""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.stats

from jaxnas import cli, correlate, ranks
from jaxnas.correlate import main
from jaxnas.errors import UserError
from jaxnas.store import Store

N = 40
SCORERS = {"ntk": {"sign": -1}, "regions": {"sign": 1}, "constant": {"sign": 1}}


# --- statistics ------------------------------------------------------------------------------------------------------


def brute_force_tau(x, y):
    concordant = discordant = tied_x = tied_y = 0
    for i, j in itertools.combinations(range(len(x)), 2):
        a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
        concordant += a * b > 0
        discordant += a * b < 0
        tied_x += a == 0
        tied_y += b == 0
    pairs = len(x) * (len(x) - 1) // 2
    scale = math.sqrt((pairs - tied_x) * (pairs - tied_y))
    return (concordant - discordant) / scale if scale else math.nan


def brute_force_rho(x, y):
    def rank(values):
        return [sum(v < u for v in values) + (sum(v == u for v in values) + 1) / 2 for u in values]

    return np.corrcoef(rank(x), rank(y))[0, 1]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("levels", [2, 4, 1000])
def test_correlations_match_brute_force_on_resamples_with_ties(seed, levels):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(9, 20))
    x, y = (ranks.ordering(rng.integers(levels, size=n)) for _ in range(2))
    counts = np.bincount(rng.integers(n, size=n), minlength=n)
    drawn = np.repeat(np.arange(n), counts)
    tau = ranks.KendallTau(x, y)
    np.testing.assert_allclose(tau(), brute_force_tau(x, y), atol=1e-12)
    np.testing.assert_allclose(tau(counts), brute_force_tau(x[drawn], y[drawn]), atol=1e-12)
    np.testing.assert_allclose(ranks.spearman_rho(x, y), brute_force_rho(x, y), atol=1e-12)
    np.testing.assert_allclose(ranks.spearman_rho(x, y, counts), brute_force_rho(x[drawn], y[drawn]), atol=1e-12)


def test_correlations_match_scipy_on_many_rows():
    rng = np.random.default_rng(0)
    a = rng.normal(size=5000)
    b = np.round(a + rng.normal(size=5000), 1)
    x, y = ranks.ordering(a), ranks.ordering(b)
    np.testing.assert_allclose(ranks.KendallTau(x, y)(), scipy.stats.kendalltau(a, b)[0], rtol=1e-12)
    np.testing.assert_allclose(ranks.spearman_rho(x, y), scipy.stats.spearmanr(a, b)[0], rtol=1e-12)


def test_known_values():
    up, down = np.arange(10), np.arange(10)[::-1].copy()
    assert ranks.spearman_rho(up, up) == ranks.KendallTau(up, up)() == 1
    assert ranks.spearman_rho(up, down) == ranks.KendallTau(up, down)() == -1
    x, y = np.array([0, 1, 2, 3]), np.array([0, 2, 1, 3])
    assert ranks.KendallTau(x, y)() == pytest.approx(4 / 6)
    assert ranks.spearman_rho(x, y) == pytest.approx(1 - 6 * 2 / (4 * 15))


def test_constant_is_undefined():
    flat, up = np.zeros(5, np.int64), np.arange(5)
    for x, y in [(flat, up), (up, flat), (flat, flat), (up[:1], up[:1])]:
        assert math.isnan(ranks.spearman_rho(x, y)) and math.isnan(ranks.KendallTau(x, y)())


def test_failures_rank_worst_and_tied():
    values = [3.0, math.nan, 1.0, math.inf, 3.0]
    assert ranks.ordering(values).tolist() == [2, 0, 1, 0, 2]
    assert ranks.ordering(values, sign=-1).tolist() == [1, 0, 2, 0, 1]


def test_partial_correlation_is_that_of_the_residuals():
    rng = np.random.default_rng(1)
    z = rng.normal(size=200)
    x, y = z + rng.normal(size=200), z + rng.normal(size=200)
    a, b, c = (scipy.stats.rankdata(v) for v in (x, y, z))
    expected = np.corrcoef(a - np.polyval(np.polyfit(c, a, 1), c), b - np.polyval(np.polyfit(c, b, 1), c))[0, 1]
    assert ranks.partial_rho(*map(ranks.ordering, (x, y, z))) == pytest.approx(expected)
    assert math.isnan(ranks.partial_rho(*map(ranks.ordering, (z, y, 2 * z))))


def test_top_tenth_is_by_target():
    target = np.arange(100)
    score = np.concatenate([np.arange(90), np.arange(100, 90, -1)])
    assert ranks.top_rho(ranks.ordering(score), target) == pytest.approx(-1)


def test_bootstrap_is_reproducible():
    rng = np.random.default_rng(0)
    x, y = (ranks.ordering(rng.normal(size=30)) for _ in range(2))

    def interval(seed):
        return ranks.bootstrap_intervals([ranks.KendallTau(x, y)], 30, resamples=50, seed=seed)

    assert interval(0) == interval(0) != interval(1)


def test_bootstrap_covers_the_population_tau():
    rng, correlation, n, trials = np.random.default_rng(0), 0.6, 60, 60
    truth = 2 / math.pi * math.asin(correlation)  # of a bivariate normal: Kruskal 1958, JASA 53:814
    hits = 0
    for trial in range(trials):
        a, b = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], size=n).T
        tau = ranks.KendallTau(ranks.ordering(a), ranks.ordering(b))
        ((low, high),) = ranks.bootstrap_intervals([tau], n, resamples=150, seed=trial)
        hits += low <= truth <= high
    assert hits / trials >= 0.85


# --- the command -----------------------------------------------------------------------------------------------------


def table_and_scores():
    rng = np.random.default_rng(0)
    accuracy = rng.uniform(80, 94, N)
    ntk = np.exp(-accuracy / 5 + rng.normal(size=N) / 4).tolist()
    ntk[int(np.argmin(accuracy))] = None
    arch = [f"|op{i}~0|" for i in range(N)]
    table = pl.DataFrame({"arch_str": arch, "c10_test_200": accuracy, "c10_test_12": accuracy - 20})
    scores = {"row": range(N), "arch": arch, "ntk": ntk, "regions": np.round(accuracy / 4), "constant": [1.0] * N}
    baselines = {"params": rng.integers(100, size=N), "flops": rng.integers(100, size=N)}
    return table, pl.DataFrame(scores | baselines)


def write_scores(path, frame, scorers=SCORERS):
    store = Store.open(path, {"settings": {}, "part_size": N, "scorers": scorers})
    store.write(0, frame)
    return str(path)


@pytest.fixture
def files(tmp_path):
    table, scores = table_and_scores()
    table.write_parquet(tmp_path / "table.parquet")
    return write_scores(tmp_path / "run", scores), str(tmp_path / "table.parquet")


def run(*arguments, target="c10_test_200"):
    return main([*arguments, "--target", target, "--bootstrap", "40"])


def result(capsys, *arguments):
    assert run(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_json_has_every_figure(files, capsys):
    report = result(capsys, *files)
    assert (report["scored"], report["compared"], report["target"]) == (N, N, "c10_test_200")
    assert list(report["scores"]) == ["ntk", "regions", "constant", "params", "flops"]
    ntk = report["scores"]["ntk"]
    low, high = ntk["kendall_interval"]
    assert 0 < low < ntk["kendall"] < high < 1
    assert (ntk["n"], ntk["failures"], ntk["top_ties"]) == (N, 1, 1)
    assert [report["scores"][name]["label"] for name in ("params", "flops")] == ["#params", "FLOPs"]
    assert report["scores"]["flops"]["partial_given_flops"] is None
    assert report == result(capsys, *files)


def test_constant_score_is_null_in_json_and_a_dash_in_the_table(files, capsys):
    constant = result(capsys, *files)["scores"]["constant"]
    assert constant["kendall"] is constant["spearman_interval"] is constant["partial_given_flops"] is None
    assert constant["top_ties"] == N
    run(*files)
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("constant")]
    assert row[1:5] == ["-"] * 4


def test_best_pick_is_the_mean_over_ties(files, capsys):
    table, scores = table_and_scores()
    best = scores["regions"] == scores["regions"].max()
    regions = result(capsys, *files)["scores"]["regions"]
    assert regions["top_ties"] == best.sum() > 1
    assert regions["top_target"] == pytest.approx(table["c10_test_200"].filter(best).mean())


def test_csv_in_another_order_gives_the_same_figures(files, tmp_path, capsys):
    table = pl.read_parquet(files[1]).rename({"arch_str": "arch"}).reverse()
    table.write_csv(tmp_path / "table.csv")
    expected = result(capsys, *files)["scores"]
    assert result(capsys, files[0], str(tmp_path / "table.csv"))["scores"] == expected


def test_rows_without_target_are_left_out(files, tmp_path, capsys):
    table = pl.read_parquet(files[1]).with_row_index()
    table = table.with_columns(pl.when(pl.col("index") >= 5).then("c10_test_200").alias("c10_test_200"))
    table.write_parquet(tmp_path / "gaps.parquet")
    report = result(capsys, files[0], str(tmp_path / "gaps.parquet"))
    assert (report["scored"], report["compared"]) == (N, N - 5)


def test_score_of_an_unfinished_run_is_left_out_with_a_note(files, tmp_path, capsys):
    scores = write_scores(tmp_path / "unfinished", table_and_scores()[1], SCORERS | {"te_nas": {"sign": -1}})
    assert run(scores, files[1], "--json") == 0
    captured = capsys.readouterr()
    assert "te_nas" not in json.loads(captured.out)["scores"]
    assert captured.err.count("\n") == 1 and "te_nas" in captured.err


def test_plot_is_written(files, tmp_path):
    assert run(*files, "--plot", str(tmp_path / "figure.png")) == 0
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_real_table(shared_data, tmp_path, capsys):
    path = shared_data / "nasbench201" / "accuracies.parquet"
    table = pl.read_parquet(path).head(300).with_row_index("row")
    scores = table.select("row", arch="arch_str", params="params_c10", flops="c10_mflops")
    report = result(capsys, write_scores(tmp_path / "run", scores, {}), str(path))
    expected = scipy.stats.kendalltau(table["params_c10"], table["c10_test_200"])[0]
    assert report["scores"]["params"]["kendall"] == pytest.approx(expected)


# --- bad input -------------------------------------------------------------------------------------------------------


def assert_one_line(capsys, *words):
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "Traceback" not in captured.err
    assert all(word in captured.err for word in words), captured.err


def cut(path: Path, source: str):
    path.write_bytes(Path(source).read_bytes()[:-100])


def without_arch(path, source):
    pl.read_parquet(source).drop("arch_str").write_parquet(path)


def with_duplicate(path, source):
    table = pl.read_parquet(source)
    pl.concat([table, table.head(1)]).write_parquet(path)


def of_another_space(path, source):
    pl.read_parquet(source).with_columns(arch_str=pl.col("arch_str") + "x").write_parquet(path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, ["truncated"]),
        (without_arch, ["no column", "arch_str", "c10_test_12"]),
        (with_duplicate, ["more than once", "|op0~0|"]),
        (of_another_space, ["no architecture in common", "|op0~0|"]),
    ],
)
def test_bad_table(files, tmp_path, capsys, damage, words):
    damage(tmp_path / "bad.parquet", files[1])
    assert run(files[0], str(tmp_path / "bad.parquet")) == 2
    assert_one_line(capsys, *words)


def test_unknown_target_names_the_nearest(files, capsys):
    assert run(*files, target="c10_test_20") == 2
    assert_one_line(capsys, "'c10_test_200'")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--bootstrap", "0"], "--bootstrap 0"),
        (["--seed", "-1"], "--seed -1"),
        (["--plot", "figure.gif"], ".png"),
        (["--plot", "missing/figure.png"], "missing"),
    ],
)
def test_bad_option(files, capsys, options, word):
    assert main([*files, "--target", "c10_test_200", *options]) == 2
    assert_one_line(capsys, word)


def test_bad_paths(files, tmp_path, capsys):
    (tmp_path / "foreign").mkdir()
    for directory, table in [
        (str(tmp_path / "foreign"), files[1]),
        (str(tmp_path / "missing"), files[1]),
        (files[0], str(tmp_path / "missing.csv")),
        (files[0], str(tmp_path / "table.xlsx")),
    ]:
        assert run(directory, table) == 2
        assert_one_line(capsys, str(tmp_path))


def test_directory_without_scorers(files, tmp_path, capsys):
    Store.open(tmp_path / "other", {"settings": {}, "part_size": 1}).write(0, table_and_scores()[1].head(1))
    assert run(str(tmp_path / "other"), files[1]) == 2
    assert_one_line(capsys, "scorers")


def test_csv_cut_within_its_last_row_of_architectures(files, tmp_path, capsys):
    (tmp_path / "cut.csv").write_text("c10_test_200,arch\n90.0,|op0~0|\n91.0")
    assert run(files[0], str(tmp_path / "cut.csv")) == 2
    assert_one_line(capsys, "truncated")


# --- the shared command line -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [(UserError("a\nb"), 2, "prog: a b\n"), (KeyboardInterrupt(), 130, "prog: interrupted\n"), (None, 0, "")],
)
def test_cli_exit_codes(capsys, error, code, message):
    def command(config):
        if error:
            raise error

    assert cli.run(correlate.Correlate, command, ["a", "b", "--target", "c"], "prog") == code
    assert capsys.readouterr().err == message


def test_cli_parse_errors_and_help(capsys):
    assert main(["only-one"]) == 2
    assert capsys.readouterr().out == ""
    assert main(["--help"]) == 0
    assert "--bootstrap" in capsys.readouterr().out


def test_closed_pipe_is_silent(files):
    command = [sys.executable, "-m", "jaxnas.correlate", *files, "--target", "c10_test_200", "--bootstrap", "5"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, "--json"], **pipes) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
