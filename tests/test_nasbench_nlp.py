"""NAS-Bench-NLP: recipes, counts, samples; the network that runs them, against plain NumPy; the sequence regression."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import polars
import pytest
from flax import nnx

from jaxnas import data, spaces
from jaxnas.errors import UserError
from jaxnas.evaluate.compiled import CompiledScorer, RunSettings, Spent
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.evaluate.input_cache import InputCache
from jaxnas.scorers.training.sequence import Sequences, sequence_regression
from jaxnas.scorers.training.targets import Signal, Task, load_task, sequences
from jaxnas.spaces.nasbench_nlp.module import SequenceModel
from jaxnas.spaces.nasbench_nlp.network import (
    COLUMNS,
    LINEAR,
    MAX_LINEARS,
    MAX_NODES,
    OPS,
    PAD,
    RNN,
    SLOT_NAMES,
    run_cell,
)
from jaxnas.spaces.nasbench_nlp.slots import to_graph
from jaxnas.spaces.nasbench_nlp.space import NASBENCH_NLP as SPACE
from jaxnas.types import Status

SHORT = {"tanh": "activation_tanh", "sigm": "activation_sigm", "leaky": "activation_leaky_relu"}
SHORT |= {"sum": "elementwise_sum", "prod": "elementwise_prod"}


def recipe(**nodes):
    """The benchmark's form of `name="op input input"`."""
    split = {name: node.split() for name, node in nodes.items()}
    full = {name: {"op": SHORT.get(op, op), "input": inputs} for name, (op, *inputs) in split.items()}
    return json.dumps(full, separators=(",", ":"))


ROWS = [  # recipes and `num_params` of the benchmark
    (
        recipe(
            node_0="linear x h_prev_0",
            node_1="tanh node_0",
            node_9="linear x node_1 h_prev_0",
            h_new_0="leaky node_9",
        ),
        8333200,
    ),
    (
        recipe(
            node_0="linear h_prev_1 x h_prev_0",
            node_1="tanh node_0",
            node_4="blend h_prev_1 h_prev_0 node_0",
            node_5="linear node_1 h_prev_0",
            node_6="sigm node_5",
            node_7="prod node_4 node_1",
            node_9="linear node_6 node_1",
            h_new_0="leaky node_9",
            h_new_1="sum h_new_0 node_7",
        ),
        10134800,
    ),
    (  # every op, every hidden state, and a node that comes after a new hidden state
        recipe(
            node_0="sum h_prev_2 h_prev_1",
            node_1="linear h_prev_1 h_prev_0",
            node_3="linear x h_prev_2 h_prev_0",
            node_5="prod h_prev_2 h_prev_1",
            node_7="linear h_new_1 x",
            node_8="sigm node_7",
            node_10="linear node_8 x",
            node_11="leaky node_10",
            h_new_0="blend node_0 node_1 node_3",
            h_new_1="tanh node_3",
            h_new_2="prod node_5 node_11",
        ),
        11816400,
    ),
]
CELLS = [SPACE.encode(string) for string, _ in ROWS]
GATED = recipe(  # names of its own, in no particular order
    r="linear x h_prev_0",
    h_new_0="blend gate h_prev_0 node_1",
    rh="prod open h_prev_0",
    open="sigm r",
    z="linear x h_prev_0",
    gate="sigm z",
    node_1="tanh node_3",
    node_3="linear x rh",
)


@pytest.fixture(scope="module")
def table(shared_data):
    return polars.read_parquet(shared_data / "nasbench_nlp" / "ptb_half.parquet")


@pytest.fixture(scope="module")
def sample():
    return SPACE.sample(jax.random.key(0), 60)


def rows(arch):
    return arch.reshape(MAX_NODES, COLUMNS)


# --- strings and counts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("string", "params"), ROWS)
def test_single_rows(string, params):
    arch = SPACE.encode(string)
    assert arch.shape == (125,)
    assert arch.dtype == np.int32
    assert SPACE.decode(arch) == string
    assert SPACE.params(arch[None]) == [params]


