"""Regularised evolution beside a plain version of the published algorithm, its properties, and `--method evolve`."""

import json
from collections import deque

import jax
import numpy as np
import polars as pl
import pytest

import jaxnas.search.command as program
from jaxnas import spaces
from jaxnas.errors import UserError
from jaxnas.search.goal import Goal
from jaxnas.search.loop import Log, run
from jaxnas.search.method import Task
from jaxnas.search.methods import METHODS
from jaxnas.search.methods.evolve import Evolve, EvolveOptions
from jaxnas.search.methods.prune import PruneOptions
from jaxnas.tables.store import Store
from jaxnas.types import Finished, Status

NASBENCH201 = spaces.get("nasbench201")
ONE, TWO = {"loss": -1}, {"loss": -1, "size": 1}


class Digits:
    """Numbers of four digits below `base`; a neighbour has another digit in one place, but for `stay` of them."""

    name = "digits"
    supernet = None  # no space of ops on edges

    def __init__(self, base=4, stay=0.0):
        self.base, self.stay, self.size, self.parents = base, stay, base**4, []

    def sample(self, key, n):
        chosen = self.draws(key).permutation(self.size)[:n]
        return np.stack(np.unravel_index(chosen, (self.base,) * 4), -1).astype(np.int32)

    def mutate(self, key, arch):
        self.parents.append(tuple(arch.tolist()))
        rng, child = self.draws(key), arch.copy()
        if rng.random() >= self.stay:
            place = rng.integers(4)
            child[place] = (child[place] + rng.integers(1, self.base)) % self.base
        return child

    @staticmethod
    def as_listed(archs):
        return archs

    @staticmethod
    def draws(key):
        return np.random.default_rng(np.asarray(jax.random.key_data(key)))


class Everyone:
    """A space without end, whose every child is new: architecture n is the one that came up as number n."""

    name, size = "everyone", 10**6

    def __init__(self):
        self.count, self.parents = 0, []

    def sample(self, key, n):
        self.count = n
        return np.arange(n, dtype=np.int32)[:, None]

    def mutate(self, key, arch):
        self.parents.append(int(arch[0]))
        self.count += 1
        return np.array([self.count - 1], np.int32)

    @staticmethod
    def as_listed(archs):
        return archs


def method(space, signs=ONE, seed=0, population=8, children=40, tournament=3, brood=1):
    task = Task(space, Goal(signs), seed, batch=1, budget=population + children)
    return Evolve(task, population, tournament, brood)


def measure(archs, signs=ONE, failed=()):
    """Return rough scores of architectures `[N, A]` in two repeats, with ties, and NaN for those that `failed`."""
    value = np.array([np.random.default_rng([7, *arch]).integers(0, 40, (len(signs), 2)) for arch in archs], float)
    value[[tuple(arch) in failed for arch in archs.tolist()]] = np.nan
    status = np.where(np.isnan(value), Status.nonfinite, Status.ok)
    return {name: Finished(value[:, i].T, status[:, i].T, {}) for i, name in enumerate(signs)}


def searched(of, evaluate=measure):
    """The last state of a search, and what it asked for."""
    state, asked = of.init(), []
    while not of.done(state):
        asked.append(of.ask(state))
        state = of.step(state, evaluate(asked[-1]))
    return state, asked


def published(space, fitness, *, seed, population, children, tournament):
    """The history of the published algorithm, one child after another; the highest fitness breeds.

    Args:
      fitness: of all architectures scored so far, from a list of them to one number each.
    """
    history = [tuple(arch) for arch in space.sample(jax.random.key(seed), population).tolist()]
    alive = deque(history)
    for number in range(population, population + children):
        rng = np.random.default_rng([seed, number])
        entrants = [alive[i] for i in rng.choice(population, tournament, replace=False)]
        scored = list(dict.fromkeys(history))
        by_arch = dict(zip(scored, fitness(scored), strict=True))
        parent = max(entrants, key=by_arch.get)
        child = space.mutate(jax.random.key(int(rng.integers(2**31))), np.array(parent, np.int32))
        alive.append(tuple(child.tolist()))
        alive.popleft()
        history.append(alive[-1])
    return history


def by_loss(archs):
    return -measure(np.array(archs))["loss"].value.mean(0)


def by_ranks(archs):
    """Return minus the number of architectures that are better, summed over both scores; half of those that tie."""
    scores = measure(np.array(archs), TWO)
    good = [sign * scores[name].value.mean(0) for name, sign in TWO.items()]
    return -sum((g[None] > g[:, None]).sum(1) + ((g[None] == g[:, None]).sum(1) - 1) / 2 for g in good)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("signs", "fitness"), [(ONE, by_loss), (TWO, by_ranks)], ids=["one score", "two scores"])
@pytest.mark.parametrize("numbers", [(8, 40, 3), (5, 60, 5), (6, 30, 1), (1, 20, 1)])
def test_is_the_published_algorithm(seed, signs, fitness, numbers):
    population, children, tournament = numbers
    sizes = {"population": population, "children": children, "tournament": tournament}
    of = method(Digits(stay=0.3), signs, seed, **sizes)
    state, _ = searched(of, lambda archs: measure(archs, signs))
    history = published(Digits(stay=0.3), fitness, seed=seed, **sizes)
    assert [tuple(row) for row in state.archs[list(state.births)].tolist()] == history
    scored = list(dict.fromkeys(history))
    assert tuple(of.result(state).arch.tolist()) == scored[int(np.argmax(fitness(scored)))]


