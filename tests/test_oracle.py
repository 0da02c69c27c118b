"""Searches by an oracle: tables, users' functions, limits, several objectives, priors, and local search."""

import itertools
import json
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest

import jaxnas
import jaxnas.search.command as program
from jaxnas import spaces
from jaxnas.errors import UserError
from jaxnas.learn import models
from jaxnas.learn.training import Training
from jaxnas.search.goal import Goal, limits
from jaxnas.search.method import Task
from jaxnas.search.methods.local import Local, LocalOptions, make
from jaxnas.search.oracle import ANSWERS, Table
from jaxnas.search.prior import StoredScores
from jaxnas.spaces import Space
from jaxnas.spaces.subset import Subspace
from jaxnas.tables.store import Store, read_scores
from jaxnas.types import Finished, Status

SPACE = spaces.get("nasbench201")


def scores_of(values):
    """One repeat's scores; NaN is a failure."""
    found = {name: np.array([v], float) for name, v in values.items()}
    return {n: Finished(v, np.where(np.isnan(v), Status.failed, Status.ok), {}) for n, v in found.items()}


@pytest.fixture
def table(tmp_path):
    """400 architectures with an accuracy that grows with their size, and in another file, joined on idx, a latency."""
    archs = SPACE.sample(jax.random.key(3), 400)
    size = SPACE.params(archs)
    first = pl.DataFrame({"idx": range(400), "arch": [SPACE.decode(a) for a in archs], "accuracy": size / 1e6})
    first.write_csv(tmp_path / "accuracy.csv")
    pl.DataFrame({"idx": range(400), "latency": SPACE.flops(archs) / 1e6}).write_parquet(tmp_path / "latency.parquet")
    return archs, f"{tmp_path / 'accuracy.csv'},{tmp_path / 'latency.parquet'}"


def result(capsys, *arguments):
    assert program.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


# The goal


def test_limits_put_the_others_behind():
    scores = scores_of({"acc": [90, 95, 80, np.nan, 70], "ms": [3, 9, 2, 1, 6]})
    goal = Goal({"acc": 1, "ms": -1}, at_most={"ms": 5})
    assert goal.feasible(scores).tolist() == [True, False, True, True, False]
    # by accuracy 1 0 2 - 3, by latency (of the four that have both) 1 3 0 - 2; whoever breaks the limit gets 2 x 5 more
    np.testing.assert_array_equal(goal.ranks(scores), [2, 3 + 10, 2, np.nan, 5 + 10])
    found = goal.best(np.arange(5)[:, None], scores, more="")
    assert found.arch == [0]  # the most accurate within the limit
    assert found.extra == {"rank_sum": 1.0, "feasible": True}
    nobody = Goal({"acc": 1}, at_least={"ms": 100}).best(np.arange(5)[:, None], scores, more="")
    assert (nobody.arch, nobody.extra["feasible"]) == ([1], False)


def test_front_is_what_nobody_dominates():
    rng = np.random.default_rng(0)
    acc, ms = rng.integers(0, 12, (2, 60)).astype(float)
    acc[4] = np.nan
    goal = Goal({"acc": 1, "ms": -1}, at_least={"acc": 2})
    front = goal.front(scores_of({"acc": acc, "ms": ms}))
    allowed = [i for i in range(60) if acc[i] >= 2]
    for i in range(60):
        dominated = any(acc[j] >= acc[i] and ms[j] <= ms[i] and (acc[j] > acc[i] or ms[j] < ms[i]) for j in allowed)
        assert front[i] == (i in allowed and not dominated)


@pytest.mark.parametrize("objectives", [2, 3])
def test_front_of_many(objectives):
    values = np.random.default_rng(1).normal(size=(objectives, 3_000)).round(1)  # with ties
    goal = Goal({str(k): 1 for k in range(objectives)})
    front = goal.front(scores_of({str(k): row for k, row in enumerate(values)}))
    ours = values[:, front].T
    beats = [(ours >= point).all(1) & (ours > point).any(1) for point in values.T]
    assert [bool(by.any()) for by in beats] == (~front).tolist()


def test_limits_know_hyphens():
    assert limits("live-flops=1, ms=2", None, ["live_flops"]) == [{"live_flops": 1.0, "ms": 2.0}, {}]
    assert limits(None, "my-number=3", []) == [{}, {"my-number": 3.0}]


def test_improvements_are_the_running_best():
    goal = Goal({"loss": -1})
    assert goal.improvements(scores_of({"loss": [np.nan, 5, 6, 3, 3, 4, 1]})) == [1, 3, 6]


# Spaces of a table


