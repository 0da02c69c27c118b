"""TransNAS-Bench-101: the two lists, strings, counts, samples, neighbours, networks."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import polars
import pytest
from flax import nnx

from jaxnas import data
from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.score.work import Work
from jaxnas.scorers import Regions, Regression
from jaxnas.spaces.blocks.architecture import ArchitectureModule
from jaxnas.spaces.transnas101.macro import TRANSNAS101_MACRO as MACRO
from jaxnas.spaces.transnas101.micro import TRANSNAS101_MICRO as MICRO
from jaxnas.spaces.transnas101.network import macro_network, plain_modules
from jaxnas.types import Status

MICRO_ROWS = [  # strings and op indices
    ("64-41414-0_00_000", [0, 0, 0, 0, 0, 0]),
    ("64-41414-1_02_333", [1, 0, 2, 3, 3, 3]),
    ("64-41414-3_33_323", [3, 3, 3, 3, 2, 3]),
]
MACRO_ROWS = [
    ("64-1234-basic", [1, 2, 3, 4, -1, -1]),
    ("64-111114-basic", [1, 1, 1, 1, 1, 4]),
    ("64-44413-basic", [4, 4, 4, 1, 3, -1]),
]


@pytest.mark.parametrize(("space", "rows"), [(MICRO, MICRO_ROWS), (MACRO, MACRO_ROWS)])
def test_single_rows(space, rows):
    for string, arch in rows:
        assert space.encode(string).tolist() == space.encode(f" {string}\n").tolist() == arch
        assert space.decode(np.array(arch)) == string


@pytest.mark.parametrize(("space", "size"), [(MICRO, 4096), (MACRO, 3256)])
def test_every_string_round_trips(space, size):
    everything = space.enumerate()
    strings = [space.decode(arch) for arch in everything]
    assert space.size == len(set(strings)) == size
    assert strings == sorted(strings)
    np.testing.assert_array_equal([space.encode(string) for string in strings], everything)


@pytest.mark.parametrize(("space", "file"), [(MICRO, "micro"), (MACRO, "macro")])
def test_the_lists_are_the_benchmarks(space, file, shared_data):
    strings = polars.read_parquet(shared_data / "transnas101" / f"{file}.parquet")["arch_str"]
    assert [space.decode(arch) for arch in space.enumerate()] == strings.sort().to_list()


@pytest.mark.parametrize(
    ("space", "string", "words"),
    [
        (MICRO, "", ["does not start with 64-41414-", "expected 64-41414-a_bc_def"]),
        (MICRO, "64-1234-basic", ["does not start with 64-41414-"]),
        (MICRO, "64-41414-1_02_33", ["have not 1, 2 and 3 edges"]),
        (MICRO, "64-41414-1_04_333", ["edge 2 (2<-1) is '4'", "digits 0 to 3"]),
        (MACRO, "64-1234", ["expected 64-MODULES-basic"]),
        (MACRO, "32-1234-basic", ["expected 64-MODULES-basic"]),
        (MACRO, "64-1534-basic", ["module 2 is '5'"]),
        (MACRO, "64-124-basic", ["3 modules, 1 that halve and 2 that double", "4 to 6 modules"]),
        (MACRO, "64-1133-basic", ["4 modules, 2 that halve and 0 that double"]),
        (MACRO, "64-444433-basic", ["6 modules, 6 that halve and 4 that double"]),
        (MACRO, "64--basic", ["0 modules"]),
    ],
)
def test_bad_strings_are_one_clear_line(space, string, words):
    with pytest.raises(UserError) as error:
        space.encode(string)
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


# --- counts ----------------------------------------------------------------------------------------------------------


def conv(size, before, after):
    """Weights of a convolution, scales and biases of its normalisation."""
    return size**2 * before * after + 2 * after


STEM = conv(3, 3, 32) + conv(3, 32, 64)


def block(before, after, changed):
    return conv(3, before, after) + conv(3, after, after) + (conv(1, before, after) if changed else 0)


def test_params_of_skeletons_are_the_sum_of_their_blocks():
    blocks = 2 * block(64, 64, False)  # 1
    blocks += block(64, 128, True) + block(128, 128, False)  # 2
    blocks += block(128, 128, True) + block(128, 128, False)  # 3
    blocks += block(128, 256, True) + block(256, 256, False)  # 4
    assert MACRO.params(MACRO.encode("64-1234-basic")[None]) == [STEM + blocks + 256 * 75 + 75]


@pytest.mark.parametrize(
    ("op", "cost"),
    [
        (0, lambda before, after, changed: 0),
        (1, lambda before, after, changed: conv(1, before, after) if changed else 0),  # a factorised reduction
        (2, lambda before, after, changed: conv(1, before, after)),
        (3, lambda before, after, changed: conv(3, before, after)),
    ],
)
@pytest.mark.parametrize("edge", range(6))
def test_params_of_cells_are_the_sum_of_their_edges(edge, op, cost):
    """Module 4 halves and doubles, module 1 keeps; edges 0, 1 and 3 come from the cell's input."""
    arch, total, channels = np.zeros((1, 6), int), 0, 64
    arch[0, edge] = op
    for module in "41414":
        before, channels = channels, channels * 2 if module == "4" else channels
        shapes = [(before, channels, module == "4"), (channels, channels, False)]
        if edge not in (0, 1, 3):
            shapes = [(channels, channels, False)] * 2
        total += sum(cost(*shape) for shape in shapes)
    assert MICRO.params(arch) - MICRO.params(np.zeros((1, 6), int)) == [total]
    assert MICRO.params(np.zeros((1, 6), int)) == [STEM + 512 * 75 + 75]


