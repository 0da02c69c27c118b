"""The networks of two cells: one genotype as data, the module of it, DARTS's supernet, and its pruning."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import data, scorers, spaces
from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.network.op import is_weight
from jaxnas.search.methods import prune
from jaxnas.spaces import Space
from jaxnas.spaces.blocks.architecture import ArchitectureModule
from jaxnas.spaces.nds.darts import EDGES, MASKS, NONE
from jaxnas.spaces.nds.network import INPUTS, THIN, Group
from jaxnas.types import Finished, Status

DARTS = spaces.get("darts")
SUPERNET = np.ones((28, 8), np.int32)
SUPERNET[:, NONE] = 0


def sized(space, width, depth, seed=0, n=1):
    archs = space.sample(jax.random.key(seed), n)
    archs[:, :2] = width, depth
    return archs


def count(params):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


# --- counts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["darts", "enas", "pnas", "nasnet", "amoeba"])
def test_the_module_has_the_published_number_of_parameters(name):
    imagenet, cifar = spaces.get(name), spaces.get(f"{name}:cifar10")
    arch = sized(imagenet, 32, 3)[0]
    for space, form, counted in (
        (imagenet, "benchmark", imagenet),
        (imagenet, "taps", cifar),
        (cifar, "benchmark", cifar),
    ):

        def build(space: Space = space, form: str = form) -> nnx.Module:
            return space.build(arch, rngs=nnx.Rngs(0), form=form)

        module = nnx.eval_shape(build)
        assert count(nnx.state(module, nnx.Param)) == counted.params(arch[None])[0]


def test_the_supernet_has_the_weights_of_te_nas():
    network = DARTS.network("thin", MASKS)
    params = jax.eval_shape(network.init, jax.random.key(0))
    weights = {path: leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params) if is_weight(path)}
    assert sum(math.prod(leaf.shape) for leaf in weights.values()) == 5138


# --- one genotype ----------------------------------------------------------------------------------------------------


def own_params(alone, shared, space, where):
    """The parameters of the network `alone` of one genotype that are its share of the `shared` ones.

    `where(number, place, name, source)` is the path there, and the name there, of an op of cell `number`.
    """
    ops, sources, outputs = (part[0] for part in space.split(np.array(alone.genotype)[None]))
    leaves = {}

    def given(cell):
        """Which channels the cell outputs."""
        shape = alone.shapes[cell]
        return np.repeat(outputs[int(shape.reduction)], shape.channels)

    for path in alone.ops():
        match path:
            case ("cells", number, place):
                cell = int(alone.reductions[number])
                there, name = where(number, place, space.ops[ops[cell, place]], sources[cell, place])
                weights = shared.weights(there).get(name, {})
            case ("entries", number, i) if number - 2 + i >= 0:
                weights = shared.weights(path)
                kernels = {name: leaf for name, leaf in weights.items() if name.endswith("kernel")}
                weights |= {name: leaf[:, :, given(number - 2 + i)] for name, leaf in kernels.items()}
            case ("head",):
                weights = {n: leaf if n == "offset" else leaf[given(-1)] for n, leaf in shared.weights(path).items()}
            case _:
                weights = shared.weights(path)
        leaves |= {(*path, name): leaf for name, leaf in weights.items()}
    own = nnx.to_flat_state(jax.eval_shape(alone.init, jax.random.key(0)))
    return nnx.from_flat_state([(path, leaf.replace(leaves.pop(path))) for path, leaf in own])


def by_hand(networks, alone, params, space):
    """The same network wired by hand."""
    ops, sources, outputs = (part[0] for part in space.split(np.array(alone.genotype)[None]))
    return networks.TwoCells(alone, params, np.array(space.ops)[ops].tolist(), sources, outputs)


SMALL_DARTS = replace(DARTS, ops=("none", "skip_connect", "max_pool_3x3", "dil_conv_3x3", "avg_pool_3x3"), nodes=2)
SMALL_ENAS = replace(spaces.get("enas"), ops=("skip_connect", "sep_conv_3x3"), nodes=3)


@pytest.mark.parametrize(
    ("space", "form"),
    [
        pytest.param(replace(spaces.get("nasnet"), nodes=3), "thin", marks=pytest.mark.slow),
        (SMALL_DARTS, "taps"),
        pytest.param(SMALL_ENAS, "taps", marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_network_of_a_genotype_is_its_modules(networks, space, form):
    (arch,) = sized(space, 4, 4, seed=1)
    network = space.network(form, space.groups(arch[None], form)[0], image=(8, 8, 3))
    params = jax.jit(network.init)(jax.random.key(0))
    x = np.random.default_rng(0).standard_normal((4, 8, 8, 3), np.float32)

    def where(number, place, name, source):
        kept = network.reductions[number] and source >= INPUTS
        return ("cells", number, place), f"{name}_on_node" if kept else name

    weights = network.rescale_to_fan_in(params, jnp.asarray(arch))
    alone = network.specialised(arch)
    own = own_params(alone, network.module(weights), space, where)
    modules = ArchitectureModule(alone, own, arch), by_hand(networks, alone, own, space)
    logits, (wired, outputs) = nnx.jit(lambda x, *modules: [module(x) for module in modules])(x, *modules)
    np.testing.assert_allclose(wired, logits, rtol=0, atol=1e-4)
    np.testing.assert_allclose(
        jax.jit(lambda p, a, x: network.apply(p, a, x))(weights, jnp.array(arch), x), logits, rtol=0, atol=1e-4
    )
    taps = jax.jit(lambda p, a, x: network.taps(p, a, x)[0])(weights, jnp.array(arch), x)
    given = space.split(arch[None])[2][0]
    assert form == "thin" or (network.before_taps == (1, 2) and any(e.halve for s in network.shapes for e in s.entries))
    for cell, tap in zip((*network.before_taps, len(outputs)), taps, strict=True):
        shape = network.shapes[cell - 1]
        own = np.repeat(given[int(shape.reduction)], shape.channels)
        np.testing.assert_allclose(tap[..., own], outputs[cell - 1], rtol=0, atol=1e-4)
        assert not tap[..., ~own].any()


def test_taps_are_where_gennas_has_them():
    (arch,) = sized(DARTS, 4, 6)
    network = DARTS.network("taps", DARTS.groups(arch[None], "taps")[0])
    assert network.flow.taps == ((32, 32, 16), (16, 16, 32), (8, 8, 64))


# --- the supernet ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_masks_are_scored_in_one_program(compiled_programs):
    masks = np.stack([SUPERNET] * 3)
    masks[1, 3, 4] = masks[2, 7] = 0
    source = data.load("synthetic")
    for scorer in (scorers.Regions(batches=1, samples=50), scorers.NTK(images=4)):
        measure = Evaluator(DARTS, scorer, source, devices=jax.local_devices()[:1])
        first = measure(masks)
        before = compiled_programs()
        again = measure(masks[::-1][:2])
        assert compiled_programs() == before
        assert (first.status != Status.nonfinite).all()
        np.testing.assert_array_equal(again.value, first.value[:, [2, 1]])


@pytest.fixture(scope="module")
def supernet():
    """Return DARTS's supernet on small images, its parameters, images, and its logits by mask."""
    network = DARTS.network("thin", MASKS, image=(8, 8, 3))
    params = jax.jit(network.init)(jax.random.key(0))
    x = np.random.default_rng(0).standard_normal((4, 8, 8, 3), np.float32)
    taps = jax.jit(lambda mask: network.taps(params, mask, x)[0][-1])
    logits = jax.jit(lambda mask: network.apply(params, mask, x))
    return network, params, x, lambda mask: logits(jnp.asarray(mask)), lambda mask: taps(jnp.asarray(mask))


