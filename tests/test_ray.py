"""`--on ray`: the same results as without, whatever dies meanwhile. On a small cluster of this machine."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import ANY

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from jaxnas.engine import Crew, Task, named
from jaxnas.errors import UserError
from jaxnas.score.command import main
from jaxnas.search.command import main as search
from jaxnas.tables.store import read_scores

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'jaxnas[ray]'")
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")]  # Ray starts programs
SYSTEM = {"health_check_initial_delay_ms": 5000, "health_check_period_ms": 1000, "health_check_failure_threshold": 5}


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


def test_machines_come_and_go_and_a_process_keeps_its_accelerator(cluster, tmp_path):
    added, found, last = cluster.add_node(num_cpus=0, num_gpus=2), [], []
    with named(on(cluster)) as hire:
        items = ((first, first + 1) for first in range(10_000))
        for _, one in hire(Crew(setup)).each(Task(noted, tmp_path, lambda item, why: why), items):
            found += [one] * (one["node"] == added.node_id)
            if not last and [count > 5 for count in Counter(one["pid"] for one in found).values()] == [True, True]:
                cluster.remove_node(added, allow_graceful=False)
                last = [one]
            elif last:
                last.append(one)
            if len(last) > 60:
                break
    assert sorted({(one["pid"], one["gpu"]) for one in found}, key=lambda pair: pair[1]) == [(ANY, "0"), (ANY, "1")]
    assert {one["node"] for one in last[-20:]}.isdisjoint({added.node_id})


def until(cluster, folder, capsys, words, **crew):
    """Work until the words are said; yields who did each item."""
    said, items = "", ((first, first + 1) for first in range(10_000))
    with named(on(cluster)) as hire:
        for _, one in hire(Crew(setup, **crew)).each(Task(noted, folder, lambda item, why: why), items):
            yield one
            if words in (said := said + capsys.readouterr().err):
                return
    raise AssertionError(f"{words!r} is not in {said!r}")


def test_a_machine_that_is_not_fit_is_left_out_by_name(cluster, tmp_path, capsys):
    added = cluster.add_node(num_cpus=1)
    out = f"node {added.node_id[:6]}) is left out: "
    differs = {"about": where, "differs": lambda node: "it has other versions" * (node == added.node_id)}
    nodes = {one["node"] for one in until(cluster, tmp_path, capsys, out + "it has other versions", **differs)}
    assert added.node_id not in nodes
    with pytest.raises(UserError, match="no machine of the cluster is left"):
        work(cluster, tmp_path, [(0, 1)], about=where, differs=lambda node: "it has other versions")
    for one in until(cluster, tmp_path, capsys, out + "OSError: [Errno 28] No space left on device"):
        if one["node"] == added.node_id:
            (tmp_path / "full").write_text(added.node_id)  # its disk
    cluster.remove_node(added)


def where(state):
    return ray.get_runtime_context().get_node_id()


@pytest.fixture
def fake(tmp_path):
    """A file with a score and an oracle that are cheap, and options of `jaxnas score` that go by the score."""
    shutil.copy(Path(__file__).with_name("fake.py"), tmp_path)
    score = f"{tmp_path / 'fake.py'}:FAKE"
    return ["--archs", "random:40", "--no-dedup", "--scorers", score, "--batch-size", "4", "--devices", "1"]


def scored(out, *options):
    assert main(["--out", str(out), *options]) == 0
    return read_scores(out)[0]


def test_scores_are_those_of_this_process_and_runs_go_on_in_each_other(cluster, fake, tmp_path):
    alone = scored(tmp_path / "alone", *fake)
    together = scored(tmp_path / "together", *fake, "--on", on(cluster))
    assert_frame_equal(together, alone, check_exact=True)
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("part-*")} for name in ("alone", "together")
    ]
    assert files[0] == files[1] and len(files[0]) > 4
    for number in (1, 2):
        (tmp_path / "alone" / f"part-0000{number}.parquet").unlink()
        (tmp_path / "together" / f"part-0000{number}.parquet").unlink()
    assert_frame_equal(scored(tmp_path / "alone", *fake, "--on", on(cluster)), alone, check_exact=True)
    assert_frame_equal(scored(tmp_path / "together", *fake, "--shard", "auto"), alone, check_exact=True)


def test_an_architecture_that_kills_its_process_gets_a_status(cluster, fake, tmp_path, capsys):
    fake = [*fake, "--batch-size", "2"]
    alone = scored(tmp_path / "alone", *fake)
    (tmp_path / "kills").write_text(f"{alone['fake'][7]:.6f}")
    assert main(["--out", str(tmp_path / "out"), *fake, "--on", on(cluster)]) == 3
    assert (
        f"1 architectures failed, for they end the process that scores them: {alone['arch'][7]}"
        in capsys.readouterr().err
    )
    found, _ = read_scores(tmp_path / "out")
    assert found["fake_status"][7] == "failed" and found["fake"][7] is None
    assert_frame_equal(*(table.filter(pl.col("row") != 7) for table in (found, alone)), check_exact=True)


def test_a_driver_that_is_killed_leaves_what_is_done(cluster, fake, tmp_path):
    alone = scored(tmp_path / "alone", *fake)
    (tmp_path / "slow").write_text("0.3")
    command = [sys.executable, "-m", "jaxnas.score", "--out", str(tmp_path / "out"), *fake, "--on", on(cluster)]
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while len(there := sorted((tmp_path / "out").glob("part-*.parquet"))) < 2 and driver.poll() is None:
        time.sleep(0.02)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in there}
    (tmp_path / "slow").unlink()
    assert_frame_equal(scored(tmp_path / "out", *fake), alone, check_exact=True)
    assert {path: path.stat().st_mtime_ns for path in there} == before


def test_a_function_is_asked_by_several_processes(cluster, fake, tmp_path):
    added = cluster.add_node(num_cpus=1)
    (tmp_path / "processes").mkdir()
    options = ["--oracle", f"{tmp_path / 'fake.py'}:evaluate", "--maximize", "accuracy", "--record", "process"]
    options += ["--method", "random", "--budget", "40", "--json"]
    found = {}
    for name, place, processes in (("alone", [], 1), ("together", ["--on", on(cluster)], 3)):  # with that of before
        (tmp_path / "wanted").write_text(str(processes))
        assert search(["--out", str(tmp_path / name), *options, *place]) == 0
        found[name] = read_scores(tmp_path / name)[0]
    cluster.remove_node(added)
    assert_frame_equal(*(table.drop("process", "seconds") for table in found.values()), check_exact=True)
    assert [found[name]["process"].explode().drop_nans().n_unique() for name in found] == [1, 2]


def test_scores_of_a_search(cluster, fake, tmp_path):
    options = ["--scorers", fake[fake.index("--scorers") + 1], "--method", "random", "--budget", "20", "--json"]
    for name, place in {"alone": [], "together": ["--on", on(cluster)]}.items():
        assert search(["--out", str(tmp_path / name), *options, *place]) == 0
    alone, together = (read_scores(tmp_path / name)[0].drop("seconds") for name in ("alone", "together"))
    assert_frame_equal(together, alone, check_exact=True)


def test_scores_and_a_function_of_one_search(cluster, fake, tmp_path):
    (tmp_path / "processes").mkdir()
    (tmp_path / "wanted").write_text("1")
    added = cluster.add_node(num_cpus=1)
    options = ["--scorers", fake[fake.index("--scorers") + 1], "--oracle", f"{tmp_path / 'fake.py'}:evaluate"]
    options += ["--maximize", "accuracy,live_params"]
    options += ["--method", "random", "--budget", "20", "--json"]
    found = {}
    for name, place in {"alone": [], "together": ["--on", on(cluster)]}.items():
        assert search(["--out", str(tmp_path / name), *options, *place]) == 0
        found[name] = read_scores(tmp_path / name)[0]
    cluster.remove_node(added)
    assert_frame_equal(*(table.drop("seconds") for table in found.values()), check_exact=True)
    assert found["together"].select("fake", "live_params").null_count().sum_horizontal().item() == 0


def test_a_real_part(cluster, tmp_path):
    options = ["--archs", "random:6", "--scorers", "regions", "--regions.batches", "1", "--regions.samples", "40"]
    alone = scored(tmp_path / "alone", *options)
    assert_frame_equal(scored(tmp_path / "together", *options, "--on", on(cluster)), alone, check_exact=True)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("slurm", "--on slurm: say ray, or ray:ADDRESS"),
        ("ray:127.0.0.1:1", "--on ray:127.0.0.1:1: no cluster answers there"),
    ],
)
def test_bad_places(tmp_path, capsys, place, says):
    assert main(["--out", str(tmp_path / "out"), "--archs", "random:2", "--on", place]) == 2
    errors = capsys.readouterr().err
    assert says in errors and errors.count("\n") == 1
