"""The evolution of signals: genome, padded regression, log, and `python -m jaxnas.search_signals`."""

import dataclasses
import itertools
import json
from types import SimpleNamespace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

import jaxnas.search_signals.command as program
from jaxnas import data, spaces
from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.network.recipe import Recipe
from jaxnas.scorers import Regression
from jaxnas.scorers.training.any_task import AnyTask
from jaxnas.scorers.training.signal_genome import CHANNELS, LEVELS, NOISE_LEVELS, is_undefined, mutate, random_task
from jaxnas.scorers.training.targets import KINDS, Signal, Task, load_task, targets, to_record
from jaxnas.search_signals.evolution import TOURNAMENT, Log, Trial, evaluate_with, fitness, propose
from jaxnas.tables.store import Store
from jaxnas.types import Finished, Status

SPACE = spaces.get("nasbench201")


def rng(seed=0):
    return np.random.default_rng(seed)


def genes(task):
    """The genes by name; an absent signal is None."""
    found = {"noise": (task.noise, task.noise_level)}
    for tap, (channels, signals) in enumerate(zip(task.channels, task.taps, strict=True)):
        found[f"channels {tap}"] = channels
        found |= {f"{kind} {tap}": None for kind in KINDS} | {f"{signal.kind} {tap}": signal for signal in signals}
    return found


# Genome


@pytest.fixture(scope="module")
def tasks():
    """2,000 random genomes."""
    draws = rng(1)
    return [random_task(draws) for _ in range(2000)]


@pytest.fixture(scope="module")
def drawn(tasks):
    """The signals that are on in them, by kind."""
    return {kind: [s for task in tasks for tap in task.taps for s in tap if s.kind == kind] for kind in KINDS}


def test_random_tasks_cover_the_published_ranges(tasks, drawn):
    assert {task.noise for task in tasks} == {"uniform", "gaussian"}
    assert {task.noise_level for task in tasks} == set(NOISE_LEVELS) == {n / 10 for n in range(10)}
    assert {count for task in tasks for count in task.channels} == {int(ratio / 4 * 64) for ratio in range(1, 7)}
    assert {len(task.taps) for task in tasks} == {3}
    levels = {signal.level for signals in drawn.values() for signal in signals}
    assert levels == set(LEVELS) == {round(0.5 + n / 10, 1) for n in range(25)}
    for kind, signals in drawn.items():
        assert abs(len(signals) / 6000 - 0.5) < 0.03
        assert {len(signal.betas) for signal in signals} == ({10} if kind.startswith("sin") else {0})
        assert abs(np.mean([signal.local for signal in signals]) - (1 if kind == "resize" else 0.5)) < 0.05


def test_frequencies_fill_random_bands_below_nyquist(drawn):
    """Of the band between two uniform draws the mean width is a third of the range."""
    betas = np.array([signal.betas for kind in ("sin1d", "sin2d") for signal in drawn[kind]])
    assert betas.min() > 0 and betas.max() < 0.5
    assert betas.mean() == pytest.approx(0.25, abs=0.01)
    assert np.ptp(betas, axis=1).mean() == pytest.approx(0.5 / 3 * 9 / 11, rel=0.05)  # range of ten of it


def test_spikes_are_any_part_of_the_map(drawn):
    partial = np.array([signal.partial for kind in ("dot", "dot_gaussian") for signal in drawn[kind]])
    assert np.histogram(partial, 10, (0, 1))[0] / len(partial) == pytest.approx(np.full(10, 0.1), abs=0.02)


@pytest.mark.parametrize("name", ["nb101", "darts", "resnet"])
def test_published_winners_are_genomes(name):
    task = load_task(name)
    assert task.noise_level in NOISE_LEVELS and set(task.channels) <= set(CHANNELS) and len(task.taps) == 3
    signals = [signal for tap in task.taps for signal in tap]
    assert {signal.level for signal in signals} <= set(LEVELS)
    assert all(len(signal.betas) == (10 if signal.kind.startswith("sin") else 0) for signal in signals)
    assert mutate(task, rng(), keep=1) == Task(
        task.noise, task.noise_level, task.channels, tuple(map(in_order, task.taps))
    )


def in_order(tap):
    return tuple(sorted(tap, key=lambda signal: KINDS.index(signal.kind)))


