"""Common random numbers: a score depends on the seed and the repeat, not on what else is scored and how."""

import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas import data, scorers, spaces
from jaxnas.errors import UserError
from jaxnas.evaluate import evaluator, input_cache
from jaxnas.evaluate.compiled import batch_size, deal
from jaxnas.evaluate.devices import memory_maps
from jaxnas.evaluate.evaluator import Evaluator, count, summarise
from jaxnas.network.recipe import Recipe
from jaxnas.spaces import Space
from jaxnas.types import Finished, Status

SPACE = spaces.get("nasbench201")
SOURCE = data.load("synthetic")
LOST = SPACE.encode("|none~0|+|none~0|none~1|+|none~0|skip_connect~1|skip_connect~2|")


@dataclass(frozen=True)
class Toy(scorers.Scorer):
    """A scorer that compiles fast and depends on all that a scorer gets."""

    shared_weights: bool = False
    name: str = "toy"
    recipe: ClassVar[Recipe] = Recipe("patches")
    counts_dead_ends: bool = True

    def floats(self, network):
        return 1

    def draw(self, source, rng):
        return {"images": source.images(rng, 2), "noise": rng.normal(size=3).astype(np.float32)}

    def measure(self, network, params, arch, inputs, key):
        ops = arch if arch.ndim == 1 else arch.argmax(-1)
        weights = sum(leaf.sum() for leaf in jax.tree.leaves(params))
        inputs = inputs["images"].mean() + inputs["noise"].sum()
        noise = jax.random.uniform(key)
        return jnp.stack([jnp.sin(ops + jnp.arange(6)).sum() + inputs + noise, weights])

    def finish(self, raw):
        return Finished(raw[:, 0].astype(np.float64), np.full(len(raw), Status.ok), {"weights": raw[:, 1:]})


@pytest.fixture(scope="module")
def archs():
    """Seven architectures; the third is disconnected."""
    drawn = SPACE.sample(jax.random.key(5), 40)
    connected = drawn[~SPACE.is_disconnected(drawn)][:6]
    return np.insert(connected, 2, LOST, axis=0)


def evaluate(archs, scorer=None, **options):
    return Evaluator(SPACE, scorer or Toy(), SOURCE, **options)(archs)


def assert_same(one, two):
    np.testing.assert_array_equal(one.value, two.value)
    np.testing.assert_array_equal(one.status, two.status)
    assert one.info.keys() == two.info.keys()
    for name in one.info:
        np.testing.assert_array_equal(one.info[name], two.info[name])


@pytest.fixture(scope="module")
def whole(archs):
    return evaluate(archs, batch=7)


def test_shapes_and_statuses(whole):
    assert whole.value.shape == whole.status.shape == (1, 7)
    assert whole.info["weights"].shape == (1, 7, 1)
    assert whole.status[0, 2] == Status.disconnected
    assert np.isnan(whole.value[0, 2]) and np.isnan(whole.info["weights"][0, 2]).all()
    rest = np.delete(whole.value[0], 2)
    assert np.isfinite(rest).all() and len(set(rest)) == 6
    assert (np.delete(whole.status[0], 2) == Status.ok).all()


@pytest.mark.parametrize("batch", [1, 2, 5, 6, 100])
def test_batch_size_and_padding_change_nothing(archs, whole, batch):
    assert_same(evaluate(archs, batch=batch), whole)


def test_order_changes_nothing(archs, whole):
    order = np.array([4, 2, 6, 0, 1, 5, 3])
    info = {"weights": whole.info["weights"][:, order]}
    assert_same(evaluate(archs[order], batch=3), Finished(whole.value[:, order], whole.status[:, order], info))


def test_batch_mates_change_nothing(archs, whole):
    measure = Evaluator(SPACE, Toy(), SOURCE, batch=4)
    for i, arch in enumerate(archs):
        np.testing.assert_array_equal(measure(arch[None]).value[0], whole.value[0, [i]])


def test_one_hot_masks_are_indices(archs, whole):
    assert_same(evaluate(SPACE.to_mask(archs), batch=4), whole)


def test_regions_of_masks_in_another_order_and_batch(archs):
    scorer = scorers.Regions(batches=2, samples=30)
    base = evaluate(archs, scorer, batch=4)
    assert len(set(base.value[0, [0, 1, 3, 4, 5, 6]])) > 2
    masks = SPACE.to_mask(archs)[::-1]
    assert_same(evaluate(masks, scorer, batch=2), Finished(base.value[:, ::-1], base.status[:, ::-1], {}))


