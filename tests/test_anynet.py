"""The AnyNets of NDS: strings, counts, samples, mutation."""

import jax
import numpy as np
import polars
import pytest

from jaxnas.errors import UserError
from jaxnas.spaces.anynet.space import ANYNETS, MOST_FLOPS, MOST_PARAMS, RESNET, RESNEXT_A, RESNEXT_B, VANILLA

BY_NAME = pytest.mark.parametrize("space", ANYNETS, ids=[space.name for space in ANYNETS])
TABLES = [
    ("ResNet_lr-wd_in", RESNET, 243),
    ("ResNeXt-A_in", RESNEXT_A, 68),
    ("ResNeXt-B_in", RESNEXT_B, 80),
    ("Vanilla_lr-wd_in", VANILLA, 254),
]
ROWS = [  # architecture, NDS's string, parameters and operations in NDS
    (
        RESNET,
        [16, 5, 16, 5, 64, 2, 64, 8, 16],
        '{"block_type":"res_basic_block","bot_muls":[],"ds":[1,5,5,2,8],"num_gs":[],"ss":[4,1,2,2,2],'
        '"ws":[16,16,64,64,16]}',
        (583704, 408466104),
    ),
    (
        VANILLA,
        [16, 2, 16, 8, 48, 5, 32, 2, 48],
        '{"block_type":"double_plain_block","bot_muls":[],"ds":[1,2,8,5,2],"num_gs":[],"ss":[4,1,2,2,2],'
        '"ws":[16,16,48,32,48]}',
        (554040, 335798568),
    ),
    (
        RESNEXT_A,
        [64, 8, 16, 4, 4, 8, 16, 4, 1, 8, 32, 4, 1],
        '{"block_type":"res_bottleneck_block","bot_muls":[1.0,1.0,1.0,1.0],"ds":[1,8,8,8],"num_gs":[1,4,1,1],'
        '"ss":[8,1,2,2],"ws":[64,16,16,32]}',
        (216072, 120398952),
    ),
    (
        RESNEXT_B,
        [64, 2, 64, 4, 8, 2, 64, 2, 2, 2, 256, 4, 1],
        '{"block_type":"res_bottleneck_block","bot_muls":[1.0,1.0,0.5,1.0],"ds":[1,2,2,2],"num_gs":[1,8,2,1],'
        '"ss":[8,1,2,2],"ws":[64,64,64,256]}',
        (1774600, 200540776),
    ),
]


@pytest.mark.parametrize(("space", "arch", "string", "counts"), ROWS, ids=[row[0].name for row in ROWS])
def test_strings_and_counts_of_single_rows(space, arch, string, counts):
    assert space.encode(string).tolist() == arch
    assert space.encode(string).dtype == np.int32
    assert space.decode(np.array(arch)) == string
    assert (*space.params(np.array([arch])), *space.flops(np.array([arch]))) == counts


@pytest.mark.parametrize(("table", "space", "count"), TABLES, ids=[row[0] for row in TABLES])
def test_strings_and_counts_equal_the_tables(table, space, count, shared_data):
    rows = polars.read_parquet(shared_data / "nds" / "imagenet_half.parquet").filter(polars.col("space") == table)
    archs = np.stack([space.encode(string) for string in rows["net"]])
    assert len(archs) == count
    assert [space.decode(arch) for arch in archs] == rows["net"].to_list()
    np.testing.assert_array_equal(space.params(archs), rows["params"])
    np.testing.assert_array_equal(space.flops(archs), rows["flops"])
    for column, choices in zip(archs.T, space._all_choices, strict=True):
        assert set(column) == set(choices)
    small = (rows["params"] <= MOST_PARAMS) | (space.small_flops & (rows["flops"] <= MOST_FLOPS))
    assert small.all()


def test_sizes_are_the_published_ones():
    assert RESNEXT_A.size == 11_390_625
    assert RESNEXT_B.size == 52_734_375


def test_fewer_stages_and_cifar():
    string = (
        '{"block_type":"res_basic_block","bot_muls":[],"ds":[1,3,3,3],"num_gs":[],"ss":[4,1,2,2],"ws":[16,16,32,64]}'
    )
    arch = RESNET.encode(string)
    assert arch.tolist() == [16, 3, 16, 3, 32, 3, 64, -1, -1]
    assert RESNET.decode(arch) == string
    for seed in range(20):
        assert RESNET.mutate(jax.random.key(seed), arch)[-2:].tolist() == [-1, -1]
    cifar, string = RESNET.on("cifar10"), string.replace("[4,", "[1,")
    assert cifar.encode(string).tolist() == arch[:-2].tolist()
    assert cifar.decode(arch[:-2]) == string
    assert cifar.params(arch[None, :-2]) == 272_474  # ResNet-20 with projections