def test_mutation_keeps_four_genes_in_five(tasks):
    draws, kept = rng(2), {}
    for task in tasks:
        before, after = genes(task), genes(mutate(task, draws))
        for name in before:
            kept.setdefault(name.split()[0], []).append(before[name] == after[name])
    # what is drawn anew is the same gene by chance: one noise in 20, one number of channels in 6, two absent signals
    expected = {"noise": 0.8 + 0.2 / 20, "channels": 0.8 + 0.2 / 6, "resize": 0.8 + 0.2 * (0.25 + 0.25 / 25)}
    for name, same in kept.items():
        assert np.mean(same) == pytest.approx(expected.get(name, 0.8 + 0.2 * 0.25), abs=0.025), name


def test_mutation_draws_genes_independently(tasks):
    counts = [sum(a != b for a, b in zip(genes(t).values(), genes(mutate(t, rng(i))).values(), strict=True))
              for i, t in enumerate(tasks)]  # fmt: skip
    changed = np.array([0.2 * 0.95] + [0.2 * 5 / 6] * 3 + [0.2 * 0.75] * 12 + [0.2 * 0.74] * 3)
    assert np.mean(counts) == pytest.approx(changed.sum(), abs=0.1)
    assert np.var(counts) == pytest.approx((changed * (1 - changed)).sum(), rel=0.1)


def test_mutation_at_the_ends():
    task = random_task(rng(3))
    assert mutate(task, rng(), keep=1) == task
    assert genes(mutate(task, rng(4), keep=0))["noise"] != genes(task)["noise"]


def test_tasks_survive_the_file_that_the_score_reads(tasks, tmp_path):
    path = tmp_path / "task.json"
    for task in tasks[:50]:
        path.write_text(json.dumps(to_record(task)))
        assert load_task(str(path)) == task
    for name in ("nb101", "darts", "resnet", "combo"):
        path.write_text(json.dumps(to_record(load_task(name))))
        assert load_task(str(path)) == load_task(name)


def test_undefined_tasks_are_those_without_a_target(tasks):
    images = data.load("synthetic").images(rng(), 2)
    undefined = [task for task in tasks if is_undefined(task)]
    assert len(undefined) / len(tasks) == pytest.approx(3 / 2 / 64, rel=0.5)
    for task in undefined:
        with pytest.raises(UserError, match="no dot"):
            targets(task, images, rng())
    for task in tasks[:50]:
        assert (
            is_undefined(task) or np.isfinite(np.concatenate([t.ravel() for t in targets(task, images, rng())])).all()
        )


# Evolution


def made_up(number, task):
    """Return scores of 12 architectures that depend on the task and its number; some tasks, some architectures fail."""
    level = sum(signal.level for tap in task.taps for signal in tap)
    value = rng(number).normal(size=12) * task.noise_level + np.arange(12) * (level - 13)
    value[:] = np.nan if number % 9 == 4 else value
    value[number % 12] = np.nan
    return Finished(value, np.where(np.isnan(value), Status.nonfinite, Status.ok), {})


ACCURACIES = np.array([3.0, 1, 2, 4, 5, 5, 7, 6, 8, 9, 11, 10])


class Nothing(Log):
    """A log that forgets."""

    def __init__(self):
        super().__init__(SimpleNamespace(parts=set, write=lambda number, frame: None), ACCURACIES)


def evolve(log, evaluate=made_up, *, population=12, children=40, seed=0, signed=False):
    trials = []
    while len(trials) < population + children:
        task = propose(trials, population=population, seed=seed, signed=signed)
        trials.append(log.trial(len(trials), task, evaluate))
    return trials


@pytest.mark.parametrize("signed", [False, True])
def test_evolution_is_the_published_one(signed):
    """A queue whose oldest member leaves, against the slices of the history; every child is of the best entrant."""
    trials = evolve(Nothing(), signed=signed)
    alive = list(range(12))
    for child in range(12, len(trials)):
        seeds = np.random.SeedSequence(0, spawn_key=(1, child))
        draws = np.random.default_rng(seeds)
        entrants = [alive[i] for i in draws.choice(12, TOURNAMENT, replace=False)]
        assert len(set(entrants)) == TOURNAMENT == 10
        parent = max(entrants, key=lambda i: strength(trials[i].rho, signed))
        assert mutate(trials[parent].task, draws) == trials[child].task
        alive = [*alive[1:], child]


def strength(rho, signed):
    return -1 if np.isnan(rho) else rho if signed else abs(rho)