def test_subspace_knows_its_architectures_and_their_copies():
    archs = SPACE.sample(jax.random.key(0), 300)
    some = Subspace(SPACE, archs)
    assert (some.rows(archs) == np.arange(300)).all()
    everything = SPACE.enumerate()
    known = {tuple(row) for row in SPACE.canonical(archs).tolist()}
    expected = [tuple(row) in known for row in SPACE.canonical(everything).tolist()]
    assert some.contains(everything).tolist() == expected
    assert not all(expected)
    drawn = some.sample(jax.random.key(1), 100)
    assert len(np.unique(drawn, axis=0)) == 100
    assert some.contains(drawn).all()
    child = archs[0]
    for number in range(30):
        before, child = child, some.mutate(jax.random.key(number), child)
        assert (child != before).any()
        assert some.contains(child[None])[0]
    with pytest.raises(UserError, match="ask for 1 to 300"):
        some.sample(jax.random.key(0), 301)


def test_a_subspace_says_what_its_space_says():
    whole = spaces.get("nats_size")
    some = Subspace(whole, whole.sample(jax.random.key(0), 3))
    for name in set(Space.__annotations__) | {"counted", "forms", "places"}:
        assert getattr(some, name) == getattr(whole, name), name
    with pytest.raises(UserError, match="differ in their channels alone"):
        some.check_form("patches")
    other = some.on("cifar100")
    assert (other.name, other.size, other.counted) == ("nats_size:cifar100", 3, whole.on("cifar100").counted)
    assert some.arch_ids(some.archs).tolist() == whole.arch_ids(some.archs).tolist()
    inherited = {name for name, of in vars(Space).items() if callable(of) and not name.startswith("_")}
    assert inherited - {*vars(Subspace)} == {
        "array", "arrays", "by_group", "check_form", "checked_ids", "network_for", "networks", "sample_evenly",
    }  # fmt: skip


def test_table_answers_with_its_rows(table):
    archs, paths = table
    oracle = Table(SPACE, [Path(path) for path in paths.split(",")], ["latency"])
    found = oracle(archs[::-1])["latency"]
    np.testing.assert_allclose(found.value[0], SPACE.flops(archs[::-1]) / 1e6)
    others = SPACE.enumerate()[~oracle.space.contains(SPACE.enumerate())][:3]
    lost = oracle(others)["latency"]
    assert np.isnan(lost.value).all()
    assert (lost.status == Status.failed).all()


def test_a_run_directory_answers_with_its_scores(tmp_path):
    archs, run = SPACE.sample(jax.random.key(3), 40), tmp_path / "supernet"
    manifest = {"settings": {"space": "nasbench201"}, "scorers": {"supernet_loss": {"sign": -1}}}
    store = Store.open(run, manifest | {"part_size": 20})
    loss = np.where(np.arange(40) == 7, np.nan, np.arange(40.0))
    for part, rows in enumerate(np.arange(40).reshape(2, 20)):
        frame = {"row": rows, "arch": [SPACE.decode(archs[row]) for row in rows], "supernet_loss": loss[rows]}
        store.write(part, pl.DataFrame(frame).with_columns(pl.col("supernet_loss").fill_nan(None)))
    oracle = Table(SPACE, [run], ["supernet_loss"])
    assert oracle.columns == ["arch", "supernet_loss"]
    found = oracle(archs[5:9])["supernet_loss"]
    np.testing.assert_array_equal(found.value, [[5, 6, np.nan, 8]])
    assert (found.status == Status.failed).tolist() == [[False, False, True, False]]
    first = oracle.fingerprint
    store.write(1, store.part(1).with_columns(supernet_loss=pl.lit(1.0)))
    assert Table(SPACE, [run], ["supernet_loss"]).fingerprint != first


# Local search


def test_local_search_climbs_and_starts_again():
    method = Local(Task(SPACE, Goal({"size": 1}), seed=0, batch=1, budget=400), patience=24, brood=1)
    state, asked = method.init(), []
    while not method.done(state):
        asked.append(method.ask(state))
        state = method.step(state, scores_of({"size": SPACE.params(asked[-1])}))
    rows = np.concatenate(asked)
    assert len(rows) == len(np.unique(rows, axis=0)) == 400
    assert state.starts > 1
    assert SPACE.params(method.result(state).arch[None]) == SPACE.params(SPACE.enumerate()).max()
    assert method.report(state)[0]["scored"] == 400


@pytest.mark.parametrize("options", [LocalOptions(patience=0), LocalOptions(brood=0)])
def test_local_search_refuses(options):
    with pytest.raises(UserError, match="must be at least 1"):
        make(Task(SPACE, Goal({"size": 1}), seed=0, batch=1, budget=10), options)