def test_every_row_of_the_table(table):
    archs = np.stack([SPACE.encode(string) for string in table["recipe"]])
    np.testing.assert_array_equal(SPACE.params(archs), table["num_params"])
    other = [
        (given, ours) for given, ours in zip(table["recipe"], map(SPACE.decode, archs), strict=True) if given != ours
    ]
    assert len(other) <= 1  # the plain RNN, whose node is called f
    assert [json.loads(given).keys() - set(SLOT_NAMES) for given, _ in other] in ([], [{"f"}])


def test_flops_are_the_matrix_products_of_a_word():
    weights = 2 * (400 * 600 + 600 * 600 + 600 * 400) + 3 * (600 * 600 + 600 * 600 + 400 * 400)
    assert SPACE.flops(CELLS[0][None]) == [weights + 10_000 * 400]


def test_names_of_its_own_become_numbers_of_the_same_graph():
    ours = json.loads(SPACE.decode(SPACE.encode(GATED)))
    names = {"r": "node_0", "rh": "node_2", "open": "node_4", "z": "node_5", "gate": "node_6"}
    given = {names.get(name, name): node for name, node in json.loads(GATED).items()}
    for node in given.values():
        node["input"] = [names.get(source, source) for source in node["input"]]
    assert ours == given
    np.testing.assert_array_equal(SPACE.encode(json.dumps(ours)), SPACE.encode(GATED))


def test_rows_come_after_their_inputs(sample):
    for arch in sample:
        known = set(range(4))
        for slot, _, *inputs in rows(arch)[rows(arch)[:, 0] != PAD]:
            assert known >= set(inputs) - {PAD}
            known.add(slot)


@pytest.mark.parametrize(
    ("string", "words"),
    [
        ("", ["not JSON", "expected, say"]),
        ("[1]", ["not an object of named nodes"]),
        ("{}", ["not an object of named nodes"]),
        (recipe(node_0="linear x h_prev_0"), ["no h_new_0", "it needs h_new_0"]),
        (
            recipe(h_new_0="tanh h_prev_0", h_new_2="tanh h_prev_0"),
            ["h_new_0, h_new_2", "it needs h_new_0, then h_new_1"],
        ),
        (recipe(node_0="linear x h_prev_1", h_new_0="tanh node_0"), ["'node_0'", "unknown input 'h_prev_1'"]),
        (recipe(node_0="linaer x h_prev_0", h_new_0="tanh node_0"), ["'node_0'", "did you mean 'linear'"]),
        (recipe(h_new_0="tanh x"), ["'h_new_0'", "only linear can take it"]),
        ('{"h_new_0":{"op":"activation_tanh","input":[["h_prev_0"]]}}', ["unknown input", "h_prev_0"]),
        (recipe(h_new_0="tanh h_prev_0 h_prev_0"), ["activation_tanh has 2 inputs", "it takes 1 different"]),
        (recipe(h_new_0="linear x x"), ["it takes 2 or 3 different"]),
        (recipe(x="tanh h_prev_0", h_new_0="tanh x"), ["'x' is an input of the cell"]),
        (recipe(a="tanh b", b="tanh a", h_new_0="tanh a"), ["a cycle among node_0, node_1, h_new_0"]),
        (recipe(h_new_0="tanh h_prev_0", **{f"n{i}": "tanh h_prev_0" for i in range(25)}), ["26 nodes", "ends at 25"]),
        (recipe(h_new_0="tanh h_prev_0", **{f"n{i}": "linear x h_prev_0" for i in range(13)}), ["13 linear nodes"]),
        ('{"h_new_0":{"op":"activation_tanh"}}', ["'h_new_0'", "a node has an op and a list input"]),
    ],
)
def test_bad_recipes_are_one_clear_line(string, words):
    with pytest.raises(UserError) as error:
        SPACE.encode(string)
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


# --- samples and neighbours ------------------------------------------------------------------------------------------


