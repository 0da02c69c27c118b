"""Search methods, their log, and `python -m jaxnas.search`; most of it on made-up scores that need no compilation."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import polars as pl
import pytest

import jaxnas.search.command as program
from jaxnas import data, spaces
from jaxnas.cli import options
from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.scorers import NTK, Regions, TeNas
from jaxnas.search.goal import Goal
from jaxnas.search.loop import Log, Panel, evaluate_with, run
from jaxnas.search.method import Task
from jaxnas.search.methods import METHODS, pruning
from jaxnas.search.methods.prune import Prune
from jaxnas.tables.store import Store
from jaxnas.types import Finished, Status

SPACE = spaces.get("nasbench201")
SIGNS = {"ntk": -1, "regions": 1}
KEYS = {
    "space",
    "method",
    "arch",
    "scores",
    "evaluations",
    "seconds",
    "seed",
    "settings",
    "rounds",
    "versions",
    "device",
}
LEARN = ("agnet", "predictor")  # methods that compile a training
BUDGET = {
    **{name: ["--budget", "300"] for name in METHODS},
    "prune": [],
    "agnet": ["--budget", "32", "--agnet.pretrain", "64"],
    "predictor": ["--budget", "32"],
}
SIGNS = {"ntk": -1, "regions": 1}
SMALL = {"ntk": NTK(images=4), "regions": Regions(samples=50)}  # of the tests that really measure


class MadeUp:
    """Stands in for `Evaluator`: scores that depend on the seed, the scorer, the repeat and the architecture only."""

    calls = 0

    def __init__(self, space, scorer, source, *, together=(), repeats, seed, batch, devices=None):
        self.name, self.scorers = scorer.name, (scorer,)
        self.size = repeats, len(space.edges), len(space.ops)
        self.redraw(seed)

    def redraw(self, seed):
        self.setup = SimpleNamespace(seed=seed)
        self.draw = np.random.default_rng([seed, len(self.name)]).uniform(1, 9, self.size)

    def check(self):
        pass

    def __call__(self, archs):
        MadeUp.calls += 1
        masks = archs if archs.ndim == 3 else SPACE.to_mask(archs)
        value = np.einsum("reo,neo->rn", self.draw, masks / masks.sum(-1, keepdims=True))
        lost = np.broadcast_to(SPACE.is_disconnected(archs), value.shape)
        return Finished(np.where(lost, np.nan, value), np.where(lost, Status.disconnected, Status.ok), {})

    def prepare(self, archs):
        return lambda: None

    def launch_each(self, archs):
        return {self.name: lambda: self(archs)}


def made_up(seed=0):
    """An `evaluate` for both scores."""
    return evaluate_with(
        SPACE, {}, Panel(MadeUp(SPACE, s, None, repeats=2, seed=seed, batch=1) for s in SMALL.values())
    )


def random_method(budget=300, signs=SIGNS, batch=128):
    return METHODS["random"].make(Task(SPACE, Goal(signs), seed=0, batch=batch, budget=budget))


def new_log(path):
    return Log(Store.open(path, {"settings": {}, "part_size": 1}))


def scores_of(values):
    """One repeat's scores per scorer."""
    return {n: Finished(np.array([v], float), np.zeros((1, len(v)), int), {}) for n, v in values.items()}


# Methods


def test_prune_asks_for_the_published_rounds():
    method, asked = Prune(SPACE, SIGNS), []
    run(method, lambda archs: asked.append(archs) or made_up()(archs), log=Nothing())
    assert [len(archs) for archs in asked] == [1 + 24, 1 + 18, 1 + 12, 1]
    assert (method.rounds, method.batch) == (4, 25)
    for archs in asked:
        assert not archs[:, :, SPACE.zero].any()
        assert (archs[0].sum() - archs[1:].sum((1, 2)) == 1).all()
    for before, after in itertools.pairwise(asked):
        assert (before[0].sum(-1) - after[0].sum(-1) == 1).all()


class Nothing(Log):
    """A log that forgets."""

    def __init__(self):
        pass

    def read(self, number, asked):
        return None

    def write(self, number, asked, scores, seconds):
        pass


