"""NAS-Bench-NLP (Klyuchnikov et al., 2020): recurrent cells as graphs of up to 25 nodes over x and three hidden states.

An architecture is `[125]`: 25 rows `(slot, op, input, input, input)` in an order in which they can be run, padded with
-1; slots are positions in `SLOT_NAMES`, ops in `OPS`. Its string is the benchmark's recipe, a JSON object on one line.
"""

import itertools
import json
from collections.abc import Collection, Hashable
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxnas.errors import UserError, unknown
from jaxnas.kernels.capacity import log_determinant
from jaxnas.spaces.base import Space
from jaxnas.spaces.graphs import GraphCode
from jaxnas.spaces.nasbench_nlp import slots
from jaxnas.spaces.nasbench_nlp.code import graph_code
from jaxnas.spaces.nasbench_nlp.module import LanguageModel, SequenceModel
from jaxnas.spaces.nasbench_nlp.network import (
    BLEND,
    COLUMNS,
    LINEAR,
    MAX_HIDDEN,
    MAX_LINEARS,
    MAX_NODES,
    NEW,
    NODE,
    OPS,
    PREV,
    PROD,
    RNN,
    SLOT_NAMES,
    SUM,
    X,
)
from jaxnas.spaces.nasbench_nlp.slots import ACTIVATIONS, ARITY, Graph
from jaxnas.spaces.sampling import distinct, generator
from jaxnas.spaces.strings import STRINGS

VOCABULARY, SIZES = 10_000, (400, 600, 600, 400)  # Penn Treebank; embedding (tied to the output) and three layers
LINEARS = (3, 6, MAX_LINEARS)  # numbers of linear nodes that the networks have room for
ATTEMPTS = 10_000  # changes that a mutation tries before it gives up


