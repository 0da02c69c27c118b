"""NAS-Bench-201 as a space: strings, enumeration, isomorphism, neighbours, sampling, graph facts, costs."""

import itertools

import jax
import numpy as np
import polars
import pytest
from flax import nnx

from jaxnas import spaces
from jaxnas.errors import UserError

SPACE = spaces.get("nasbench201")
ROWS = [  # op indices, official string, parameters and FLOPs on CIFAR-10: NATS-Bench's own, indices 0, 1, 11 and 284
    (
        [4, 2, 1, 2, 1, 1],
        "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
        129_306,
        15_647_370,
    ),
    (
        [3, 3, 4, 1, 3, 1],
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|",
        802_426,
        113_951_370,
    ),
    (
        [3, 3, 4, 0, 3, 4],
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|none~0|nor_conv_3x3~1|avg_pool_3x3~2|",
        802_426,
        113_951_370,
    ),
    (
        [1, 1, 1, 0, 2, 0],
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|none~0|nor_conv_1x1~1|none~2|",
        101_306,
        11_715_210,
    ),
]
NONE, SKIP, CONV1, CONV3, POOL = range(5)


@pytest.fixture(scope="module")
def everything():
    return SPACE.enumerate()


@pytest.fixture(scope="module")
def canonical(everything):
    return SPACE.canonical(everything)


@pytest.fixture(scope="module")
def table(shared_data):
    return polars.read_parquet(shared_data / "nasbench201" / "accuracies.parquet")


# --- strings and order -----------------------------------------------------------------------------------------------


def test_every_string_and_position_round_trips(everything):
    assert SPACE.size == len(everything) == 15_625
    strings = [SPACE.decode(arch) for arch in everything]
    assert len(set(strings)) == 15_625
    np.testing.assert_array_equal([SPACE.encode(string) for string in strings], everything)
    np.testing.assert_array_equal(SPACE.index(everything), np.arange(SPACE.size))


def test_strings_equal_the_table(table):
    archs = table.select(f"e{edge}" for edge in range(6)).to_numpy()
    assert [SPACE.decode(arch) for arch in archs] == table["arch_str"].to_list()


@pytest.mark.parametrize(("arch", "string", "params", "flops"), ROWS)
def test_strings_params_and_flops_of_single_rows(arch, string, params, flops):
    assert SPACE.encode(string).tolist() == arch
    assert SPACE.encode(f" {string}\n").tolist() == arch
    assert SPACE.decode(np.array(arch)) == string
    assert SPACE.params(np.array([arch])) == [params]
    assert SPACE.flops(np.array([arch])) == [flops]


@pytest.mark.parametrize(
    ("string", "words"),
    [
        ("|nor_conv_3x3~0|+|none~0|none~1|", ["2 nodes instead of 3", "expected |op~0|+"]),
        ("", ["it is empty"]),
        ("|none~0|+|none~0|+|none~0|none~1|none~2|", ["node 2 needs 2 edges"]),
        ("none~0+|none~0|none~1|+|none~0|none~1|none~2|", ["node 1 needs 1 edges"]),
        ("|none~0|+|none~0|none~0|+|none~0|none~1|none~2|", ["edge 2 (2<-1)", "'none~0'", "OP~1", "avg_pool_3x3"]),
        ("|none~0|+|none~0|none|+|none~0|none~1|none~2|", ["edge 2 (2<-1)", "OP~1", "nor_conv_1x1"]),
        (
            "|none~0|+|none~0|none~1|+|none~0|nor_conv_5x5~1|none~2|",
            ["edge 4 (3<-1)", "unknown operation 'nor_conv_5x5'", "did you mean 'nor_conv_", "skip_connect"],
        ),
    ],
)
def test_malformed_strings_say_which_edge_and_what_is_allowed(string, words):
    with pytest.raises(UserError) as error:
        SPACE.encode(string)
    message = str(error.value)
    assert "\n" not in message
    assert repr(string) in message
    for word in words:
        assert word in message


def test_a_file_without_a_variable_says_what_to_add():
    with pytest.raises(UserError, match=r"own.py is a file; say which variable of it .* own.py:space"):
        spaces.get("own.py")


