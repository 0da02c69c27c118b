"""No score depends on how many threads there are, nor on settings of JAX that decide draws, types and precision."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas import spaces
from jaxnas.pinned import pinned
from jaxnas.tables.store import read_scores

ROOT = Path(__file__).parents[1]
SPACE = spaces.get("nasbench201")
SETTINGS = {  # environment variables, each of which gave other scores or a traceback
    "JAX_ENABLE_X64": "1",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
    "JAX_TRANSFER_GUARD": "disallow",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_DEBUG_NANS": "1",
    "JAX_DISABLE_JIT": "1",
}
DRAWS = "import jax; from jaxnas import spaces; s = spaces.get('nasbench201'); k = jax.random.key(3); " + (
    "print(s.sample(k, 9).tolist(), [s.mutate(jax.random.fold_in(k, i), s.sample(k, 1)[0]).tolist() for i in range(9)])"
)
SCORES = """
import dataclasses, sys
from jaxnas import data, spaces
from jaxnas.evaluate import devices
on = devices.available(int(sys.argv[2]) or None)
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.scorers import NTK, Regression
from jaxnas.spaces.cell.network import Cell
space = spaces.get("nasbench201")
cell = Cell(((1, 0), (2, 0), (2, 1)), space.cell.ops, space.ops)
networks = {name: dataclasses.replace(config, cells=1, stages=1) for name, config in space.configs.items()}
space = dataclasses.replace(space, name="triangle", cell=cell, configs=networks)
archs = space.enumerate()[60:125:8]
for scorer in (Regression(steps=5, images=8, task=sys.argv[1]), NTK(bn="batch", images=6)):
    scores = Evaluator(space, scorer, data.load("synthetic"), devices=on)(archs)
    print([value.hex() for value in scores.value[0].tolist()])
assert devices.parts() == 1
"""


def python(*arguments, before=(), **environment):
    """What another interpreter prints, in the root of the checkout."""
    done = subprocess.run(
        [*before, sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.slow
def test_threads_and_devices_change_no_bit(one_tap):
    """A processor with one core, and one, two and three devices; each compiles for itself."""
    one = python("-c", SCORES, one_tap, 1)
    assert "nan" in one and one.count("0x1.") > 9
    assert python("-c", SCORES, one_tap, 3) == one
    if shutil.which("taskset"):
        assert python("-c", SCORES, one_tap, 0, before=("taskset", "-c", str(min(os.sched_getaffinity(0))))) == one


@pytest.mark.slow
def test_settings_of_jax_change_no_score(tmp_path):
    """All of them at once, and none."""
    options = ["-m", "jaxnas", "score", "--archs", "random:9", "--scorers", "ntk,regions", "--ntk.images", 4]
    options += ["--regions.batches", 1, "--regions.samples", 50, "--out"]
    python(*options, tmp_path / "one")
    python(*options, tmp_path / "two", **SETTINGS)
    (one, told), (two, again) = read_scores(tmp_path / "one"), read_scores(tmp_path / "two")
    assert one["ntk"].drop_nulls().len() > 5 and one.equals(two)
    assert [told[key] for key in ("settings", "arithmetic")] == [again[key] for key in ("settings", "arithmetic")]


def test_draws_of_spaces_are_the_same():
    expected = python("-c", DRAWS)
    assert python("-c", DRAWS, JAX_THREEFRY_PARTITIONABLE="0", JAX_ENABLE_X64="1") == expected


def test_todays_draws_are_kept():
    assert SPACE.sample(jax.random.key(3), 2).tolist() == [[4, 3, 3, 0, 0, 4], [2, 2, 4, 0, 0, 4]]


def test_settings_end_with_the_block():
    with jax.enable_x64(True):
        with pinned():
            assert jnp.ones(1).dtype == np.float32
        assert jnp.ones(1).dtype == np.float64
