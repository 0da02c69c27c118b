"""Comparisons of scores with accuracies: output, figures and errors, in one space and in several."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest
import scipy.stats

from jaxnas import spaces as search_spaces
from jaxnas.cli import frame
from jaxnas.correlate import command as correlate
from jaxnas.correlate.command import main
from jaxnas.errors import UserError
from jaxnas.tables.store import Store

N = 40
SPACE = search_spaces.get("nasbench201")
ARCHS = [SPACE.decode(arch) for arch in SPACE.canonical(SPACE.sample(jax.random.key(0), 60))]
ARCHS = list(dict.fromkeys(ARCHS))[:N]  # of different classes
SCORERS = {"ntk": {"sign": -1}, "regions": {"sign": 1}, "constant": {"sign": 1}}


# --- the command -----------------------------------------------------------------------------------------------------


def table_and_scores():
    rng = np.random.default_rng(0)
    accuracy = rng.uniform(80, 94, N)
    ntk = np.exp(-accuracy / 5 + rng.normal(size=N) / 4).tolist()
    ntk[int(np.argmin(accuracy))] = None
    arch = ARCHS
    table = pl.DataFrame({"arch_str": arch, "c10_test_200": accuracy, "c10_test_12": accuracy - 20})
    scores = {"row": range(N), "arch": arch, "ntk": ntk, "regions": np.round(accuracy / 4), "constant": [1.0] * N}
    baselines = {"params": rng.integers(100, size=N), "flops": rng.integers(100, size=N)}
    return table, pl.DataFrame(scores | baselines)


def write_scores(path, frame, scorers=SCORERS, space="nasbench201"):
    store = Store.open(path, {"settings": {"space": space}, "part_size": len(frame), "scorers": scorers})
    store.write(0, frame)
    return str(path)


@pytest.fixture
def files(tmp_path):
    table, scores = table_and_scores()
    table.write_parquet(tmp_path / "table.parquet")
    return write_scores(tmp_path / "run", scores), str(tmp_path / "table.parquet")


def run(*arguments, target="c10_test_200"):
    return main([*arguments, "--target", target, "--bootstrap", "40"])


def result(capsys, *arguments, **options):
    assert run(*arguments, "--json", **options) == 0
    return json.loads(capsys.readouterr().out)


def test_json_has_every_figure(files, capsys):
    report = result(capsys, *files)
    assert (report["scored"], report["compared"], report["target"]) == (N, N, "c10_test_200")
    assert list(report["scores"]) == ["ntk", "regions", "constant", "params", "flops", "live_flops"]
    ntk = report["scores"]["ntk"]
    low, high = ntk["kendall_interval"]
    assert 0 < low < ntk["kendall"] < high < 1
    assert (ntk["n"], ntk["failures"], ntk["top_ties"]) == (N, 1, 1)
    assert [report["scores"][name]["label"] for name in ("params", "flops", "live_flops")] == [
        "#params",
        "FLOPs",
        "live FLOPs",
    ]
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


@pytest.mark.parametrize(("factor", "shown"), [(1, r"\d\d\.\d\d"), (0.01, r"0\.\d{4}"), (1e6, r"\d{8}")])
def test_best_pick_has_the_digits_that_tell_picks_apart(files, tmp_path, capsys, factor, shown):
    table = pl.read_parquet(files[1]).with_columns(acc=pl.col("c10_test_200") * factor)
    table.write_parquet(tmp_path / "scaled.parquet")
    assert run(files[0], str(tmp_path / "scaled.parquet"), target="acc") == 0
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("ntk")]
    assert re.fullmatch(shown, row[-3]), row


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


# --- errors as targets, other keys -----------------------------------------------------------------------------------


def test_lower_is_better_only_turns_the_target(files, tmp_path, capsys):
    table = pl.read_parquet(files[1]).with_columns(error=100 - pl.col("c10_test_200"))
    table.write_parquet(tmp_path / "errors.parquet")
    accuracy = result(capsys, *files)
    plot = ["--plot", str(tmp_path / "figure.svg")]
    error = result(capsys, files[0], str(tmp_path / "errors.parquet"), "--lower-is-better", *plot, target="error")
    assert (accuracy["lower_is_better"], error["lower_is_better"]) == (False, True)
    for name, row in accuracy["scores"].items():
        assert error["scores"][name].pop("top_target") == pytest.approx(100 - row.pop("top_target"))
        assert error["scores"][name] == row
    assert "<!-- error (lower is better) -->" in (tmp_path / "figure.svg").read_text()


def test_key_wins_over_a_column_called_arch(files, tmp_path, capsys):
    table = pl.read_parquet(files[1]).rename({"arch_str": "recipe"}).with_columns(arch=pl.lit("other"))
    table.write_csv(tmp_path / "table.csv")
    expected = result(capsys, *files)["scores"]
    assert result(capsys, files[0], str(tmp_path / "table.csv"), "--key", "recipe")["scores"] == expected


@pytest.mark.parametrize("column", ["arch", "blocks"])
def test_architectures_of_digits_keep_their_zeros_in_csv(tmp_path, capsys, column):
    archs = [f"{i:04b}0012" for i in range(16)]
    scores = pl.DataFrame({"row": range(16), "arch": archs, "params": range(16), "flops": range(16)})
    directory = write_scores(tmp_path / "run", scores, {}, "nasbench_macro")
    pl.DataFrame({column: archs, "accuracy": range(16)}).write_csv(tmp_path / "table.csv")
    report = result(capsys, directory, str(tmp_path / "table.csv"), "--key", column, target="accuracy")
    assert (report["compared"], report["scores"]["params"]["spearman"]) == (16, 1)


@pytest.mark.parametrize(
    ("key", "says"), [("recepie", "no column 'recepie'"), ("c10_test_12", "'c10_test_12' holds Float64")]
)
def test_bad_key(files, capsys, key, says):
    assert run(*files, "--key", key) == 2
    assert_one_line(capsys, files[1], says)


# --- several spaces --------------------------------------------------------------------------------------------------

PAIR = "scores,table,target"


@pytest.fixture
def spaces(files, tmp_path):
    """Two spaces, of which the second has an error as its target, architectures called `net`, and another score."""
    table, scores = table_and_scores()
    table = table.select(net="arch_str", error=100 - pl.col("c10_test_200"))
    table.write_csv(tmp_path / "second.csv")
    scores = scores.head(N - 10).rename({"regions": "other"}).drop("ntk")
    second = write_scores(tmp_path / "second", scores, {"constant": {"sign": 1}, "other": {"sign": 1}})
    return files, (second, str(tmp_path / "second.csv"))


def write_pairs(path, *rows, columns=f"{PAIR},key,lower_is_better"):
    path.write_text("\n".join([columns, *rows, ""]))
    return str(path)


@pytest.fixture
def pairs(spaces, tmp_path):
    (first, table), (second, other) = spaces
    return write_pairs(tmp_path / "pairs.csv", f"{first},{table},c10_test_200,,", f"{second},{other},error,net,True")


def run_pairs(path, *arguments):
    return main(["--pairs", path, "--bootstrap", "40", *arguments])


def test_several_spaces_have_the_figures_of_each(spaces, pairs, capsys):
    first = result(capsys, *spaces[0])
    second = result(capsys, *spaces[1], "--key", "net", "--lower-is-better", target="error")
    assert run_pairs(pairs, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [report["bootstrap"], report["seed"]] == [first.pop("bootstrap"), first.pop("seed")] == [40, 0]
    assert report["spaces"] == [first, {key: second[key] for key in first}]
    assert [space["compared"] for space in report["spaces"]] == [N, N - 10]


def table_rows(text):
    """The cells of each row of a printed table, by section and score."""
    rows, section = {}, None
    for line in filter(str.strip, text.splitlines()):
        cells = [cell.strip() for cell in line.split("  ") if cell.strip()]
        if line.startswith("  ") and not line.startswith("   "):
            section = cells[0]
        elif line.startswith("    ") and section not in (None, "score"):
            rows[section, cells[0]] = cells[1:]
    return rows


def test_one_table_with_the_baselines_last(pairs, capsys):
    assert run_pairs(pairs, "--json") == 0
    spaces = json.loads(capsys.readouterr().out)["spaces"]
    assert run_pairs(pairs) == 0
    text = capsys.readouterr().out
    rows = table_rows(text)
    scores = ["ntk", "regions", "constant", "other", "#params", "FLOPs", "live FLOPs"]
    assert list(rows) == [(s, name) for s in ("Spearman [95 %]", "Kendall tau [95 %]", "failed") for name in scores]
    assert rows["Spearman [95 %]", "constant"] == ["-", "-"]
    assert len(rows["Kendall tau [95 %]", "regions"]) == len(rows["Spearman [95 %]", "other"]) == 1
    assert rows["failed", "ntk"] == ["1"]
    for cell, space in zip(rows["Kendall tau [95 %]", "FLOPs"], spaces, strict=True):
        flops = space["scores"]["flops"]
        assert cell == "{:+.3f} [{:+.2f}, {:+.2f}]".format(flops["kendall"], *flops["kendall_interval"])
    assert "lower is better" in text and f"n = {N - 10}" in text


def test_name_of_a_space_is_given_or_that_of_the_run(files, tmp_path, capsys):
    write_scores(tmp_path / "named", table_and_scores()[1], {})
    rows = [f"{tmp_path / 'named'},{files[1]},c10_test_200,{name}" for name in ("", "darts wide")]
    path = write_pairs(tmp_path / "pairs.csv", *rows, columns=f"{PAIR},name")
    assert run_pairs(path, "--json") == 0
    assert [space["name"] for space in json.loads(capsys.readouterr().out)["spaces"]] == ["nasbench201", "darts wide"]


def test_table_fits_a_terminal_and_is_whole_in_a_pipe(files, tmp_path, capsys, monkeypatch):
    rows = [f"{files[0]},{files[1]},c10_test_200,{name}" for name in ("a", "b", "c", "q" * 50)]
    path = write_pairs(tmp_path / "pairs.csv", *rows, columns=f"{PAIR},name")
    assert run_pairs(path) == 0
    assert capsys.readouterr().out.count("Spearman [95 %]") == 1
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    assert run_pairs(path) == 0
    text = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert text.count("Spearman [95 %]") == 2
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("q") == 100  # in the heading of its column, and where it says what it left out


def test_map_has_the_figures_of_the_table(pairs, tmp_path, capsys):
    assert run_pairs(pairs, "--json", "--plot", str(tmp_path / "map.svg")) == 0
    spaces = json.loads(capsys.readouterr().out)["spaces"]
    drawn = re.findall("<!-- (.*) -->", (tmp_path / "map.svg").read_text())
    for space in spaces:
        for row in space["scores"].values():
            assert row["label"] in drawn
            assert ("undefined" if row["spearman"] is None else f"{row['spearman']:+.2f}") in drawn
    assert run_pairs(pairs, "--plot", str(tmp_path / "map.png")) == 0
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_real_spaces(shared_data, tmp_path, capsys):
    cells = shared_data / "nasbench201" / "accuracies.parquet"
    recipes = shared_data / "nasbench_nlp" / "ptb_half.parquet"
    first, second = (pl.read_parquet(path).head(300).with_row_index("row") for path in (cells, recipes))
    a = write_scores(tmp_path / "a", first.select("row", arch="arch_str", params="params_c10", flops="c10_mflops"), {})
    b = write_scores(
        tmp_path / "b", second.select("row", arch="recipe", params="num_params", flops="num_params"), {}, "nasbench_nlp"
    )
    path = write_pairs(tmp_path / "pairs.csv", f"{a},{cells},c10_test_200,,", f"{b},{recipes},val_best,recipe,true")
    assert run_pairs(path, "--json") == 0
    found = [space["scores"]["params"]["spearman"] for space in json.loads(capsys.readouterr().out)["spaces"]]
    cells = search_spaces.get("nasbench_nlp")
    names = pl.Series("recipe", [cells.decode(cells.encode(recipe)) for recipe in second["recipe"]])
    second = second.with_columns(names).filter(pl.col("val_best").is_finite())  # a cell in several wordings is one
    second = second.group_by("recipe").agg(pl.col("num_params").first(), pl.col("val_best").mean())
    assert found[0] == pytest.approx(scipy.stats.spearmanr(first["params_c10"], first["c10_test_200"])[0])
    assert found[1] == pytest.approx(-scipy.stats.spearmanr(second["num_params"], second["val_best"])[0])


# --- bad input -------------------------------------------------------------------------------------------------------


def assert_one_line(capsys, *words):
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "Traceback" not in captured.err
    assert all(word in captured.err for word in words), captured.err


def cut(path: Path, source: str):
    path.write_bytes(Path(source).read_bytes()[:-100])


def without_arch(path, source):
    pl.read_parquet(source).drop("arch_str").write_parquet(path)


def without_numbers(path, source):
    pl.read_parquet(source).with_columns(c10_test_200=pl.lit(float("nan"))).write_parquet(path)


def of_another_space(path, source):
    others = [SPACE.decode(arch) for arch in SPACE.enumerate()]
    others = [name for name in others if SPACE.decode(SPACE.canonical(SPACE.encode(name)[None])[0]) not in ARCHS]
    pl.DataFrame({"arch_str": others[:N], "c10_test_200": range(N)}).write_parquet(path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, ["truncated"]),
        (without_arch, ["no column", "arch_str", "c10_test_12"]),
        (without_numbers, ["'c10_test_200' has no finite number"]),
        (of_another_space, ["no architecture in common", ARCHS[0]]),
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
        (["--seed", "-1"], "--seed is -1"),
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
    Store.open(tmp_path / "other", {"settings": {"space": SPACE.name}, "part_size": 1}).write(
        0, table_and_scores()[1].head(1)
    )
    assert run(str(tmp_path / "other"), files[1]) == 2
    assert_one_line(capsys, "scorers")


def test_csv_cut_within_its_last_row_of_architectures(files, tmp_path, capsys):
    (tmp_path / "cut.csv").write_text(f"c10_test_200,arch\n90.0,{ARCHS[0]}\n91.0")
    assert run(files[0], str(tmp_path / "cut.csv")) == 2
    assert_one_line(capsys, "truncated")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "cannot be read"),
        (f"{PAIR}\n", "no rows"),
        ("scores,table\nDIR,TABLE\n", "no column 'target'"),
        (f"{PAIR},lower\nDIR,TABLE,c10_test_200,true\n", "did you mean 'lower_is_better'?"),
        (f"{PAIR},lower_is_better\nDIR,TABLE,c10_test_200,yes\n", "row 0: lower_is_better is 'yes'"),
        (f"{PAIR}\nDIR,TABLE,c10_test_200\nDIR,,c10_test_12\n", "row 1: table is empty"),
        (f"{PAIR}\nDIR,TABLE,c10_test_200\nDIR,TABLE,c10_test_13\n", "TABLE: unknown column 'c10_test_13'"),
        (f"{PAIR}\nDIR,TABLE,c10_test_12\nmissing,TABLE,c10_test_12\n", "row 1: missing is not a directory"),
        (
            f"{PAIR}\nDIR,TABLE,c10_test_12\nDIR,TABLE,c10_test_12\n",
            "rows 0 and 1 are both headed 'nasbench201 c10_test_12'",
        ),
    ],
)
def test_bad_pairs(files, tmp_path, capsys, content, says):
    (tmp_path / "pairs.csv").write_text(content.replace("DIR", files[0]).replace("TABLE", files[1]))
    assert run_pairs(str(tmp_path / "pairs.csv")) == 2
    assert_one_line(capsys, str(tmp_path / "pairs.csv"), says.replace("TABLE", files[1]))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "missing: DIR, TABLE, --target"),
        (["runs/a", "--target", "x"], "missing: TABLE"),
        (["runs/a", "--pairs", "pairs.csv"], "DIR"),
        (["--pairs", "pairs.csv", "--target", "x", "--lower-is-better"], "--target, --lower-is-better"),
        (["--pairs", "pairs.csv", "--key", "x"], "--key"),
        (["--pairs", "missing.csv"], "missing.csv: no such file"),
        (["--pairs", "pairs.json"], "pairs.json: no such file"),
    ],
)
def test_one_space_or_a_file_of_several(capsys, arguments, says):
    assert main(arguments) == 2
    assert_one_line(capsys, says)


# --- the shared command line -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("a\nb"), 2, "prog: a b\n"),
        (KeyboardInterrupt(), 130, "prog: interrupted\n"),
        ("the limit is\nbroken", 3, "prog: the limit is broken\n"),
        (None, 0, ""),
    ],
)
def test_cli_exit_codes(capsys, error, code, message):
    def command(config):
        if isinstance(error, BaseException):
            raise error
        return error

    assert frame.run(correlate.Correlate, command, ["a", "b", "--target", "c"], "prog") == code
    assert capsys.readouterr().err == message


def test_cli_parse_errors_and_help(capsys):
    assert main(["only-one"]) == 2
    assert capsys.readouterr().out == ""
    assert main(["--help"]) == 0
    assert "--bootstrap" in capsys.readouterr().out


def test_paths_of_a_file_of_pairs_are_as_on_the_command_line(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pairs.csv").write_text("scores,table,target\n~/scores,~/table.csv,x\n")
    assert main(["--pairs", "~/pairs.csv"]) == 2
    assert f"{tmp_path / 'scores'} is not a directory" in capsys.readouterr().err
    (tmp_path / "pairs.csv").write_text("scores,table,target\ns3://bucket/scores,table.csv,x\n")
    assert main(["--pairs", "~/pairs.csv"]) == 2
    assert "pairs.csv, row 0: s3: is no place on this machine" in capsys.readouterr().err


def test_closed_pipe_is_silent(files):
    command = [sys.executable, "-m", "jaxnas.correlate", *files, "--target", "c10_test_200", "--bootstrap", "5"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, "--json"], **pipes) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


# --- other forms of the table ----------------------------------------------------------------------------------------


def test_csv_has_every_figure(files, capsys):
    expected = result(capsys, *files)["scores"]["ntk"]
    assert run(*files, "--format", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["score"] for row in rows] == ["ntk", "regions", "constant", "params", "flops", "live_flops"]
    assert (rows[0]["space"], rows[0]["target"]) == ("nasbench201", "c10_test_200")
    assert float(rows[0]["kendall"]) == expected["kendall"]
    assert [float(rows[0][f"kendall_{end}"]) for end in ("low", "high")] == expected["kendall_interval"]
    assert rows[2]["kendall"] == rows[2]["kendall_low"] == ""


def test_format_json_is_json(files, capsys):
    expected = result(capsys, *files)
    assert run(*files, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == expected


def test_tables_for_papers(files, tmp_path, capsys):
    assert run(*files, "--format", "markdown") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| score | Spearman [95 %] |") and lines[1].startswith("| --- | ---: |")
    assert len(lines) == 2 + 6
    (tmp_path / "pairs.csv").write_text(f"scores,table,target\n{files[0]},{files[1]},c10_test_200\n")
    assert main(["--pairs", str(tmp_path / "pairs.csv"), "--bootstrap", "40", "--format", "latex"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == rf"figure & score & nasbench201, c10\_test\_200, n = {N} \\"
    assert sum(line.startswith(r"Kendall tau [95 \%] & ") for line in lines) == 6