def test_an_unknown_space_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'nasbench201'"):
        spaces.get("nasbench210")


def test_a_network_that_is_not_there_says_why_if_that_is_known():
    with pytest.raises(UserError, match="nasbench201 has no network for 'region'; it has networks for ben"):
        SPACE.network("region")
    with pytest.raises(UserError, match=r"'sequence' \(its networks read images, not sequences\); it has"):
        SPACE.network("sequence")


@pytest.mark.parametrize("space", spaces.SPACES.values(), ids=lambda space: space.name)
def test_a_deep_string_is_refused_in_one_line(space):
    for opening in ("[", '{"input":'):
        with pytest.raises(UserError) as error:
            space.encode(opening * 100_000)
        assert "\n" not in str(error.value)


# --- isomorphism -----------------------------------------------------------------------------------------------------


def test_isomorphism_classes_are_counted(canonical):
    assert len(np.unique(canonical, axis=0)) == 6_466


def test_canonical_is_idempotent_first_and_of_the_same_class(everything, canonical):
    np.testing.assert_array_equal(SPACE.canonical(canonical), canonical)
    assert (SPACE.index(canonical) <= np.arange(SPACE.size)).all()
    for arch, same in zip(everything[::37], canonical[::37], strict=True):
        assert SPACE.isomorphism_class(arch) == SPACE.isomorphism_class(same)


def test_classes_are_those_of_the_table(table, canonical):
    archs = table.select(f"e{edge}" for edge in range(6)).to_numpy()
    own = SPACE.index(canonical)[SPACE.index(archs)].tolist()
    pairs = set(zip(own, table["unique_str"].to_list(), strict=True))
    assert len(pairs) == len({mine for mine, _ in pairs}) == len({theirs for _, theirs in pairs}) == 6_466


def test_isomorphic_architectures_agree_on_the_graph(everything, canonical):
    np.testing.assert_array_equal(SPACE.is_disconnected(everything), SPACE.is_disconnected(canonical))


# --- neighbours and sampling -----------------------------------------------------------------------------------------


def test_neighbours_differ_in_one_edge_and_mutation_finds_all_of_them():
    arch = np.array([3, 0, 1, 2, 4, 3])
    neighbours = SPACE.neighbours(arch)
    assert neighbours.shape == (24, 6)
    assert ((neighbours != arch).sum(1) == 1).all()
    assert len(np.unique(neighbours, axis=0)) == 24
    allowed = set(map(tuple, neighbours.tolist()))
    mutants = {tuple(SPACE.mutate(key, arch).tolist()) for key in jax.random.split(jax.random.key(0), 60)}
    assert mutants <= allowed
    assert len(mutants) > 16


def test_samples_are_distinct_reproducible_and_uniform():
    key = jax.random.key(3)
    drawn = SPACE.sample(key, 3000)
    assert drawn.shape == (3000, 6)
    assert len(np.unique(drawn, axis=0)) == 3000
    np.testing.assert_array_equal(SPACE.sample(key, 3000), drawn)
    assert len(np.unique(SPACE.sample(key, SPACE.size), axis=0)) == SPACE.size
    for edge in range(6):
        counts = np.bincount(drawn[:, edge], minlength=5)
        assert abs(counts - 600).max() < 110  # five standard deviations


@pytest.mark.parametrize("n", [0, -1, 15_626])
def test_impossible_sample_sizes_say_what_is_allowed(n):
    with pytest.raises(UserError, match="1 to 15625"):
        SPACE.sample(jax.random.key(0), n)


# --- graph facts -----------------------------------------------------------------------------------------------------


def paths(edges, node):
    """All paths from node 0 to `node` as lists of edge numbers."""
    if node == 0:
        return [[]]
    return [[*p, e] for e, (to, source) in enumerate(edges) if to == node for p in paths(edges, source)]


def test_masks_are_one_hot(everything):
    masks = SPACE.to_mask(everything)
    assert masks.shape == (15_625, 6, 5)
    assert (masks.sum(-1) == 1).all()
    np.testing.assert_array_equal(masks.argmax(-1), everything)