@pytest.mark.parametrize(
    ("space", "lists", "counts"),  # entries of NDS's sweeps on CIFAR-10
    [
        (RESNEXT_A, '[1.0,0.25,0.25,0.25],"ds":[1,16,1,4],"num_gs":[1,2,1,2]|[16,64,128,16]', (83_002, 69_890_986)),
        (RESNET, '[],"ds":[1,12,12,12],"num_gs":[]|[16,24,24,40]', (594_138, 184_519_578)),
        (VANILLA, '[],"ds":[1,12,12,12],"num_gs":[]|[16,24,32,40]', (689_770, 208_363_930)),
    ],
    ids=["resnext_a", "resnet", "vanilla"],
)
def test_entries_for_cifar_keep_their_strides(space, lists, counts):
    first, widths = lists.split("|")
    string = f'{{"block_type":"{space.block_type}","bot_muls":{first},"ss":[1,1,2,2],"ws":{widths}}}'
    own = space.on("cifar10")
    arch = own.encode(string)
    assert own.decode(arch) == string
    assert tuple(own.counts(arch[None])[0]) == counts
    with pytest.raises(UserError, match=rf"ss is \[1, 1, 2, 2\]; in {space.name} it is .*: say --space {own.name}"):
        space.encode(string)


@BY_NAME
def test_examples_and_samples_round_trip(space):
    archs = space.sample(jax.random.key(0), 200)
    assert len(np.unique(archs, axis=0)) == 200
    params, flops = space.counts(archs).T
    assert ((params <= MOST_PARAMS) | (space.small_flops & (flops <= MOST_FLOPS))).all()
    np.testing.assert_array_equal(archs, space.sample(jax.random.key(0), 200))
    for arch in [space.encode(space.example), *archs]:
        np.testing.assert_array_equal(space.encode(space.decode(arch)), arch)


@BY_NAME
def test_mutation_does_not_outgrow_the_sample(space):
    draws = space.sample(jax.random.key(1), 100)
    largest = draws[np.argsort(space.params(draws))[-5:]]
    children = np.stack([space.mutate(jax.random.key(seed), arch) for seed in range(20) for arch in largest])
    params, flops = space.counts(children).T
    assert ((params <= MOST_PARAMS) | (space.small_flops & (flops <= MOST_FLOPS))).all()
    huge = np.array([choices[-1] for choices in space._all_choices])
    assert space.params(space.mutate(jax.random.key(0), huge)[None]) > MOST_PARAMS  # one of the user's stays near


@BY_NAME
def test_mutation_changes_one_number(space):
    parent, places = space.encode(space.example), set()
    for seed in range(150):
        child = space.mutate(jax.random.key(seed), parent)
        (place,) = np.flatnonzero(child != parent)
        assert child[place] in space._all_choices[place]
        np.testing.assert_array_equal(space.encode(space.decode(child)), child)
        places.add(int(place))
    assert len(places) == sum(len(choices) > 1 for choices in space._all_choices)


@BY_NAME
def test_nothing_disconnects_and_the_space_is_not_listed(space):
    archs = space.sample(jax.random.key(1), 20)
    assert not space.is_disconnected(archs).any()
    np.testing.assert_array_equal(space.canonical(archs), archs)
    with pytest.raises(UserError, match="too many to list"):
        space.enumerate()
    with pytest.raises(UserError, match="cannot draw 0"):
        space.sample(jax.random.key(0), 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('"num_gs":[1,8,2,1]', '"num_gs":[1,3,2,1]'), "stage 1: 1 of 64 channels do not divide into 3 groups"),
        (('"bot_muls":[1.0,1.0', '"bot_muls":[1.0,0.3'), "bot_muls has 0.3; choose from 0.25, 0.5, 1.0"),
        (('"bot_muls":[1.0,1.0', '"bot_muls":[1.0,[]'), "bot_muls has []"),
        (('"ds":[1,2', '"ds":[1,0'), "ds has 0 where a number from 1 to 9999"),
        (('"ds":[1,2', '"ds":[1,"2"'), "ds has '2'"),
        (('"ds":[1,2,2,2]', '"ds":[1,2,2]'), "the same number of entries, 2 to 4"),
        (('"ds":[1,2', '"ds":[2,2'), "the first of ds is 2, the stem's; it must be 1"),
        (('"ss":[8,1,2,2]', '"ss":[8,2,2,2]'), "ss is [8, 2, 2, 2]; in resnext_b it is [8, 1, 2, 2]; expected"),
        (('"ss":[8,1,2,2]', '"ss":[1,1,2,2]'), "it is a network of the space resnext_b:cifar10"),
        (('"ds":[1,2,2,2]', '"ds":3'), "ds is 3, not a list"),
        (("res_bottleneck_block", "res_basic_block"), "block_type is 'res_basic_block'"),
        (('"ds"', '"depths"'), "its entries must be block_type, ds"),
        (("{", ""), "not JSON"),
    ],
)
def test_malformed_strings_say_what_is_wrong(change, words):
    string = ROWS[-1][2].replace(*change)
    with pytest.raises(UserError) as error:
        RESNEXT_B.encode(string)
    message = str(error.value)
    assert "\n" not in message
    assert words in message
    assert RESNEXT_B.example in message
