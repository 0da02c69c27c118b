"""Networks with room for more channels than an architecture has: scores are those of a network without the room."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import data, scorers, spaces
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.network.network import HEAD
from jaxnas.scorers.training.regression import Regression, init_heads, rescale_head
from jaxnas.spaces.nds.network import GenotypeNetwork

SMALL = {"image": (16, 16, 3)}
SPACE = replace(spaces.get("enas"), ops=("skip_connect", "sep_conv_3x3"), nodes=2)


@dataclass(frozen=True)
class OwnNodes(GenotypeNetwork):
    """The network of genotypes whose cells output the nodes `kept` (of the normal and of the reduction cell) alone."""

    kept: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())

    @property
    def output_nodes(self):
        return [len(nodes) for nodes in self.kept]

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
        heads = [rescale_head(head, jnp.asarray(mask)) for head, mask in zip(wide, self.masks, strict=True)]
        rows = ("scale", "bias", "kernel")
        return [
            {name: leaf[mask] if name in rows else leaf for name, leaf in head.items()}
            for head, mask in zip(heads, self.masks, strict=True)
        ]


def two_cells(form, width=4, **changes):
    """An architecture, its wide network, that of its own, and what takes its share of the weights."""
    archs = SPACE.sample(jax.random.key(3), 20)
    archs[:, :2] = width, 3
    normal, reduction = SPACE.split(archs)[2].sum(-1).T
    arch = archs[np.flatnonzero((normal != reduction) & (normal < SPACE.nodes))[0]]
    if form == "taps":
        changes |= SMALL
    wide = SPACE.network(form, SPACE.groups(arch[None], form)[0], **changes)
    outputs = SPACE.split(arch[None])[2][0]
    kept = tuple(tuple(np.flatnonzero(cell).tolist()) for cell in outputs)
    fields = {name: getattr(wide, name) for name in wide.__dataclass_fields__}
    alone = OwnNodes(**fields, kept=kept)

    def share(params):
        rescaled, own = dict(nnx.to_flat_state(params)), []
        for path, leaf in nnx.to_flat_state(jax.eval_shape(alone.init, jax.random.key(0))):
            value = rescaled[path][...]
            for axis, (had, wanted) in enumerate(zip(value.shape, leaf.shape, strict=True)):
                if had != wanted:
                    source = wide.reductions[(path[1] - 2 + path[2]) if path[0] == "entries" else -1]
                    value = np.compress(np.repeat(outputs[int(source)], had // SPACE.nodes), value, axis)
            own.append((path, leaf.replace(jnp.asarray(value))))
        return nnx.from_flat_state(own)

    return arch, wide, alone, share


def test_the_weights_are_those_that_the_own_nodes_draw():
    arch, wide, alone, _ = two_cells("thin", channels=64)
    leaves = dict(nnx.to_flat_state(wide.rescale_to_fan_in(wide.init(jax.random.key(0)), jnp.asarray(arch))))
    assert wide.config.init == "kaiming"
    for path in (("entries", 1, 1), HEAD):
        kernel = np.asarray(leaves[*path, "kernel"][...])
        fan = alone.features_out if path == HEAD else alone.ops()[path].in_channels
        assert abs(kernel.std() / (2 / fan) ** 0.5 - 1) < 4 / (2 * kernel.size) ** 0.5
    arch, wide, alone, _ = two_cells("taps", width=64)
    leaves = dict(nnx.to_flat_state(wide.rescale_to_fan_in(wide.init(jax.random.key(0)), jnp.asarray(arch))))
    assert wide.config.init == "pytorch"
    halved = ("entries", 2, 0, "parts/0/convs/0/kernel"), alone.ops()["entries", 2, 0].in_channels
    for path, fan in (halved, ((*HEAD, "kernel"), alone.features_out)):
        assert 0.98 < abs(leaves[path][...]).max() * fan**0.5 <= 1


def test_heads_are_those_that_the_own_channels_draw():
    (head,) = init_heads(jax.random.key(0), [64], [96])
    mask = np.arange(64) % 4 == 1
    own = rescale_head(head, jnp.asarray(mask))
    assert not own["kernel"][~mask].any()
    for name in ("kernel", "offset"):
        assert 0.9 / 4 < abs(own[name]).max() <= 1 / 4


@pytest.mark.slow
def test_the_ntk_is_that_of_the_own_nodes():
    arch, wide, alone, share = two_cells("thin", bn="frozen", image=(8, 8, 3))
    params = wide.init(jax.random.key(0))
    x = np.random.default_rng(0).standard_normal((4, 8, 8, 3), np.float32)

    def gram(network, weights):
        measure = jax.jit(lambda p, x: scorers.NTK().measure(network, p, jnp.asarray(arch), x, jax.random.key(0)))
        return measure(weights, x)

    expected = gram(alone, share(wide.rescale_to_fan_in(params, jnp.asarray(arch))))
    np.testing.assert_allclose(gram(wide, params), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_the_regression_is_that_of_the_own_channels():
    arch, wide, alone, share = two_cells("taps")
    params = wide.init(jax.random.key(0))
    scorer = Regression(images=8, steps=3)
    images, targets = scorer.draw(data.load("synthetic"), np.random.default_rng(0))
    inputs = images[:, :16, :16], targets
    masks = [np.asarray(mask) for mask in wide.tap_masks(jnp.asarray(arch))]
    assert [mask.sum() for mask in masks] == list(alone.tap_widths)

    def error(network, scorer, weights):
        key = jax.random.key(1)
        measure = jax.jit(lambda p, i: scorer.measure(network, p, jnp.asarray(arch), scorer.for_all(i, key), key))
        return float(measure(weights, inputs))

    own = OwnHeads(images=8, steps=3, masks=masks)
    expected = error(alone, own, share(wide.rescale_to_fan_in(params, jnp.asarray(arch))))
    np.testing.assert_allclose(error(wide, scorer, params), expected, rtol=1e-4)


@pytest.mark.slow
def test_every_architecture_of_one_size_is_one_program(compiled_programs):
    archs = SPACE.sample(jax.random.key(0), 8)
    archs[:, :2] = 2, 3
    assert len({tuple(row) for row in SPACE.split(archs)[2].sum(-1).tolist()}) > 2
    for scorer in (scorers.Regions(batches=1, samples=50), Regression(images=2, steps=1)):
        measure = Evaluator(SPACE, scorer, data.load("synthetic"), devices=jax.local_devices()[:1])
        measure(archs[:1])
        before = compiled_programs()
        assert np.isfinite(measure(archs[1:]).value).all()
        assert compiled_programs() == before
    assert SPACE.groups(archs, "thin") == [(1, 2)] * len(archs)
    assert set(spaces.get("amoeba").groups(spaces.get("amoeba").sample(jax.random.key(0), 50), "thin")) == {(1, 2)}