@pytest.mark.parametrize("brood", [1, 3, 8])
def test_the_oldest_dies_and_a_tournament_of_all_has_everyone(brood):
    """With replacement a tournament as large as the population would miss its best member one time in three."""
    space = Everyone()
    of = method(space, population=8, children=100, tournament=8, brood=brood)
    state, _ = searched(of)
    loss = measure(state.archs)["loss"].value.mean(0)
    for child, parent in enumerate(space.parents, start=8):
        end = child - (child - 8) % brood
        assert loss[parent] == loss[end - 8 : end].min()


def test_space_without_edges_is_for_evolution_not_for_pruning():
    task = Task(Digits(), Goal({"ntk": -1}), 0, batch=1, budget=11)
    options = EvolveOptions(population=5, tournament=2, brood=3)
    assert METHODS["evolve"].make(task, options) == Evolve(task, population=5, tournament=2, brood=3)
    with pytest.raises(UserError, match="digits is none: say --method evolve"):
        METHODS["prune"].make(task, PruneOptions())


@pytest.mark.parametrize("brood", [1, 4, 8])
def test_no_architecture_is_scored_twice(brood):
    space = Digits(base=3, stay=0.3)
    of = method(space, population=8, children=101, brood=brood)
    state, asked = searched(of)
    assert len(asked[0]) == 8
    assert all(1 <= len(archs) <= brood for archs in asked[1:])
    assert len(asked) == len(state.rounds) <= of.rounds
    rows = np.concatenate(asked)
    assert len(np.unique(rows, axis=0)) == len(rows) < 109
    assert (rows == state.archs).all()
    assert (len(state.births), len(space.parents)) == (109, 101)
    assert (measure(rows)["loss"].value == state.scores["loss"].value).all()
    assert of.report(state)[-1]["scored"] == len(rows)


def test_ends_though_nothing_new_comes_up():
    of = method(Digits(base=2, stay=0.0), population=16, children=50)
    state, asked = searched(of)
    assert [len(archs) for archs in asked] == [16]
    assert state.rounds == ((16, 66),)


def test_failures_are_the_worst():
    space = Digits()
    failed = {tuple(arch) for arch in space.sample(jax.random.key(5), 128).tolist()}
    of = method(space, TWO, population=10, children=60, tournament=10)
    state, _ = searched(of, lambda archs: measure(archs, TWO, failed))
    parents = set(space.parents)
    assert failed & {tuple(arch) for arch in state.archs.tolist()}
    assert not parents & failed
    found = of.result(state)
    assert tuple(found.arch.tolist()) not in failed
    assert found.scores["loss"].value.shape == (2, 1)


def test_all_failures():
    of = method(Digits())
    state, _ = searched(of, lambda archs: measure(archs, failed={tuple(arch) for arch in archs.tolist()}))
    assert len(state.births) == 48
    assert of.table(state)[-1].items() >= {"born": "48", "best loss": "-", "median loss": "-"}.items()
    with pytest.raises(UserError, match="has all the scores; ask for more --budget"):
        of.result(state)


def test_report_follows_best_and_median():
    of = method(Digits(), TWO, population=8, children=30, brood=4)
    state, asked = searched(of, lambda archs: measure(archs, TWO))
    records = of.report(state)
    means = {name: measure(state.archs, TWO)[name].value.mean(0) for name in TWO}
    assert [record["scored"] for record in records] == np.cumsum([len(archs) for archs in asked]).tolist()
    assert (records[0]["born"], records[-1]["born"]) == (8, 38)
    for record in records:
        alive = list(state.births[record["born"] - 8 : record["born"]])
        assert record["best loss"] == means["loss"][: record["scored"]].min()
        assert record["best size"] == means["size"][: record["scored"]].max()
        assert all(record[f"median {name}"] == np.median(means[name][alive]) for name in TWO)
    assert json.loads(json.dumps(records)) == records
    assert [row["round"] for row in of.table(state)] == [str(n + 1) for n in range(len(records))]