def is_generated(arch):
    """Whether the benchmark's generator could have made the cell, by its own rules on the recipe."""
    cell = json.loads(SPACE.decode(arch))
    used = {source for node in cell.values() for source in node["input"]}
    hidden = sum(name.startswith("h_new") for name in cell)
    previous = {f"h_prev_{i}" for i in range(hidden)}
    direct = {source for name, node in cell.items() if name.startswith("h_new") for source in node["input"]} & previous
    dead = {name for name in cell if name.startswith("node")} - used
    return used >= {"x"} | previous and not direct and not dead


def test_the_tables_cells_are_the_generators(table):
    assert all(is_generated(SPACE.encode(string)) for string in table["recipe"][:500])


def test_samples_are_different_cells_of_the_generator(sample):
    assert len(np.unique(sample, axis=0)) == len(sample) == 60
    assert all(map(is_generated, sample))
    np.testing.assert_array_equal([SPACE.encode(SPACE.decode(arch)) for arch in sample], sample)
    np.testing.assert_array_equal(SPACE.sample(jax.random.key(0), 3), sample[:3])
    assert {int((rows(arch)[:, 0] >= SLOT_NAMES.index("h_new_0")).sum()) for arch in sample} == {1, 2, 3}
    with pytest.raises(UserError, match="cannot draw 0"):
        SPACE.sample(jax.random.key(0), 0)


def test_samples_resemble_the_table(table):
    """They have the same shares of operations."""
    drawn = SPACE.sample(jax.random.key(1), 200)
    given = np.stack([SPACE.encode(string) for string in table["recipe"][::20]])
    ops = [np.bincount(cells.reshape(-1, COLUMNS)[:, 1] + 1, minlength=len(OPS) + 1)[1:] for cells in (drawn, given)]
    shares = [counts / counts.sum() for counts in ops]
    np.testing.assert_allclose(*shares, atol=0.05)


def test_mutation_changes_one_node_and_stays_in_the_space(sample):
    for i, arch in enumerate(sample):
        child = SPACE.mutate(jax.random.key(i), arch)
        assert is_generated(child)
        before, after = (json.loads(SPACE.decode(cell)) for cell in (arch, child))
        assert after.keys() <= before.keys()
        assert sum(after[name] != before[name] for name in after) == 1


def test_mutation_reaches_every_kind_of_change():
    parent = json.loads(ROWS[2][0])
    changed = set()
    for i in range(150):
        child = json.loads(SPACE.decode(SPACE.mutate(jax.random.key(i), CELLS[2])))
        (name,) = (name for name in child if child[name] != parent[name])
        changed.add((name, child[name]["op"] != parent[name]["op"]))
    assert {name for name, _ in changed} == parent.keys()
    assert changed >= {("h_new_1", True), ("node_11", True), ("node_0", True), ("node_0", False), ("h_new_0", False)}


def test_disconnected_cells_do_not_see_x():
    through_time = recipe(
        node_0="linear h_prev_1 h_prev_0", h_new_0="tanh node_0", node_1="linear x h_prev_0", h_new_1="tanh node_1"
    )
    blind = recipe(node_0="linear h_prev_0 h_prev_1", h_new_0="tanh node_0", h_new_1="sigm node_0")
    archs = np.stack([*CELLS, SPACE.encode(through_time), SPACE.encode(blind)])
    assert SPACE.is_disconnected(archs).tolist() == [False] * 4 + [True]


def test_networks_have_room_for_the_cells_of_their_group(sample):
    archs = np.concatenate([sample, CELLS])
    linears = (archs.reshape(len(archs), MAX_NODES, COLUMNS)[..., 1] == LINEAR).sum(1)
    rooms = [SPACE.network(group=group).linears for group in SPACE.groups(archs, "sequence")]
    assert (linears <= rooms).all()
    assert max(rooms) <= MAX_LINEARS
    with pytest.raises(UserError, match=r"has no network for 'patches' \(its cells read sequences"):
        SPACE.network("patches")


# --- the network -----------------------------------------------------------------------------------------------------

SMALL = RNN(features=3, sizes=(4, 6, 4))
FUNCTIONS = {
    "blend": lambda a, b, c: a * b + (1 - a) * c,
    "elementwise_prod": lambda a, b: a * b,
    "elementwise_sum": lambda a, b: a + b,
}


