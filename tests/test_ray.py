"""`--on ray`: the same results as without, whatever dies meanwhile. On a small cluster of this machine."""

import itertools
import os
import sys
import time
from collections import Counter
from types import SimpleNamespace
from unittest.mock import ANY

import pytest

from jaxnas.engine import Crew, Task, named
from jaxnas.errors import UserError

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'jaxnas[ray]'")
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")]  # Ray starts programs
SYSTEM = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300, "health_check_failure_threshold": 2}


@pytest.fixture(scope="module")
def cluster():
    """A cluster of one machine with one core; others may join."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # no worker can import it
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": SYSTEM})
    yield made
    made.shutdown()


@pytest.fixture(autouse=True)
def often(monkeypatch):
    from jaxnas.engine import on_ray

    monkeypatch.setattr(on_ray, "LOOK_SECONDS", 0.3)


def on(cluster):
    return f"ray:{cluster.address}"


def setup(devices):
    return SimpleNamespace(devices=devices, done=0)


def noted(state, folder, item):
    """Who does what, under which circumstances; files in the folder say what is to go wrong."""

    def finish():
        if (kills := folder / "kills").exists() and item[0] <= int(kills.read_text()) < item[1]:
            os._exit(1)
        if (once := folder / f"once-{item[0]}").exists():
            once.unlink()
            os._exit(1)
        if (full := folder / "full").exists() and full.read_text() == ray.get_runtime_context().get_node_id():
            raise OSError(28, "No space left on device")
        state.done += 1
        time.sleep(0.02)
        return {
            "pid": os.getpid(),
            "node": ray.get_runtime_context().get_node_id(),
            "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "done": state.done,
        }

    return finish


def halves(item):
    first, last = item
    middle = (first + last) // 2
    return [(first, middle), (middle, last)] if middle > first else []


def work(cluster, folder, items, **crew):
    with named(on(cluster)) as hire:
        engine = hire(Crew(setup, **crew))
        task = Task(noted, folder, lambda item, why: why, halves)
        return dict(engine.each(task, items))


def test_a_process_that_dies_is_replaced_and_what_kills_it_found(cluster, tmp_path):
    for number in (0, 8):
        (tmp_path / f"once-{number}").touch()
    (tmp_path / "kills").write_text("21")
    found = work(cluster, tmp_path, [(first, first + 8) for first in range(0, 40, 8)])
    assert sorted(found) == [(0, 8), (8, 16), (16, 20), (20, 21), (21, 22), (22, 24), (24, 32), (32, 40)]
    assert [item for item, one in found.items() if isinstance(one, str)] == [(21, 22)]


def test_errors_of_a_user_are_raised_at_once_and_others_if_they_come_again(cluster, tmp_path):
    with named(on(cluster)) as hire:
        engine = hire(Crew(setup))
        with pytest.raises(UserError, match="no such file"):
            engine.ask(refused)
        with pytest.raises(ZeroDivisionError):
            engine.ask(lambda state: 1 / 0)


def refused(state):
    raise UserError("no such file")


def test_machines_come_and_go(cluster, tmp_path):
    added = cluster.add_node(num_cpus=1)
    items, nodes = [(first, first + 1) for first in range(120)], []
    with named(on(cluster)) as hire:
        engine = hire(Crew(setup))
        for _, one in engine.each(Task(noted, tmp_path, lambda item, why: why), items):
            nodes.append(one["node"])
            if len(set(nodes)) == 2 and added is not None:
                cluster.remove_node(added, allow_graceful=False)
                added = None
    assert len(nodes) == 120 and len(set(nodes)) == 2
    assert len(set(nodes[-20:])) == 1


def test_a_machine_that_is_not_fit_is_left_out_by_name(cluster, tmp_path, capsys):
    added = cluster.add_node(num_cpus=1)
    items = [(first, first + 1) for first in range(12)]
    differs = {"about": where, "differs": lambda node: "it has other versions" * (node == added.node_id)}
    found = work(cluster, tmp_path, items, **differs)
    assert added.node_id not in {one["node"] for one in found.values()}
    assert f"node {added.node_id[:6]}) is left out: it has other versions" in capsys.readouterr().err
    with pytest.raises(UserError, match="no machine of the cluster is left"):
        work(cluster, tmp_path, items, about=where, differs=lambda node: "it has other versions")
    capsys.readouterr()
    items, found = [(first, first + 1) for first in range(200)], {}
    with named(on(cluster)) as hire:
        engine = hire(Crew(setup))
        for item, one in engine.each(Task(noted, tmp_path, lambda item, why: why), items):
            found[item] = one
            if one["node"] == added.node_id:
                (tmp_path / "full").write_text(added.node_id)  # its disk
    assert len(found) == 200
    assert "is left out: OSError: [Errno 28] No space left on device" in capsys.readouterr().err
    cluster.remove_node(added)


def where(state):
    return ray.get_runtime_context().get_node_id()


def test_each_process_keeps_its_accelerator(cluster, tmp_path):
    added, found = cluster.add_node(num_cpus=0, num_gpus=2), []
    with named(on(cluster)) as hire:
        engine = hire(Crew(setup))
        items = ((first, first + 1) for first in itertools.count())
        for _, one in engine.each(Task(noted, tmp_path, lambda item, why: why), items):
            found += [one] * (one["node"] == added.node_id)
            if [count > 5 for count in Counter(one["pid"] for one in found).values()] == [True, True]:
                break
    cluster.remove_node(added)
    assert sorted({(one["pid"], one["gpu"]) for one in found}, key=lambda pair: pair[1]) == [(ANY, "0"), (ANY, "1")]
