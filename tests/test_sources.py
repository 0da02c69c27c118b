"""Scores from several places in one comparison: seeds, built tables, tables of a user's, names that clash."""

import json

import numpy as np
import polars as pl
import pytest
import scipy.stats

from jaxnas import spaces
from jaxnas.cli.main import main
from jaxnas.correlate.seeds import over_seeds
from jaxnas.tables.store import Store

SPACE = spaces.get("nasbench201")
N = 40
ROWS = SPACE.enumerate()[(SPACE.canonical(SPACE.enumerate()) == SPACE.enumerate()).all(1)][:N]  # of different classes
ARCHS = [SPACE.decode(arch) for arch in ROWS]
ACCURACY = np.random.default_rng(0).uniform(80, 94, N)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(path, seed=0, *, score="ntk", rows=N, space="nasbench201", **options):
    """A run of `jaxnas score`: the accuracy and noise; lower is better for `ntk`."""
    sign = -1 if score == "ntk" else 1
    values = sign * (ACCURACY + np.random.default_rng(seed + 1).normal(scale=3, size=N))
    columns = {"row": range(N), "arch": ARCHS, score: values, "params": range(N), "flops": range(N)}
    settings = {"space": space, "seed": seed, "repeats": 1, "scorers": {score: options}}
    manifest = {"settings": settings, "part_size": N, "scorers": {score: {"sign": sign}}}
    Store.open(path, manifest).write(0, pl.DataFrame(columns).head(rows))
    return str(path)


@pytest.fixture
def table(tmp_path):
    pl.DataFrame({"arch": ARCHS, "acc": ACCURACY, "params": ACCURACY}).write_csv(tmp_path / "acc.csv")
    return str(tmp_path / "acc.csv")