# Command line


@pytest.mark.parametrize("method", ["random", "local", "evolve"])
def test_search_of_a_table(capsys, tmp_path, table, method):
    archs, paths = table
    words = ["--oracle", paths, "--maximize", "accuracy", "--record", "latency", "--method", method, "--budget", "80"]
    found = result(capsys, *words, "--out", str(tmp_path / "a"), "--plot", str(tmp_path / "best.png"))
    accuracy = dict(zip([SPACE.decode(a) for a in archs], SPACE.params(archs) / 1e6, strict=True))
    assert found["scores"]["accuracy"] == pytest.approx(accuracy[found["arch"]])
    assert found["scores"]["accuracy"] == found["best_so_far"][-1]["accuracy"]
    assert found["scores"]["latency_status"] == "ok"
    assert found["evaluations"] <= 80
    assert (tmp_path / "best.png").stat().st_size > 1000
    rows = [entry["evaluations"] for entry in found["best_so_far"]]
    assert rows == sorted(rows)
    again = result(capsys, *words, "--out", str(tmp_path / "a"))
    assert again == found


def test_two_objectives_give_a_front(capsys, tmp_path, table):
    words = ["--oracle", table[1], "--maximize", "accuracy", "--minimize", "latency", "--at-most", "latency=60"]
    words += ["--method", "random", "--budget", "150", "--plot", str(tmp_path / "front.svg")]
    found = result(capsys, *words, "--out", str(tmp_path / "run"))
    assert found["scores"]["feasible"] is True
    assert found["scores"]["latency"] <= 60
    front = found["front"]
    assert found["arch"] in [entry["arch"] for entry in front]
    order = sorted(front, key=lambda entry: entry["latency"])
    pairs = [[(entry["accuracy"], entry["latency"]) for entry in pair] for pair in itertools.pairwise(order)]
    assert all(a == b or (a[0] < b[0] and a[1] < b[1]) for a, b in pairs)
    assert (tmp_path / "front.svg").exists()


def test_prior_chooses_the_first(capsys, tmp_path, table):
    """The number of parameters is the accuracy here: the best of a pool is asked for first."""
    archs, paths = table
    words = ["--oracle", paths, "--maximize", "accuracy", "--method", "local", "--budget", "1"]
    found = result(capsys, *words, "--prior", "params", "--warm-start", "400", "--out", str(tmp_path / "run"))
    assert found["scores"]["accuracy"] == pytest.approx(SPACE.params(archs).max() / 1e6)


def test_a_stored_prior_answers_as_the_scorers_do(capsys, tmp_path, table):
    archs, paths = table
    words = ["--oracle", paths, "--maximize", "accuracy", "--method", "local", "--budget", "1", "--warm-start", "400"]
    found = result(capsys, *words, "--prior", "table:nasbench201:regions", "--out", str(tmp_path / "run"))
    scores = jaxnas.tables.load("nasbench201", ["regions"])
    regions = scores["regions"].gather(SPACE.arch_ids(archs))
    assert found["arch"] == SPACE.decode(archs[regions.arg_max()])
    assert found["settings"]["prior"]["scorers"] == ["regions"]
    default = StoredScores(SPACE, "table:nasbench201")
    assert default.signs == {"ntk": -1, "regions": 1}
    assert program.main([*words, "--prior", "table:nasbench201:ntc"]) == 2
    assert "unknown score of table:nasbench201 'ntc'; did you mean 'ntk'?" in capsys.readouterr().err
    with pytest.raises(UserError, match="scores of the space nasbench201, not of nats_size"):
        StoredScores(spaces.get("nats_size"), "table:nasbench201")


def test_limit_on_a_count_without_an_oracle(capsys, tmp_path):
    words = ["--method", "random", "--scorers", "params", "--at-most", "flops=40e6", "--budget", "300"]
    found = result(capsys, *words, "--out", str(tmp_path / "run"))
    assert found["scores"]["flops"] <= 40e6
    archs = SPACE.sample(jax.random.key(0), 300)
    assert found["scores"]["params"] == SPACE.params(archs[SPACE.flops(archs) <= 40e6]).max()


