"""Engines: work in this process, and what is to do where items fail. Those on a cluster are in `test_ray.py`."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from jaxnas.engine import Crew, Here, Task, named
from jaxnas.engine.todo import TRIES, Todo
from jaxnas.errors import UserError
from jaxnas.scorers import Regions
from jaxnas.scorers.registry import COUNTS
from jaxnas.search.remote import shared_out
from jaxnas.types import Finished, Status


def test_the_next_item_is_started_before_one_is_waited_for():
    said = []

    def start(state, shared, item):
        said.append(f"start {item}")
        return lambda: said.append(f"wait {item}") or state * shared * item

    engine = Here(Crew(lambda devices: 2))
    task = Task(start, 10, lambda item, why: None)
    assert list(engine.each(task, iter([1, 2, 3]))) == [(1, 20), (2, 40), (3, 60)]
    assert said == ["start 1", "start 2", "wait 1", "start 3", "wait 2", "wait 3"]
    assert engine.ask(lambda state, more: state + more, 5) == 7


def test_items_are_tried_again_elsewhere():
    todo = Todo("abc")
    assert todo.take("one", alone=False) == "a"
    assert todo.try_again("a", "one") == 1
    assert [todo.take(machine, alone=False) for machine in ("one", "one", "two")] == ["b", "c", "a"]
    assert todo.try_again("a", "two") == 2
    assert todo.take("two", alone=False) is None
    assert todo.take("two", alone=True) == "a"
    assert todo.try_again("a", "two") == 0
    assert not todo
    todo.split(["x", "y"])
    assert [todo.take("one", alone=False) for _ in range(2)] == ["x", "y"]
    assert todo.try_again("x", "one") == 0
    todo.give_back(["y"])
    assert todo and todo.take("one", alone=False) == "y"
    assert TRIES == 3


def test_a_place_that_is_none(monkeypatch):
    with pytest.raises(UserError, match="--on slurm: say ray"), named("slurm"):
        pass
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="--on ray needs the package ray: pip install 'jaxnas"), named("ray"):
        pass


def test_the_architectures_of_a_round_are_shared_out_and_what_is_lost_has_failed():
    class Lossy(Here):
        width = 3

        def each(self, task, items):
            for item in items:
                yield item, task.start(self.state, task.shared, item)() if item[0] < 4 else task.lost(item, "it died")

    def panel(archs, names, draw):
        measured = Finished(np.stack([archs[:, 0], archs[:, 0] + draw]), np.zeros((2, len(archs)), int), {})
        return lambda: {"regions": measured, "beside": measured}

    options = SimpleNamespace(repeats=2)
    state = SimpleNamespace(panel=panel, options=options, chosen={"regions": Regions(), "params": COUNTS["params"]})
    measure, archs = shared_out(Lossy(Crew(lambda devices: state))), np.arange(12).reshape(6, 2)
    found = measure(archs, ["regions"], 5)()
    assert found.keys() == {"regions"}
    np.testing.assert_array_equal(found["regions"].value, [[0, 2, 4, 6, np.nan, np.nan], [5, 7, 9, 11, np.nan, np.nan]])
    assert found["regions"].status.tolist() == [[0] * 4 + [Status.failed] * 2] * 2
    assert measure(archs[:4])().keys() == {"regions", "beside"}