@pytest.mark.slow
def test_the_supernet_with_one_op_on_an_edge_is_the_genotype(networks, supernet):
    network, params, x, logits, _ = supernet
    archs = DARTS.sample(jax.random.key(5), 50)
    pairs = DARTS.split(archs)[1].reshape(len(archs), -1, 2)
    arch = archs[(pairs[..., 0] != pairs[..., 1]).all(-1)][0]
    edges = network.edges

    def where(number, place, name, source):
        return ("cells", number, edges.index((INPUTS + place // 2, source))), name

    alone = DARTS.network("thin", Group(*THIN), image=(8, 8, 3)).specialised(arch)
    module = by_hand(networks, alone, own_params(alone, network.module(params), DARTS, where), DARTS)
    ops, sources, _ = DARTS.split(arch[None])
    mask = np.zeros_like(SUPERNET)
    for number, (op, source) in enumerate(zip(ops.ravel(), sources.ravel(), strict=True)):
        cell, place = divmod(number, ops.shape[-1])
        mask[cell * len(EDGES) + EDGES.index((INPUTS + place // 2, source)), op] = 1
    np.testing.assert_allclose(nnx.jit(lambda m, x: m(x))(module, x)[0], logits(mask), rtol=0, atol=1e-4)


def test_an_edge_outputs_the_mean_of_its_ops_and_zeros_without(supernet):
    *_, features = supernet
    mask = np.zeros_like(SUPERNET)
    last = len(EDGES) + EDGES.index((5, 4))  # of the reduction cell
    skip, pool = DARTS.ops.index("skip_connect"), DARTS.ops.index("avg_pool_3x3")
    mask[len(EDGES) + EDGES.index((4, 0)), skip] = 1  # node 4 is the first input, halved
    quarter = features(mask).shape[-1] // 4

    def of_last(*ops):
        chosen = mask.copy()
        chosen[last, list(ops)] = 1
        return np.asarray(features(chosen))[..., -quarter:]

    assert not of_last().any()
    assert of_last(skip).any()
    np.testing.assert_allclose(of_last(skip, pool), (of_last(skip) + of_last(pool)) / 2, rtol=0, atol=1e-6)


def test_masks_without_a_way_are_disconnected():
    masks = np.stack([SUPERNET, SUPERNET, SUPERNET])
    masks[1, :14] = 0  # no normal cell: the reduction cell sees the stem
    masks[2, 14:] = 0
    assert DARTS.is_disconnected(masks).tolist() == [False, False, True]


# --- pruning ---------------------------------------------------------------------------------------------------------


def made_up(masks, rng):
    def column():
        values = rng.uniform(1, 10, (3, len(masks)))
        return Finished(values, np.zeros(values.shape, int), {})

    return {"ntk": column(), "regions": column()}


@pytest.mark.parametrize(
    ("preset", "rounds"), [("cifar10", [196, 112]), ("imagenet", [196, 140, 84]), (None, [196, 112])]
)
def test_pruning_asks_for_the_published_candidates(preset, rounds):
    method, rng, asked = prune.Prune(DARTS, {"ntk": -1, "regions": 1}, preset), np.random.default_rng(0), []
    state = method.init()
    while not method.done(state):
        masks = method.ask(state)
        assert not masks[..., NONE].any()
        asked.append(len(masks) - 1)
        state = method.step(state, made_up(masks, rng))
    assert asked == [*rounds, 3, 4, 5, 3, 4, 5, 0]
    assert sum(rounds) == (420 if preset == "imagenet" else 308)
    assert len(asked) == method.rounds
    mask = state.supernet.mask
    assert mask.sum() == 16 and (mask.sum(-1) <= 1).all()
    found = method.result(state).arch
    string = DARTS.decode(found)
    np.testing.assert_array_equal(DARTS.encode(string), found)
    assert "none" not in DARTS.decode(found)


def test_an_unknown_preset_is_refused():
    with pytest.raises(UserError, match="unknown preset 'cifar'"):
        DARTS.supernet.preset("cifar")


def test_which_spaces_have_a_supernet():
    assert spaces.get("nasbench201").supernet.presets.keys() == {"default"}
    with_one = {name for name, space in spaces.SPACES.items() if space.supernet is not None}
    assert with_one == {"nasbench201", "darts", "darts_fix_w_d", "transnas101_micro"}