def test_first_repeat_is_the_only_one(archs, whole):
    three = evaluate(archs, repeats=3, batch=7)
    assert three.value.shape == (3, 7)
    assert_same(Finished(three.value[:1], three.status[:1], {"weights": three.info["weights"][:1]}), whole)
    assert len(set(three.value[:, 0])) == 3


class Groups:
    """Architectures of different first ops run in different programs."""

    def __getattr__(self, name):
        return getattr(SPACE, name)

    by_group = Space.by_group

    def groups(self, archs, form):
        return archs[:, 0].tolist()

    def network(self, form, group, **changes):
        return SPACE.network(form, **changes)


@pytest.mark.parametrize("held", [0, input_cache.MAX_HELD_BYTES])
def test_what_was_dropped_is_drawn_again(archs, whole, monkeypatch, held):
    monkeypatch.setattr(input_cache, "MAX_HELD_BYTES", held)
    measure = Evaluator(Groups(), Toy(), SOURCE, batch=7)
    for _ in range(2):
        assert_same(measure(archs), whole)
    groups = len(set(archs[whole.status[0] == Status.ok, 0].tolist()))
    assert groups > 1
    assert len(measure._draws._held) == (groups if held else 1)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="counts Linux's memory maps")
@pytest.mark.slow
def test_programs_that_were_not_used_lately_are_given_up_and_come_back(monkeypatch, compiles):
    monkeypatch.setattr(evaluator, "MAX_MEMORY_MAPS", 1)
    monkeypatch.setattr(evaluator, "MIN_KEPT_PROGRAMS", 1)
    space = spaces.get("transnas101_macro")
    archs = np.stack([space.encode(string) for string in ("64-4111-basic", "64-2411-basic")])
    measure = Evaluator(
        space, scorers.Regions(batches=1, samples=20), data.load("synthetic"), devices=jax.devices()[:1]
    )
    both = measure(archs)
    held = memory_maps()
    measure.program(measure.groups(archs[1:])[0]).release()
    assert memory_maps() < held - 20
    for arch, value in zip(archs, both.value.T, strict=True):
        with compiles(1):
            np.testing.assert_array_equal(measure(arch[None]).value[:, 0], value)


def test_repeats_draw_new_weights_unless_shared(archs):
    new = evaluate(archs[:1], Toy(), repeats=3).info["weights"][:, 0, 0]
    shared = evaluate(archs[:1], Toy(shared_weights=True), repeats=3)
    assert len(set(new)) == 3
    assert set(shared.info["weights"][:, 0, 0]) == {new[0]}
    assert len(set(shared.value[:, 0])) == 3  # the inputs are new all the same


def test_as_shipped_shares_weights_and_paper_does_not():
    paper, shipped = (scorers.NTK(preset=preset) for preset in ("paper", "as_shipped"))
    assert (paper.shared_weights, shipped.shared_weights) == (False, True)
    assert (paper.recipe.changes()["init"], shipped.recipe.changes()["init"]) == ("kaiming", "pytorch")


def test_seed_and_scorer_name_decide_the_draws(archs, whole):
    assert (evaluate(archs[:1], seed=1).value != whole.value[:, :1]).all()
    assert (evaluate(archs[:1], Toy(name="other")).value != whole.value[:, :1]).all()


def test_second_batch_compiles_nothing(archs, compiles):
    measure = Evaluator(SPACE, Toy(), SOURCE, batch=3)
    measure(archs[:3])
    with compiles(0):
        measure(archs)
        measure(archs[:1])


def test_another_thread_may_compile_beforehand(archs, whole, compiles):
    measure = Evaluator(SPACE, Toy(), SOURCE, batch=7)
    with compiles(1):
        thread = threading.Thread(target=measure.prepare(archs))
        thread.start()
        assert_same(measure(archs), whole)  # which waits for it
        thread.join()


def test_only_disconnected(archs, compiles):
    with compiles(0), warnings.catch_warnings(action="error"):
        scores = evaluate(np.stack([LOST, LOST]), repeats=2)
        value, deviation, status = summarise(scores)
    assert np.isnan(value).all() and np.isnan(deviation).all()
    assert (scores.status == Status.disconnected).all() and (status == Status.disconnected).all()
    assert scores.info == {}