def test_a_limit_that_nobody_keeps(capsys, tmp_path):
    """Exit code 3, the nearest miss by name, and JSON nevertheless."""
    words = ["--method", "random", "--scorers", "params", "--at-most", "flops=2e6", "--budget", "40"]
    archs = SPACE.sample(jax.random.key(0), 40)
    nearest, largest = (SPACE.decode(archs[row]) for row in (SPACE.flops(archs).argmin(), SPACE.params(archs).argmax()))
    says = (
        f"jaxnas search: none of 40 architectures keeps --at-most flops=2e6; the nearest miss is {nearest} with flops "
    )
    assert program.main([*words, "--out", str(tmp_path / "run")]) == 3
    captured = capsys.readouterr()
    assert f"best of those that break a limit, as all do: {largest}" in captured.out
    assert "chosen" not in captured.out
    assert captured.err.startswith(says)
    assert captured.err.count("\n") == 1
    assert program.main([*words, "--out", str(tmp_path / "run"), "--json"]) == 3
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert captured.err.startswith(says)
    assert (found["arch"], found["scores"]["feasible"]) == (largest, False)
    assert found["nearest_miss"] == {"arch": nearest, "flops": SPACE.flops(archs).min()}


def test_excess_over_limits():
    values = {"ms": [4, 6, 10, np.nan], "acc": [1, 2, 3, 4]}
    scores = {name: Finished(np.array([row], float), np.zeros((1, 4), int), {}) for name, row in values.items()}
    assert Goal({"acc": 1}, {"ms": 5}, {"acc": 2}).excess(scores).tolist() == [0.5, 0.2, 1.0, np.inf]
    assert Goal({"acc": 1}, {"ms": 10}).excess(scores).tolist() == [0, 0, 0, np.inf]