def test_connection_equals_path_enumeration(everything):
    routes = paths(SPACE.edges, 3)
    assert len(routes) == 4
    open_ = np.stack([(everything[:, route] != NONE).all(1) for route in routes], 1)
    np.testing.assert_array_equal(SPACE.is_disconnected(everything), ~open_.any(1))


@pytest.mark.parametrize(
    ("arch", "disconnected"),
    [
        ([NONE] * 6, True),
        ([CONV3, CONV3, CONV3, NONE, NONE, NONE], True),  # nothing enters the output
        ([NONE, NONE, CONV3, NONE, CONV3, CONV3], True),  # nothing leaves the input
        ([NONE, NONE, NONE, POOL, CONV3, CONV3], False),
        ([CONV3, NONE, SKIP, NONE, NONE, CONV1], False),
    ],
)
def test_connection_by_hand(arch, disconnected):
    assert SPACE.is_disconnected(np.array([arch])) == [disconnected]


def test_a_mask_is_connected_if_one_of_its_architectures_is():
    rng = np.random.default_rng(0)
    masks = rng.random((40, 6, 5)) < 0.3
    masks[..., NONE] |= ~masks.any(-1)
    for mask, disconnected in zip(masks, SPACE.is_disconnected(masks), strict=True):
        members = np.array(list(itertools.product(*map(np.flatnonzero, mask))))
        assert disconnected == SPACE.is_disconnected(members).all()
    np.testing.assert_array_equal(SPACE.is_disconnected(np.ones((1, 6, 5), int)), [False])


# --- dead ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "left"),
    [
        ([CONV3] * 6, [CONV3] * 6),
        ([CONV3, CONV1, POOL, SKIP, NONE, CONV3], [CONV3, CONV1, POOL, SKIP, NONE, CONV3]),  # 1 leads over 2
        ([CONV3, CONV1, POOL, SKIP, CONV1, NONE], [CONV3, NONE, NONE, SKIP, CONV1, NONE]),  # 2 leads nowhere
        ([CONV3, CONV1, NONE, SKIP, NONE, CONV1], [NONE, CONV1, NONE, SKIP, NONE, CONV1]),  # 1 leads nowhere
        ([CONV3, NONE, POOL, SKIP, NONE, NONE], [NONE, NONE, NONE, SKIP, NONE, NONE]),  # 1 leads to 2, that nowhere
        ([NONE, NONE, NONE, SKIP, CONV3, CONV1], [NONE, NONE, NONE, SKIP, CONV3, CONV1]),  # zeros that reach the output
        ([CONV3, CONV1, POOL, NONE, NONE, NONE], [NONE] * 6),
    ],
)
def test_dead_ends_by_hand(arch, left):
    assert SPACE.without_dead_ends(np.array([arch])).tolist() == [left]


def test_dead_ends_are_the_edges_without_a_path_to_the_output(everything):
    routes = paths(SPACE.edges, 3)
    leads = np.zeros(everything.shape, bool)
    for edge in range(6):
        for route in routes:
            if edge in route:
                leads[:, edge] |= (everything[:, route[route.index(edge) + 1 :]] != NONE).all(1)
    left = SPACE.without_dead_ends(everything)
    np.testing.assert_array_equal(left, np.where(leads, everything, NONE))
    np.testing.assert_array_equal(SPACE.without_dead_ends(left), left)
    np.testing.assert_array_equal(SPACE.without_dead_ends(SPACE.to_mask(everything)), SPACE.to_mask(left))


def test_a_mask_keeps_the_edges_that_one_of_its_architectures_needs():
    rng = np.random.default_rng(1)
    masks = rng.random((40, 6, 5)) < 0.25
    masks[..., NONE] |= ~masks.any(-1)
    left = SPACE.without_dead_ends(masks)
    np.testing.assert_array_equal(SPACE.without_dead_ends(left), left)
    only_none = np.arange(5) == NONE
    assert any(
        (one == only_none).all(-1).sum() > (mask == only_none).all(-1).sum()
        for one, mask in zip(left, masks, strict=True)
    )
    for mask, kept in zip(masks, left, strict=True):
        members = SPACE.without_dead_ends(np.array(list(itertools.product(*map(np.flatnonzero, mask)))))
        needed = (members != NONE).any(0)
        np.testing.assert_array_equal(kept, np.where(needed[:, None], mask, only_none))


