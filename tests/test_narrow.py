"""Networks with room for more channels than an architecture has: scores are those of a network without the room."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import data, scorers, spaces
from jaxnas.runner import Evaluator
from jaxnas.scorers.regression import Regression, fitted
from jaxnas.spaces.nds_network import GenotypeNetwork

SMALL = {"image": (16, 16, 3)}
SPACE = replace(spaces.get("enas"), ops=("skip_connect", "sep_conv_3x3"), nodes=3)
NATS = np.array([3, 6, 6, 4, 4], np.int32)  # no op that is chosen, whose normalisation has no running moments


@dataclass(frozen=True)
class OwnNodes(GenotypeNetwork):
    """The network of genotypes whose cells output the nodes `kept` (of the normal and of the reduction cell) alone."""

    kept: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())

    def input_shares(self, arch):
        return {}

    def tap_masks(self, arch):
        return None

    def cell(self, at, cell, reduction, arch, entries):
        axis = self.config.layout.channel
        nodes = jnp.split(super().cell(at, cell, reduction, arch, entries), self.nodes, axis)
        return jnp.concatenate([nodes[node] for node in self.kept[reduction]], axis)


@dataclass(frozen=True)
class OwnHeads(Regression):
    """The regression with the rows of its heads that are left by `masks`."""

    masks: Any = ()

    def _heads(self, inputs, key, widths):
        wide = super()._heads(inputs, key, [len(mask) for mask in self.masks])
        heads = [fitted(head, jnp.asarray(mask)) for head, mask in zip(wide, self.masks, strict=True)]
        rows = ("scale", "bias", "kernel")
        return [
            {name: leaf[mask] if name in rows else leaf for name, leaf in head.items()}
            for head, mask in zip(heads, self.masks, strict=True)
        ]


def two_cells(purpose, **changes):
    """Return a wide network, that of one architecture, and the function that takes its share of the weights."""
    archs = SPACE.sample(jax.random.key(3), 20)
    archs[:, :2] = 4, 3
    normal, reduction = SPACE.split(archs)[2].sum(-1).T
    arch = archs[np.flatnonzero((normal != reduction) & (normal < SPACE.nodes))[0]]
    if purpose == "regression":
        changes |= SMALL
    wide = SPACE.network(purpose, SPACE.groups(arch[None], purpose)[0], **changes)
    outputs = SPACE.split(arch[None])[2][0]
    kept = tuple(tuple(np.flatnonzero(cell).tolist()) for cell in outputs)
    fields = {name: getattr(wide, name) for name in wide.__dataclass_fields__}
    alone = OwnNodes(**fields | {"multiples": tuple(map(len, kept))}, kept=kept)

    def share(params):
        own = []
        sized = dict(nnx.to_flat_state(wide.sized(params, jnp.asarray(arch), steps=False)))
        for path, leaf in nnx.to_flat_state(jax.eval_shape(alone.init, jax.random.key(0))):
            value = sized[path][...]
            for axis, (had, wanted) in enumerate(zip(value.shape, leaf.shape, strict=True)):
                if had != wanted:
                    source = wide.reductions[(path[1] - 2 + path[2]) if path[0] == "entries" else -1]
                    value = np.compress(np.repeat(outputs[int(source)], had // SPACE.nodes), value, axis)
            own.append((path, leaf.replace(jnp.asarray(value))))
        return nnx.from_flat_state(own)

    return arch, wide, alone, share


def nats_size(purpose, **changes):
    space, small = spaces.get("nats_size"), {"channels": 16, "image": (8, 8, 3)} | changes
    wide, alone = (space.network(purpose, group, **small) for group in (None, tuple((2 * (NATS + 1)).tolist())))

    def share(params):
        sized = dict(nnx.to_flat_state(wide.sized(params, jnp.asarray(NATS), steps=False)))
        own = []
        for path, leaf in nnx.to_flat_state(jax.eval_shape(alone.init, jax.random.key(0))):
            there = (*path[:3], "nor_conv_1x1", *path[3:]) if "3<-0" in path else path
            own.append((path, leaf.replace(sized[there][...][tuple(map(slice, leaf.shape))])))
        return nnx.from_flat_state(own)

    return NATS, wide, alone, share


def test_the_ntk_is_that_of_the_own_nodes():
    arch, wide, alone, share = two_cells("ntk", bn="frozen", image=(8, 8, 3))
    params = wide.init(jax.random.key(0))
    x = np.random.default_rng(0).standard_normal((4, 8, 8, 3), np.float32)
    scorer = scorers.NTK()

    def gram(network, weights):
        return jax.jit(lambda p, x: scorer.measure(network, p, jnp.asarray(arch), x, jax.random.key(0)))(weights, x)

    expected = gram(alone, share(params))
    np.testing.assert_allclose(gram(wide, params), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("case", [two_cells, nats_size])
def test_the_regression_is_that_of_the_own_channels(case):
    arch, wide, alone, share = case("regression")
    params = wide.init(jax.random.key(0))
    scorer = Regression(images=8, steps=3)
    inputs = scorer.draw(data.load("synthetic"), np.random.default_rng(0))
    inputs = (inputs[0][:, : wide.config.image[0], : wide.config.image[1]], inputs[1])
    masks = [np.asarray(mask) for mask in wide.tap_masks(jnp.asarray(arch))]
    assert [mask.sum() for mask in masks] == list(alone.tap_widths)

    def error(network, scorer, weights):
        measure = jax.jit(lambda p, i: scorer.measure(network, p, jnp.asarray(arch), i, jax.random.key(1)))
        return float(measure(weights, inputs))

    own = OwnHeads(images=8, steps=3, masks=masks)
    np.testing.assert_allclose(error(wide, scorer, params), error(alone, own, share(params)), rtol=1e-4)


def test_every_architecture_of_one_size_is_one_program(compiled_programs):
    space = spaces.get("amoeba")
    archs = space.sample(jax.random.key(0), 6)
    loose = space.split(archs)[2].sum(-1)
    assert len({tuple(row) for row in loose.tolist()}) > 3
    assert set(space.groups(archs, "ntk")) == {(1, 2)}
    assert space.groups(archs, "regression") == [tuple(size) for size in archs[:, :2].tolist()]
    scorer = scorers.Regions(batches=1, samples=50)
    measure = Evaluator(space, scorer, data.load("synthetic"), devices=jax.local_devices()[:1])
    measure(archs[:3])
    before = compiled_programs()
    measure(archs[3:])
    assert compiled_programs() == before