def result(capsys, *words, target="acc"):
    capsys.readouterr()
    assert main(["correlate", *words, "--target", target, "--bootstrap", "5", "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refused(capsys, *words, target="acc"):
    capsys.readouterr()
    assert main(["correlate", *words, "--target", target]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1, captured.err
    return captured.err


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_runs_with_other_seeds_are_one_score(tmp_path, table, capsys):
    runs = [run(tmp_path / f"seed{seed}", seed) for seed in (2, 0, 1)]
    found = result(capsys, *runs, table)
    assert list(found["scores"]) == ["ntk", "params", "flops", "live_flops"]
    assert found["scores"]["ntk"] == result(capsys, runs[1], table)["scores"]["ntk"]  # of seed 0
    alone = [result(capsys, path, table)["scores"]["ntk"] for path in runs]
    assert list(found["over_seeds"]) == ["ntk"]
    over = found["over_seeds"]["ntk"]
    assert over["seeds"] == [0, 1, 2]
    for figure in ("spearman", "kendall"):
        each = [one[figure] for one in alone]
        assert over[figure] == pytest.approx({"mean": np.mean(each), "low": min(each), "high": max(each)})
    assert 0 < over["stability"]["low"] < over["stability"]["mean"] < over["stability"]["high"] < 1
    assert main(["correlate", *runs, table, "--target", "acc", "--bootstrap", "5"]) == 0
    (line,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:2] == ["ntk", "3"]]
    assert line[2] == f"{over['spearman']['mean']:+.3f}"


def test_figures_over_seeds():
    values = {seed: np.random.default_rng(seed).normal(size=N) + ACCURACY for seed in range(3)}
    found = over_seeds(values, ACCURACY, sign=1, target_sign=-1)
    rhos = [scipy.stats.spearmanr(of, -ACCURACY)[0] for of in values.values()]
    assert found.spearman == pytest.approx((np.mean(rhos), min(rhos), max(rhos)))
    pairs = [scipy.stats.spearmanr(values[a], values[b])[0] for a, b in ((0, 1), (0, 2), (1, 2))]
    assert found.stability == pytest.approx((np.mean(pairs), min(pairs), max(pairs)))
    constant = over_seeds({0: np.ones(N), 1: np.ones(N)}, ACCURACY, sign=1, target_sign=1)
    assert constant.spearman is constant.kendall is constant.stability is None


def test_other_options_are_another_score(tmp_path, table, capsys):
    a, b = run(tmp_path / "a", bn="batch"), run(tmp_path / "b", 1, bn="frozen")
    found = result(capsys, a, b, table)
    assert list(found["scores"])[:2] == [f"{a}:ntk", f"{b}:ntk"] and found["over_seeds"] == {}


# --- several sources -------------------------------------------------------------------------------------------------


def test_scores_of_several_runs_stand_side_by_side(tmp_path, table, capsys):
    a, b = run(tmp_path / "a"), run(tmp_path / "b", score="regions", rows=30)
    found = result(capsys, a, b, table)
    assert list(found["scores"]) == ["ntk", "regions", "params", "flops", "live_flops"]
    assert found["compared"] == 30 and found["directory"] == f"{a} {b}"
    main(["correlate", a, b, table, "--target", "acc", "--bootstrap", "5"])
    assert f"note: 30 of the 40 architectures of {a} are in all sources" in capsys.readouterr().err
    assert list(result(capsys, f"{a}:ntk", f"{b}:regions", table)["scores"])[:2] == ["ntk", "regions"]


def test_a_table_of_ones_own_has_scores_in_columns(tmp_path, table, capsys):
    columns = {"architecture": ARCHS[::-1], "good": ACCURACY[::-1], "loss": -ACCURACY[::-1], "ntk": -ACCURACY[::-1]}
    pl.DataFrame(columns | {"ntk_std": range(N), "index": range(N), "params": range(N)}).write_csv(tmp_path / "own.csv")
    own = str(tmp_path / "own.csv")
    found = result(capsys, own, table, "--space", "nasbench201")["scores"]
    assert {name: row["spearman"] for name, row in found.items() if name not in ("params", "flops", "live_flops")} == {
        "good": pytest.approx(1), "loss": pytest.approx(-1), "ntk": pytest.approx(1),
    }  # fmt: skip
    assert found["flops"]["spearman"] == pytest.approx(scipy.stats.spearmanr(SPACE.flops(ROWS), ACCURACY)[0])
    a = run(tmp_path / "a")
    found = result(capsys, a, f"{own}:good,-loss,ntk", table)["scores"]
    assert list(found)[:4] == [f"{a}:ntk", "good", "loss", f"{own}:ntk"]
    assert found["loss"]["spearman"] == pytest.approx(1)


def test_a_pair_says_the_space_of_a_table_of_ones_own(tmp_path, table, capsys):
    pl.DataFrame({"arch": ARCHS, "good": ACCURACY}).write_csv(tmp_path / "own.csv")
    rows = f"scores,table,target,space\n{tmp_path / 'own.csv'},{table},acc,nasbench201\n"
    (tmp_path / "pairs.csv").write_text(rows + f"table:nasbench201,{table},table:params,\n")
    assert main(["correlate", "--pairs", str(tmp_path / "pairs.csv"), "--bootstrap", "5", "--json"]) == 0
    own, ours = json.loads(capsys.readouterr().out)["spaces"]
    assert (own["name"], own["scores"]["good"]["spearman"]) == ("nasbench201", pytest.approx(1))
    assert (ours["directory"], ours["compared"]) == ("table:nasbench201", N)


def test_a_table_of_ones_own_may_have_seeds_and_indices(tmp_path, table, capsys):
    ids = SPACE.arch_ids(ROWS)
    rows = {"idx": [*ids, *ids], "seed": [7] * N + [8] * N, "good": [*ACCURACY, *(ACCURACY[::-1])]}
    pl.DataFrame(rows).write_parquet(tmp_path / "own.parquet")
    found = result(capsys, str(tmp_path / "own.parquet"), table, "--space", "nasbench201")
    assert found["scores"]["good"]["spearman"] == pytest.approx(1) and found["over_seeds"]["good"]["seeds"] == [7, 8]


def test_the_table_in_the_package_needs_no_file_of_scores(table, capsys):
    found = result(capsys, "table:nasbench201:ntk,regions", table)
    assert list(found["scores"])[:2] == ["ntk", "regions"] and found["compared"] == N


def test_published_scores_beside_ours(shared_data, capsys):
    published = shared_data / "published_proxies" / "nasbench201_naslib_9445.parquet"
    column = next(name for name in pl.read_parquet(published).columns if "synflow" in name)
    accuracies = str(shared_data / "nasbench201" / "accuracies.parquet")
    words = ["table:nasbench201:live_layers", f"{published}:{column}", accuracies]
    assert list(result(capsys, *words, target="c10_test_200")["scores"])[:2] == ["live_layers", column]


def test_sources_that_do_not_go_together(tmp_path, table, capsys):
    a, other = run(tmp_path / "a"), run(tmp_path / "b", space="nats_size")
    assert "not of nasbench201; give those of one space" in refused(capsys, a, other, table)
    assert "unknown score of" in refused(capsys, f"{a}:nkt", table) and "'ntk'" in refused(capsys, f"{a}:nkt", table)
    assert "say --space NAME" in refused(capsys, table, table)
    far = pl.DataFrame({"arch": [SPACE.decode(SPACE.enumerate()[-1])], "good": [1.0]})
    far.write_csv(tmp_path / "far.csv")
    assert "no architecture is in all of" in refused(capsys, a, str(tmp_path / "far.csv"), table)
    pl.DataFrame({"arch": ARCHS, "text": ["x"] * N}).write_csv(tmp_path / "text.csv")
    assert "no column of numbers" in refused(capsys, a, str(tmp_path / "text.csv"), table)


# --- one name, two meanings ------------------------------------------------------------------------------------------


def test_a_target_that_is_a_score_too_names_both(tmp_path, table, capsys):
    a = run(tmp_path / "a")
    said = refused(capsys, a, table, target="params")
    assert f"params is a score and a column of {table}; say --target score:params or --target table:params" in said
    assert result(capsys, a, table, target="table:params")["target"] == "table:params"
    b = run(tmp_path / "b", score="regions")
    found = result(capsys, a, b, target="score:ntk")
    ours, theirs = (pl.read_parquet(f"{path}/*.parquet") for path in (a, b))
    assert found["lower_is_better"] and list(found["scores"]) == ["regions", "params", "flops", "live_flops"]
    expected = scipy.stats.spearmanr(-ours["ntk"], theirs["regions"])[0]
    assert found["scores"]["regions"]["spearman"] == pytest.approx(expected)
    assert "unknown score 'nkt'" in refused(capsys, a, target="score:nkt")
