"""Choosing among operations by data: mapped, vectorised, nested, always against direct calls.

All values are small integers, which float32 holds exactly, so results are equal whatever the order of the arithmetic.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.kernels.dispatch import BLOCK, alone, choose

SIZES = [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5]
BRANCHES = (
    lambda p, x: {"image": 0 * x, "row": p["shift"]},
    lambda p, x: {"image": x, "row": x.sum(0)},
    lambda p, x: {"image": x * p["factor"] - 1, "row": x.max(0) + p["shift"]},
    lambda p, x: {"image": x[::-1] + p["factor"], "row": x[0] - p["shift"]},
)
OPS = len(BRANCHES)


def integers(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).integers(-8, 9, shape).astype(np.float32))


def parameters(*lead):
    return {"factor": integers(*lead, seed=1), "shift": integers(*lead, 3, seed=2)}


def chosen(index, p, x):
    return choose(index, BRANCHES, p, x)


def indices(kind, size):
    """Return `[size]` op indices: one for each, drawn, all the same, or only some of the ops."""
    return {
        "drawn": np.random.default_rng(size).integers(0, OPS, size),
        "same": np.full(size, 2),
        "last": np.full(size, OPS - 1),
        "two": np.where(np.arange(size) % 3, 3, 1),
        "sorted-down": np.sort(np.arange(size) % OPS)[::-1].copy(),
    }[kind]


KINDS = ("drawn", "same", "last", "two", "sorted-down")


def assert_same(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def one_by_one(index, p, x, mapped):
    """Call the branches one after the other; `mapped` says which of `p["factor"]`, `p["shift"]` and `x` differ."""
    p, x = {name: np.asarray(leaf) for name, leaf in p.items()}, np.asarray(x)  # which the branches take, too
    rows = []
    for i, op in enumerate(np.asarray(index).tolist()):
        own = {name: p[name][i] if mapped[name] else p[name] for name in p}
        rows.append(BRANCHES[op](own, x[i] if mapped["x"] else x))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def case(size, mapped):
    """Return operands, some of them with a leading axis of `size`, and the `in_axes` of `vmap`."""
    lead = {name: (size,) if is_mapped else () for name, is_mapped in mapped.items()}
    p = {"factor": integers(*lead["factor"], seed=1), "shift": integers(*lead["shift"], 3, seed=2)}
    axes = {name: 0 if mapped[name] else None for name in p}
    return (p, integers(*lead["x"], 4, 3)), (axes, 0 if mapped["x"] else None)


ALL = {"factor": True, "shift": True, "x": True}
MAPPED = {
    "all": ALL,
    "image": {"factor": False, "shift": False, "x": True},
    "parameters": {"factor": True, "shift": True, "x": False},
    "part-of-a-tree": {"factor": True, "shift": False, "x": True},
    "nothing-but-the-index": {"factor": False, "shift": False, "x": False},
}


@pytest.mark.parametrize("op", range(OPS))
def test_one_index(op):
    p, x = parameters(), integers(4, 3)
    expected = BRANCHES[op](p, x)
    assert_same(chosen(op, p, x), expected)
    assert_same(jax.jit(chosen)(jnp.int32(op), p, x), expected)
    assert_same(jax.jit(chosen, static_argnums=0)(op, p, x), expected)


@pytest.mark.parametrize("loop", ["map", "scan", "fori"])
def test_one_index_at_a_time(loop):
    index, (p, x) = jnp.asarray(indices("drawn", 9)), case(9, ALL)[0]
    like = BRANCHES[0](*jax.tree.map(lambda leaf: leaf[0], (p, x)))

    def turn(i, out):
        own = jax.tree.map(lambda leaf: leaf[i], (p, x))
        return jax.tree.map(lambda whole, part: whole.at[i].set(part), out, chosen(index[i], *own))

    loops = {
        "map": lambda: jax.lax.map(lambda row: chosen(*row), (index, p, x)),
        "scan": lambda: jax.lax.scan(lambda carry, row: (carry, chosen(*row)), 0, (index, p, x))[1],
        "fori": lambda: jax.lax.fori_loop(0, 9, turn, jax.tree.map(lambda leaf: jnp.zeros((9, *leaf.shape)), like)),
    }
    assert_same(jax.jit(loops[loop])(), one_by_one(index, p, x, ALL))


@pytest.mark.parametrize("size", SIZES)
def test_an_index_for_each_element(size):
    operands, axes = case(size, ALL)
    run = jax.jit(jax.vmap(chosen, (0, *axes)))
    for kind in KINDS:
        index = jnp.asarray(indices(kind, size))
        assert_same(run(index, *operands), one_by_one(index, *operands, ALL))


@pytest.mark.parametrize("mapped", MAPPED.values(), ids=MAPPED)
@pytest.mark.parametrize("size", [3, 2 * BLOCK + 3])
def test_operands_that_are_shared(size, mapped):
    index, (operands, axes) = jnp.asarray(indices("drawn", size)), case(size, mapped)
    actual = jax.jit(jax.vmap(chosen, (0, *axes)))(index, *operands)
    assert_same(actual, one_by_one(index, *operands, mapped))


def test_neighbours_change_nothing():
    size = 2 * BLOCK + 3
    operands, axes = case(size, ALL)
    run = jax.jit(jax.vmap(chosen, (0, *axes)))
    some, others = indices("drawn", size), indices("two", size)
    others[5] = some[5]
    one, two = (jax.tree.map(lambda leaf: leaf[5], run(jnp.asarray(index), *operands)) for index in (some, others))
    assert_same(one, two)


def test_an_operand_mapped_along_another_axis():
    size, p = BLOCK + 2, parameters()
    index, x = jnp.asarray(indices("drawn", size)), integers(4, size, 3)
    actual = jax.jit(jax.vmap(chosen, (0, None, 1), 1))(index, p, x)
    expected = one_by_one(index, p, jnp.moveaxis(x, 1, 0), MAPPED["image"])
    assert_same(actual, jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), expected))


@pytest.mark.parametrize("index", [2, jnp.int32(2)], ids=["known", "data"])
def test_one_index_for_all_elements(index):
    operands, axes = case(5, MAPPED["part-of-a-tree"])
    actual = jax.jit(lambda *operands: jax.vmap(chosen, (None, *axes))(index, *operands))(*operands)
    assert_same(actual, one_by_one(np.full(5, 2), *operands, MAPPED["part-of-a-tree"]))


@pytest.mark.parametrize("archs", [2, BLOCK + 3])
def test_rows_of_one_choice_each_in_a_batch_of_choices(archs):
    """As an exact NTK is measured: an inner `vmap` over cotangents, an outer one over architectures."""
    index, p, x = jnp.asarray(indices("drawn", archs)), parameters(archs), integers(archs, 6, 4, 3)

    def rows(index, p, x):
        return jax.vmap(lambda row: chosen(index, p, row))(x)

    actual = jax.jit(jax.vmap(rows))(index, p, x)
    for i in range(archs):
        own = jax.tree.map(lambda leaf, i=i: leaf[i], p)
        expected = one_by_one(np.full(6, index[i]), own, x[i], MAPPED["image"])
        assert_same(jax.tree.map(lambda leaf, i=i: leaf[i], actual), expected)


def test_choices_in_a_batch_of_batches():
    index = jnp.asarray(indices("drawn", 3 * (BLOCK + 2)).reshape(3, -1))
    p, x = parameters(), integers(*index.shape, 4, 3)
    actual = jax.jit(jax.vmap(jax.vmap(chosen, (0, None, 0)), (0, None, 0)))(index, p, x)
    for i in range(3):
        expected = one_by_one(index[i], p, x[i], MAPPED["image"])
        assert_same(jax.tree.map(lambda leaf, i=i: leaf[i], actual), expected)


def test_other_choices_compile_nothing(compiles):
    size = 2 * BLOCK + 3
    operands, axes = case(size, ALL)
    run = jax.jit(jax.vmap(chosen, (0, *axes)))
    batches = [jnp.asarray(indices(kind, size)) for kind in KINDS]
    with compiles(1):
        run(batches[0], *operands)
    with compiles(0):
        for index in batches[1:]:
            run(index, *operands)


@pytest.mark.parametrize("zero", [0, jnp.int32(0)], ids=["known", "data"])
def test_alone_is_the_plain_call(zero):
    operands, axes = case(BLOCK + 3, ALL)
    single = jax.tree.map(lambda leaf: leaf[0], operands)
    for branch in BRANCHES:
        expected = branch(*single)
        assert_same(alone(zero, branch, *single), expected)
        assert_same(
            jax.jit(lambda zero, *operands, f=branch: alone(zero, f, *operands))(jnp.int32(0), *single), expected
        )
    several = jax.jit(jax.vmap(lambda *operands: alone(zero, BRANCHES[2], *operands), axes))(*operands)
    each = jax.jit(jax.vmap(lambda zero, *operands: alone(zero, BRANCHES[2], *operands), (0, *axes)))
    expected = one_by_one(np.full(BLOCK + 3, 2), *operands, ALL)
    assert_same(several, expected)
    assert_same(each(jnp.zeros(BLOCK + 3, jnp.int32), *operands), expected)