def test_function_that_fails_for_some(capsys, tmp_path):
    (tmp_path / "mine.py").write_text(
        "calls = []\n\n\ndef score(arch):\n    calls.append(arch)\n    if len(calls) % 3 == 0:\n"
        "        raise ValueError('out of memory')\n    return {'acc': len(set(arch)), 'ms': 1}\n"
    )
    words = ["--oracle", f"{tmp_path / 'mine.py'}:score", "--maximize", "acc", "--method", "random", "--budget", "30"]
    assert program.main([*words, "--out", str(tmp_path / "run"), "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("note: the oracle failed for ") == 10
    assert "ValueError: out of memory" in captured.err
    statuses = [s for row in read_scores(tmp_path / "run")[0]["acc_status"] for s in row]
    assert statuses.count(Status.failed) == 10
    assert (tmp_path / "mine.py").exists()


MINE = """
from pathlib import Path

HERE, calls = Path(__file__).parent, []


def first(name):
    new = not (HERE / name).exists()
    (HERE / name).touch()
    return new


def score(arch):
    calls.append(arch)
    BODY
    with (HERE / "asked").open("a") as file:
        print(arch, file=file)
    return {"acc": len(set(arch)), "ms": 1, "checkpoint": "a.pt"}
"""
STOP = "if len(calls) == 12 and first('stop'): raise KeyboardInterrupt"


def searching(folder, body):
    """Write a function that notes what it answered for, and return the words of a search of 30 by it."""
    (folder / "mine.py").write_text(MINE.replace("BODY", body))
    words = ["--oracle", f"{folder / 'mine.py'}:score", "--maximize", "acc", "--record", "ms"]
    return [*words, "--method", "random", "--budget", "30", "--out", str(folder / "run")]


def test_a_stopped_round_asks_for_nothing_again(capsys, tmp_path):
    words = searching(tmp_path, STOP)
    assert program.main(words) == 130
    with (tmp_path / "run" / ANSWERS).open("a") as file:
        file.write('\n{"arch": "torn')
    found = result(capsys, *words)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == len(set(asked)) == found["evaluations"] == 30
    kept = [json.loads(line) for line in (tmp_path / "run" / ANSWERS).read_text().splitlines() if "torn" not in line]
    assert [record["arch"] for record in kept] == asked
    assert max(record["answer"]["acc"] for record in kept) == found["scores"]["acc"]


def test_what_failed_in_a_stopped_round_is_asked_again(capsys, tmp_path):
    words = searching(tmp_path, f"if len(calls) == 3 and first('fail'): raise OSError('disk full')\n    {STOP}")
    assert program.main(words) == 130
    assert "OSError: disk full" in capsys.readouterr().err
    assert result(capsys, *words)["evaluations"] == 30
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == len(set(asked)) == 30


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("{'acc': 94}", "unknown number of --oracle 'ms'"),
        ("{'acc': 94, 'ms': 'fast'}", "could not convert string to float: 'fast'"),
        ("float('nan')", "it returned nan; return a dictionary with acc, ms"),
    ],
)
def test_an_answer_of_the_wrong_form_fails_its_architecture_alone(capsys, tmp_path, answer, why):
    words = searching(tmp_path, f"if len(calls) % 2: return {answer}")
    assert program.main([*words, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("note: the oracle failed for ") == captured.err.count(why) == 15
    assert json.loads(captured.out)["scores"]["ms"] == 1


def test_where_nothing_succeeded_the_error_says_why(capsys, tmp_path):
    words = searching(tmp_path, "return 'no number'")
    for _ in range(2):  # the second time nothing is asked
        assert program.main(words) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert "none of the 30 architectures has all the scores" in last
        assert "it returned 'no number'; return a dictionary with acc, ms" in last


def test_several_rows_of_an_architecture_are_refused(capsys, tmp_path, table):
    archs, paths = table
    devices = pl.DataFrame({"idx": [*range(400), 7], "device": ["cpu"] * 400 + ["gpu"], "energy": range(401)})
    devices.write_csv(tmp_path / "energy.csv")
    words = ["--oracle", f"{paths},{tmp_path / 'energy.csv'}", "--maximize", "accuracy", "--method", "random"]
    assert program.main([*words, "--out", str(tmp_path / "run")]) == 2
    assert f"several rows for {SPACE.decode(archs[7])}" in capsys.readouterr().err


CHEAP = {
    "agnet": ["--agnet.batch", "8", "--agnet.candidates", "16", "--agnet.pretrain", "64", "--agnet.layers", "1"],
    "predictor": ["--predictor.batch", "8", "--predictor.members", "1"],
}


@pytest.mark.slow
@pytest.mark.parametrize("method", CHEAP)
def test_methods_that_learn_take_a_limit_and_a_prior(capsys, monkeypatch, tmp_path, table, method):
    monkeypatch.setattr(models, "Training", lambda: Training(width=8, layers=1, steps=20, batch=8))
    words = ["--oracle", table[1], "--maximize", "accuracy", "--at-most", "latency=60", "--prior", "params"]
    words += ["--warm-start", "20", "--method", method, "--budget", "16", *CHEAP[method]]
    words += ["--out", str(tmp_path / "run")]
    found = result(capsys, *words)
    assert found["evaluations"] == 16
    assert found["scores"]["feasible"] is True
    assert found["scores"]["latency"] <= 60
    assert len(found["rounds"]) == 2
    assert found["settings"]["prior"]["scorers"]
    assert result(capsys, *words) == found


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--oracle", "none.csv", "--maximize", "a"], "none.csv: no such file"),
        (["--oracle", "TABLE"], "say --maximize NAME or --minimize NAME"),
        (["--oracle", "TABLE", "--maximize", "acuracy"], "did you mean 'accuracy'?"),
        (["--oracle", "TABLE", "--maximize", "accuracy", "--minimize", "accuracy"], "name the same number"),
        (["--oracle", "TABLE", "--maximize", "accuracy", "--budget", "401"], "and 400, the number of architectures"),
        (
            ["--oracle", "TABLE", "--maximize", "accuracy", "--method", "prune"],
            "goes by training-free scores, not by an --oracle",
        ),
        (["--oracle", "f.py:score", "--maximize", "accuracy"], "--oracle f.py:score: no file f.py"),
    ],
)
def test_bad_input_is_one_line(capsys, tmp_path, table, arguments, says):
    words = [table[1] if word == "TABLE" else word for word in arguments]
    method = [] if "--method" in words else ["--method", "random"]
    assert program.main([*words, *method, "--out", str(tmp_path / "run")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert says in captured.err
    assert not (tmp_path / "run").exists()


def test_local_search_finds_the_best_of_the_benchmark(shared_data, capsys, tmp_path):
    table = shared_data / "nasbench201" / "accuracies.parquet"
    words = ["--oracle", str(table), "--maximize", "c10_valid_200", "--record", "c10_test_200", "--method", "local"]
    found = result(capsys, *words, "--budget", "500", "--out", str(tmp_path / "run"))
    assert found["scores"]["c10_valid_200"] == pytest.approx(91.607, abs=0.01)
    assert found["scores"]["c10_test_200"] == pytest.approx(94.373, abs=0.01)


def test_table_in_the_benchmark_s_own_form(shared_data, capsys, tmp_path):
    """NAS-Bench-101's sample has adjacency bits and ops in columns."""
    table = shared_data / "nasbench101" / "accuracies_sample.parquet"
    words = ["--space", "nasbench101", "--oracle", str(table), "--maximize", "c10_test_108_mean3"]
    found = result(capsys, *words, "--method", "evolve", "--budget", "60", "--out", str(tmp_path / "run"))
    rows = pl.read_parquet(table)
    assert found["scores"]["c10_test_108_mean3"] in rows["c10_test_108_mean3"].to_list()
    assert found["scores"]["params"] in rows["params"].to_list()
    assert found["scores"]["c10_test_108_mean3_status"] == "ok"
