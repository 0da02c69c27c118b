"""Architectures as graphs: sizes as in AG-Net, round trips over real rows, and graphs that are no architecture."""

import jax
import numpy as np
import polars as pl
import pytest

from jaxnas import spaces
from jaxnas.spaces.graphs import INPUT, OUTPUT, Graphs, adjacency, edges_of
from jaxnas.spaces.nasbench_nlp import code as nlp_code

SIZES = {"nasbench101": 56, "nasbench201": 84, "darts": 176, "nasbench_nlp": 559, "nasbench_macro": 95, "nats_size": 91}
CODED = [*SIZES, "enas", "pnas", "nasnet", "amoeba", "transnas101_micro"]


@pytest.fixture(scope="module")
def archs():
    """Draw architectures of a space that have a graph."""

    def draw(name, n=40):
        space = spaces.get(name)
        found = space.sample(jax.random.key(0), n)
        return space, found[space.graph_code.fits(found)]

    return draw


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_vectors_are_as_long_as_published_and_start_with_the_input(archs, name, size):
    space, found = archs(name)
    code = space.graph_code
    vectors = code.vectors(code.encode(found))
    assert vectors.shape == (len(found), code.cells, size)
    assert vectors.dtype == np.float32
    assert (vectors[:, :, : len(code.classes)] == np.eye(len(code.classes))[INPUT]).all()


@pytest.mark.parametrize("name", CODED)
def test_a_graph_says_which_architecture_it_is(archs, name):
    space, found = archs(name)
    code = space.graph_code
    graphs = code.encode(found)
    decoded, valid = code.decode(graphs)
    assert valid.all()
    assert len(np.unique(found, axis=0)) == len(found)
    again, still = code.decode(code.encode(decoded))
    assert still.all()
    np.testing.assert_array_equal(again, decoded)
    np.testing.assert_array_equal(edges_of(adjacency(graphs)), graphs.edges)


@pytest.mark.parametrize("name", CODED)
def test_the_second_node_reads_the_first_in_all_graphs_or_in_none(archs, name):
    space, found = archs(name)
    assert len(np.unique(space.graph_code.encode(found).edges[..., 0])) == 1


@pytest.mark.parametrize("name", ["nasbench201", "nasbench_macro", "nats_size", "transnas101_micro", "nasbench101"])
def test_decoded_is_what_was_encoded(archs, name):
    space, found = archs(name)
    decoded, _ = space.graph_code.decode(space.graph_code.encode(found))
    np.testing.assert_array_equal(decoded, space.canonical(found) if name == "nasbench101" else found)


@pytest.mark.parametrize("name", ["darts", "enas", "nasnet"])
def test_two_cells_keep_everything_but_width_and_depth(archs, name):
    space, found = archs(name)
    decoded, _ = space.graph_code.decode(space.graph_code.encode(found))
    assert (decoded[:, :2] == -1).all()
    np.testing.assert_array_equal(decoded[:, 2:], found[:, 2:])


def test_an_op_of_two_sources_is_no_cell(archs):
    space, found = archs("darts", 1)
    code = space.graph_code
    graphs = code.encode(found)
    into = slice(2 * 1 // 2, 3 * 2 // 2)  # of node 2, the first op
    graphs.edges[0, 0, into] = 1
    assert not code.decode(graphs)[1].any()
    sets = code.edge_sets(4, 5)
    assert sets.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]


def test_rows_of_nasbench101_round_trip(shared_data):
    table = pl.read_parquet(shared_data / "nasbench101" / "accuracies_sample.parquet").head(3000)
    space = spaces.get("nasbench101")
    archs, code = space.from_table(table.to_dict()), space.graph_code
    decoded, valid = code.decode(code.encode(archs))
    assert valid.all()
    np.testing.assert_array_equal(decoded, space.canonical(archs))


def test_cells_of_nasbench101_are_pruned_and_refused():
    code = spaces.get("nasbench101").graph_code
    ops = np.array([[INPUT, 2, 3, OUTPUT, OUTPUT, OUTPUT, OUTPUT]] * 4)
    edges = np.zeros((4, 21), int)
    chain, dangling = [0, 2, 5], [0, 2, 5, 1]  # 0->1, 1->2, 2->3; and 0->2
    edges[0, chain], edges[1, dangling] = 1, 1
    edges[2, [0, 2]] = 1  # nothing leads to the output
    edges[3, chain], ops[3, 1] = 1, INPUT  # an input in the middle
    edges[0, 9] = 1  # into the padding: of no account
    decoded, valid = code.decode(Graphs(ops[:, None], edges[:, None]))
    assert valid.tolist() == [True, True, False, False]
    assert decoded[0, 21:].tolist() == [0, 1, -1, -1, -1]
    full = np.ones((1, 1, 21), int)
    assert not code.decode(Graphs(np.array([[[INPUT, 2, 2, 2, 2, 2, OUTPUT]]]), full))[1].any()  # 21 edges


def test_recipes_round_trip_up_to_names(shared_data):
    space = spaces.get("nasbench_nlp")
    recipes = pl.read_parquet(shared_data / "nasbench_nlp" / "ptb_half.parquet")["recipe"].head(800)
    archs = np.stack([space.encode(recipe) for recipe in recipes])
    fits = nlp_code.fits(archs)
    assert 0.9 < fits.mean() < 1
    decoded, valid = space.graph_code.decode(space.graph_code.encode(archs[fits]))
    assert valid.all()
    np.testing.assert_array_equal(space.params(decoded), space.params(archs[fits]))
    np.testing.assert_array_equal(space.is_disconnected(decoded), space.is_disconnected(archs[fits]))


def test_a_space_without_graphs_has_no_code():
    assert spaces.get("resnet").graph_code is None