@pytest.mark.parametrize("seed", range(5))
def test_prune_is_the_pure_rounds(seed):
    evaluate, state = made_up(seed), pruning.init(6, 5)
    while not pruning.done(state):
        scores = evaluate(np.concatenate([state.mask[None], pruning.candidates(state)[0]]))
        state = pruning.step(state, *(pruning.deltas(scores[name].value) for name in ("ntk", "regions")))
    method = Prune(SPACE, SIGNS)
    found = method.result(run(method, evaluate, Nothing()))
    assert found.arch.tolist() == state.mask.argmax(1).tolist()
    assert (found.arch != SPACE.zero).all()
    alone = evaluate(found.arch[None])
    assert all((found.scores[name].value == alone[name].value).all() for name in SIGNS)


@pytest.mark.parametrize("name", SIGNS)
def test_prune_by_one_score_alone(name):
    """Made-up scores add up over the edges, so the op with the best contribution stays."""
    scorer = MadeUp(SPACE, SMALL[name], None, repeats=1, seed=3, batch=1)
    method = Prune(SPACE, {name: SIGNS[name]})
    found = method.result(run(method, evaluate_with(SPACE, {}, Panel([scorer])), Nothing()))
    each = SIGNS[name] * scorer.draw[0, :, 1:]
    assert found.arch.tolist() == (1 + each.argmax(-1)).tolist()


def test_random_takes_the_sample_of_the_score_command():
    asked = []
    method = random_method(300)
    run(method, lambda archs: asked.append(archs) or made_up()(archs), Nothing())
    assert [len(archs) for archs in asked] == [128, 128, 44]
    assert (np.concatenate(asked) == SPACE.sample(jax.random.key(0), 300)).all()


@pytest.mark.parametrize("signs", [SIGNS, {"ntk": -1}, {"regions": 1}])
def test_random_finds_the_best(signs):
    method, archs, evaluate = random_method(300, signs), SPACE.sample(jax.random.key(0), 300), made_up()
    found = method.result(run(method, evaluate, Nothing()))
    means = {name: scores.value.mean(0) for name, scores in evaluate(archs).items()}
    place = sum(np.array([np.nansum(sign * means[n] > sign * v) for v in means[n]]) for n, sign in signs.items())
    place = np.where(SPACE.is_disconnected(archs), np.inf, place)
    assert found.arch.tolist() == archs[place.argmin()].tolist()
    assert found.extra == {"rank_sum": place.min()}
    assert all(found.scores[n].value.mean() == means[n][place.argmin()] for n in signs)


def test_rank_sum_is_te_nas():
    rng = np.random.default_rng(0)
    values = {"ntk": rng.integers(1, 20, 50).astype(float), "regions": rng.integers(1, 20, 50).astype(float)}
    values["ntk"][3] = values["regions"][7] = np.nan
    flat = {n: Finished(v, np.where(np.isnan(v), Status.nonfinite, Status.ok), {}) for n, v in values.items()}
    np.testing.assert_array_equal(Goal(SIGNS).ranks(scores_of(values)), TeNas().combine(flat).value)


def test_random_passes_over_missing_scores():
    method = random_method(3)
    values = {"ntk": [np.nan, 5.0, 9.0], "regions": [9.0, 2.0, 1.0]}
    state = method.step(method.init(), scores_of(values))
    assert method.result(state).arch.tolist() == state.archs[1].tolist()
    assert method.table(state) == [{"round": "1", "scored": "3", "best ntk": "5", "best regions": "2"}]
    nothing = method.step(method.init(), scores_of({"ntk": [np.nan] * 3, "regions": [1.0] * 3}))
    assert method.table(nothing)[0]["best ntk"] == "-"
    with pytest.raises(UserError, match="more --budget"):
        method.result(nothing)


# Log


