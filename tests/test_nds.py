"""The cell spaces of NDS: genotypes, counts, samples, mutation, paths; the supernet form of DARTS."""

import json

import jax
import numpy as np
import polars
import pytest

from jaxnas import spaces
from jaxnas.errors import UserError
from jaxnas.spaces.blocks.parts import OPS
from jaxnas.spaces.nds.counts import reductions
from jaxnas.spaces.nds.darts import EDGES, GROUPS, from_edges
from jaxnas.spaces.nds.genotype import to_call
from jaxnas.spaces.nds.spaces import DARTS, MOST_PARAMS, NDS

SPACES = {space.name: space for space in NDS}
BY_NAME = pytest.mark.parametrize("space", NDS, ids=SPACES)
TABLES = {
    "Amoeba_in": ("amoeba", 71),
    "DARTS_fix-w-d_in": ("darts_fix_w_d", 247),
    "DARTS_in": ("darts", 56),
    "DARTS_lr-wd_in": ("darts", 264),
    "ENAS_in": ("enas", 51),
    "NASNet_in": ("nasnet", 59),
    "PNAS_in": ("pnas", 59),
}
ROWS = [  # space, width and depth, normal cell, reduction cell, what they concatenate, parameters and operations in NDS
    (
        "darts",
        (96, 6),
        "avg_pool_3x3:1 none:1 none:1 none:2 dil_conv_5x5:3 dil_conv_3x3:0 max_pool_3x3:0 none:4",
        "max_pool_3x3:1 skip_connect:1 none:1 dil_conv_5x5:1 skip_connect:2 avg_pool_3x3:0 dil_conv_5x5:3 "
        "dil_conv_3x3:2",
        ([2, 3, 4, 5], [2, 3, 4, 5]),
        (4786840, 721363048),
    ),
    (
        "enas",
        (48, 14),
        "sep_conv_5x5:1 avg_pool_3x3:1 max_pool_3x3:0 skip_connect:1 avg_pool_3x3:1 sep_conv_3x3:1 sep_conv_5x5:4 "
        "max_pool_3x3:3 avg_pool_3x3:2 max_pool_3x3:5",
        "max_pool_3x3:0 avg_pool_3x3:1 skip_connect:0 sep_conv_5x5:2 skip_connect:2 sep_conv_5x5:3 sep_conv_3x3:0 "
        "sep_conv_5x5:4 sep_conv_3x3:2 sep_conv_3x3:3",
        ([6], [5, 6]),
        (2735008, 352325032),
    ),
    (
        "pnas",
        (32, 6),
        "dil_conv_3x3:1 sep_conv_7x7:1 sep_conv_7x7:0 dil_conv_3x3:0 avg_pool_3x3:3 sep_conv_7x7:1 sep_conv_3x3:2 "
        "skip_connect:3 sep_conv_7x7:5 avg_pool_3x3:4",
        "skip_connect:0 sep_conv_7x7:0 max_pool_3x3:2 sep_conv_5x5:0 sep_conv_3x3:0 max_pool_3x3:3 sep_conv_7x7:2 "
        "sep_conv_3x3:1 avg_pool_3x3:0 sep_conv_5x5:5",
        ([2, 3, 4, 5, 6], [2, 3, 4, 5, 6]),
        (1642424, 178145384),
    ),
    (
        "nasnet",
        (32, 10),
        "avg_pool_3x3:0 conv_1x1:1 conv_1x1:2 conv_1x1:1 skip_connect:1 conv_3x1_1x3:3 conv_1x1:3 conv_3x1_1x3:3 "
        "max_pool_3x3:2 sep_conv_3x3:0",
        "conv_1x1:1 avg_pool_3x3:1 max_pool_7x7:2 conv_1x1:2 conv_7x1_1x7:1 conv_3x3:1 max_pool_7x7:4 conv_3x3:1 "
        "max_pool_5x5:4 dil_conv_3x3:4",
        ([4, 5, 6], [3, 5, 6]),
        (2618680, 270647912),
    ),
    (
        "amoeba",
        (32, 10),
        "sep_conv_3x3:0 sep_conv_5x5:1 sep_conv_3x3:1 sep_conv_5x5:1 sep_conv_3x3:0 skip_connect:3 sep_conv_7x7:4 "
        "dil_sep_conv_3x3:4 skip_connect:2 sep_conv_3x3:5",
        "sep_conv_3x3:1 avg_pool_3x3:1 conv_7x1_1x7:0 skip_connect:2 sep_conv_3x3:1 sep_conv_3x3:3 avg_pool_3x3:3 "
        "conv_7x1_1x7:4 sep_conv_3x3:3 conv_7x1_1x7:4",
        ([6], [5, 6]),
        (2521912, 282790888),
    ),
    (
        "darts_fix_w_d",
        (32, 22),
        "sep_conv_5x5:1 sep_conv_3x3:0 sep_conv_3x3:2 sep_conv_5x5:0 skip_connect:2 sep_conv_3x3:3 dil_conv_3x3:1 "
        "none:0",
        "avg_pool_3x3:1 dil_conv_5x5:1 none:0 dil_conv_5x5:2 none:3 none:1 none:2 avg_pool_3x3:2",
        ([2, 3, 4, 5], [2, 3, 4, 5]),
        (3677720, 408051944),
    ),
]
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))"
)