def test_nothing_to_score():
    assert evaluate(np.empty((0, 6), np.int32)).value.shape == (1, 0)


def test_summarise_by_hand():
    nan = np.nan
    value = np.array([[1.0, 2.0, nan, 4.0], [3.0, 2.0, 5.0, 5.0]])
    status = np.array([[0, 0, Status.nonfinite, 0], [0, Status.saturated, 0, 0]])
    mean, deviation, worst = summarise(Finished(value, status, {}))
    np.testing.assert_allclose(mean, [2, 2, nan, 4.5])
    np.testing.assert_allclose(deviation, [2**0.5, 0, nan, 0.5**0.5])
    assert [Status(s).name for s in worst] == ["ok", "saturated", "nonfinite", "ok"]


def test_summarise_one_repeat():
    mean, deviation, worst = summarise(Finished(np.array([[7.0, np.nan]]), np.array([[0, Status.rank_deficient]]), {}))
    np.testing.assert_array_equal(mean, [7, np.nan])
    assert np.isnan(deviation).all()
    assert worst.tolist() == [Status.ok, Status.rank_deficient]


def test_counts(archs):
    for name, expected in (("params", SPACE.params(archs)), ("flops", SPACE.flops(archs))):
        scores = count(SPACE, scorers.DEFAULTS[name], archs)
        np.testing.assert_array_equal(scores.value, expected[None])
        assert (scores.status == Status.ok).all()  # a disconnected network has parameters, too


def test_batch_follows_the_cost_in_a_loop():
    ntk, exact = scorers.NTK(), scorers.NTK(bn="batch")
    sizes = [scorer.archs_per_call for scorer in (ntk, scorers.Regions(), exact, scorers.Regression())]
    assert sizes[0] == sizes[1] > sizes[2] > sizes[3] > 1


@pytest.mark.parametrize(("gigabytes", "fewest", "most"), [(0.001, 2, 2), (4, 3, 511), (10**6, 512, 512)])
def test_batch_follows_the_free_memory_at_once(gigabytes, fewest, most):
    @dataclass
    class Device:
        def memory_stats(self):
            return {"bytes_limit": int(gigabytes * 1e9) + 1000, "bytes_in_use": 1000}

    scorer = scorers.NTK()
    size = batch_size(scorer, SPACE.network("thin"), Device(), "dispatch")
    assert fewest <= size <= most
    exact = scorers.NTK(bn="batch")
    assert batch_size(exact, SPACE.network("thin"), Device(), "dispatch") <= size


@pytest.mark.parametrize("devices", [1, 2, 3, 8])
@pytest.mark.parametrize("number", [0, 1, 5, 24])
def test_hands_are_dealt_evenly(number, devices):
    batch = -(-number // devices) + 2
    places = deal(number, devices, batch)
    hands, turns = np.divmod(places, batch)
    assert len(set(places.tolist())) == number
    held = np.bincount(hands, minlength=devices)
    assert len(held) == devices and held.max() - held.min() <= 1
    for hand in range(devices):
        assert sorted(turns[hands == hand]) == list(range(held[hand]))  # the first of each hand
    sizes = np.sort(np.random.default_rng(number).exponential(size=number))[::-1]
    loads = np.bincount(hands, sizes, minlength=devices)
    assert loads.max() - loads.min() <= sizes.max(initial=0.0)


# --- what is under way -----------------------------------------------------------------------------------------------


class Later:
    """Stands in for an array on a device: `get()` is called when somebody waits for it."""

    def __init__(self, get):
        self.get = get

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.get())


def test_launch_does_not_wait(archs, whole):
    measure, waited, go = Evaluator(SPACE, Toy(), SOURCE, batch=2, devices=jax.devices()), [], threading.Event()
    program = measure.program()
    execute = program.execute
    program.execute = lambda *args: (go.wait(10), waited.append(1), execute(*args))[-1]
    wait = measure.launch(archs)
    assert waited == []
    go.set()
    assert_same(wait(), whole)
    assert len(waited) == 3


def test_waiting_in_any_order(archs, whole):
    measure = Evaluator(SPACE, Toy(), SOURCE, batch=2)
    first, second = measure.launch(archs[:3]), measure.launch(archs[3:])
    late, early = second(), first()
    np.testing.assert_array_equal(np.concatenate([early.value, late.value], 1), whole.value)
    np.testing.assert_array_equal(np.concatenate([early.status, late.status], 1), whole.status)
    assert_same(second(), late)