class NASBenchNLP(Space):
    """Recipes of recurrent cells."""

    name = "nasbench_nlp"
    searched = "a recurrent cell: up to 25 nodes, their operations and inputs"
    reads = "a recipe of the benchmark (JSON)"
    example = (
        '{"node_0":{"op":"linear","input":["x","h_prev_0"]},"h_new_0":{"op":"activation_tanh","input":["node_0"]}}'
    )
    convention = (
        "of the language model for Penn Treebank (10,000 words): multiply-adds of the matrix products for one word, "
        "with the output layer, jaxnas's own count, as the benchmark publishes none (#params equal to its table)"
    )
    string_columns = (*STRINGS, "recipe")
    refusals = dict.fromkeys(("thin", "patches", "taps"), "its cells read sequences, not images")

    @property
    def size(self) -> int:
        """As the benchmark's authors estimate it."""
        return 10**53

    @property
    def graph_code(self) -> GraphCode:
        return graph_code()

    def encode(self, string: str) -> np.ndarray:
        """The architecture `[125]` of a recipe.

        Names other than `node_0` ... `node_24` and `h_new_0` ... `h_new_2` get free numbers: they are in no array.
        """
        return slots.to_arch(_parse(string))

    def decode(self, arch: np.ndarray) -> str:
        """The recipe: `node_*`, then `h_new_*`, in ascending order, as in the benchmark's tables."""
        recipe = {
            SLOT_NAMES[slot]: {"op": OPS[op], "input": [SLOT_NAMES[source] for source in inputs]}
            for slot, (op, inputs) in sorted(slots.to_graph(arch).items())
        }
        return json.dumps(recipe, separators=(",", ":"))

    def sample(self, key: jax.Array, n: int) -> np.ndarray:
        """Draw `n` different architectures `[n, 125]` as the benchmark's generator does.

        It grows a graph of 7, 14 or 21 nodes plus one to three hidden states, in which most nodes are linear and
        followed by an activation; picks nodes as new hidden states; and takes out what does not lead to them. Cells
        that leave out an input, or in which an old hidden state is an input of a new one, are drawn again.
        """
        rng = generator(key)

        def propose(count: int) -> np.ndarray:
            drawn = (
                _generate(rng, int(rng.integers(1, MAX_HIDDEN + 1)), int(rng.choice([7, 14, 21]))) for _ in range(count)
            )
            valid = [slots.to_arch(graph) for graph in drawn if slots.is_valid(graph)]
            return np.array(valid, np.int32).reshape(-1, MAX_NODES * COLUMNS)

        return distinct(self.name, self.size, n, propose)

    def mutate(self, key: jax.Array, arch: np.ndarray) -> np.ndarray:
        """Return `arch` `[125]` with one change that leaves a cell the generator could draw.

        A node drawn uniformly gets another activation, or swaps product and sum, or takes one input from elsewhere;
        what then leads nowhere is taken out. (GenNAS moves between the benchmark's recipes instead, by the distance
        of learned embeddings.)
        """
        rng, graph = generator(key), slots.to_graph(arch)
        for _ in range(ATTEMPTS):
            child = slots.pruned(_changed(rng, graph))
            if child != graph and slots.is_valid(child):
                return slots.to_arch(child)
        raise UserError(f"found no neighbour of {self.decode(arch)} in {self.name}")

    def is_disconnected(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]`: x does not reach `h_new_0`, the output, not even through the hidden states."""
        graphs = map(slots.to_graph, archs)
        return np.array([X not in slots.needed(graph, [NEW], through_time=True) for graph in graphs], bool)

    def groups(self, archs: np.ndarray, form: str) -> list[Hashable]:
        """Return for each cell the number of linear nodes that its network has room for."""
        counts = (slots.rows(archs)[..., 1] == LINEAR).sum(1)
        return [LINEARS[i] for i in np.searchsorted(LINEARS, counts)]

    @property
    def forms(self) -> Collection[str]:
        return ("sequence",)

    def network(self, form: str = "sequence", group: Hashable = None, **changes: Any) -> RNN:  # type: ignore[override]
        """The network of the sequence regression, with `changes` to its fields."""
        self.check_form(form)
        return RNN(**({} if group is None else {"linears": group}) | changes)

    def build(self, arch: np.ndarray | str, *, rngs: nnx.Rngs, form: str = "benchmark") -> nnx.Module:
        """One cell's language model or, with `form="sequence"`, its network of the sequence regression."""
        graph = slots.to_graph(self.array(arch))
        if form == "benchmark":
            return LanguageModel(graph, VOCABULARY, SIZES, rngs=rngs)
        network = self.network(form)
        return SequenceModel(graph, network.features, network.sizes, rngs=rngs)

    def params(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the parameters of the benchmark's language model: `num_params` of its tables."""
        weights, linears = _weights(archs)
        return weights + linears * sum(SIZES[1:]) + VOCABULARY * (SIZES[0] + 1)

    def flops(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the multiply-adds of the matrix products for one word, the output layer's among them."""
        return _weights(archs)[0] + VOCABULARY * SIZES[-1]

    def layers(self, archs: np.ndarray) -> np.ndarray:
        from_x, from_hidden, _ = _matrices(archs)
        return (len(SIZES) - 1) * (from_x + from_hidden) + 1  # with the output layer

    def spectral_capacity(self, archs: np.ndarray) -> np.ndarray:
        from_x, from_hidden, _ = _matrices(archs)
        before, after = np.array(SIZES[:-1]), np.array(SIZES[1:])
        capacity = from_x * log_determinant(after, before).sum() + from_hidden * log_determinant(after, after).sum()
        return capacity + log_determinant(VOCABULARY, SIZES[-1])


def _weights(archs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `[N]` the entries of all matrices of the recurrent layers, and `[N]` the number of linear nodes."""
    from_x, from_hidden, linears = _matrices(archs)
    sizes = list(itertools.pairwise(SIZES))
    return from_x * sum(i * h for i, h in sizes) + from_hidden * sum(h * h for _, h in sizes), linears


def _matrices(archs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `[N]` a layer's matrices on its input, on values of its own size, and its linear nodes."""
    rows = slots.rows(archs)
    linear = rows[..., 1] == LINEAR
    from_x, from_hidden = (
        (chosen & linear[..., None]).sum((1, 2)) for chosen in (rows[..., 2:] == X, rows[..., 2:] > X)
    )
    return from_x, from_hidden, linear.sum(1)


# the benchmark's generator


def _generate(rng: np.random.Generator, hidden: int, inner: int) -> Graph:
    """A cell of `hidden` states from `hidden + inner` nodes: `RecepieGenerator` with its default weights."""
    graph, previous, activations = Graph(), list(range(PREV, PREV + hidden)), list[int]()

    def add(op: int, sources: list[int], count: int) -> int:
        slot = NODE + len(graph)
        graph[slot] = op, tuple(rng.choice(sources, count, replace=False).tolist())
        return slot

    while len(graph) < hidden + inner:
        op = int(rng.choice([LINEAR, BLEND, PROD, SUM], p=[3 / 6, 1 / 6, 1 / 6, 1 / 6]))
        sources = [*previous, *graph] if op != LINEAR else [X, *previous, *activations]
        if op == LINEAR:
            linear = add(op, sources, min(len(sources), int(rng.choice(ARITY[LINEAR], p=[4 / 5, 1 / 5]))))
            activations.append(add(int(rng.choice(ACTIVATIONS)), [linear], 1))
        elif ARITY[op][0] <= len(sources):
            add(op, sources, ARITY[op][0])
    chosen = rng.choice(list(graph), hidden, replace=False).tolist()
    return slots.pruned(_renamed(graph, {slot: NEW + i for i, slot in enumerate(chosen)}))


def _renamed(graph: Graph, names: dict[int, int]) -> Graph:
    return {
        names.get(slot, slot): (op, tuple(names.get(source, source) for source in inputs))
        for slot, (op, inputs) in graph.items()
    }


def _changed(rng: np.random.Generator, graph: Graph) -> Graph:
    """The graph with one node changed, perhaps into one that is not valid."""
    slot = int(rng.choice(list(graph)))
    op, inputs = graph[slot]
    if op in ACTIVATIONS:
        return graph | {slot: (int(rng.choice([other for other in ACTIVATIONS if other != op])), inputs)}
    if op in (PROD, SUM) and rng.random() < 0.5:
        return graph | {slot: (PROD + SUM - op, inputs)}
    sources = [*range(PREV, PREV + sum(s >= NEW for s in graph)), *graph]
    if op == LINEAR:
        sources = [X, *(source for source in sources if source < NODE or graph[source][0] in ACTIVATIONS)]
    moved = list(inputs)
    moved[int(rng.integers(len(inputs)))] = int(rng.choice(sources))
    return graph | {slot: (op, tuple(moved))} if len(set(moved)) == len(moved) else graph


# strings


def _parse(string: str) -> Graph:
    hint = f"expected, say, {NASBenchNLP.example}"
    try:
        recipe = json.loads(string)
    except (ValueError, RecursionError) as error:
        raise UserError(f"malformed recipe {string[:60]!r}: not JSON ({error}); {hint}") from error
    if not isinstance(recipe, dict) or not recipe:
        raise UserError(f"malformed recipe {string[:60]!r}: not an object of named nodes; {hint}")
    slots = _slots(recipe)
    graph = {slots[name]: _node(name, node, slots) for name, node in recipe.items()}
    linears = sum(op == LINEAR for op, _ in graph.values())
    if linears > MAX_LINEARS:
        raise UserError(f"recipe with {linears} linear nodes; the space ends at {MAX_LINEARS}")
    return graph


def _slots(recipe: dict[str, Any]) -> dict[str, int]:
    """The slot of every name: of the inputs, and of the nodes, which get free numbers where they have none."""
    if len(recipe) > MAX_NODES:
        raise UserError(f"recipe with {len(recipe)} nodes; the space ends at {MAX_NODES}")
    hidden = [name for name in SLOT_NAMES[NEW:] if name in recipe]
    if not hidden or hidden != list(SLOT_NAMES[NEW : NEW + len(hidden)]):
        raise UserError(
            f"recipe with {', '.join(hidden) or 'no h_new_0'}; it needs h_new_0, then h_new_1, then h_new_2"
        )
    slots = {name: slot for slot, name in enumerate(SLOT_NAMES) if name in recipe or slot < PREV + len(hidden)}
    free = (slot for slot in range(NODE, NEW) if SLOT_NAMES[slot] not in recipe)
    return slots | {name: next(free) for name in recipe if name not in slots}


def _node(name: str, node: Any, slots: dict[str, int]) -> tuple[int, tuple[int, ...]]:
    if slots[name] < NODE:
        raise UserError(f"recipe: {name!r} is an input of the cell, it cannot be computed; rename the node")
    if not isinstance(node, dict) or node.keys() != {"op", "input"} or not isinstance(node["input"], list):
        raise UserError(f"recipe: {name!r} is {json.dumps(node)}; a node has an op and a list input, nothing else")
    if node["op"] not in OPS:
        raise UserError(f"recipe: {name!r}: {unknown('operation', str(node['op']), OPS)}")
    op, inputs = OPS.index(node["op"]), node["input"]
    for source in inputs:
        if not isinstance(source, str) or source not in slots:
            raise UserError(f"recipe: {name!r}: {unknown('input', str(source), slots)}")
    if len(inputs) not in ARITY[op] or len(set(inputs)) != len(inputs):
        counts = " or ".join(map(str, ARITY[op]))
        raise UserError(
            f"recipe: {name!r}: {OPS[op]} has {len(inputs)} inputs {inputs}; it takes {counts} different ones"
        )
    if op != LINEAR and "x" in inputs:
        raise UserError(f"recipe: {name!r}: x enters {OPS[op]}, but only linear can take it: its size is another")
    return op, tuple(slots[source] for source in inputs)


NASBENCH_NLP = NASBenchNLP()
