"""NAS-Bench-101 as a space: strings, pruning, isomorphism, the benchmark's order, sampling, mutation, counts."""

import hashlib
import itertools
import json

import jax
import numpy as np
import polars
import pytest

from jaxnas.errors import UserError
from jaxnas.spaces.nasbench101 import dag
from jaxnas.spaces.nasbench101.hashes import module_hashes
from jaxnas.spaces.nasbench101.space import NASBENCH101 as SPACE
from jaxnas.spaces.nasbench101.space import OPS, from_table, vertex_channels

CONV3, CONV1, POOL = range(3)
ROWS = [  # position in the benchmark's order, vertices, edge bits, ops and parameters as published for NAS-Bench-101
    (8, 7, 1392933, [1, 0, 2, 0, 2], 2479416),
    (9, 7, 1198733, [2, 0, 2, 1, 2], 3468426),
    (21876, 7, 1523875, [0, 1, 0, 0, 1], 2323274),
    (70348, 4, 39, [0, 0, -1, -1, -1], 20346506),
    (102019, 4, 55, [2, 1, -1, -1, -1], 1143306),
    (275146, 7, 1360435, [0, 2, 2, 0, 1], 6667274),
    (314264, 6, 17973, [2, 0, 1, 1, -1], 13126538),
    (316475, 5, 997, [0, 0, 1, -1, -1], 3367472),
    (333275, 5, 947, [0, 0, 2, -1, -1], 2669881),
    (339871, 6, 25143, [0, 2, 0, 1, -1], 5793546),
    (367928, 7, 1104397, [2, 0, 1, 2, 1], 14000266),
    (423589, 7, 1335845, [1, 2, 1, 0, 1], 3553034),
]


def string(edges, ops):
    """The string of a cell with `edges` (source, target) and interior `ops`."""
    matrix = np.zeros((len(ops) + 2, len(ops) + 2), int)
    for edge in edges:
        matrix[edge] = 1
    return json.dumps({"matrix": matrix.tolist(), "ops": ["input", *(OPS[op] for op in ops), "output"]})


def cell(edges, ops):
    return SPACE.encode(string(edges, ops))


def graph(arch):
    """The edges (source, target) of an architecture, its output numbered 6, and its present vertices."""
    edges = {(x, y) for (y, x), on in zip(dag.EDGES, arch[:21], strict=True) if on}
    return edges, [0, *(v for v in range(1, 6) if arch[20 + v] >= 0), 6]


def count_distinct(archs):
    return len(np.unique(dag.pack(archs[:, :21], archs[:, 21:])))


@pytest.fixture(scope="module")
def drawn():
    return SPACE.sample(jax.random.key(0), 2000)


@pytest.fixture(scope="module")
def everything():
    return SPACE.enumerate()


@pytest.fixture(scope="module")
def table(shared_data):
    return polars.read_parquet(shared_data / "nasbench101" / "accuracies_sample.parquet")


@pytest.fixture(scope="module")
def tabled(table):
    ops = table.select(f"op{vertex}" for vertex in range(1, 6)).to_numpy()
    return from_table(table["n_vertices"].to_numpy(), table["adj_bits"].to_numpy(), ops)


@pytest.fixture(scope="module")
def few():
    _, vertices, bits, ops, _ = zip(*ROWS, strict=True)
    return from_table(np.array(vertices), np.array(bits), np.array(ops))


# --- strings ---------------------------------------------------------------------------------------------------------


def test_strings_of_all_sizes_come_back(drawn):
    assert {len(graph(arch)[1]) for arch in drawn} == {2, 3, 4, 5, 6, 7}
    for arch in drawn[:300]:
        text = SPACE.decode(arch)
        assert "\n" not in text
        np.testing.assert_array_equal(SPACE.encode(text), arch)
        assert SPACE.encode(text).dtype == arch.dtype == np.int32


def test_a_string_by_hand():
    text = (
        '{"matrix":[[0,1,0,1],[0,0,1,0],[0,0,0,1],[0,0,0,0]],"ops":["input","maxpool3x3","conv1x1-bn-relu","output"]}'
    )
    arch = cell([(0, 1), (1, 2), (2, 3), (0, 3)], [POOL, CONV1])
    assert arch.tolist() == [1, 0, 1, *[0] * 12, 1, 0, 1, 0, 0, 0, POOL, CONV1, -1, -1, -1]
    assert SPACE.decode(arch) == text
    assert SPACE.encode(json.dumps(json.loads(text), indent=2)).tolist() == arch.tolist()
    assert SPACE.decode(SPACE.encode(SPACE.example)) == SPACE.example


