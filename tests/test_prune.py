"""The TE-NAS pruning rounds: small cases by hand, and a plain-Python transcription of the specification."""

import itertools
import json
import math

import numpy as np
import pytest

from jaxnas.search.methods import pruning


def round_to(number, figures):
    """Significant figures as the specification's source code has them (1e-8 is added to the magnitude)."""
    if number == 0 or math.isinf(number):
        return number
    magnitude = abs(number) + 1e-8
    power = math.floor(math.log10(magnitude)) + 1
    return math.copysign(round(magnitude * 10.0**-power, figures) * 10.0**power, number)


def spec_ranks(values, keys, *, descending):
    """Dense ranks by key: sorted by the rounded value, tied only if the unrounded ones are equal."""
    rows = sorted(zip(values, keys, strict=True), key=lambda row: round_to(row[0], 3), reverse=descending)
    ranks = {rows[0][1]: 0}
    for before, row in itertools.pairwise(rows):
        ranks[row[1]] = ranks[before[1]] + (row[0] != before[0])
    return ranks


def spec_round(active, delta_kappa, delta_regions, prune_number):
    """One round on `active`, a list of lists of op indices; the deltas map (edge, op) to floats."""
    keys = list(delta_kappa)
    kappa = spec_ranks(list(delta_kappa.values()), keys, descending=True)
    regions = spec_ranks(list(delta_regions.values()), keys, descending=False)
    ordered = sorted(kappa, key=lambda key: kappa[key] + regions[key])
    number = min(prune_number, len(active[0]) - 1)
    for edge in range(len(active)):
        gone = [op for e, op in ordered if e == edge][:number]
        active = [[op for op in row if e != edge or op not in gone] for e, row in enumerate(active)]
    return active, kappa, regions


def mask_from(rows):
    return pruning.State(np.array(rows, bool))


def search(num_edges, num_ops, prune_number, rng):
    """Run a whole search on random deltas and return the last state."""
    state = pruning.init(num_edges, num_ops)
    while not pruning.done(state):
        count = len(pruning.candidates(state)[1])
        state = pruning.step(state, rng.normal(size=count), rng.normal(size=count), prune_number=prune_number)
    return state


def test_candidates_by_hand():
    masks, pairs = pruning.candidates(mask_from([[0, 1, 1], [0, 0, 1]]))
    assert pairs.tolist() == [[0, 1], [0, 2]]
    assert masks.astype(int).tolist() == [[[0, 0, 1], [0, 0, 1]], [[0, 1, 0], [0, 0, 1]]]


def test_round_by_hand():
    # edge 0: ops 1, 2; edge 1: ops 1, 2.   kappa ranks 3 1 0 2, regions ranks 0 1 2 1 (a tie), sums 3 2 2 3
    state = pruning.step(pruning.init(2, 3), np.array([-0.5, 0.1, 0.2, 0.0]), np.array([-0.1, 0.0, 0.3, 0.0]))
    (record,) = state.history
    assert record.ranks.tolist() == [[3, 0], [1, 1], [0, 2], [2, 1]]
    assert record.pruned.tolist() == [[1, 1], [0, 2]]  # equal sums: the order by kappa
    assert state.mask.argmax(1).tolist() == [1, 2]


def test_equal_sums_fall_back_on_the_order_by_kappa_then_on_the_candidates():
    tied = pruning.step(pruning.init(1, 4), np.zeros(3), np.zeros(3))
    assert tied.history[0].pruned.tolist() == [[0, 1]]
    opposed = pruning.step(pruning.init(1, 3), np.array([0.0, 0.1]), np.array([0.0, 0.1]))
    assert opposed.history[0].ranks.tolist() == [[1, 0], [0, 1]]
    assert opposed.history[0].pruned.tolist() == [[0, 2]]