def numbering(arch):
    """Names of the linear nodes, in the order in which they own weights."""
    return [SLOT_NAMES[slot] for slot, op, *_ in rows(arch) if op == LINEAR]


def plain_cell(xp, layer, arch, x):
    """`h_new_0` at every time, by evaluating the recipe's graph from its outputs; with NumPy or JAX as `xp`."""
    cell, order = json.loads(SPACE.decode(arch)), numbering(arch)
    activations = {
        "activation_tanh": xp.tanh,
        "activation_sigm": lambda a: 1 / (1 + xp.exp(-a)),
        "activation_leaky_relu": lambda a: xp.where(a > 0, a, 0.01 * a),
    }

    def value(name, known):
        if name not in known:
            op, inputs = cell[name]["op"], [value(source, known) for source in cell[name]["input"]]
            if op == "linear":
                number = order.index(name)
                total = layer["bias"][number][None]
                for place, (source, given) in enumerate(zip(cell[name]["input"], inputs, strict=True)):
                    weight = layer["input"][number] if source == "x" else layer["recurrent"][number, place]
                    total = total + given @ weight
                known[name] = total
            else:
                known[name] = (FUNCTIONS | activations)[op](*inputs)
        return known[name]

    hidden, outputs = {f"h_prev_{i}": xp.zeros((x.shape[1], layer["bias"].shape[1])) for i in range(3)}, []
    for now in x:
        known = {"x": now, **hidden}
        new = [value(f"h_new_{i}", known) for i in range(sum(name.startswith("h_new") for name in cell))]
        hidden |= {f"h_prev_{i}": state for i, state in enumerate(new)}
        outputs.append(new[0])
    return xp.stack(outputs)


