"""Choosing devices, and where compiled programs are kept: mostly in processes of their own."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import pytest
from polars.testing import assert_frame_equal

from jaxnas.errors import UserError
from jaxnas.evaluate import devices
from jaxnas.tables.store import read_scores

ROOT = Path(__file__).parents[1]
SCORE = ["-m", "jaxnas.score", "--archs", "random:9", "--scorers", "regions", "--regions.batches", "1"]
SEARCH = ["-m", "jaxnas.search", "--method", "random", "--budget", "5", "--scorers", "regions", "--repeats", "1"]
SETTINGS = ("jax_compilation_cache_dir", "jax_num_cpu_devices", "jax_persistent_cache_min_compile_time_secs")


def python(*arguments, **environment):
    """Run another interpreter in the root of the checkout, JAX's cache being where `environment` says."""
    clean = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**clean, **{name: str(value) for name, value in environment.items()}},
        capture_output=True,
        text=True,
        check=False,
    )


def sizes(folder):
    """The size of every program that is kept in `folder`."""
    return {path: path.stat().st_size for path in folder.rglob("*-cache")}


def test_a_cpu_is_named_once_for_each_core_or_as_often_as_asked():
    cpu = jax.local_devices()[0]
    assert devices.available() == (cpu,) * devices._cores()
    assert devices.available(3) == (cpu,) * 3


@dataclass(frozen=True)
class Accelerator:
    number: int
    platform: str = "gpu"
    device_kind: str = "Fast"


def test_accelerators_are_all_of_them_or_the_first_ones():
    found = [Accelerator(0), Accelerator(1)]
    assert devices.shared(found) == tuple(found)
    assert devices.shared(found, 1) == (found[0],)
    with pytest.raises(UserError, match=r"^--devices is 3, but there are 2: Fast$"):
        devices.shared(found, 3)


@pytest.mark.parametrize(
    ("count", "says"), [(0, "--devices is 0; it must be at least 1"), (-1, "--devices is -1; it must be at least 1")]
)
def test_impossible_numbers_are_one_line(count, says):
    with pytest.raises(UserError) as error:
        devices.available(count)
    assert str(error.value) == says


def test_a_command_that_starts_jax_gets_a_processor_of_one_thread():
    """And gives the environment back."""
    code = "import os; from jaxnas.evaluate import devices as d; print(len(d.available(3)), d.parts(), dict(os.environ)"
    assert python("-c", code + ".get('PJRT_NPROC'))", JAX_PLATFORMS="cpu").stdout.split() == ["3", "1", "None"]
    own = python("-c", code + ".get('PJRT_NPROC'))", JAX_PLATFORMS="cpu", PJRT_NPROC="7")
    assert own.stdout.split() == ["3", "1", "7"]


def test_the_processor_is_named():
    assert devices.processor().startswith(f"{jax.local_devices()[0].platform} ")
    assert devices.arithmetic().keys() == {"processor", "parts", "flags"}


def test_flags_that_change_arithmetic_are_told(monkeypatch):
    monkeypatch.setenv(
        "XLA_FLAGS", "--xla_dump_to=x --xla_cpu_enable_fast_math=true --xla_backend_optimization_level=0"
    )
    assert devices.arithmetic()["flags"] == "--xla_backend_optimization_level=0 --xla_cpu_enable_fast_math=true"


@pytest.mark.parametrize("platforms", ["cuda", "gpu,cpu", "nonsense"])
@pytest.mark.parametrize("command", [SCORE, SEARCH], ids=["score", "search"])
def test_devices_that_jax_cannot_use_are_one_line(tmp_path, command, platforms):
    done = python(*command, "--out", tmp_path / "out", JAX_PLATFORMS=platforms)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert f"JAX cannot use the devices of JAX_PLATFORMS={platforms}: " in done.stderr
    assert done.stderr.count("[") == done.stderr.count("]")  # a list that JAX prints is whole
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--devices=0", "--batch-size=0"])
@pytest.mark.parametrize("command", [SCORE, SEARCH], ids=["score", "search"])
def test_impossible_options_are_one_line_of_a_program(tmp_path, command, option):
    done = python(*command, option, "--out", tmp_path / "out")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert option.replace("=", " is ") in done.stderr
    assert not (tmp_path / "out").exists()


# --- compiled programs on the disk -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_programs_are_kept_where_the_environment_says(tmp_path):
    """And the scores of two devices are those of one."""
    user, jaxs = tmp_path / "user", tmp_path / "jax"
    one = python(*SCORE, "--devices", 1, "--out", tmp_path / "one", XDG_CACHE_HOME=user)
    assert (one.returncode, one.stderr) == (0, "")
    assert any((user / "jaxnas" / "programs").iterdir())
    before = sizes(user)
    elsewhere = {"XDG_CACHE_HOME": user, "JAX_COMPILATION_CACHE_DIR": jaxs}
    two = python(*SCORE, "--devices", 2, "--out", tmp_path / "two", **elsewhere)
    assert (two.returncode, two.stderr) == (0, "")
    assert any(jaxs.iterdir())
    assert sizes(user) == before
    assert_frame_equal(*(read_scores(tmp_path / name)[0] for name in ("one", "two")), check_exact=True)
    again = python(*SCORE, "--devices", 1, "--out", tmp_path / "again", XDG_CACHE_HOME=user)
    assert (again.returncode, again.stderr) == (0, "")
    new = [size for path, size in sizes(user).items() if path not in before]
    assert max(new, default=0) < max(before.values()) / 4  # the program was not compiled again; tiny ones may be
    assert_frame_equal(*(read_scores(tmp_path / name)[0] for name in ("one", "again")), check_exact=True)


@pytest.mark.slow
def test_a_search_keeps_its_programs(tmp_path):
    done = python(*SEARCH, "--out", tmp_path / "out", XDG_CACHE_HOME=tmp_path / "user")
    assert (done.returncode, done.stderr) == (0, "")
    assert any((tmp_path / "user" / "jaxnas" / "programs").iterdir())


# Two tests that belong together: the second one sees what the first one has left behind.


def test_a_command_in_this_process_uses_the_cache_of_the_tests():
    before = {name: jax.config.values[name] for name in SETTINGS}
    devices.available()
    devices.cache_programs()
    assert before[SETTINGS[0]] is None
    assert jax.config.values[SETTINGS[0]] == str(Path(os.environ["XDG_CACHE_HOME"]) / "jaxnas" / "programs")
    assert jax.config.values[SETTINGS[0]].startswith(os.environ["XDG_CACHE_HOME"])
    assert jax.config.values[SETTINGS[1]] == before[SETTINGS[1]]


def test_the_next_test_knows_nothing_of_it():
    assert jax.config.values[SETTINGS[0]] is None
    assert jax.config.values[SETTINGS[2]] == 1.0