def test_flops_are_the_multiply_adds():
    base, before, after = (MACRO.flops(MACRO.encode(f"64-{s}-basic")[None])[0] for s in ("1114", "11114", "11141"))
    assert before - base == 4 * 64**2 * 9 * 64 * 64
    assert after - base == 4 * 32**2 * 9 * 128 * 128
    none, all_conv = MICRO.flops(np.array([[0] * 6, [3] * 6]))
    assert none == 128**2 * 9 * 3 * 32 + 64**2 * 9 * 32 * 64 + 512 * 75
    assert all_conv > none


def test_the_cells_counts_are_those_of_their_network():
    archs = MICRO.enumerate()[::37]
    for space in (MICRO, MICRO.on("class_scene")):
        network = space.network()
        np.testing.assert_array_equal(space.flops(archs), network.flops_cost().total(archs))
        np.testing.assert_array_equal(space.params(archs), network.params_cost().total(archs))


def test_scene_classification_has_other_classifiers():
    for space, string in ((MICRO, MICRO.example), (MACRO, MACRO.example)):
        scene, arch = space.on("class_scene"), space.encode(string)
        fewer = 75 - 47
        (channels,) = space.flops(arch[None]) - scene.flops(arch[None])
        assert space.params(arch[None]) - scene.params(arch[None]) == [fewer + channels]
        assert channels % fewer == 0
        module = nnx.eval_shape(lambda: scene.build(arch, rngs=nnx.Rngs(0)))  # noqa: B023
        assert module.modules["head"].classifier.kernel.shape == (channels // fewer, 47)


# --- samples, neighbours, graph facts --------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [MICRO, MACRO])
def test_samples_are_different_members(space):
    members = set(map(space.decode, space.enumerate()))
    drawn = [space.decode(arch) for arch in space.sample(jax.random.key(0), 500)]
    assert len(set(drawn)) == 500
    assert set(drawn) <= members
    assert {space.decode(arch) for arch in space.sample(jax.random.key(0), space.size)} == members
    with pytest.raises(UserError, match="cannot draw"):
        space.sample(jax.random.key(0), space.size + 1)


def test_macro_mutation_is_one_edit_and_reaches_all_lengths():
    parent = MACRO.encode("64-12341-basic")
    children = {MACRO.decode(MACRO.mutate(jax.random.key(i), parent)).split("-")[1] for i in range(200)}
    assert "12341" not in children
    assert {len(child) for child in children} == {4, 5, 6}
    assert all(MACRO.encode(f"64-{child}-basic").shape == (6,) for child in children)
    for child in children:
        longer, shorter = sorted(["12341", child], key=len, reverse=True)
        if len(child) == 5:
            assert sum(a != b for a, b in zip(child, "12341", strict=True)) == 1
        else:
            assert any(longer[:i] + longer[i + 1 :] == shorter for i in range(len(longer)))


def test_micro_mutation_changes_one_edge():
    parent = MICRO.encode("64-41414-1_02_333")
    children = np.stack([MICRO.mutate(jax.random.key(i), parent) for i in range(60)])
    assert ((children != parent).sum(1) == 1).all()
    assert (children != parent).any(0).all()


def test_cells_without_a_path_are_disconnected():
    strings = ["64-41414-0_00_000", "64-41414-3_33_000", "64-41414-0_01_001", "64-41414-1_01_001", "64-41414-0_00_200"]
    archs = np.stack([MICRO.encode(string) for string in strings])
    assert MICRO.is_disconnected(archs).tolist() == [True, True, True, False, False]
    assert not MACRO.is_disconnected(MACRO.enumerate()[:5]).any()


# --- networks --------------------------------------------------------------------------------------------------------


class Cells:
    """The cells in a shorter skeleton, with one tap."""

    def __init__(self, skeleton="41"):
        self.skeleton = skeleton

    def __getattr__(self, name):
        return getattr(MICRO, name)

    def network(self, form, group=None, **changes):
        return replace(MICRO.network(form, group, **{"channels": 8, **changes}), skeleton=self.skeleton)

    def network_for(self, recipe, group=None):
        return self.network(recipe.form, group, **recipe.changes())


def pixels(network, count):
    return jax.random.normal(jax.random.key(1), (count, *network.config.image))


def logits_and_ntk(network):
    """The function of parameters, architecture and images that gives logits and NTK `[B, B]`."""

    @jax.jit
    def compute(params, arch, x):
        logits, pull = jax.vjp(lambda probe: network.apply(params, arch, x, probe), jnp.zeros((len(x), len(x))))
        return logits, pull(jnp.ones_like(logits))[0]

    return compute


def test_network_of_cells_has_the_benchmarks_params():
    archs = np.stack([MICRO.encode(string) for string, _ in MICRO_ROWS])
    assert MICRO.network().params_cost().total(archs).tolist() == MICRO.params(archs).tolist()


@pytest.mark.parametrize(("string", "arch"), MACRO_ROWS)
def test_network_of_a_skeleton_has_the_benchmarks_params(string, arch):
    (walk,) = MACRO.groups(np.array([arch]), "benchmark")
    network = macro_network("benchmark", walk).specialised(np.array(arch))
    ops = [op["conv"] if isinstance(op, dict) else op for op in network.ops().values()]
    assert sum(op.num_params for op in ops) == MACRO.params(np.array([arch]))


def test_skeletons_that_change_the_shape_alike_share_a_network():
    assert len(set(MACRO.groups(MACRO.enumerate(), "thin"))) == 297
    assert MACRO.groups(np.array([[1, 2, 4, 1, 4, 1], [2, 4, 4, 1, -1, -1]]), "thin") == ["244", "244"]
    assert plain_modules(np.array([[1, 2, 4, 1, 4, 1], [2, 4, 4, 1, 1, -1]]), 3).tolist() == [
        [1, 0, 1, 1],
        [0, 0, 0, 2],
    ]


@pytest.mark.slow
def test_skeletons_that_differ_in_halvings_have_the_same_regions():
    assert set(MACRO.groups(MACRO.enumerate(), "patches")) == {"2", "22", "222"}
    pairs = [["1412", "1412"], ["34123", "14321"], ["444311", "242111"]]
    archs = [np.stack([MACRO.encode(f"64-{skeleton}-basic") for skeleton in pair]) for pair in pairs]
    measure = Evaluator(MACRO, Regions(samples=200, batches=1), data.load("synthetic"), batch=2)
    values = np.concatenate([measure(pair).value for pair in archs])
    np.testing.assert_array_equal(values[:, 0], values[:, 1])
    assert len(np.unique(values)) == len(pairs)
    assert not np.array_equal(*MACRO.flops(archs[1]))


@pytest.mark.parametrize("skeleton", ["1412", "34123"])
def test_a_skeleton_alone_is_the_network_of_regions_without_the_absent_modules(networks, skeleton):
    arch = MACRO.encode(f"64-{skeleton}-basic")
    (walk,) = MACRO.groups(arch[None], "patches")
    alone, network = MACRO.build(arch, rngs=nnx.Rngs(0), form="patches"), MACRO.network("patches", walk)
    x, params = pixels(network, 2), network.init(jax.random.key(0))
    module = ArchitectureModule(alone.network, networks.share(params, alone.network), alone.arch)
    logits = nnx.jit(lambda module, x: module(x))(module, x)
    np.testing.assert_allclose(logits, jax.jit(network.apply)(params, arch, x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("network", "shapes"),
    [
        (MICRO.network("taps"), [(16, 16, 32), (8, 8, 64), (4, 4, 128)]),
        (MACRO.network("taps", "4"), [(32, 32, 16), (32, 32, 16), (16, 16, 32)]),
        (MACRO.network("taps", "234"), [(32, 32, 32), (16, 16, 32), (8, 8, 64)]),
        (MACRO.network("patches", "22"), [(3, 3, 1), (3, 3, 2), (3, 3, 4)]),
    ],
)
def test_taps(network, shapes):
    assert list(network.flow.taps) == shapes


def test_network_of_cells_is_its_stand_alone_module():
    network, arch = Cells().network("taps", image=(16, 16, 3)), MICRO.encode("64-41414-1_02_333")
    x, params = pixels(network, 2), network.init(jax.random.key(0))
    module = ArchitectureModule(network, params, arch)
    logits = nnx.jit(lambda module, x: module(x))(module, x)
    np.testing.assert_allclose(logits, jax.jit(network.apply)(params, arch, x), rtol=1e-3, atol=1e-4)


def test_absent_modules_leave_outputs_and_ntk_alone(networks):
    arch = MACRO.encode("64-1411-basic")
    network = MACRO.network("thin", "4", bn="frozen", image=(8, 8, 3))
    exact = network.specialised(arch)
    x, params = pixels(network, 3), network.init(jax.random.key(0))
    own = networks.share(params, exact)
    module = ArchitectureModule(exact, own, arch)
    logits, ntk = logits_and_ntk(network)(params, arch, x)
    np.testing.assert_allclose(nnx.jit(lambda module, x: module(x))(module, x), logits, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(logits_and_ntk(exact)(own, arch, x)[1], ntk, rtol=1e-3)


@pytest.mark.parametrize("space", [Cells("4"), MACRO], ids=["cells", "skeletons"])
def test_regression(space, one_tap, compiles):
    strings = ["64-4111-basic", "64-11411-basic"] if space is MACRO else [string for string, _ in MICRO_ROWS[1:]]
    scorer = Regression(images=2, steps=2) if space is MACRO else Regression(images=2, steps=2, task=one_tap)
    archs = np.stack([space.encode(string) for string in strings])
    measure = Evaluator(space, scorer, data.load("synthetic"), devices=jax.devices()[:1], batch=2)
    both = measure(archs)
    assert (both.status == Status.ok).all() and len(np.unique(both.value)) == 2
    with compiles(0):
        np.testing.assert_array_equal(measure(archs[1:]).value, both.value[:, 1:])


def test_regions_of_skeletons():
    measure = Evaluator(MACRO, Regions(samples=200, batches=1), data.load("synthetic"), batch=2)
    archs = np.stack([MACRO.encode(f"64-{skeleton}-basic") for skeleton in ("4111", "111114")])
    assert (measure(archs).value > 1).all()


def test_unknown_networks():
    with pytest.raises(UserError, match="'darts'; it has networks for benchmark, patches, taps, thin"):
        MICRO.network("darts")
    with pytest.raises(UserError, match="'darts'; it has networks for benchmark, patches, taps, thin"):
        MACRO.network("darts", "4")
    for form, group in (("thin", None), ("thin", "214"), ("patches", "24")):
        with pytest.raises(UserError, match="for each change of shape"):
            MACRO.network(form, group)


@pytest.mark.slow
def test_an_op_on_zeros_is_more_than_no_op_once_it_has_learned_a_bias(one_tap):
    archs = np.stack([MICRO.encode(f"64-41414-0_1{op}_003") for op in (0, 3)])
    one, other = map(replace(MICRO, silent=True).isomorphism_class, archs)
    assert one == other
    one, other = map(MICRO.isomorphism_class, archs)
    assert one != other
    scorer = Regression(images=2, steps=2, task=one_tap)
    ((without, with_op),) = Evaluator(Cells(), scorer, data.load("synthetic"), devices=jax.devices()[:1])(archs).value
    assert without != with_op


def test_a_skip_connection_that_changes_the_shape_is_no_copy():
    """Were it one, these two, with other weights to train, would be scored as one."""
    archs = np.stack([MICRO.encode(f"64-41414-{cell}") for cell in ("1_00_030", "0_00_300")])
    assert len(set(map(MICRO.isomorphism_class, archs))) == 1 and len(set(MICRO.params(archs).tolist())) == 2
    assert len(Work.plan(MICRO, archs, [], dedup=True).representatives) == 2
