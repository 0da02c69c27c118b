"""The networks of two cells: one genotype as data, the module of it, DARTS's supernet, and its pruning."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import data, scorers, spaces
from jaxnas.errors import UserError
from jaxnas.layers import is_weight
from jaxnas.runner import Evaluator
from jaxnas.search import prune_method
from jaxnas.spaces.darts import MASKS, NONE
from jaxnas.spaces.nds_network import INPUTS
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
    space = spaces.get(name)
    arch = sized(space, 32, 3)[0]
    for purpose, counted in (("benchmark", "benchmark"), ("regression", "cifar10")):
        module = nnx.eval_shape(lambda purpose=purpose: space.build(arch, rngs=nnx.Rngs(0), purpose=purpose))
        assert count(nnx.state(module, nnx.Param)) == space.params(arch[None], counted)[0]


def test_the_supernet_has_the_weights_of_te_nas():
    network = DARTS.network("ntk", MASKS)
    params = jax.eval_shape(network.init, jax.random.key(0))
    weights = {path: leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params) if is_weight(path)}
    assert sum(math.prod(leaf.shape) for leaf in weights.values()) == 5138


# --- one genotype ----------------------------------------------------------------------------------------------------


def moved(network, params, arch, space):
    """Return the module of `arch` with its share of the network's weights."""
    module = space.build(arch, rngs=nnx.Rngs(0), purpose="ntk")
    shared = network.module(network.sized(params, jnp.asarray(arch), steps=False))
    ops, sources, outputs = (part[0] for part in space.split(arch[None]))

    def put(target, values):
        leaves = [(path, leaf.replace(values["/".join(map(str, path))])) for path, leaf in flat(target)]
        nnx.update(target, nnx.from_flat_state(leaves))

    def flat(target):
        return nnx.to_flat_state(nnx.state(target, nnx.Param))

    def given(cell):
        """Return which channels the cell outputs."""
        shape = network.shapes[cell]
        return np.repeat(outputs[int(shape.reduction)], shape.channels)

    def conv_norm(target, values):
        put(target, {"conv/kernel": values["kernel"], "norm/scale": values["scale"], "norm/bias": values["bias"]})

    conv_norm(module.stem[0], shared.weights(("stem", 0)))
    for number, (cell, shape) in enumerate(zip(module.cells, network.shapes, strict=True)):
        for i, entry in enumerate(cell.entries):
            weights = shared.weights(("entries", number, i))
            if (source := number - 2 + i) >= 0:
                weights |= {"kernel": weights["kernel"][:, :, given(source)]}
            conv_norm(entry.parts[0], weights)
        own = iter(cell.ops)
        for place, (op, source) in enumerate(zip(ops[number], sources[number], strict=True)):
            name = network.names[op]
            if name != "none":
                kept = shape.reduction and source >= INPUTS
                weights = shared.weights(("cells", number, place))
                put(next(own), weights.get(f"{name}_on_node" if kept else name, {}))
    head, own = shared.weights(("head",)), given(-1)
    put(module.norm, {"scale": head["scale"][own], "bias": head["bias"][own]})
    put(module.classifier, {"kernel": head["kernel"][own], "bias": head["offset"]})
    return module


@pytest.mark.parametrize("name", ["nasnet"])
def test_the_network_of_a_genotype_is_its_module(name):
    space = spaces.get(name)
    arch = space.sample(jax.random.key(1), 1)[0]
    network = space.network("ntk", space.groups(arch[None], "ntk")[0], image=(8, 8, 3))
    params = jax.jit(network.init)(jax.random.key(0))
    x = np.random.default_rng(0).standard_normal((4, 8, 8, 3), np.float32)
    logits = jax.jit(lambda p, a, x: network.apply(p, a, x))(params, jnp.array(arch), x)
    module = moved(network, params, arch, space)
    np.testing.assert_allclose(nnx.jit(lambda m, x: m(x))(module, x), logits, rtol=0, atol=1e-4)


def test_taps_are_where_gennas_has_them():
    (arch,) = sized(DARTS, 4, 6)
    network = DARTS.network("regression", DARTS.groups(arch[None], "regression")[0])
    assert network.flow.taps == ((32, 32, 16), (16, 16, 32), (8, 8, 64))


# --- the supernet ----------------------------------------------------------------------------------------------------


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


def test_an_edge_without_ops_outputs_zeros():
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
    method, rng, asked = prune_method.Prune(DARTS, preset), np.random.default_rng(0), []
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


def test_only_spaces_with_all_nodes_as_output_or_one_cell_have_a_supernet():
    assert spaces.get("nasbench201").supernet.presets.keys() == {"default"}
    assert spaces.get("nasnet").supernet is None