def plain_network(params, arch, x):
    """The whole network in evaluation mode, in NumPy float64."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    x = x @ params["encoder"]["kernel"] + params["encoder"]["offset"]
    for layer in params["layers"]:
        x = plain_cell(np, layer, arch, x)
    return x @ params["decoder"]["kernel"] + params["decoder"]["offset"]


@pytest.fixture(scope="module")
def params():
    return jax.jit(SMALL.init)(jax.random.key(0))


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(jax.random.key(1), (5, 2, 3))


evaluate = jax.jit(SMALL.apply)


def test_network_equals_numpy_and_is_compiled_once(params, x, sample, compiles):
    evaluate(params, CELLS[0], x)
    with compiles(0):
        for arch in [*CELLS, SPACE.encode(GATED), *sample]:
            expected = plain_network(params, arch, np.asarray(x, np.float64))
            np.testing.assert_allclose(evaluate(params, arch, x), expected, rtol=1e-4, atol=1e-5)


def test_gradients_equal_jaxs_own(params, x):
    layer = params["layers"][0]
    x = jnp.concatenate([x, x[..., :1]], -1)[:3]
    weight = jax.random.normal(jax.random.key(2), (3, 2, 6))
    ours = jax.jit(jax.grad(lambda layer, x, arch: (run_cell(layer, rows(arch), x) * weight).sum(), (0, 1)))
    for arch in (*CELLS[1:], SPACE.encode(GATED)):
        plain = jax.grad(lambda layer, x, arch=arch: (plain_cell(jnp, layer, arch, x) * weight).sum(), (0, 1))
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), ours(layer, x, arch), plain(layer, x)
        )


def test_a_batch_of_cells_scores_like_each_alone(params, x):
    together = jax.vmap(SMALL.apply, (None, 0, None))(params, jnp.array(CELLS), x)
    for arch, out in zip(CELLS, together, strict=True):
        np.testing.assert_allclose(out, evaluate(params, arch, x), rtol=1e-5, atol=1e-6)


def test_room_for_fewer_linear_nodes_changes_nothing(params, x):
    narrow = RNN(SMALL.features, SMALL.sizes, linears=4)

    few = params | {"layers": [jax.tree.map(lambda leaf: leaf[:4], layer) for layer in params["layers"]]}
    small, large = (
        jax.jit(rnn.apply)(weights, CELLS[2], x, key=jax.random.key(5))
        for rnn, weights in ((narrow, few), (SMALL, params))
    )
    np.testing.assert_allclose(small, large, rtol=1e-6)
    assert not np.allclose(large, evaluate(params, CELLS[2], x))


def test_initial_weights_have_their_bounds():
    params, with_more = (
        jax.jit(RNN(features=9, sizes=(20, 30), linears=linears).init)(jax.random.key(0)) for linears in (3, 5)
    )
    bounds = {"encoder": (0.1, 1 / 3), "decoder": (0.1, 0.0)}
    for name, (kernel, offset) in bounds.items():
        assert np.abs(params[name]["kernel"]).max() == pytest.approx(kernel, rel=0.05)
        assert np.abs(params[name]["offset"]).max() == pytest.approx(offset, rel=0.2)
    (layer,), (more,) = params["layers"], with_more["layers"]
    assert {name: leaf.shape for name, leaf in layer.items()} == {
        "input": (3, 20, 30),
        "bias": (3, 30),
        "recurrent": (3, 3, 30, 30),
    }
    for name, leaf in layer.items():
        assert np.abs(leaf).max() == pytest.approx(30**-0.5, rel=0.05)
        assert leaf.mean() == pytest.approx(0, abs=0.1 * 30**-0.5)
        np.testing.assert_array_equal(more[name][:3], leaf)


def test_dropout_is_locked_in_time_and_only_in_training(params, x):
    """Of a network with dropout after its last layer alone, each sample loses the same units at all times."""
    rnn = RNN(3, (4, 6, 4), drop_between=0.0, drop_last=0.5, drop_weights=0.0)
    visible = params | {"decoder": {"kernel": jnp.eye(4), "offset": jnp.zeros(4)}}
    plain, dropped = (rnn.apply(visible, CELLS[0], x, key=key) for key in (None, jax.random.key(0)))
    factors = np.asarray(dropped / plain)
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:1], factors.shape), atol=1e-4)
    assert set(np.unique(factors.round(4))) == {0, 2}
    assert not np.array_equal(factors[:, 0], factors[:, 1])


def test_weight_drop_leaves_out_entries_of_used_hidden_matrices_alone():
    rnn = RNN(3, (40, 40), drop_weights=0.1)
    weights = jax.jit(rnn.init)(jax.random.key(0))["layers"][0]["recurrent"]
    factors = np.asarray(rnn._drop_recurrent(jax.random.key(1), weights, jnp.asarray(rows(CELLS[0]))) / weights)
    used = [(0, 1), (1, 1), (1, 2)]  # of node_0 = linear(x, h_prev_0), node_9 = linear(x, node_1, h_prev_0)
    for number in range(MAX_LINEARS):
        for place in range(3):
            if (number, place) not in used:
                np.testing.assert_array_equal(factors[number, place], 1)
            else:
                assert set(np.unique(factors[number, place].round(4))) == {0, np.float32(1 / 0.9).round(4)}
                assert (factors[number, place] == 0).mean() == pytest.approx(0.1, abs=0.03)


# --- stand-alone modules ---------------------------------------------------------------------------------------------


def rnn_weights(module, cell, linears=MAX_LINEARS):
    """The module's weights as those of `RNN`, in whose arrays linear nodes and their inputs are numbers."""

    def layer(own, inputs, hidden):
        found = {
            "input": np.zeros((linears, inputs, hidden), np.float32),
            "bias": np.zeros((linears, hidden), np.float32),
            "recurrent": np.zeros((linears, 3, hidden, hidden), np.float32),
        }
        for number, (slot, _, *sources) in enumerate(row for row in rows(cell) if row[1] == LINEAR):
            matrices = own.linears[SLOT_NAMES[slot]]
            found["bias"][number] = matrices[0].bias[...]
            for place, matrix in enumerate(matrices):
                if sources[place] == 0:
                    found["input"][number] = matrix.kernel[...]
                else:
                    found["recurrent"][number, place] = matrix.kernel[...]
        return found

    ends = {
        name: {"kernel": getattr(module, name).kernel[...], "offset": getattr(module, name).bias[...]}
        for name in ("encoder", "decoder")
    }
    sizes = zip(SMALL.sizes, SMALL.sizes[1:], strict=False)
    layers = [layer(own, *size) for own, size in zip(module.layers, sizes, strict=True)]
    return jax.tree.map(jnp.asarray, ends | {"layers": layers})


