"""NAS-Bench-Macro: strings, classes, counts, and its network."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import polars
import pytest
from flax import nnx

from jaxnas import data, scorers, spaces
from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.spaces.blocks.architecture import ArchitectureModule
from jaxnas.spaces.nasbench_macro import NASBENCH_MACRO as SPACE
from jaxnas.types import Status

ROWS = [  # architecture, parameters and FLOPs in the benchmark
    ("11111221", 2_181_386, 65_012_224),
    ("00011110", 1_118_378, 31_390_208),
    ("00220121", 2_038_570, 54_901_248),
    ("02222211", 2_055_082, 81_928_704),
    ("12111122", 2_477_642, 75_143_680),
]
ARCHS = np.array([[1, 0, 2, 1, 0, 0, 2, 1], [0, 0, 0, 0, 0, 0, 0, 0], [2, 2, 0, 1, 0, 1, 0, 2]], np.int32)
EVERY_BLOCK = np.array([0, 1, 2, 1, 0, 1, 0, 2], np.int32)  # in layers that change the shape (0, 2, 5) and in others
SMALL = [
    scorers.NTK(images=3),
    scorers.NTK(bn="batch", images=6),
    scorers.Regions(batches=2, samples=64),
    scorers.Regression(images=4, steps=3),
]


class Thin:
    """The space with networks of few channels and of one stage: these compile in seconds."""

    def __getattr__(self, name):
        return getattr(SPACE, name)

    def network(self, form, group=None, **changes):
        channels = min(4, SPACE.network(form).config.channels)
        return SPACE.network(form, group, **{**changes, "stages": 1, "channels": channels})

    def network_for(self, recipe, group=None):
        return self.network(recipe.form, group, **recipe.changes())


@pytest.mark.parametrize(("string", "params", "flops"), ROWS)
def test_counts_of_single_rows(string, params, flops):
    arch = SPACE.encode(string)
    assert SPACE.decode(arch) == string
    assert (*SPACE.params(arch[None]), *SPACE.flops(arch[None])) == (params, flops)


def test_counts_equal_the_table_and_classes_share_its_accuracies(shared_data):
    rows = polars.read_parquet(shared_data / "nasbench_macro" / "c10_half.parquet")
    archs = np.stack([SPACE.encode(string) for string in rows["arch"]])
    assert len(archs) == 3280
    np.testing.assert_array_equal(archs, rows.select([f"b{layer}" for layer in range(8)]).to_numpy())
    np.testing.assert_array_equal(SPACE.params(archs), rows["params"])
    np.testing.assert_array_equal(SPACE.flops(archs), rows["flops"])
    trained = rows.select("acc_s0", "acc_s1", "acc_s2").to_numpy()
    pairs = {
        (arch.tobytes(), tuple(accuracies)) for arch, accuracies in zip(SPACE.canonical(archs), trained, strict=True)
    }
    assert len(pairs) == len({arch for arch, _ in pairs}) == len({accuracies for _, accuracies in pairs})


def test_all_architectures_and_their_classes():
    everything = SPACE.enumerate()
    assert SPACE.size == len(everything) == len(np.unique(everything, axis=0)) == 6561
    classes = SPACE.canonical(everything)
    assert len(np.unique(classes, axis=0)) == 3969
    np.testing.assert_array_equal(SPACE.canonical(classes), classes)
    np.testing.assert_array_equal(SPACE.params(classes), SPACE.params(everything))
    assert SPACE.canonical(np.array([[0, 0, 2, 0, 1, 0, 0, 2]])).tolist() == [[0, 0, 2, 1, 0, 0, 2, 0]]
    assert SPACE.decode(everything[1]) == "00000001"
    assert spaces.get("nasbench_macro") is SPACE


def test_samples_and_mutants():
    archs = SPACE.sample(jax.random.key(0), 500)
    assert len(np.unique(archs, axis=0)) == 500
    np.testing.assert_array_equal(archs, SPACE.sample(jax.random.key(0), 500))
    with pytest.raises(UserError, match="ask for 1 to 6561"):
        SPACE.sample(jax.random.key(0), 6562)
    children = [SPACE.mutate(jax.random.key(seed), archs[0]) for seed in range(200)]
    assert all((child != archs[0]).sum() == 1 for child in children)
    assert len(np.unique(children, axis=0)) == 16


@pytest.mark.parametrize(
    ("string", "words"),
    [("1201122", "7 layers"), ("12011223", "layer 7 is '3'"), ("1201x220", "layer 4 is 'x'"), ("", "0 layers")],
)
def test_bad_strings_are_one_clear_line(string, words):
    with pytest.raises(UserError) as error:
        SPACE.encode(string)
    assert words in str(error.value) and "0 (identity), 1 (mb3_k3), 2 (mb6_k5)" in str(error.value)
    with pytest.raises(UserError, match="no network for 'nkt'; it has networks for benchmark, patches"):
        SPACE.network("nkt")


@pytest.mark.parametrize("changes", [{}, {"stages": 1}], ids=["three stages", "one"])
def test_the_built_module_is_the_network_with_that_index(changes):
    network = SPACE.network("thin", **changes)
    params = network.init(jax.random.key(5))
    x = np.random.default_rng(0).standard_normal((4, 32, 32, 3), np.float32)
    module = ArchitectureModule(network, params, EVERY_BLOCK)
    logits = jax.jit(network.apply)(params, jnp.asarray(EVERY_BLOCK), x)
    actual = nnx.jit(lambda module, x: module(x))(module, x)
    np.testing.assert_allclose(actual, logits, rtol=0, atol=1e-5 * np.abs(logits).max())


def test_built_modules_have_the_benchmarks_parameters():
    for string, params, _ in ROWS[:1]:
        module = nnx.eval_shape(lambda string=string: SPACE.build(string, rngs=nnx.Rngs(0)))
        assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param))) == params


def test_taps_are_the_outputs_of_the_stages():
    assert SPACE.network("taps").flow.taps == ((16, 16, 64), (8, 8, 128), (4, 4, 256))


@pytest.mark.parametrize(
    "scorer",
    [SMALL[0], SMALL[2], *(pytest.param(score, marks=pytest.mark.slow) for score in (SMALL[1], SMALL[3]))],
    ids=lambda scorer: f"{scorer.name}-{getattr(scorer, 'bn', '')}",
)
def test_every_score_runs_and_batch_mates_do_not_change_it(scorer, one_tap, compiles):
    if scorer.name == "regression":
        scorer = replace(scorer, task=one_tap)
    measure = Evaluator(Thin(), scorer, data.load("synthetic"), batch=4)
    scores = measure(ARCHS)
    assert set(scores.status[0]) <= {Status.ok, Status.saturated}
    with compiles(0):
        again = measure(ARCHS[1:])
    np.testing.assert_array_equal(again.value, scores.value[:, 1:])
