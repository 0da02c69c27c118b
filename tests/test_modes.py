"""The same scores one architecture after another, all at once sorted by op, and on several devices.

The networks are small, of a space with three edges, so that the programs are compiled in seconds.
"""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxnas import data, spaces
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.network.network import Config
from jaxnas.scorers import NTK, Regions, Regression
from jaxnas.spaces.cell.network import Cell
from jaxnas.types import Status

ROOT = Path(__file__).parents[1]
NASBENCH = spaces.get("nasbench201")
NETWORKS = {
    "thin": Config(channels=3, cells=1, stages=1),
    "patches": NASBENCH.configs["patches"],
    "taps": Config(channels=8, cells=1, stages=1, affine_cells=False, init="pytorch"),
}
TRIANGLE = Cell(((1, 0), (2, 0), (2, 1)), NASBENCH.cell.ops, NASBENCH.ops)
SPACE = dataclasses.replace(NASBENCH, name="triangle", cell=TRIANGLE, configs=NETWORKS)
TWO_STAGES = dataclasses.replace(SPACE, configs={"thin": Config(channels=3, cells=1, stages=2)})
SOURCE = data.load("synthetic")
ARCHS = SPACE.enumerate()[::3]  # 42; some disconnected, some with dead ends
SUPERNETS = np.stack([np.ones((3, 5), int), np.tile([0, 1, 0, 1, 1], (3, 1)), SPACE.to_mask(ARCHS[-1])])


@dataclasses.dataclass(frozen=True)
class WholeNTK(NTK):
    """The NTK with the edges that lead nowhere."""

    counts_dead_ends = True


def evaluator(scorer, mode="loop", space=SPACE):
    return Evaluator(space, scorer, SOURCE, mode=mode, batch=64)


def assert_modes_agree(scorer, tolerance, *sets, space=SPACE):
    """The scores of the last set of architectures."""
    modes = [evaluator(scorer, mode, space) for mode in ("loop", "dispatch")]
    for archs in sets:
        loop, dispatch = (measure(archs) for measure in modes)
        assert np.isfinite(loop.value).sum() > 1 and len(np.unique(loop.value)) > 1
        np.testing.assert_array_equal(loop.status, dispatch.status)
        np.testing.assert_allclose(dispatch.value, loop.value, rtol=tolerance)
    return loop


@pytest.mark.slow
def test_ntk_is_the_same_in_both_modes():
    scores = assert_modes_agree(NTK(images=4), 1e-5, ARCHS, space=TWO_STAGES)
    assert (scores.status == Status.disconnected).any()


@pytest.mark.slow
def test_exact_ntk_is_the_same_in_both_modes():
    assert_modes_agree(NTK(images=4, bn="batch"), 1e-5, ARCHS[::2])


@pytest.mark.slow
def test_regions_are_equal_in_both_modes():
    scorer = Regions(batches=2, samples=30)
    assert_modes_agree(scorer, 0, ARCHS)
    assert_modes_agree(scorer, 0, SUPERNETS, SPACE.to_mask(ARCHS))


@pytest.mark.slow
def test_ntk_of_masks_is_the_same_in_both_modes():
    assert_modes_agree(NTK(images=3), 1e-5, SUPERNETS)


@pytest.mark.slow
def test_regression_is_the_same_in_both_modes(one_tap):
    """Two steps of SGD on one stage with one tap: training amplifies rounding.

    On the space's own network, images that differ by 1e-7 move the error after two steps by 5 %, in one mode already.
    """
    assert_modes_agree(Regression(images=4, steps=2, task=one_tap), 1e-5, ARCHS)


def test_dead_ends_do_not_change_the_ntk():
    changed = ARCHS[(SPACE.without_dead_ends(ARCHS) != ARCHS).any(1)]
    assert (~SPACE.is_disconnected(changed)).sum() >= 4
    whole = evaluator(WholeNTK(images=3))(changed)
    np.testing.assert_allclose(evaluator(NTK(images=3))(changed).value, whole.value, rtol=1e-6)
    assert np.isfinite(whole.value).sum() >= 4