def test_rho_is_scipys_with_failures_last():
    trials = evolve(Nothing())
    for number, trial in enumerate(trials):
        if number % 9 == 4:
            assert np.isnan(trial.rho)
            assert fitness([trial], signed=True) == fitness([trial], signed=False) == -np.inf
        else:
            expected = spearmanr(-np.nan_to_num(trial.scores.value, nan=1e9), ACCURACIES).statistic
            assert trial.rho == pytest.approx(expected)
    assert {np.sign(trial.rho) for trial in trials} >= {-1, 1}


def test_selection_sees_the_sign_only_if_told():
    trials = [Trial(None, None, rho, 0.0) for rho in (0.5, -0.9, np.nan, 0.1)]
    assert fitness(trials, signed=False).argmax() == 1
    assert fitness(trials, signed=True).argmax() == 0
    assert fitness(trials, signed=True).argmin() == 2


def test_evolution_finds_better_tasks():
    """Of a made-up score that likes few signals."""

    def few(number, task):
        signals = sum(len(tap) for tap in task.taps)
        value = -ACCURACIES + rng(number).normal(size=12) * signals
        return Finished(value, np.zeros(12, int), {})

    trials = evolve(Nothing(), few, population=20, children=200, signed=True)
    sizes = [sum(len(tap) for tap in trial.task.taps) for trial in trials]
    assert np.mean(sizes[-40:]) < np.mean(sizes[:20]) - 1.5


def test_seed_decides():
    first, again, other = (evolve(Nothing(), seed=seed) for seed in (0, 0, 1))
    assert [trial.task for trial in first] == [trial.task for trial in again]
    assert all(a.task != b.task for a, b in zip(first, other, strict=True))


# Log


def new_log(path, **settings):
    return Log(Store.open(path, {"settings": settings, "part_size": 1}), ACCURACIES)


def lasting(trials):
    return [(trial.task, trial.scores.value.tolist(), trial.scores.status.tolist(), trial.rho) for trial in trials]