def test_strings_are_pruned():
    bare = cell([(0, 1), (1, 2)], [CONV3])
    hanging = [(0, 2), (2, 4), (0, 3), (1, 4)]  # 3 leads nowhere, nothing leads to 1
    assert cell(hanging, [POOL, CONV3, CONV1]).tolist() == bare.tolist()
    many = [(x, y) for x in range(6) for y in range(x + 1, 6)]
    assert cell([*many, (1, 6)], [CONV3] * 5).tolist() == bare.tolist()  # 9 edges at most after pruning


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("conv3x3", ["not JSON", '"matrix"', '"ops"']),
        ("[1, 2]", ["no object of matrix and ops"]),
        ('{"matrix": [[0, 1], [0, 0]]}', ["no object of matrix and ops"]),
        ('{"matrix": [], "ops": ["input"]}', ["2 to 7 names"]),
        (string([], [CONV3] * 6), ["2 to 7 names"]),
        ('{"matrix": [[0, 1], [0, 0]], "ops": ["input", "maxpool3x3"]}', ['the last "output"']),
        ('{"matrix": [[0, 1], [0]], "ops": ["input", "output"]}', ["2 x 2"]),
        ('{"matrix": 3, "ops": ["input", "output"]}', ["2 x 2"]),
        ('{"matrix": [[0, 2], [0, 0]], "ops": ["input", "output"]}', ["matrix[0][1] is 2", "0 or 1"]),
        ('{"matrix": [[0, 0.5], [0, 0]], "ops": ["input", "output"]}', ["matrix[0][1] is 0.5"]),
        ('{"matrix": [[0, 1], [0, 0]], "module_adjacency": [], "ops": []}', ["has matrix and module_adjacency"]),
        ("ModelSpec([[0, 1], [0, 0]], open('x'))", ["open(...) is no plain value"]),
        (string([(0, 1), (1, 2), (2, 1)], [CONV3]), ["matrix[2][1]", "upper triangular"]),
        (string([(0, 1), (1, 1), (1, 2)], [CONV3]), ["matrix[1][1]", "upper triangular"]),
        (
            '{"matrix": [[0, 1, 0], [0, 0, 1], [0, 0, 0]], "ops": ["input", "conv3x3-bn", "output"]}',
            ["vertex 1", "unknown operation 'conv3x3-bn'", "did you mean 'conv3x3-bn-relu'", "maxpool3x3"],
        ),
        (string([(0, 1), (2, 3)], [CONV3, CONV1]), ["no path leads from input to output"]),
        (string(itertools.combinations(range(5), 2), [CONV3] * 3), ["10 edges", "at most 9"]),
    ],
)
def test_malformed_strings_say_what_is_wrong(text, words):
    with pytest.raises(UserError) as error:
        SPACE.encode(text)
    message = str(error.value)
    assert "\n" not in message
    assert repr(text) in message
    for word in words:
        assert word in message


@pytest.mark.slow
@pytest.mark.slow
def test_indices_are_the_order_of_the_hashes(everything):
    assert SPACE.arch_ids(everything[:3]) is None  # they would cost half a minute
    for index in (0, 1234, 423_623):
        np.testing.assert_array_equal(SPACE.encode(str(index)), everything[index])
    with pytest.raises(UserError, match="no architecture 423624; indices are 0 to 423623"):
        SPACE.encode("423624")


# --- pruning and isomorphism -----------------------------------------------------------------------------------------


def on_paths(edges):
    """The edges on paths from vertex 0 to vertex 6, by walking all of them."""
    found, open_ = set(), [[0]]
    while open_:
        path = open_.pop()
        if path[-1] == 6:
            found |= set(itertools.pairwise(path))
        open_ += [[*path, y] for x, y in edges if x == path[-1]]
    return found


def test_pruning_keeps_the_edges_on_paths():
    rng = np.random.default_rng(0)
    edges, ops = rng.integers(2, size=(400, 21)), rng.integers(3, size=(400, 5))
    pruned, labels = dag.unpack(dag.prune(dag.pack(edges, ops)))
    empty = 0
    for raw, raw_ops, arch in zip(edges, ops, np.concatenate([pruned, labels], 1), strict=True):
        kept = on_paths(graph([*raw, *raw_ops])[0])
        vertices = sorted({v for edge in kept for v in edge})
        place = {v: 6 if v == 6 else k for k, v in enumerate(vertices)}
        assert graph(arch)[0] == {(place[x], place[y]) for x, y in kept}
        assert arch[21 : 21 + len(vertices[1:-1])].tolist() == [raw_ops[v - 1] for v in vertices[1:-1]]
        assert (arch[21 + len(vertices[1:-1]) :] == -1).all()
        empty += not kept
    assert 0 < empty < 100


