"""Pruning within limits on counts: what a supernet can end in, and what may go; on made-up scores, by brute force."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from jaxnas import spaces
from jaxnas.errors import UserError
from jaxnas.search.goal import Goal
from jaxnas.search.method import Task
from jaxnas.search.methods import METHODS, ends
from jaxnas.search.methods.ends import Ends, Guard
from jaxnas.search.methods.prune import PruneOptions
from jaxnas.spaces import cell_space, own
from jaxnas.spaces.nds.darts import DARTS
from jaxnas.types import Finished

SIGNS = {"ntk": -1, "regions": 1}
NB201 = spaces.get("nasbench201")


def conv(channels, rngs):
    return own.Conv2d(channels, channels, (3, 3), rngs=rngs)


OPS = {"none": own.zero, "same": own.identity, "pool": own.avg_pool_3x3, "conv": conv}
OWN = cell_space("own", edges=((1, 0), (2, 0), (2, 1)), ops=OPS, cells=1, channels=4)


def made(space, *, preset=None, **limits):
    """The method under limits, as the command makes it."""
    task = Task(space, Goal(SIGNS, **limits), seed=0, batch=1, budget=0, by_cost=(("params", "flops"), (*SIGNS,)))
    return METHODS["prune"].make(task, PruneOptions(preset))


def searched(method, rng):
    """The last state, on random scores."""

    def column(masks):
        values = rng.uniform(1, 10, (2, len(masks)))
        return Finished(values, np.zeros(values.shape, int), {})

    state = method.init()
    while not method.done(state):
        masks = method.ask(state)
        state = method.step(state, {name: column(masks) for name in SIGNS})
    return state


def small(rng, groups, keep, *, numbers=2, opposed=False):
    """Ends of a made-up supernet with three ops, with room for about one end in ten."""
    edges = sum(map(len, groups))
    costs = rng.integers(0, 9, (numbers, edges, 3)).astype(float)
    costs = np.concatenate([costs, -costs]) if opposed else costs
    these, mask = Ends(groups, keep, costs, np.zeros(len(costs)), opposed), np.ones((edges, 3), bool)
    sums = np.array([(costs * end).sum((1, 2)) for end in every_end(these, mask)])
    room = sums[rng.integers(len(sums))] if opposed else np.quantile(sums, 0.2, axis=0)
    return replace(these, room=room), mask


def every_end(these, mask):
    """All op masks that a mask can end in."""
    of_groups = [
        [
            pairs
            for edges in itertools.combinations([edge for edge in group if mask[edge].any()], these.keep)
            for pairs in itertools.product(*([(edge, op) for op in np.flatnonzero(mask[edge])] for edge in edges))
        ]
        for group in these.groups
    ]
    for picked in itertools.product(*of_groups):
        end = np.zeros_like(mask)
        end[tuple(np.concatenate(picked).T)] = True
        yield end


def keeping(these, mask):
    return [end for end in every_end(these, mask) if ((these.costs * end).sum((1, 2)) <= these.room).all()]


SMALL = [([(0,), (1,), (2,), (3,)], 1), ([(0, 1), (2, 3, 4)], 2)]


@pytest.mark.parametrize("opposed", [False, True])
@pytest.mark.parametrize("numbers", [1, 2])
@pytest.mark.parametrize(("groups", "keep"), SMALL)
def test_an_end_is_found_where_there_is_one(groups, keep, numbers, opposed):
    rng, found = np.random.default_rng(0), []
    for _ in range(8):
        these, mask = small(rng, groups, keep, numbers=numbers, opposed=opposed)
        mask &= rng.random(mask.shape) < 0.8
        mask[:, 0] = True
        kept = keeping(these, mask)
        end = these.find(mask)
        found.append(end is not None)
        assert found[-1] == bool(kept)
        assert end is None or any((end == one).all() for one in kept)
        each = np.array([(these.costs * one).sum((1, 2)) for one in every_end(these, mask)])
        assert these.least(mask).tolist() == each.min(0).tolist()
    assert any(found)


@pytest.mark.parametrize(("groups", "keep"), SMALL)
def test_what_may_go_is_what_some_end_lacks(groups, keep):
    """Neither is the only way left blocked, nor does anything stay that an end can do without."""
    rng = np.random.default_rng(1)
    for _ in range(8):
        these, left = small(rng, groups, keep)
        end = these.find(left)
        if end is None:
            continue
        guard = Guard(these, left, end)
        for edge, op in rng.permutation(np.argwhere(left)).tolist():
            less = left.copy()
            less[edge, op] = False
            may = guard(edge, op)
            assert may == bool(keeping(these, less))
            left = less if may else left
        assert (left == guard.end).all()


def test_few_sums_of_many_are_sound(monkeypatch):
    """With two sums to follow an end may be overlooked, but what may go never breaks a limit, and one end is left."""
    monkeypatch.setattr(ends, "MOST", 2)
    rng = np.random.default_rng(2)
    for _ in range(8):
        these, left = small(rng, *SMALL[1], opposed=True)
        guard = Guard(these, left, keeping(these, left)[0])
        for edge, op in rng.permutation(np.argwhere(left)).tolist():
            left[edge, op] = not guard(edge, op)
        assert (left == guard.end).all()
        assert ((these.costs * left).sum((1, 2)) <= these.room).all()


@pytest.mark.parametrize("name", ["nasbench201", "nasbench201:cifar100", "transnas101_micro", "darts", "darts:cifar10"])
@pytest.mark.parametrize("count", ends.COUNTS)
def test_counts_add_up_over_the_ops(name, count):
    space = spaces.get(name)
    supernet, rng = space.supernet, np.random.default_rng(0)
    edges, ops = len(supernet.edges), len(supernet.ops)
    masks = np.eye(ops, dtype=bool)[rng.integers(1, ops, (20, edges))]
    for group in supernet.groups:
        for mask in masks:
            mask[rng.permutation(group)[supernet.keep :]] = False
    archs = np.array([supernet.to_arch(mask) for mask in masks])
    of = getattr(space, count)
    assert supernet.cost(of).total(masks).tolist() == of(archs).tolist()


@pytest.mark.parametrize(
    "limits", [{"at_most": 0.1}, {"at_most": 0.5}, {"at_least": 0.9}, {"at_most": 0.5, "at_least": 0.45}]
)
@pytest.mark.parametrize("space", [NB201, OWN], ids=["nasbench201", "own"])
def test_the_end_keeps_the_limits(space, limits):
    archs = space.enumerate()
    flops = np.sort(space.flops(archs[(archs != space.zero).all(1)]))
    bounds = {side: {"flops": flops[int(share * len(flops))]} for side, share in limits.items()}
    for seed in range(3):
        method = made(space, **bounds)
        state = searched(method, np.random.default_rng(seed))
        found = method.result(state)
        assert found.extra == {"feasible": True}
        (end,) = space.flops(found.arch[None])
        assert bounds.get("at_least", {"flops": 0})["flops"] <= end <= bounds.get("at_most", {"flops": end})["flops"]
        assert len(state.scores) == made(space).rounds == method.rounds


def test_the_only_end_is_found():
    """Whatever the scores say."""
    most = OWN.params(np.full((1, 3), 3))[0]
    method = made(OWN, at_least={"params": most})
    for seed in range(5):
        assert method.result(searched(method, np.random.default_rng(seed))).arch.tolist() == [3, 3, 3]


def test_darts_keeps_limits_on_both_counts():
    method = made(DARTS, preset="imagenet", at_most={"flops": 450e6}, at_least={"params": 3.9e6})
    state = searched(method, np.random.default_rng(0))
    assert len(state.scores) == made(DARTS, preset="imagenet").rounds
    arch = method.result(state).arch[None]
    assert DARTS.flops(arch) <= 450e6
    assert DARTS.params(arch) >= 3.9e6
    assert state.supernet.mask.sum() == 16


def test_limits_that_do_not_bind_change_nothing():
    free, bound = made(NB201), made(NB201, at_most={"flops": 1e12}, at_least={"params": 0})
    states = [searched(method, np.random.default_rng(3)) for method in (free, bound)]
    assert free.report(states[0]) == bound.report(states[1])
    assert states[0].end is None


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (
            {"at_most": {"flops": 1e6}},
            "keeps --at-most flops=1000000: it ends with flops from 7,783,050 to 220,119,690",
        ),
        ({"at_most": {"flops": 2e7}, "at_least": {"params": 1e6}}, "flops from .*, params from 73,306 to 1,531,546"),
        ({"at_most": {"ntk": 5.0}}, "keeps limits on params and flops, not on ntk"),
        ({"at_least": {"live_flops": 5.0}}, "not on live_flops"),
    ],
)
def test_what_cannot_be_kept_is_one_line(limits, says):
    with pytest.raises(UserError, match=says) as error:
        made(NB201, **limits)
    assert "\n" not in str(error.value)