# --- out of memory ---------------------------------------------------------------------------------------------------


def with_little_memory(most, message="RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.", late=False):
    """An evaluator of batches of 16 that fails above `most`, when asked or `late`, and the sizes asked for."""
    evaluator = Evaluator(SPACE, Toy(), SOURCE, repeats=2, batch=16)
    execute, asked = evaluator.program().execute, []

    def run_out():
        raise jax.errors.JaxRuntimeError(message)

    def limited(program, params, archs, *others):
        asked.append(len(archs))
        if asked[-1] <= most:
            return execute(program, params, archs, *others)
        return Later(run_out) if late else run_out()

    evaluator.program().execute = limited
    return evaluator, asked


@pytest.mark.parametrize("late", [False, True], ids=["when-launched", "when-waited-for"])
def test_a_batch_that_does_not_fit_is_halved_for_good_and_no_score_changes(late):
    archs = SPACE.sample(jax.random.key(9), 40)
    evaluator, asked = with_little_memory(5, late=late)
    assert_same(evaluator(archs), evaluate(archs, repeats=2, batch=16))
    assert set(asked) == {16, 8, 4}
    assert evaluator.program().batch == 4
    asked.clear()
    assert_same(evaluator(archs[::-1]), evaluate(archs[::-1], repeats=2, batch=16))
    assert set(asked) == {4}


@pytest.mark.parametrize("late", [False, True], ids=["when-launched", "when-waited-for"])
def test_memory_that_does_not_hold_two_is_an_error_in_one_line(archs, late):
    evaluator, asked = with_little_memory(0, late=late)
    with pytest.raises(UserError, match=r"toy: the memory of .* does not hold two architectures") as error:
        evaluator(archs)
    assert "\n" not in str(error.value)
    assert min(asked) == 2


@pytest.mark.parametrize("late", [False, True], ids=["when-launched", "when-waited-for"])
def test_other_failures_are_not_hidden(archs, late):
    evaluator, asked = with_little_memory(0, "INTERNAL: broken", late)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL: broken"):
        evaluator(archs)
    assert set(asked) == {16} and evaluator.program().batch == 16


# --- what is no architecture, space or score -------------------------------------------------------------------------

STRING = SPACE.decode(SPACE.sample(jax.random.key(0), 1)[0])


@pytest.mark.parametrize(
    "form", [np.asarray, lambda a: a[0], lambda a: STRING, lambda a: [STRING], lambda a: a.tolist()]
)
def test_ways_of_giving_architectures(form):
    arch = SPACE.encode(STRING)[None]
    np.testing.assert_array_equal(SPACE.arrays(form(arch)), arch)


EXPECTED = r"give strings such as .*, or whole numbers \[6\] or \[N, 6\]"


@pytest.mark.parametrize(
    ("archs", "says"),
    [
        (["|avg_pool_3x3~0|"], "row 0"),
        ("nothing", "malformed"),
        (np.zeros((2, 5), int), rf"an array \[2, 5\] of int64; {EXPECTED}"),
        (np.zeros((2, 6)), "of float64"),
        ([], r"an array \[0\] of float64"),
        (np.zeros((1, 1, 1, 6), int), r"\[1, 1, 1, 6\]"),
        (3.5, r"an array \[\] of float64"),
        ([[1, 2], [3]], r"an array \[2\] of object"),
    ],
)
def test_what_is_no_architecture_is_one_line(archs, says):
    measure = Evaluator(SPACE, scorers.Regions(), SOURCE)
    with pytest.raises(UserError, match=says) as error:
        measure(archs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nasbench201", scorers.Regions(), SOURCE), "is 'nasbench201'; give a Space: jaxnas.spaces.get"),
        ((SPACE, "ntk", SOURCE), "is 'ntk'; give one that is measured"),
        ((SPACE, scorers.Regions, SOURCE), "Regions'>; give one that is measured"),
        ((SPACE, scorers.Params(), SOURCE), r"is Params\(\); give one that is measured"),
        ((SPACE, scorers.Regions(), "synthetic"), "are 'synthetic'; give a Source: jaxnas.data.load"),
    ],
)
def test_what_an_evaluator_is_made_of(arguments, says):
    with pytest.raises(UserError, match=says):
        Evaluator(*arguments)