@pytest.mark.parametrize("brood", [1, 5])
@pytest.mark.parametrize("killed_in", [0, 1, 7])
def test_resumed_search_is_the_uninterrupted_one(brood, killed_in, tmp_path):
    of, calls = method(Digits(stay=0.3), population=8, children=60, brood=brood), []

    def evaluate(archs):
        calls.append(len(archs))
        if len(calls) == killed_in + 1:
            raise KeyboardInterrupt
        return measure(archs)

    def log(name):
        return Log(Store.open(tmp_path / name, {"settings": {}, "part_size": 1}))

    whole = run(of, measure, log("whole"))
    with pytest.raises(KeyboardInterrupt):
        run(of, evaluate, log("killed"))
    resumed = run(of, evaluate, log("killed"))
    assert len(calls) == len(whole.rounds) + 1
    assert resumed.births == whole.births
    assert of.report(resumed) == of.report(whole)
    tables = [pl.read_parquet(tmp_path / name / "*.parquet").drop("seconds") for name in ("whole", "killed")]
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize("seed", range(2))
def test_finds_the_best_network_if_the_score_is_its_accuracy(shared_data, seed):
    table = pl.read_parquet(shared_data / "nasbench201" / "accuracies.parquet")
    accuracy = dict(zip(table["arch_str"], table["c10_test_200"], strict=True))

    def evaluate(archs):
        value = np.array([[accuracy[NASBENCH201.decode(arch)] for arch in archs]])
        return {"accuracy": Finished(value, np.zeros(value.shape, int), {})}

    of = method(NASBENCH201, {"accuracy": 1}, seed, population=50, children=400, tournament=10, brood=10)
    found = of.result(searched(of, evaluate)[0])
    assert found.scores["accuracy"].value[0, 0] == max(accuracy.values())


# Command line

WORDS = ["--method", "evolve", "--scorers", "params", "--budget", "220"]
WORDS += ["--evolve.population", "20", "--evolve.tournament", "5"]


def result(capsys, *arguments):
    """Run the command with --json and return what it printed."""
    assert program.main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def lasting(found):
    return {key: value for key, value in found.items() if key not in ("seconds", "created")}


def test_finds_the_largest_network(capsys, tmp_path):
    """The number of parameters is a sum over the edges, so there is nowhere to get stuck."""
    found = result(capsys, *WORDS, "--out", str(tmp_path / "run"))
    largest = np.full((1, 6), NASBENCH201.ops.index("nor_conv_3x3"))
    assert NASBENCH201.encode(found["arch"]).tolist() == largest[0].tolist()
    assert found["scores"]["params"] == NASBENCH201.params(largest)[0]
    best = [record["best params"] for record in found["rounds"]]
    assert best == sorted(best)
    assert found["rounds"][-1]["born"] == 220
    assert found["evaluations"] == found["rounds"][-1]["scored"] < 220
    settings = {"method": "evolve", "population": 20, "budget": 220, "tournament": 5, "brood": 10}
    assert found["settings"].items() >= settings.items()
    again = result(capsys, *WORDS, "--out", str(tmp_path / "run"))
    assert again == found
    assert lasting(result(capsys, *WORDS, "--out", str(tmp_path / "other"))) == lasting(found)


@pytest.mark.parametrize("name", ["nasbench101", "enas", "resnet", "nasbench_nlp"])
def test_other_spaces(capsys, tmp_path, name):
    """The best is larger than the random ones at the beginning, and has the size that the space says."""
    space = spaces.get(name)
    found = result(capsys, "--space", name, *WORDS, "--budget", "60", "--out", str(tmp_path))
    assert found["scores"]["params"] == space.params(space.encode(found["arch"])[None])[0]
    best = [record["best params"] for record in found["rounds"]]
    assert best == sorted(best) and best[-1] > best[0]


def test_seed_and_brood_decide_and_the_options_of_other_methods_do_not(capsys, tmp_path):
    words = [*WORDS, "--budget", "50"]
    first = result(capsys, *words, "--out", str(tmp_path / "0"))
    for place, changed in enumerate((["--seed", "1"], ["--evolve.brood", "1"]), start=1):
        assert result(capsys, *words, *changed, "--out", str(tmp_path / str(place)))["rounds"] != first["rounds"]
    assert lasting(result(capsys, *words, "--local.patience", "7", "--out", str(tmp_path / "3"))) == lasting(first)


def test_a_small_population_is_one_option(capsys, tmp_path):
    words = ["--method", "evolve", "--scorers", "params", "--budget", "30", "--evolve.population", "8"]
    found = result(capsys, *words, "--out", str(tmp_path))
    assert found["settings"] | {"population": 8, "tournament": 8, "brood": 8} == found["settings"]


def test_shows_the_rounds(capsys, tmp_path):
    assert program.main([*WORDS, "--evolve.brood", "20", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("round", "born", "scored", "best params", "median params", "chosen: |"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--evolve.population", "0"],
            "--evolve.population is 0; it must lie between 1 and 15625, the size of nasbench201",
        ),
        (
            ["--evolve.population", "15626"],
            "--evolve.population is 15626; it must lie between 1 and 15625, the size of",
        ),
        (["--budget", "20"], "--budget is 20; it must be more than 20, the --evolve.population"),
        (
            ["--evolve.tournament", "0"],
            "--evolve.tournament is 0; it must lie between 1 and 20, the --evolve.population",
        ),
        (["--evolve.tournament", "21"], "--evolve.tournament is 21; it must lie between 1 and 20, the --evolve.popu"),
        (["--evolve.brood", "21"], "--evolve.brood is 21; it must lie between 1 and 20, the --evolve.population"),
    ],
)
def test_bad_numbers_are_one_line(capsys, tmp_path, arguments, says):
    assert program.main([*WORDS, *arguments, "--out", str(tmp_path / "run")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"jaxnas search: {says}")
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "run").exists()