def pairs(cell: str) -> list[list]:
    return [[op, int(source)] for op, source in (pair.split(":") for pair in cell.split())]


def entry(size, normal, reduce, concats) -> str:
    """Return NDS's JSON."""
    cells = {"normal": pairs(normal), "normal_concat": concats[0], "reduce": pairs(reduce), "reduce_concat": concats[1]}
    whole = {"aux": False, "depth": size[1], "drop_prob": 0.0, "genotype": cells, "width": size[0]}
    return json.dumps(whole, separators=(",", ":"))


def walk(arch: np.ndarray) -> bool:
    """Whether an input pixel reaches the logits of a DARTS architecture, by following every edge."""
    genotype, depth = DARTS.genotype(arch), int(arch[1])
    before, last = True, True
    for reduction in reductions(depth):
        nodes = [before, last]
        inputs = genotype.reduce if reduction else genotype.normal
        for both in zip(inputs[::2], inputs[1::2], strict=True):
            nodes.append(any(op != "none" and nodes[source] for op, source in both))
        before, last = last, any(nodes[2:])
    return last


@pytest.fixture(scope="module")
def trained(shared_data):
    """The DARTS genotypes trained on CIFAR-10."""
    return polars.read_parquet(shared_data / "darts" / "c10_half.parquet")


# --- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "size", "normal", "reduce", "concats", "counts"), ROWS, ids=[row[0] for row in ROWS])
def test_strings_and_counts_of_single_rows(name, size, normal, reduce, concats, counts):
    space, string = SPACES[name], entry(size, normal, reduce, concats)
    arch = space.encode(string)
    assert arch.dtype == np.int32
    assert arch[:2].tolist() == list(size)
    assert space.decode(arch) == string
    assert (*space.params(arch[None]), *space.flops(arch[None])) == counts


@pytest.mark.parametrize("table", TABLES)
def test_strings_and_counts_equal_the_tables(table, shared_data):
    name, count = TABLES[table]
    rows = polars.read_parquet(shared_data / "nds" / "imagenet_half.parquet").filter(polars.col("space") == table)
    space, strings = SPACES[name], rows["net"].to_list()
    archs = np.stack([space.encode(string) for string in strings])
    assert len(archs) == count
    assert [space.decode(arch) for arch in archs] == strings
    np.testing.assert_array_equal(archs[:, :2], rows.select("width", "depth").to_numpy())
    np.testing.assert_array_equal(space.params(archs), rows["params"])
    np.testing.assert_array_equal(space.flops(archs), rows["flops"])
    assert np.isin(archs[:, 0], space.widths).all()
    assert np.isin(archs[:, 1], space.depths).all()
    assert (space.params(archs) <= MOST_PARAMS).all()