def test_sort_is_on_three_figures_and_ties_are_exact():
    near = 0.1231  # rounds to .123 like its neighbours, so the candidates' order stays, yet no two neighbours are equal
    state = pruning.step(pruning.init(1, 4), np.array([0.123, near, 0.123]), np.zeros(3))
    assert state.history[0].ranks[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize(("edges", "ops", "number"), [(6, 5, 1), (28, 8, 3), (28, 8, 2), (3, 4, 2)])
def test_matches_the_transcription(seed, edges, ops, number):
    rng = np.random.default_rng([seed, edges, number])
    state, active = pruning.init(edges, ops), [list(range(1, ops)) for _ in range(edges)]
    while not pruning.done(state):
        _, pairs = pruning.candidates(state)
        keys = [tuple(pair) for pair in pairs.tolist()]
        assert keys == [(e, o) for e, row in enumerate(active) for o in row if len(row) > 1]
        kappa = pruning.deltas(rng.uniform(1, 4, (3, 1 + len(keys))), 2)  # 2 decimals: many ties; |delta| above 1 too
        regions = pruning.deltas(rng.integers(90, 100, (3, 1 + len(keys))))
        state = pruning.step(state, kappa, regions, prune_number=number)
        active, kappa_ranks, regions_ranks = spec_round(
            active,
            dict(zip(keys, kappa.tolist(), strict=True)),
            dict(zip(keys, regions.tolist(), strict=True)),
            number,
        )
        assert [np.flatnonzero(row).tolist() for row in state.mask] == active
        assert state.history[-1].ranks.tolist() == [[kappa_ranks[k], regions_ranks[k]] for k in keys]


@pytest.mark.parametrize(
    ("edges", "ops", "number", "counts"),
    [(6, 5, 1, [24, 18, 12]), (28, 8, 3, [196, 112]), (28, 8, 2, [196, 140, 84])],
)
def test_number_of_candidates(edges, ops, number, counts):
    state = search(edges, ops, number, np.random.default_rng(0))
    assert [len(record.candidates) for record in state.history] == counts
    assert len(state.history) == len(counts)


def test_banned_op_is_never_chosen():
    rng = np.random.default_rng(1)
    assert all((search(6, 5, 1, rng).mask.argmax(1) > 0).all() for _ in range(20))


def test_relative_change_is_rounded_per_repeat():
    values = np.array([[3.0, 2.0, 6.0], [7.0, 6.0, 7.0]])
    assert np.allclose(pruning.deltas(values), [(0.333 + 0.143) / 2, -0.5], rtol=0, atol=1e-12)
    assert np.allclose(pruning.deltas(values, 1), [(0.3 + 0.1) / 2, -0.5], rtol=0, atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e6, 0.0])
def test_a_repeat_without_origin_is_left_out(bad):
    values = np.array([[bad, 2.0, 6.0], [4.0, 6.0, 2.0]])
    assert pruning.deltas(values).tolist() == pruning.deltas(values[1:]).tolist() == [-0.5, 0.5]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e6])
def test_failed_candidate_goes_last(bad):
    kappa = pruning.deltas(np.array([[4.0, bad, 5.0, 6.0], [4.0, 4.0, 5.0, 6.0]]))
    assert np.isnan(kappa).tolist() == [True, False, False]
    # by rank sum alone (2 + 0 against 0 + 1 and 1 + 2) the failed op would go second
    state = pruning.step(pruning.init(1, 4), kappa, np.array([-9.0, 0.0, 1.0]), prune_number=2)
    assert state.history[0].ranks.tolist() == [[2, 0], [0, 1], [1, 2]]
    assert state.history[0].pruned.tolist() == [[0, 2], [0, 3]]


def test_failed_origin_leaves_the_choice_to_the_other_quantity():
    kappa = pruning.deltas(np.array([[np.nan, 4.0, 5.0, 6.0]]))
    state = pruning.step(pruning.init(1, 4), kappa, np.array([0.2, 0.1, 0.3]))
    assert state.history[0].ranks[:, 0].tolist() == [0, 0, 0]
    assert state.history[0].pruned.tolist() == [[0, 2]]
    assert pruning.to_json(state)["rounds"][0]["deltas"][0] == [None, None, None]


def test_everything_failed_still_ends():
    state = pruning.init(6, 5)
    while not pruning.done(state):
        nans = np.full(len(pruning.candidates(state)[1]), np.nan)
        state = pruning.step(state, nans, nans)
    assert state.mask.argmax(1).tolist() == [4] * 6  # all tied: the candidates' order


def test_step_leaves_its_input_alone():
    state = pruning.init(6, 5)
    before = state.mask.copy()
    kappa, regions = np.random.default_rng(2).normal(size=(2, 24))
    after = pruning.step(state, kappa, regions)
    assert (state.mask == before).all()
    assert state.history == ()
    kappa[:] = 0  # nor does the record follow the caller's array
    assert after.history[0].deltas[0].any()
    assert (pruning.step(state, after.history[0].deltas[0], regions).mask == after.mask).all()


def test_record_is_json():
    state = search(6, 5, 1, np.random.default_rng(3))
    record = json.loads(json.dumps(pruning.to_json(state), allow_nan=False))
    assert record["mask"] == record["rounds"][-1]["mask"] == state.mask.astype(int).tolist()
    assert [len(r["pruned"]) for r in record["rounds"]] == [6, 6, 6]
    assert record["rounds"][0]["deltas"][0] == state.history[0].deltas[0].tolist()


def test_misuse_raises():
    state = pruning.init(2, 3)
    with pytest.raises(ValueError, match="expected 4 deltas"):
        pruning.step(state, np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="nothing to prune"):
        pruning.step(pruning.step(state, np.zeros(4), np.zeros(4)), np.zeros(0), np.zeros(0))
