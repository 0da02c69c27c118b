"""Distinct patterns of units: the reference in NumPy float64, options, networks that are not finite."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas import Status, spaces
from jaxnas.errors import UserError
from jaxnas.scorers.forward.swap import Swap

SPACE = spaces.get("nasbench201")
SETTING = json.loads((Path(__file__).parent / "golden" / "torch.json").read_text())["settings"]["regions"]
IMAGES = 12


@pytest.fixture(scope="module")
def network(golden_inputs, nested_weights):
    """The network that `regions` measures, its golden weights in both forms, and `[K, 12, 3, 3, 1]` of its inputs."""
    shapes = golden_inputs.classifier_shapes(SETTING["channels"], SETTING["cells"], stages=1)
    flat = golden_inputs.golden_weights(shapes, SETTING["weights_seed"])
    patches = golden_inputs.golden_inputs({"patches": SETTING["patches"]}, SETTING["inputs_seed"])["patches"]
    network = SPACE.network("patches")
    return network, nested_weights(flat, network.init(jax.random.key(0))), flat, patches[:, :IMAGES]


@pytest.fixture(scope="module")
def run(network):
    """`(params, archs) -> Finished`, compiled."""
    network, _, _, patches = network
    scorer = Swap(images=IMAGES)

    @jax.jit
    def raw(params, archs):
        return jax.lax.map(lambda arch: scorer.measure(network, params, arch, jnp.asarray(patches), None), archs)

    return lambda params, archs: scorer.finish(jax.device_get(raw(params, jnp.asarray(archs))))


def test_counts_are_those_of_the_reference(network, run, reference):
    _, params, flat, patches = network
    archs = SPACE.sample(jax.random.key(1), 12)
    expected = [reference.swap(flat, arch, patches) for arch in archs]
    assert len(set(expected)) > 6
    assert run(params, archs).value.tolist() == expected
    assert run(params, archs[::-1]).value.tolist() == expected[::-1]


@pytest.mark.parametrize("factor", [np.nan, np.inf])
def test_a_network_that_is_not_finite_has_no_patterns(network, run, factor):
    spoilt = jax.tree.map(lambda leaf: leaf * factor if leaf.ndim > 1 else leaf, network[1])
    arch = SPACE.encode("|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|none~1|avg_pool_3x3~2|")
    found = run(spoilt, np.repeat(arch[None], 12, 0))
    assert (found.status == Status.nonfinite).all() and np.isnan(found.value).all()


@pytest.mark.parametrize("options", [{"batches": 0}, {"images": 1}, {"images": 33}])
def test_options_are_checked(options):
    with pytest.raises(UserError, match="give at least 1 batch of 2 to 32 images"):
        Swap(**options).check()