def test_published_networks_of_darts():
    arch = DARTS.encode(DARTS_V2)[None]
    assert arch[0, :2].tolist() == [-1, -1]
    assert spaces.get("darts:cifar10").params(arch) == 3_349_342  # 36 channels, 20 cells: 3.3 M in the paper
    assert DARTS.params(arch) == 4_718_752  # 48 channels, 14 cells: 4.7 M in the paper
    assert DARTS.groups(arch, "taps")[0][:2] == (36, 20)
    assert SPACES["darts_fix_w_d"].groups(arch, "benchmark")[0][:2] == (32, 22)


def test_counts_follow_the_data_set():
    """An entry of NDS's sweep on CIFAR-10, with its numbers; the same cells at the same size on ImageNet are larger."""
    normal = "avg_pool_3x3 0 conv_7x1_1x7 1 sep_conv_3x3 2 sep_conv_5x5 0 dil_sep_conv_3x3 2 dil_sep_conv_3x3 2"
    normal = f"{normal} skip_connect 4 dil_sep_conv_3x3 4 conv_7x1_1x7 2 sep_conv_3x3 4".split()
    reduce = "avg_pool_3x3 0 dil_sep_conv_3x3 1 sep_conv_3x3 0 sep_conv_3x3 0 skip_connect 2 sep_conv_7x7 0"
    reduce = f"{reduce} conv_7x1_1x7 4 skip_connect 4 conv_7x1_1x7 0 conv_7x1_1x7 5".split()
    cells = {
        name: [[op, int(source)] for op, source in zip(cell[::2], cell[1::2], strict=True)]
        for name, cell in (("normal", normal), ("reduce", reduce))
    }
    string = json.dumps({"aux": False, "depth": 12, "drop_prob": 0.0, "width": 32, "genotype": cells})
    cifar, imagenet = spaces.get("amoeba:cifar10"), spaces.get("amoeba:imagenet")
    assert cifar.counts(cifar.encode(string)[None]).tolist() == [[4_190_314, 664_400_586]]
    assert imagenet.counts(imagenet.encode(string)[None]).tolist() == [[4_576_952, 529_827_240]]
    assert (imagenet.name, cifar.name, imagenet) == ("amoeba", "amoeba:cifar10", SPACES["amoeba"])
    assert spaces.get("darts_fix_w_d:cifar10").groups(DARTS.encode(DARTS_V2)[None], "benchmark")[0][:2] == (16, 20)
    drawn = cifar.sample(jax.random.key(0), 50)
    assert set(drawn[:, 0]) == {16, 24, 32, 40, 48} and set(drawn[:, 1]) == {4, 8, 12, 16, 20}


def test_sizes_are_the_published_numbers_of_cells():
    billions = {"darts": 242, "enas": 5_063, "pnas": 556_628, "nasnet": 71_465_842, "amoeba": 556_628}
    for name, cells in billions.items():
        space = SPACES[name]
        exact = (space.size / len(space.widths) / len(space.depths)) ** 0.5
        assert abs(exact / 1e9 - cells) <= 0.5


def test_every_op_of_every_space_is_in_the_table():
    assert {op for space in NDS for op in space.ops} == OPS.keys()


# --- strings ---------------------------------------------------------------------------------------------------------


@BY_NAME
def test_examples_and_samples_round_trip(space):
    archs = [space.encode(space.example), *space.sample(jax.random.key(1), 20)]
    for arch in archs:
        string = space.decode(arch)
        assert "\n" not in string
        np.testing.assert_array_equal(space.encode(string), arch)
        np.testing.assert_array_equal(space.encode(to_call(space.genotype(arch)))[2:], arch[2:])


def test_trained_genotypes_both_ways(trained):
    for string in trained["genotype"].to_list():
        again = to_call(DARTS.genotype(DARTS.encode(string)))
        assert again.replace("range(2, 6)", "[2, 3, 4, 5]") == string


