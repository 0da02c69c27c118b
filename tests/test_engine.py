"""Engines: work in this process, and what is to do where items fail. Those on a cluster are in `test_ray.py`."""

import sys

import pytest

from jaxnas.engine import Crew, Here, Task, named
from jaxnas.engine.todo import TRIES, Todo
from jaxnas.errors import UserError


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
