"""The size space of NATS-Bench: widths as strings, order, counts."""

import jax
import numpy as np
import pytest
from flax import nnx

from jaxnas import spaces
from jaxnas.errors import UserError
from jaxnas.spaces.nats_size.space import NATS_SIZE as SPACE

CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


@pytest.fixture(scope="module")
def everything():
    return SPACE.enumerate()


def conv(size, before, after):
    return size**2 * before * after + 2 * after


def by_hand(widths):
    """#params of stem, cell, reduction, cell, reduction, cell, head."""
    first, *_, last = widths
    total = conv(3, 3, first) + 2 * last + 10 * last + 10
    for layer, (before, after) in enumerate(zip([first, *widths[:-1]], widths, strict=True)):
        if layer in (1, 3):
            total += conv(3, before, after) + conv(3, after, after) + before * after
        else:
            total += 2 * conv(3, before, after) + 3 * conv(3, after, after)
            total += conv(1, before, after) if before != after else 0
    return total


def test_every_string_round_trips_in_order(everything):
    assert SPACE.size == len(everything) == 32_768
    strings = [SPACE.decode(arch) for arch in everything]
    assert strings[:2] == ["8:8:8:8:8", "8:8:8:8:16"]
    assert strings[-1] == "64:64:64:64:64"
    assert len(set(strings)) == 32_768
    np.testing.assert_array_equal([SPACE.encode(string) for string in strings[::7]], everything[::7])


@pytest.mark.parametrize(
    ("string", "words"),
    [
        ("", ["1 widths instead of 5", "8:16:32:48:64"]),
        ("8:8:8:8", ["4 widths instead of 5"]),
        ("8:8:12:8:8", ["width 3 is '12'", "8, 16, 24, 32, 40, 48, 56, 64"]),
        ("8:8:8:8:x", ["width 5 is 'x'"]),
    ],
)
def test_bad_strings_are_one_clear_line(string, words):
    with pytest.raises(UserError) as error:
        SPACE.encode(string)
    assert all(word in str(error.value) for word in words), error.value


def test_params_are_those_of_the_official_layers(everything):
    drawn = everything[:: len(everything) // 97]
    widths = [[int(width) for width in SPACE.decode(arch).split(":")] for arch in drawn]
    np.testing.assert_array_equal(SPACE.params(drawn), [by_hand(row) for row in widths])


@pytest.mark.parametrize(("string", "params"), [("8:8:8:8:8", 11_714), ("64:64:64:64:64", 713_674)])
def test_params_of_the_smallest_and_largest(everything, string, params):
    counts = SPACE.params(everything)
    assert SPACE.params(SPACE.encode(string)[None]) == [params]
    assert params in (counts.min(), counts.max())


def test_doubling_widths_give_the_network_of_nasbench201_with_one_cell_per_stage():
    topology = spaces.get("nasbench201")
    network, cell = topology.network(cells=1), topology.encode(CELL)[None]
    arch = SPACE.encode("16:32:32:64:64")[None]
    assert SPACE.params(arch) == network.params_cost().total(cell)
    assert SPACE.flops(arch) == network.flops_cost().total(cell) + 10  # and the classifier's biases


@pytest.mark.parametrize(
    ("string", "flops"),  # NATS-Bench's own numbers
    [
        ("8:8:8:8:8", 4_481_114),
        ("8:8:8:16:32", 6_840_650),
        ("8:8:8:16:40", 7_991_706),
        ("8:8:40:32:40", 21_827_994),
    ],
)
def test_flops_are_the_published_ones(string, flops):
    assert SPACE.flops(SPACE.encode(string)[None]) == [flops]


def test_another_data_set_changes_the_classifier():
    space = spaces.get("nats_size:cifar100")
    arch = space.encode("8:8:8:8:40")
    assert space.params(arch[None]) - SPACE.params(arch[None]) == [90 * 41]
    assert space.flops(arch[None]) - SPACE.flops(arch[None]) == [90 * 41]
    assert space.build(arch, rngs=nnx.Rngs(0))(np.zeros((1, 32, 32, 3), np.float32)).shape == (1, 100)


def test_flops_grow_with_every_width():
    start = np.full((1, 5), 3, np.int32)
    wider = start + np.eye(5, dtype=np.int32)
    assert (SPACE.flops(wider) > SPACE.flops(start)).all()


def test_samples_are_different_and_neighbours_differ_in_one_width():
    drawn = SPACE.sample(jax.random.key(0), 500)
    assert len(np.unique(drawn, axis=0)) == 500
    assert len(np.unique(SPACE.sample(jax.random.key(0), SPACE.size), axis=0)) == SPACE.size
    children = np.stack([SPACE.mutate(jax.random.key(i), drawn[0]) for i in range(100)])
    assert ((children != drawn[0]).sum(1) == 1).all()
    assert (children != drawn[0]).any(0).all()
    assert (children.min(), children.max()) == (0, 7)
    with pytest.raises(UserError, match="cannot draw 0"):
        SPACE.sample(jax.random.key(0), 0)


def test_there_is_no_network_for_regions():
    with pytest.raises(UserError, match=r"no network for 'patches' \(they are counted in networks of one channel"):
        SPACE.network("patches")