def test_genotype_strings_both_ways():
    assert to_call(DARTS.genotype(DARTS.encode(DARTS_V2))) == DARTS_V2
    cells = DARTS.genotype(DARTS.encode(DARTS_V2))
    by_position = f"Genotype({cells.normal}, None, {cells.reduce}, None)"
    np.testing.assert_array_equal(DARTS.encode(by_position), DARTS.encode(DARTS_V2))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("skip_connect', 0", "skip_conect', 0"), ["normal, entry 5 (node 4)", "did you mean 'skip_connect'"]),
        (("sep_conv_3x3', 1", "sep_conv_3x3', 2"), ["normal, entry 1 (node 2)", "node 2; choose from 0 to 1"]),
        (("sep_conv_3x3', 1", "sep_conv_3x3', '1'"), ["normal has ('sep_conv_3x3', '1')"]),
        (("('sep_conv_3x3', 0), ", ""), ["normal has 6 entries; darts has 8"]),
        (("range(2, 6)", "[3, 4, 5]"), ["normal_concat is [3, 4, 5]", "all nodes: [2, 3, 4, 5]"]),
        (("range(2, 6)", "range(2, 10**9)"), ["malformed"]),
        (("range(2, 6)", "range(2, 1000000000)"), ["normal_concat is [2, 3"]),
        (("reduce=", "width=35, reduce="), ["width is 35", "multiple of 2"]),
        (("reduce=", "depth=0, reduce="), ["depth is 0"]),
        (("reduce=", "steps=4, reduce="), ["unknown entry 'steps'"]),
        (("Genotype(", "print("), ["neither JSON nor a call of Genotype"]),
        (("normal=[", "normal=open('x'), reduce=["), ["malformed"]),
    ],
)
def test_malformed_genotypes_say_what_is_wrong(change, words):
    string = DARTS_V2.replace(*change)
    assert string != DARTS_V2
    with pytest.raises(UserError) as error:
        DARTS.encode(string)
    message = str(error.value)
    assert "\n" not in message
    for word in ["malformed architecture", *words]:
        assert word in message


@pytest.mark.parametrize(
    "string", ["", "{", "[]", "{}", '{"genotype":{"normal":[]}}', "Genotype()", "Genotype(**{})", "("]
)
def test_other_texts_are_refused(string):
    with pytest.raises(UserError, match="expected"):
        DARTS.encode(string)


def test_loose_ends_are_what_is_concatenated():
    enas = SPACES["enas"]
    string = enas.decode(enas.encode(enas.example))
    genotype = enas.genotype(enas.encode(string))
    used = {source for _, source in genotype.normal}
    assert genotype.normal_concat == [node for node in range(2, 7) if node not in used]
    with pytest.raises(UserError, match="the nodes that no other node uses"):
        enas.encode(string.replace(f'"normal_concat":{genotype.normal_concat}'.replace(" ", ""), '"normal_concat":[2]'))


# --- samples and neighbours ------------------------------------------------------------------------------------------