@pytest.mark.parametrize("cell", CELLS)
def test_a_stand_alone_module_is_the_network_of_its_cell(cell):
    module = SequenceModel(to_graph(cell), SMALL.features, SMALL.sizes, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (5, 2, SMALL.features))
    np.testing.assert_allclose(module(x), SMALL.apply(rnn_weights(module, cell), cell, x), atol=1e-6)


@pytest.mark.parametrize(("string", "params"), ROWS)
def test_the_stand_alone_language_model_has_the_benchmarks_parameters(string, params):
    module = nnx.eval_shape(lambda: SPACE.build(string, rngs=nnx.Rngs(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param))) == params
    logits = jax.eval_shape(lambda words: SPACE.build(string, rngs=nnx.Rngs(0))(words), jnp.zeros((4, 2), int))
    assert logits.shape == (4, 2, 10_000)


# --- regression of sequences -----------------------------------------------------------------------------------------

TASK = Task("uniform", 0.1, (3, 3), ((Signal("dot", 1.0, partial=0.5),), (Signal("sin1d", 1.0, betas=(0.1, 0.2)),)))


def fit(rnn, arch, steps, task=None, key=3):
    """The score of a small network; the compiled program is shared by all cells and keys."""
    drawn = sequences(TASK, 4, np.random.default_rng(0), length=5)
    return _fit(rnn, steps, task)(arch, *map(jnp.asarray, drawn), jax.random.key(key))


@functools.cache
def _fit(rnn, steps, task):
    def score(arch, x, target, key):
        trained, frozen = rnn.split(rnn.init(jax.random.key(0)))

        def apply(weights, x, key):
            return rnn.apply(rnn.join(weights, frozen), arch, x, key=key)

        return sequence_regression(apply, trained, x, target, key=key, task=task, steps=steps)

    return jax.jit(score)


def test_untrained_score_is_the_error_in_evaluation_mode(params):
    x, target = sequences(TASK, 4, np.random.default_rng(0), length=5)
    expected = np.square(plain_network(params, CELLS[1], x) - target).mean()
    assert fit(SMALL, CELLS[1], 0).value == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_training_lowers_the_error_and_noise_and_keys_change_it():
    first, last = (fit(SMALL, CELLS[0], steps) for steps in (0, 400))
    assert last.value < 0.8 * first.value
    assert last.status == Status.ok
    assert fit(SMALL, CELLS[0], 400, key=4).value != last.value
    assert fit(SMALL, CELLS[0], 0, task=TASK).value != first.value


def test_nonfinite_errors_are_a_status():
    score = sequence_regression(
        lambda p, x, key: p * x,
        jnp.array(np.inf),
        jnp.ones((2, 1, 1)),
        jnp.ones((2, 1, 1)),
        key=jax.random.key(0),
        steps=1,
    )
    assert score.status == Status.nonfinite
    assert np.isnan(score.value)


def test_one_step_of_adam_moves_what_is_trained_by_the_learning_rate():
    """The first step of Adam is the learning rate times the sign of the gradient."""
    target = jnp.full((2, 1, 1), 3.0)
    score = sequence_regression(
        lambda p, x, key: p * x, jnp.array(1.0), jnp.ones((2, 1, 1)), target, key=jax.random.key(0), steps=1
    )
    assert score.value == pytest.approx((2 - 1e-3) ** 2, rel=1e-5)


def test_published_weight_drop_trains_no_hidden_matrix(params):
    for mode, names in (("as_published", {"input", "bias"}), ("trained", {"input", "bias", "recurrent"})):
        rnn = RNN(SMALL.features, SMALL.sizes, weight_drop=mode)
        trained, frozen = rnn.split(params)
        assert {name for layer in trained["layers"] for name in layer} == names
        joined = rnn.join(trained, frozen)
        assert jax.tree.structure(joined) == jax.tree.structure(params)
    assert fit(RNN(3, (4, 6, 4), weight_drop="trained"), CELLS[0], 400).value != fit(SMALL, CELLS[0], 400).value