def relabelled(arch):
    """Yield all architectures that are `arch` with its interior vertices in another order."""
    edges, present = graph(arch)
    for order in itertools.permutations(present[1:-1]):
        place = {0: 0, 6: 6, **dict(zip(present[1:-1], order, strict=True))}
        if all(place[x] < place[y] for x, y in edges):
            moved = {(place[x], place[y]) for x, y in edges}
            ops = {place[v]: arch[20 + v] for v in present[1:-1]}
            yield [*(int((x, y) in moved) for y, x in dag.EDGES), *(ops.get(v, -1) for v in range(1, 6))]


def test_canonical_is_one_of_the_isomorphic_and_the_same_for_all(drawn):
    for arch in drawn[:150]:
        same = np.array(list(relabelled(arch)))
        found = np.unique(SPACE.canonical(same), axis=0)
        assert len(found) == 1
        assert found[0].tolist() in same.tolist()


def test_samples_are_canonical(drawn):
    np.testing.assert_array_equal(SPACE.canonical(drawn), drawn)


def test_the_table_is_canonical(tabled):
    np.testing.assert_array_equal(SPACE.canonical(tabled), tabled)


# --- the benchmark's order -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_classes_are_enumerated_in_the_published_order(everything, few):
    assert everything.shape == (SPACE.size, 26) == (423_624, 26)
    assert count_distinct(SPACE.canonical(everything)) == 423_624
    np.testing.assert_array_equal(everything[[row[0] for row in ROWS]], few)


@pytest.mark.slow
def test_the_order_is_that_of_the_table(everything, tabled, table):
    np.testing.assert_array_equal(everything[table["idx"].to_numpy()], tabled)


def test_the_hash_by_hand_and_of_isomorphic_graphs():
    def md5(text):
        return hashlib.md5(text.encode()).hexdigest()

    first, last = md5("(1, 0, -1)"), md5("(0, 1, -2)")  # out-degree, in-degree, label
    for _ in range(2):
        first, last = md5(f"|{last}|{first}"), md5(f"{first}||{last}")
    assert module_hashes([[], [0]], [[-1], [-2]]) == [md5(str(sorted([first, last])))]
    parallel = [[], [0], [0], [1, 2]]
    one, other, third = module_hashes(parallel, [[-1] * 3, [0, 2, 0], [2, 0, 1], [-2] * 3])
    assert one == other != third


# --- sampling and mutation -------------------------------------------------------------------------------------------


def test_samples_are_distinct_reproducible_and_valid(drawn):
    np.testing.assert_array_equal(SPACE.sample(jax.random.key(0), 2000), drawn)
    assert count_distinct(drawn) == 2000
    assert not SPACE.is_disconnected(drawn).any()
    assert (drawn[:, :21].sum(1) <= 9).all()
    assert count_distinct(SPACE.sample(jax.random.key(1), SPACE.size)) == SPACE.size
    assert (SPACE.sample(jax.random.key(2), 50) != SPACE.sample(jax.random.key(3), 50)).any()


def test_even_samples_have_as_many_large_cells_as_the_benchmark():
    even, weighted = (draw(jax.random.key(0), 2000) for draw in (SPACE.sample_evenly, SPACE.sample))
    assert len(np.unique(even, axis=0)) == 2000
    whole = [(archs[:, -5:] >= 0).all(1).mean() for archs in (even, weighted)]
    assert whole[0] == pytest.approx(359_082 / 423_624, abs=0.03) and whole[1] < 0.6, whole


def test_samples_are_weighted_as_by_rejection():
    classes, draws = dag.enumerate_classes(9)
    rng = np.random.default_rng(0)
    raw = dag.prune(dag.pack(rng.integers(2, size=(100_000, 21)), rng.integers(3, size=(100_000, 5))))
    accepted = raw[(raw > 0) & (dag.edge_count(raw) <= 9)]
    share = draws.sum() / (2**21 * 3**5)
    assert abs(len(accepted) / len(raw) - share) < 5 * np.sqrt(share * (1 - share) / len(raw))
    seen = np.bincount(np.searchsorted(classes, dag.canonical(accepted)), minlength=len(classes))
    for interior in range(6):
        chosen = (dag.unpack(classes)[1] >= 0).sum(1) == interior
        p = draws[chosen].sum() / draws.sum()
        assert abs(seen[chosen].sum() - p * len(accepted)) < 5 * np.sqrt(p * (1 - p) * len(accepted))
    often = draws > 1e-4 * draws.sum()
    expected = draws[often] / draws.sum() * len(accepted)
    assert often.sum() > 200
    assert (abs(seen[often] - expected) < 6 * np.sqrt(expected)).all()


@pytest.mark.parametrize("n", [0, -1, 423_625])
def test_impossible_sample_sizes_say_what_is_allowed(n):
    with pytest.raises(UserError, match="1 to 423624"):
        SPACE.sample(jax.random.key(0), n)