@BY_NAME
def test_samples_are_different_small_enough_and_repeatable(space):
    archs = space.sample(jax.random.key(0), 200)
    assert len(np.unique(archs, axis=0)) == 200
    assert (space.params(archs) <= MOST_PARAMS).all()
    np.testing.assert_array_equal(archs, space.sample(jax.random.key(0), 200))
    assert not np.array_equal(archs, space.sample(jax.random.key(1), 200))
    ops, sources, outputs = space.split(archs)
    assert set(ops.ravel()) == set(range(len(space.ops)))
    assert outputs.any(-1).all()
    for place in range(2 * space.nodes):
        assert set(sources[:, :, place].ravel()) == set(range(2 + place // 2))
    assert set(archs[:, 0]) <= set(space.widths)


def test_too_large_to_list_and_bounds_of_samples():
    with pytest.raises(UserError, match="too many to list"):
        DARTS.enumerate()
    with pytest.raises(UserError, match="cannot draw 0"):
        DARTS.sample(jax.random.key(0), 0)


@BY_NAME
def test_mutation_changes_one_op_or_source(space):
    parent = space.encode(space.example)
    kinds = set()
    for seed in range(60):
        child = space.mutate(jax.random.key(seed), parent)
        np.testing.assert_array_equal(space.encode(space.decode(child)), child)
        differs = child[2 : 2 + 8 * space.nodes] != parent[2 : 2 + 8 * space.nodes]
        assert differs.sum() == 1
        kinds.add(int(np.flatnonzero(differs)[0]) % 2)
        np.testing.assert_array_equal(child[:2], parent[:2])
    assert kinds == {0, 1}


@BY_NAME
def test_mutation_does_not_outgrow_the_sample(space):
    draws = space.sample(jax.random.key(1), 200)
    largest = draws[np.argsort(space.params(draws))[-5:]]
    children = np.stack([space.mutate(jax.random.key(seed), arch) for seed in range(20) for arch in largest])
    assert (space.params(children) <= MOST_PARAMS).all()


@BY_NAME
def test_canonical_ignores_the_order_of_a_nodes_inputs(space):
    archs = space.sample(jax.random.key(2), 50)
    ops, sources, _ = space.split(archs)
    order = np.arange(2 * space.nodes) ^ 1
    swapped = space.join(archs[:, :2], ops[..., order], sources[..., order])
    canonical = space.canonical(archs)
    assert not np.array_equal(archs, swapped)
    np.testing.assert_array_equal(space.canonical(swapped), canonical)
    np.testing.assert_array_equal(space.canonical(canonical), canonical)
    np.testing.assert_array_equal(space.counts(canonical), space.counts(archs))
    np.testing.assert_array_equal(space.split(canonical)[2], space.split(archs)[2])


# --- paths -----------------------------------------------------------------------------------------------------------


def test_only_none_disconnects():
    rng = np.random.default_rng(0)
    archs = DARTS.sample(jax.random.key(3), 300)
    ops, sources, _ = DARTS.split(archs)
    archs = DARTS.join(archs[:, :2], np.where(rng.random(ops.shape) < 0.75, 0, ops), sources)
    expected = [not walk(arch) for arch in archs]
    assert 20 < sum(expected) < 280
    np.testing.assert_array_equal(DARTS.is_disconnected(archs), expected)
    for space in NDS:
        if "none" not in space.ops:
            assert not space.is_disconnected(space.sample(jax.random.key(0), 20)).any()


def test_a_trained_disconnected_genotype_guesses(trained):
    archs = np.stack([DARTS.encode(string) for string in trained["genotype"]])
    accuracy = trained["acc"].to_numpy()[DARTS.is_disconnected(archs)]
    np.testing.assert_allclose(accuracy, 10.22, atol=0.01)  # of ten classes


# --- supernet --------------------------------------------------------------------------------------------------------


def test_edges_are_in_order_and_grouped_by_node():
    assert len(EDGES) == 14
    assert list(EDGES) == sorted(EDGES)
    assert [[EDGES[e] for e in range(14)][group] for group in GROUPS] == [
        [(node, source) for source in range(node)] for node in range(2, 6)
    ]


def test_the_two_strongest_edges_of_each_node_are_kept():
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(8), size=(5, 2, 14))
    archs = from_edges(weights, width=36, depth=20)
    assert archs[:, :2].tolist() == [[36, 20]] * 5
    for weight, arch in zip(weights, archs, strict=True):
        genotype = DARTS.genotype(arch)
        for cell, inputs in zip(weight, (genotype.normal, genotype.reduce), strict=True):
            for node in range(2, 6):
                strongest = sorted(
                    ((cell[EDGES.index((node, source)), 1:].max(), source) for source in range(node)), reverse=True
                )
                assert [source for _, source in inputs[2 * node - 4 : 2 * node - 2]] == [s for _, s in strongest[:2]]
            for place, (op, source) in enumerate(inputs):
                edge = cell[EDGES.index((2 + place // 2, source))]
                assert op == DARTS.ops[1 + edge[1:].argmax()]


def test_a_node_with_one_edge_is_refused():
    masks = np.ones((1, 2, 14, 8), bool)
    masks[0, 1, [EDGES.index((4, source)) for source in range(3)]] = False
    with pytest.raises(UserError, match=r"node 4 .* fewer than two edges"):
        from_edges(masks)