# --- signals of sequences --------------------------------------------------------------------------------------------


def test_stored_task_is_the_published_one(shared_data):
    config = json.loads((shared_data / "gennas" / "task_configs.json").read_text())["CONF_NLP"]
    task = load_task("nlp")
    assert (task.noise, task.noise_level) == (config["noise"]["type"], config["noise"]["noise_level"])
    assert task.channels == (config["dimension"],) * 2
    for tap, signals in enumerate(task.taps):
        features = {kind: feature for kind, feature in config["feature"][str(tap)].items() if feature}
        assert [signal.kind for signal in signals] == list(features)
        for signal in signals:
            feature = features[signal.kind]
            assert signal.level == pytest.approx(feature["level"], rel=1e-9)
            assert signal.betas == pytest.approx(feature.get("range", ()), rel=1e-8)
            assert signal.partial == feature.get("partial", 0)
            assert signal.local == feature["local"]


def test_stored_sequences_have_their_size_and_amplitude():
    x, target = sequences(load_task("nlp"), 16, np.random.default_rng(0))
    assert x.shape == target.shape == (8, 16, 48)
    assert x.dtype == target.dtype == np.float32
    assert np.abs(x).max() == pytest.approx(2.6, rel=0.01)
    assert x.var() == pytest.approx(2.6**2 / 2, rel=0.05)
    assert 0.8 < np.abs(target).max() <= 0.8 + 0.7
    assert all(not np.array_equal(x[:, 0], x[:, sample]) for sample in range(1, 16))
    np.testing.assert_array_equal(sequences(load_task("nlp"), 16, np.random.default_rng(0))[1], target)


def test_sinusoids_of_sequences_are_cut_from_the_square():
    """A map over 5 times and 7 features is the top of the 7x7 map with the same draws."""
    wave = Signal("sin2d", 1.0, betas=(0.1, 0.3))
    task = Task("uniform", 0.0, (7, 7), ((wave,), (wave,)))
    short, square = (sequences(task, 3, np.random.default_rng(2), length=length)[0] for length in (5, 7))
    np.testing.assert_array_equal(short, square[:5])


def test_dots_of_sequences_cover_their_share_of_the_rectangle():
    dots = Task("uniform", 0.0, (7, 7), ((Signal("dot", 1.0, partial=0.4),), (Signal("dot", 2.0, partial=1.0),)))
    x, target = sequences(dots, 3, np.random.default_rng(2), length=5)
    assert (np.abs(x).sum((0, 2)) == int(0.4 * 35)).all()
    assert (np.abs(target) == 2).all()


def test_tasks_of_images_are_no_tasks_of_sequences():
    with pytest.raises(UserError, match="needs two taps, input and target"):
        sequences(load_task("nb101"), 2, np.random.default_rng(0))


def test_cells_are_scored_in_batches_of_one_program(compiles):
    network = RNN(features=48, sizes=(5, 6, 5), linears=MAX_LINEARS)

    def program(batch):
        scorer = Sequences(samples=2, steps=2)
        how = {"source": data.load("synthetic"), "repeats": 2, "seed": 0, "devices": jax.devices()[:1], "mode": "loop"}
        return CompiledScorer(network, [scorer], RunSettings(**how, batch=batch), InputCache(), Spent())

    archs = SPACE.sample(jax.random.key(5), 5)
    large = program(4)
    (first,), (second,) = large.launch(archs)()
    assert np.isfinite(first).all() and (first != second).all()
    with compiles(0):
        np.testing.assert_array_equal(large.launch(archs[::-1])()[0][0], first[::-1])
    np.testing.assert_array_equal(program(2).launch(archs)()[0][0], first)


def test_sequences_are_for_recurrent_networks():
    with pytest.raises(UserError, match=r"no network for 'sequence' \(its networks read images"):
        Evaluator(spaces.get("nasbench201"), Sequences(), data.load("synthetic")).program()
    with pytest.raises(UserError, match="two taps"):
        Sequences(task="nb101").check()