def test_mutants_are_valid_reproducible_and_near(drawn):
    parent = drawn[(drawn[:, 25] >= 0).argmax()]  # of seven vertices
    keys = jax.random.split(jax.random.key(5), 300)
    mutants = np.stack([SPACE.mutate(key, parent) for key in keys])
    np.testing.assert_array_equal(SPACE.mutate(keys[7], parent), mutants[7])
    for mutant in mutants[:50]:
        np.testing.assert_array_equal(SPACE.encode(SPACE.decode(mutant)), mutant)
    assert count_distinct(mutants) > 200
    whole = mutants[mutants[:, 25] >= 0]  # nothing pruned: the flips are seen as they were drawn
    assert len(whole) > 50
    changed = (whole[:, 21:] != parent[21:]).mean()
    assert abs(changed - 1 / 5) < 5 * np.sqrt(0.16 / (5 * len(whole)))
    assert 0.05 < (whole[:, :21] != parent[:21]).mean() < 1 / 7


def test_mutation_takes_vertices_away_and_brings_them_back():
    smallest = cell([(0, 1)], [])
    mutants = [SPACE.mutate(key, smallest) for key in jax.random.split(jax.random.key(6), 150)]
    sizes = {len(graph(mutant)[1]) for mutant in mutants}
    assert {2, 3, 4} <= sizes
    assert {op for mutant in mutants for op in mutant[21:].tolist()} == {-1, CONV3, CONV1, POOL}


def test_a_cell_without_a_path_is_disconnected():
    arch = cell([(0, 1), (1, 2)], [CONV3])
    cut = arch.copy()
    cut[15:21] = 0
    assert SPACE.is_disconnected(np.stack([arch, cut])).tolist() == [False, True]


# --- counts ----------------------------------------------------------------------------------------------------------


def test_params_of_single_rows(few):
    np.testing.assert_array_equal(SPACE.params(few), [row[-1] for row in ROWS])


def test_params_equal_the_table(table, tabled):
    np.testing.assert_array_equal(SPACE.params(tabled), table["params"])


def test_channels_are_shared_by_those_that_feed_the_output():
    arch = cell([(0, 1), (1, 2), (1, 3), (0, 4), (2, 5), (3, 5), (4, 5)], [CONV3, CONV1, POOL, CONV3])
    assert vertex_channels(arch[None], 128).tolist() == [[43, 43, 43, 42, 0]]
    chain = cell([(0, 1), (1, 2), (2, 3), (3, 5), (0, 4), (4, 5)], [CONV3, POOL, CONV1, CONV3])
    assert vertex_channels(chain[None], 129).tolist() == [[65, 65, 65, 64, 0]]
    assert vertex_channels(cell([(0, 1)], [])[None], 128).tolist() == [[0] * 5]


@pytest.mark.parametrize(
    ("edges", "ops", "weights"),
    [  # weights of a cell's convolutions for `a` channels before and `b` after it
        ([(0, 1)], [], lambda a, b: a * b),
        ([(0, 1), (1, 2)], [CONV3], lambda a, b: a * b + 9 * b * b),
        ([(0, 1), (1, 2), (0, 2)], [POOL], lambda a, b: 2 * a * b),
        ([(0, 1), (0, 2), (1, 3), (2, 3)], [CONV3, CONV1], lambda a, b: a * b + 10 * (b // 2) ** 2),
    ],
)
def test_flops_by_hand(edges, ops, weights):
    cells = [(128, 128, 32)] * 3 + [(128, 256, 16)] + [(256, 256, 16)] * 2 + [(256, 512, 8)] + [(512, 512, 8)] * 2
    expected = 27 * 128 * 32**2 + 512 * 10 + sum(weights(a, b) * side**2 for a, b, side in cells)
    assert SPACE.flops(cell(edges, ops)[None]).tolist() == [expected]


def test_isomorphic_cells_have_equal_counts_without_a_remainder(drawn):
    feeding = drawn[:, 15:21].copy()
    feeding[:, 0] = 0
    even = drawn[np.isin(feeding.sum(1), (1, 2, 4))][:100]  # otherwise the order decides who gets a channel more
    for arch in even:
        same = np.array(list(relabelled(arch)))
        assert len(set(SPACE.params(same))) == len(set(SPACE.flops(same))) == 1


@pytest.mark.parametrize(
    ("vertices", "says"),
    [([], "the list of architectures is empty"), ([10**20], "'n_vertices' has numbers of more than 64 bits")],
)
def test_columns_that_hold_no_cells(vertices, says):
    columns = dict.fromkeys(("adj_bits", "op1", "op2", "op3", "op4", "op5"), polars.Series([0] * len(vertices)))
    with pytest.raises(UserError, match=says):
        SPACE.from_table({"n_vertices": polars.Series(vertices), **columns})