@pytest.mark.parametrize("method", [Prune(SPACE, SIGNS), random_method()], ids=["prune", "random"])
@pytest.mark.parametrize("killed_in", [0, 1, 2])
def test_resumed_search_is_the_uninterrupted_one(method, killed_in, tmp_path):
    calls = []

    def evaluate(archs):
        calls.append(len(archs))
        if len(calls) == killed_in + 1:
            raise KeyboardInterrupt
        return made_up()(archs)

    whole = run(method, made_up(), new_log(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        run(method, evaluate, new_log(tmp_path / "killed"))
    assert len(list((tmp_path / "killed").glob("*.parquet"))) == killed_in
    resumed = run(method, evaluate, new_log(tmp_path / "killed"))
    assert len(calls) == method.rounds + 1
    assert method.report(resumed) == method.report(whole)
    assert method.result(resumed).arch.tolist() == method.result(whole).arch.tolist()
    tables = [pl.read_parquet(tmp_path / name / "*.parquet").drop("seconds") for name in ("whole", "killed")]
    assert tables[0].equals(tables[1])
    assert tables[0]["row"].to_list() == list(range(tables[0].height))


def test_log_gives_back_what_it_got(tmp_path):
    scores = {"ntk": Finished(np.array([[1.5, np.nan], [1e-30, np.inf]]), np.array([[0, 4], [1, 3]]), {})}
    asked = SPACE.sample(jax.random.key(1), 2)
    new_log(tmp_path).write(0, asked, scores, 2.5)
    log = new_log(tmp_path)
    read = log.read(0, asked)["ntk"]
    np.testing.assert_array_equal(read.value, scores["ntk"].value)
    np.testing.assert_array_equal(read.status, scores["ntk"].status)
    assert (log.evaluations, log.seconds) == (2, 2.5)
    assert log.read(0, asked[::-1]) is None
    assert log.read(1, asked) is None


# Command line


@pytest.fixture
def fast(monkeypatch):
    """Replace the measurements by made-up ones."""
    monkeypatch.setattr(options, "Evaluator", MadeUp)
    monkeypatch.setattr(MadeUp, "calls", 0)


def main(words):
    """Run the command; it prunes, or goes by what prunes, unless other words say otherwise."""
    words = [*words] if "--method" in words else [*words, "--method", "prune"]
    words += [] if "--scorers" in words else ["--scorers", "ntk,regions"]
    words += [] if "--repeats" in words else ["--repeats", "3"]
    return program.main(words)


def result(capsys, *arguments):
    """Run the command with --json and return what it printed."""
    assert main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def lasting(found):
    """The result without what may differ between two runs of the same search."""
    return {key: value for key, value in found.items() if key not in ("seconds", "created")}


@pytest.mark.parametrize(("method", "evaluations", "rounds"), [("prune", 25 + 19 + 13 + 1, 3), ("random", 300, 3)])
def test_result(fast, capsys, tmp_path, method, evaluations, rounds):
    words = ["--method", method, *BUDGET[method], "--out", str(tmp_path / "run")]
    found = result(capsys, *words)
    assert found == json.loads((tmp_path / "run" / "result.json").read_text())
    assert found.keys() >= KEYS
    arch = SPACE.encode(found["arch"])[None]
    assert found["scores"]["params"] == SPACE.params(arch)[0]
    assert found["scores"]["flops"] == SPACE.flops(arch)[0]
    assert found["scores"]["ntk_status"] == found["scores"]["regions_status"] == "ok"
    assert (found["evaluations"], len(found["rounds"])) == (evaluations, rounds)
    assert (found["settings"]["method"], found["settings"]["repeats"]) == (method, 3)


def test_pruning_within_a_limit(fast, capsys, tmp_path):
    words = ["--seed", "3", "--out"]
    free = result(capsys, *words, str(tmp_path / "free"))
    limit = free["scores"]["flops"] - 1
    bound = result(capsys, *words, str(tmp_path / "bound"), "--at-most", f"flops={limit}")
    assert bound["scores"]["flops"] <= limit
    assert bound["scores"]["feasible"]
    assert bound["scores"].keys() - free["scores"].keys() == {"feasible"}
    assert bound["rounds"][0]["deltas"] == free["rounds"][0]["deltas"]
    assert main([*words, str(tmp_path / "bound"), "--at-most", f"flops={limit}"]) == 0
    assert "nan" not in capsys.readouterr().out


def test_without_arguments_under_runs(fast, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    captured = capsys.readouterr()
    found = json.loads(Path("runs/search-nasbench201-prune-seed0/result.json").read_text())
    assert captured.err == ""
    assert f"chosen: {found['arch']}\n" in captured.out
    assert "58 networks evaluated" in captured.out
    assert all(text in captured.out for text in ("round", "pruned", "ntk:", "regions:", "#params", "FLOPs"))
    calls = MadeUp.calls
    assert main([]) == 0
    assert "0 of them now" in capsys.readouterr().out
    assert MadeUp.calls == calls
    assert json.loads(Path("runs/search-nasbench201-prune-seed0/result.json").read_text()) == found


@pytest.mark.parametrize(
    ("method", "more"),
    [
        *(pytest.param(name, [], marks=pytest.mark.slow if name in LEARN else ()) for name in METHODS),
        ("prune", ["--at-most", "flops=4e7", "--at-least", "flops=3e7"]),
    ],
)
def test_interrupted_command_resumes(fast, capsys, tmp_path, monkeypatch, method, more):
    words = ["--method", method, *BUDGET[method], *more]
    whole = result(capsys, *words, "--out", str(tmp_path / "whole"))
    score = MadeUp.__call__

    def interrupted(self, archs):
        if len(list((tmp_path / "run").glob("*.parquet"))) == 1:
            raise KeyboardInterrupt
        return score(self, archs)

    with monkeypatch.context() as patch:
        patch.setattr(MadeUp, "__call__", interrupted)
        assert main([*words, "--out", str(tmp_path / "run")]) == 130
    assert not (tmp_path / "run" / "result.json").exists()
    assert "Traceback" not in capsys.readouterr().err
    assert lasting(result(capsys, *words, "--out", str(tmp_path / "run"))) == lasting(whole)


def test_seed_decides(fast, capsys, tmp_path):
    found = [result(capsys, "--seed", s, "--out", str(tmp_path / name)) for s, name in ("0a", "0b", "1c")]
    assert lasting(found[0]) == lasting(found[1])
    assert found[0]["arch"] != found[2]["arch"]


def test_te_nas_is_ntk_and_regions(fast, capsys, tmp_path):
    one = result(capsys, "--scorers", "te_nas", "--out", str(tmp_path))
    assert lasting(result(capsys, "--scorers", "ntk,regions", "--out", str(tmp_path))) == lasting(one)


def test_random_by_a_count_evaluates_no_network(fast, capsys, tmp_path):
    found = result(capsys, "--method", "random", "--scorers", "params", "--budget", "99", "--out", str(tmp_path))
    assert found["scores"]["params"] == SPACE.params(SPACE.sample(jax.random.key(0), 99)).max()
    assert MadeUp.calls == 0


@pytest.mark.parametrize(
    ("words", "bn", "images"),
    [
        ([], "batch", 32),
        (["--ntk.bn", "frozen"], "frozen", 72),
        (["--ntk.images", "16"], "batch", 16),
        (["--space", "transnas101_micro"], "batch", 32),
        (["--space", "darts"], "frozen", 14),
        (["--space", "darts", "--ntk.bn", "batch"], "batch", 14),
        (["--space", "darts", "--prune.preset", "imagenet"], "frozen", 24),
        (["--space", "darts", "--ntk.images", "72"], "frozen", 72),
        (["--space", "darts", "--prune.preset", "imagenet", "--ntk.images", "14"], "frozen", 14),
        (["--method", "random"], NTK.bn, NTK.images),
        (["--method", "random", "--ntk.bn", "batch"], "batch", NTK.images),
    ],
)
def test_the_ntk_is_the_one_asked_for_or_that_of_the_method_and_the_space(capsys, monkeypatch, words, bn, images):
    def stop(config, *_):
        raise UserError(f"{config.ntk.bn}, {config.ntk.images} images")

    monkeypatch.setattr(program, "objectives", stop)
    assert main(words) == 2
    assert capsys.readouterr().err == f"jaxnas search: {bn}, {images} images\n"


OWN = """
from jaxnas.spaces import cell_space, own

space = cell_space("a/b", edges=((1, 0),), ops={"none": own.zero, "pool": own.avg_pool_3x3})
"""


def test_a_supernet_with_nothing_to_prune(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("spaces").mkdir()
    Path("spaces/mine.py").write_text(OWN)
    words = ["--space", "spaces/mine.py:space", "--scorers", "regions", "--regions.samples", "20"]
    assert main(words) == 0
    assert "chosen: pool" in capsys.readouterr().out
    assert [path.name for path in Path("runs").iterdir()] == ["search-mine-space-prune-seed0"]
    Path("spaces/mine.py").write_text(f"{OWN}\n")
    assert main(words) == 2
    assert "files.spaces/mine.py=" in capsys.readouterr().err


def test_a_search_of_darts_gives_the_genotype_that_its_code_reads(capsys, tmp_path):
    words = ["--space", "darts", "--method", "random", "--scorers", "params", "--budget", "5", "--out", str(tmp_path)]
    found, space = result(capsys, *words), spaces.get("darts")
    assert found["genotype"].startswith("Genotype(normal=[(")
    np.testing.assert_array_equal(space.encode(found["genotype"])[2:], space.encode(found["arch"])[2:])
    assert main(words) == 0
    assert found["genotype"] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--method", "prun"], "unknown method 'prun'; did you mean 'prune'?"),
        (["--space", "nasbench"], "unknown space 'nasbench'; did you mean 'nasbench201'?"),
        (["--scorers", "ntk,region"], "unknown scorer 'region'; did you mean 'regions'?"),
        (["--scorers", ""], "unknown scorer"),
        (["--scorers", "ntk,params"], "measured on a supernet, not by params"),
        (["--scorers", "consensus"], "not by consensus: say --scorers ntk,regions, --method sift or"),
        (["--at-most", "flops=1"], "keeps --at-most flops=1: it ends with flops from 7,783,050 to 220,119,690"),
        (["--at-most", "ntk=1"], "keeps limits on params and flops, not on ntk"),
        (["--method", "random", "--budget", "0"], "--budget is 0; it must lie between 1, a single one, and 15625"),
        (["--budget", "9"], "--budget does not go with --method prune"),
        (["--maximize", "accuracy"], "unknown score 'accuracy'; choose from"),
        (["--at-most", "flops"], "--at-most flops: give NAME=NUMBER"),
        (["--at-most", "flop=1"], "unknown score with a limit 'flop'; did you mean 'flops'?"),
        (["--warm-start", "9"], "--warm-start needs scores to choose by; say --prior"),
        (["--plot", "a.jpg"], "--plot a.jpg: give a file that ends in one of .png, .pdf, .svg"),
        (["--repeats", "0"], "--repeats is 0"),
        (["--devices", "0"], "--devices is 0; it must be at least 1"),
        (["--batch-size", "0"], "--batch-size is 0; it must be at least 1"),
        (["--ntk.images", "1"], "at least 2 images"),
        (["--data", "nothing.npz"], "nothing.npz does not exist"),
        (["--data", "syntetic"], "did you mean 'synthetic'?"),
    ],
)
def test_bad_input_is_one_line(fast, capsys, tmp_path, arguments, says):
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert says in captured.err
    assert not (tmp_path / "run").exists()


def test_a_score_that_the_space_lacks_leaves_no_directory(capsys, tmp_path):
    words = ["--space", "nasbench_nlp", "--method", "evolve", "--scorers", "regression", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert "say --scorers sequence" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_bad_directory_is_one_line(fast, capsys, tmp_path):
    result(capsys, "--out", str(tmp_path / "run"))
    (tmp_path / "file").write_text("mine")
    for arguments, says in [
        (["--seed", "1", "--out", str(tmp_path / "run")], "seed=0"),
        (["--ntk.preset", "as_shipped", "--out", str(tmp_path / "run")], 'ntk.preset="paper"'),
        (["--out", str(tmp_path / "file")], "give a directory"),
        (["--out", str(tmp_path)], "holds other files"),
    ]:
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert says in captured.err


# Measured


@pytest.fixture(scope="module")
def measured(networks):
    """Both scores, small, compiled once for all tests of this file; the regions as the command has them."""
    source = data.load("synthetic")
    batch = Prune(SPACE, SIGNS).batch
    on = {"ntk": networks.small(SPACE), "regions": SPACE}
    return {n: Evaluator(on[n], s, source, repeats=2, seed=0, batch=batch) for n, s in SMALL.items()}


@pytest.mark.slow
def test_only_the_first_round_compiles(measured, compiled_programs):
    method, before, compiled = Prune(SPACE, SIGNS), compiled_programs(), []
    state = run(
        method,
        evaluate_with(SPACE, {}, Panel(measured.values())),
        Nothing(),
        lambda _: compiled.append(compiled_programs()),
    )
    assert compiled[0] > before
    assert compiled == compiled[:1] * 4
    found = method.result(state)
    assert (found.arch != SPACE.zero).all()
    assert all(np.isfinite(scores.value).all() for scores in found.scores.values())


def test_as_a_program(measured, tmp_path):
    """Another process finds the same, and prints the result alone."""
    words = ["--scorers", "regions", "--regions.samples", "50", "--repeats", "2", "--out", str(tmp_path), "--json"]
    words += ["--method", "prune"]
    done = subprocess.run([sys.executable, "-m", "jaxnas.search", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, method = json.loads(done.stdout), Prune(SPACE, {"regions": 1})
    state = run(method, evaluate_with(SPACE, {}, Panel([measured["regions"]])), Nothing())
    assert found["arch"] == SPACE.decode(method.result(state).arch)
    assert found["rounds"] == method.report(state)
    assert found["scores"]["regions"] == method.result(state).scores["regions"].value.mean()