@pytest.mark.parametrize("killed_in", [0, 1, 17])
def test_resumed_evolution_is_the_uninterrupted_one(tmp_path, killed_in):
    def evaluate(number, task):
        calls.append(number)
        if len(calls) == killed_in + 1:
            raise KeyboardInterrupt
        return made_up(number, task)

    calls = []
    whole = evolve(new_log(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        evolve(new_log(tmp_path / "killed"), evaluate)
    assert len(list((tmp_path / "killed").glob("*.parquet"))) == killed_in
    log = new_log(tmp_path / "killed")
    resumed = evolve(log, evaluate)
    assert log.new == len(whole) - killed_in
    assert sorted(set(calls)) == list(range(len(whole)))
    np.testing.assert_equal(lasting(resumed), lasting(whole))
    tables = [pl.read_parquet(tmp_path / name / "*.parquet").drop("seconds") for name in ("whole", "killed")]
    assert tables[0].equals(tables[1])
    assert tables[0]["row"].to_list() == list(range(len(whole)))
    assert tables[0]["spearman"].null_count() == sum(np.isnan(trial.rho) for trial in whole)


def test_a_stored_trial_of_another_task_is_evaluated_again(tmp_path):
    one, two = random_task(rng(0)), random_task(rng(1))
    new_log(tmp_path).trial(0, one, made_up)
    log = new_log(tmp_path)
    assert log.trial(0, one, None).task == one
    assert log.new == 0
    log.trial(0, two, made_up)
    assert log.new == 1


# One program for all tasks


class Taps:
    """Stands in for a space's network: three feature maps of one convolution each."""

    tap_widths = (4, 8, 16)

    def rescale_to_fan_in(self, params, arch):
        return params

    def tap_masks(self, arch):
        return None

    def taps(self, params, arch, x, running):
        maps = []
        for stage, kernel in enumerate(params):
            x = jax.lax.conv_general_dilated(
                x, kernel * arch, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = jax.nn.relu(x) if stage < 2 else x
            maps.append(x)
        return [maps[0], maps[1], jnp.repeat(jnp.repeat(maps[2], 2, 1), 2, 2)], ()


@pytest.fixture(scope="module")
def padded():
    """`(scorer) -> error` of one made-up network, compiled once for all tasks."""
    sizes = itertools.pairwise((3, *Taps.tap_widths))
    params = [rng(i).normal(0, 0.2, (3, 3, *size)).astype(np.float32) for i, size in enumerate(sizes)]
    blank = AnyTask(images=4, steps=5, drawn=load_task("nb101"), most=96)

    @jax.jit
    def measure(inputs, key):
        return blank.measure(Taps(), params, jnp.float32(1), blank.for_all(inputs, key), key)

    def direct(scorer, inputs, key):
        return jax.jit(lambda i, k: scorer.measure(Taps(), params, jnp.float32(1), scorer.for_all(i, k), k))(
            inputs, key
        )

    return measure, direct


def scorer_of(task):
    return AnyTask(images=4, steps=5, drawn=task, most=96)


@pytest.mark.parametrize("name", ["nb101", "resnet"])
def test_padded_score_is_that_of_the_task(padded, name):
    """The same images, targets, heads and noise; the sums have other lengths."""
    source, key = data.load("synthetic"), jax.random.key(3)
    measure, direct = padded
    fixed = Regression(task=name, images=4, steps=5)
    expected = direct(fixed, fixed.draw(source, rng(5)), key)
    np.testing.assert_allclose(measure(scorer_of(load_task(name)).draw(source, rng(5)), key), expected, rtol=1e-4)


def test_another_task_compiles_nothing(padded, compiles):
    source, key = data.load("synthetic"), jax.random.key(3)
    measure, _ = padded
    inputs = [scorer_of(random_task(rng(seed))).draw(source, rng(0)) for seed in range(6)]
    measure(inputs[0], key)
    with compiles(0):
        losses = [float(measure(each, key)) for each in inputs]
    assert np.isfinite(losses).all() and len(set(losses)) == 6


def test_all_tasks_have_the_same_shapes(tasks):
    source = data.load("synthetic")
    for task in [load_task("combo"), *(task for task in tasks[:20] if not is_undefined(task))]:
        images, maps, channels, noise, level = scorer_of(task).draw(source, rng(2))
        own = source.images(draws := rng(2), 4)
        np.testing.assert_array_equal(images, own)
        for wide, target, count in zip(maps, targets(task, own, draws), channels, strict=True):
            assert wide.shape == (4, 8, 8, max(CHANNELS))
            np.testing.assert_array_equal(wide[..., :count], target)
            assert not wide[..., count:].any()
        assert (channels.dtype, noise.dtype, level.dtype, noise.shape, level.shape) == (
            np.int32,
            np.int32,
            np.float32,
            (),
            (),
        )


def test_every_task_draws_anew_through_one_program(monkeypatch, compiles):
    def measure(self, network, params, arch, inputs, key):
        """Something of all that a task has of its own, fast to compile."""
        weight = jax.tree.leaves(params)[0].ravel()[0]
        drawn = jnp.stack([weight, jax.random.uniform(key), inputs.images[0, 0, 0, 0, 0], inputs.level])
        return arch.sum() + drawn @ jnp.arange(1.0, 5) + sum(target.sum() for target in inputs.targets)

    monkeypatch.setattr(AnyTask, "measure", measure)
    one, two = (random_task(rng(seed)) for seed in (0, 1))
    evaluator = Evaluator(SPACE, scorer_of(one), data.load("synthetic"), batch=3)
    archs = np.array([[1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0], [3, 3, 3, 3, 3, 3]])
    evaluate = evaluate_with(evaluator, scorer_of(one), archs, seed=5)
    first = evaluate(0, one)
    assert [Status(status).name for status in first.status] == ["ok", "disconnected", "ok"]
    with compiles(0):
        other, later, again = evaluate(0, two), evaluate(1, one), evaluate(0, one)
    np.testing.assert_array_equal(again.value, first.value)
    assert len({scores.value[0] for scores in (first, other, later)}) == 3


def test_undefined_tasks_run_nothing():
    task = Task("uniform", 0.1, (16, 16, 16), ((Signal("dot_gaussian", 1.0, partial=0.001),), (), ()))
    found = evaluate_with(None, scorer_of(task), np.zeros((4, 6)), seed=0)(0, task)
    assert np.isnan(found.value).all() and (found.status == Status.nonfinite).all()


# Command line


ARCHS = SPACE.sample(jax.random.key(3), 40)
NAMES = [SPACE.decode(arch) for arch in ARCHS]


@pytest.fixture
def table(tmp_path):
    """A table of made-up accuracies, one of them missing."""
    accuracies = [None, *(float(90 + number % 7) for number in range(1, len(NAMES)))]
    pl.DataFrame({"arch_str": NAMES, "accuracy": accuracies, "loss": 1.0}).write_csv(tmp_path / "table.csv")
    return tmp_path / "table.csv"


class MadeUp:
    """Stands in for `Evaluator`: an error that depends on the task, the seed and the architecture."""

    seen: ClassVar[list[int]] = []

    def __init__(self, space, scorer, source, *, batch, devices):
        self.redraw(0, scorer)

    def check(self):
        pass

    def redraw(self, seed, scorer):
        self.scorer, self.seed = scorer, seed

    def __call__(self, archs):
        MadeUp.seen.append(self.seed)
        level = sum(signal.level for tap in self.scorer.drawn.taps for signal in tap)
        value = np.random.default_rng(self.seed).normal(size=len(archs)) + archs.sum(1) * (level - 13)
        return Finished(value[None], np.zeros((1, len(archs)), int), {})


@pytest.fixture
def fast(monkeypatch):
    """Replace the measurements by made-up ones."""
    monkeypatch.setattr(program, "Evaluator", MadeUp)
    monkeypatch.setattr(MadeUp, "seen", [])


def words(table, out, *more):
    small = ["--labelled", "10", "--population", "6", "--children", "9"]
    return ["--labels", str(table), "--target", "accuracy", "--out", str(out), *small, *more]


def result(capsys, *arguments):
    """Run the command with --json and return what it printed, without what differs between two equal runs."""
    assert program.main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return {key: value for key, value in json.loads(captured.out).items() if key not in ("seconds", "created")}


def test_result(fast, capsys, tmp_path, table):
    found = result(capsys, *words(table, tmp_path / "run"))
    stored = json.loads((tmp_path / "run/result.json").read_text())
    assert stored.items() >= found.items()
    assert to_record(load_task(str(tmp_path / "run/best.json"))) == found["task"]
    Regression(task=str(tmp_path / "run/best.json")).check()
    rows = pl.read_parquet(tmp_path / "run/*.parquet")
    assert len(rows) == found["tasks"] == 15
    assert len(set(MadeUp.seen)) == len(MadeUp.seen) == 15 - found["failed_tasks"]
    best = rows["spearman"].abs().arg_max()
    assert (best, rows["spearman"][best]) == (found["number"], found["spearman"])
    assert json.loads(rows["task"][best]) == found["task"]
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert len(set(manifest["architectures"])) == 10
    assert set(manifest["architectures"]) <= set(NAMES[1:])
    measured = [90 + NAMES.index(name) % 7 for name in manifest["architectures"]]
    assert manifest["accuracies"] == measured
    assert found["spearman"] == pytest.approx(spearmanr(-np.array(rows["regression"][best]), measured).statistic)


def test_signed_search_reports_what_it_selects(fast, capsys, tmp_path, table):
    either = result(capsys, *words(table, tmp_path / "a"))
    signed = result(capsys, *words(table, tmp_path / "b", "--signed"))
    rows = pl.read_parquet(tmp_path / "b/*.parquet")
    assert signed["spearman"] == rows["spearman"].max() > 0
    assert (either["selected_by"], signed["selected_by"]) == ("|rho|", "rho")
    assert abs(either["spearman"]) == pl.read_parquet(tmp_path / "a/*.parquet")["spearman"].abs().max()


def test_a_backward_task_is_called_so(fast, capsys, tmp_path, table):
    measured = pl.read_csv(table)
    lower = measured.with_columns(accuracy=pl.Series(ARCHS.sum(1)).cast(pl.Float64))  # errors grow or fall with it
    lower.write_csv(table)
    said = set()
    for seed in range(4):
        assert program.main(words(table, tmp_path / str(seed), "--seed", str(seed))) == 0
        out = capsys.readouterr().out
        assert ("backwards" in out) == ("Spearman -" in out)
        said.add("backwards" in out)
    assert said == {False, True}


def test_lower_is_better_turns_the_sign(fast, capsys, tmp_path, table):
    either = result(capsys, *words(table, tmp_path / "a"))
    turned = result(capsys, *words(table, tmp_path / "b", "--lower-is-better"))
    assert turned["spearman"] == -either["spearman"]
    assert turned["task"] == either["task"]


def test_more_children_continue_the_search(fast, capsys, tmp_path, table):
    long = result(capsys, *words(table, tmp_path / "long", "--children", "20"))
    result(capsys, *words(table, tmp_path / "run"))
    before = len(MadeUp.seen)
    assert result(capsys, *words(table, tmp_path / "run", "--children", "20")) == long
    assert len(MadeUp.seen) - before <= 11
    assert program.main(words(table, tmp_path / "run", "--children", "20")) == 0
    assert "26 tasks, " in (out := capsys.readouterr().out)
    assert "(0 of them now, the others by an earlier run)" in out
    assert f"--regression.task {tmp_path / 'run' / 'best.json'}" in out


def test_order_of_the_table_does_not_matter(fast, capsys, tmp_path, table):
    one = result(capsys, *words(table, tmp_path / "a"))
    pl.read_csv(table).reverse().write_csv(table)
    assert result(capsys, *words(table, tmp_path / "b")) == one
    assert result(capsys, *words(table, tmp_path / "c", "--seed", "1"))["task"] != one["task"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--labelled", "2"], "--labelled is 2; give at least 3 and at most 39"),
        (["--labelled", "40"], "at most 39"),
        (["--target", "acuracy"], "did you mean 'accuracy'?"),
        (["--target", "loss"], "have the same loss"),
        (["--key", "cell"], "no column 'cell'"),
        (["--space", "nasbench"], "unknown space"),
        (["--space", "nasbench_nlp"], "nasbench_nlp has no regression: its cells read sequences"),
        (["--population", "0"], "--population is 0; it must be at least 1"),
        (["--children", "-1"], "--children is -1; it must be at least 0"),
        (["--batch-size", "0"], "--batch-size is 0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--images", "1"], "at least 2 images"),
        (["--devices", "0"], "--devices is 0; it must be at least 1"),
        (["--data", "syntetic"], "did you mean 'synthetic'?"),
        (["--labels", "none.csv"], "none.csv: no such file"),
    ],
)
def test_bad_input_is_one_line(fast, capsys, tmp_path, table, arguments, says):
    assert program.main(words(table, tmp_path / "run", *arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert says in captured.err
    assert not (tmp_path / "run").exists()


def test_architectures_of_another_space_are_refused(fast, capsys, tmp_path, table):
    pl.DataFrame({"arch": ["a", "b", "c"], "accuracy": [1.0, 2.0, 3.0]}).write_csv(table)
    assert program.main(words(table, tmp_path / "run", "--labelled", "3")) == 2
    assert str(table) in (said := capsys.readouterr().err)
    assert said.count("\n") == 1


def test_labels_of_the_benchmark(shared_data):
    path = shared_data / "nasbench201" / "accuracies.parquet"
    config = program.SearchSignals(labels=path, target="c10_test_200", out="nowhere")
    labels = program.read_labels(config, SPACE)
    assert labels.archs.shape == (20, 6)
    measured = dict(pl.read_parquet(path).select(pl.col("^arch(_str)?$"), "c10_test_200").iter_rows())
    assert [measured[name] for name in labels.names] == labels.accuracies.tolist()
    assert [SPACE.decode(arch) for arch in labels.archs] == labels.names
    again = program.read_labels(dataclasses.replace(config, lower_is_better=True), SPACE)
    assert again.names == labels.names
    assert again.accuracies.tolist() == (-labels.accuracies).tolist()


def test_other_settings_are_refused(fast, capsys, tmp_path, table):
    result(capsys, *words(table, tmp_path / "run"))
    assert program.main(words(table, tmp_path / "run", "--signed")) == 2
    assert "signed=false" in capsys.readouterr().err


@pytest.mark.slow
def test_measured(capsys, tmp_path, table, compiled_programs, monkeypatch):
    """The real thing, small: one compilation for all tasks, and best.json scores again what it scored."""
    monkeypatch.setattr(AnyTask, "recipe", Recipe("taps", channels=4, cells=1))
    counts, trial = [], Log.trial

    def counted(self, number, task, evaluate):
        found = trial(self, number, task, evaluate)
        counts.append(compiled_programs())
        return found

    monkeypatch.setattr(Log, "trial", counted)
    small = ["--labelled", "4", "--population", "3", "--children", "2", "--steps", "2", "--images", "2"]
    found = result(capsys, *words(table, tmp_path / "run", *small, "--devices", "1", "--quiet"))
    assert counts == counts[:1] * 5
    rows = pl.read_parquet(tmp_path / "run/*.parquet")
    own = np.random.SeedSequence(0, spawn_key=(2, found["number"])).generate_state(1)[0]
    best = Regression(task=str(tmp_path / "run/best.json"), images=2, steps=2)
    monkeypatch.setattr(Regression, "recipe", Recipe("taps", channels=4, cells=1))
    names = json.loads((tmp_path / "run/manifest.json").read_text())["architectures"]
    again = Evaluator(SPACE, best, data.load("synthetic"), seed=int(own))(np.stack([SPACE.encode(n) for n in names]))
    np.testing.assert_allclose(again.value[0], rows["regression"][found["number"]].to_numpy(), rtol=1e-3)