# --- costs -----------------------------------------------------------------------------------------------------------


def test_params_equal_the_table(table):
    archs = table.select(f"e{edge}" for edge in range(6)).to_numpy()
    np.testing.assert_array_equal(SPACE.params(archs), table["params_c10"])


def test_flops_are_those_of_the_other_convention_without_what_it_adds(table):
    """NASLib's column counts poolings, normalisations and ReLUs, too: by op, more or less the same on every edge."""
    archs = table.select(f"e{edge}" for edge in range(6)).to_numpy()
    more = table["c10_mflops"].to_numpy() * 1e6 - SPACE.flops(archs)
    elements = 5 * (16 * 32**2 + 32 * 16**2 + 64 * 8**2)  # of the outputs of an edge in all cells
    of_op = {NONE: 0, SKIP: 0, CONV1: 3 * elements, CONV3: 3 * elements, POOL: 9 * elements}
    per_edge = np.vectorize(of_op.get)(archs).sum(1)
    np.testing.assert_allclose(more - per_edge, (more - per_edge)[0], atol=40)


@pytest.mark.parametrize(
    ("dataset", "params", "flops"),  # NATS-Bench's own numbers of index 0; the last FLOPs: a quarter of the pixels
    [
        ("cifar10", 129_306, 15_647_370),
        ("cifar100", 135_156, 15_653_220),
        ("imagenet16-120", 136_456, (15_647_370 - 650) // 4 + 65 * 120),
    ],
)
def test_counts_of_each_data_set(dataset, params, flops):
    space, arch = spaces.get(f"nasbench201:{dataset}"), SPACE.encode(ROWS[0][1])[None]
    assert (*space.params(arch), *space.flops(arch)) == (params, flops)
    module = space.build(arch[0], rngs=nnx.Rngs(0))
    data = space.datasets[dataset]
    assert module(np.zeros((2, *data.image), np.float32)).shape == (2, data.classes)
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param))) == params


def test_the_data_set_is_part_of_the_name():
    assert spaces.get("nasbench201:cifar10") == SPACE
    assert spaces.get("nasbench201:cifar100").name == "nasbench201:cifar100"
    assert spaces.name_of("nasbench201:cifar10") == "nasbench201"
    assert spaces.get("nasbench201:cifar100").network("thin") == SPACE.network("thin")  # scores do not follow it
    assert "CIFAR-100 (32x32x3, 100 classes)" in spaces.get("nasbench201:cifar100").counted
    with pytest.raises(UserError, match=r"unknown data set of nasbench201 'cifar1'; did you mean 'cifar10'\?"):
        spaces.get("nasbench201:cifar1")
    with pytest.raises(UserError, match="nasbench_nlp has no data sets to choose from; say --space nasbench_nlp"):
        spaces.get("nasbench_nlp:ptb")


@pytest.mark.parametrize("name", [name for name in spaces.SPACES if name != "nasbench_nlp"])
def test_every_data_set_of_every_space_has_counts_a_convention_and_its_own_network(name):
    space = spaces.get(name)
    assert space.dataset == next(iter(space.datasets))
    for dataset, data in space.datasets.items():
        own = spaces.get(f"{name}:{dataset}")
        arch = own.encode(own.example)[None]
        network = own.network("benchmark", own.groups(arch, "benchmark")[0])
        assert (network.config.image, network.config.classes) == (data.image, data.classes)
        assert own.flops(arch)[0] > own.params(arch)[0] > 0
        assert own.counted.startswith(f"of the networks for {data.title} (") and "own count" in own.counted


def test_params_and_flops_equal_the_reference(reference, everything):
    archs = everything[::331]
    np.testing.assert_array_equal(SPACE.params(archs), [reference.params(arch) for arch in archs])
    np.testing.assert_array_equal(SPACE.flops(archs), [reference.flops(arch) for arch in archs])