EIGHT_DEVICES = """
import dataclasses
import jax
jax.config.update("jax_num_cpu_devices", 8)  # all of them are the first one, in as many threads
import jax.numpy as jnp
import numpy as np
from jaxnas import data, scorers, spaces
from jaxnas.network.recipe import Recipe
from jaxnas.spaces.cell.network import Cell
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.types import Finished

@dataclasses.dataclass(frozen=True)
class Toy(scorers.Scorer):
    name = "toy"
    recipe = Recipe("patches")
    counts_dead_ends = False
    shared_weights = True
    floats = lambda self, network: 1
    draw = lambda self, source, rng: source.images(rng, 2)

    def measure(self, network, params, arch, inputs, key):
        weights = sum(leaf.sum() for leaf in jax.tree.leaves(params))
        return jnp.sin(arch * weights + jnp.arange(len(arch))).sum() + inputs.mean() + jax.random.uniform(key)

    def finish(self, raw):
        return Finished(raw.astype(np.float64), np.zeros(len(raw), int), {})

space, source = spaces.get("nasbench201"), data.load("synthetic")
assert len(jax.devices()) == 8
"""
NO_BIT = """
networks = {**space.configs, "thin": dataclasses.replace(space.configs["thin"], stages=1)}
triangle = Cell(((1, 0), (2, 0), (2, 1)), space.cell.ops, space.ops)
space = dataclasses.replace(space, name="triangle", cell=triangle, configs=networks)
archs = space.sample(jax.random.key(5), 28)
for scorer in (Toy(), scorers.Regions(batches=1, samples=100), scorers.NTK(images=3)):
    results = []
    for count in (1, 3, 8):
        on = jax.devices()[:count]
        evaluator = Evaluator(space, scorer, source, repeats=2, batch=3, devices=on)
        assert len(evaluator.setup.devices) == count
        found = [evaluator(some) for some in (archs, archs[:2], archs[:1])]
        results.append([part for one in found for part in (one.value, one.status)])
    assert np.isfinite(results[0][0]).any() and len(np.unique(results[0][0])) > 3
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two, scorer.name)
"""


SMALL_GROUPS = """
class Groups:
    def __getattr__(self, name):
        return getattr(space, name)

    by_group = spaces.Space.by_group

    def groups(self, archs, form):
        return [("many", "few", tuple(arch), tuple(arch), tuple(arch))[arch[0]] for arch in archs]

    def network(self, form, group, **changes):
        return space.network(form, **changes)

archs = np.unique(space.without_dead_ends(space.sample(jax.random.key(5), 90)), axis=0)
archs = archs[~space.is_disconnected(archs)]
archs = np.concatenate([archs[archs[:, 0] == 0][:9], archs[archs[:, 0] == 1][:3], archs[archs[:, 0] > 1][:9]])
compiled = []
jax.monitoring.register_event_duration_secs_listener(lambda event, _, **__: compiled.append("backend" in event))
groups, (one, two) = Groups(), jax.devices()[:2]
alone = Evaluator(groups, Toy(), source, devices=[one])
expected = alone(archs).value

both = Evaluator(groups, Toy(), source, devices=[one, two])
np.testing.assert_array_equal(both(archs).value, expected)
before = sum(compiled)
np.testing.assert_array_equal(both(archs[::-1]).value, expected[:, ::-1])
for i in range(len(archs)):
    np.testing.assert_array_equal(both(archs[i : i + 1]).value, expected[:, i : i + 1])
assert sum(compiled) == before
eight = Evaluator(groups, Toy(), source)
np.testing.assert_array_equal(eight(archs).value, expected)

for evaluator in (alone, both):
    evaluator.redraw(1, Toy())
np.testing.assert_array_equal(both(archs).value, alone(archs).value)
assert (alone(archs).value != expected).all()
"""


@pytest.mark.slow
@pytest.mark.parametrize("script", [NO_BIT, SMALL_GROUPS], ids=["architectures", "groups"])
def test_devices_change_no_bit(script):
    """Also where groups of fewer architectures than devices are shared out."""
    code = EIGHT_DEVICES + script
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
