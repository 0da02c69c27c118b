"""What `Space.build` gives: plain operations, in the channels that the architecture uses, with second derivatives."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import spaces


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("nasbench101", "thin"),
        ("nasbench_macro", "thin"),
        ("nasnet", "thin"),
        ("transnas101_macro", "thin"),
        ("resnext_a:cifar10", "taps"),
    ],
)
def test_built_modules_are_plain_operations(name, form):
    space = spaces.get(name)
    arch = space.encode(space.example)
    module = nnx.eval_shape(lambda: space.build(arch, rngs=nnx.Rngs(0), form=form))
    graphdef, state = nnx.split(module)
    x = jnp.zeros((2, *module.network.config.image))
    jaxpr = str(jax.make_jaxpr(lambda state, x: nnx.merge(graphdef, state)(x))(state, x))
    assert "conv_general_dilated" in jaxpr
    assert "custom_vjp" not in jaxpr and "custom_vmap" not in jaxpr


def test_built_modules_have_second_derivatives():
    """The Hessian times a vector, forward over reverse and reverse over reverse."""
    ops = ("conv_3x1_1x3", "dil_conv_3x3", "avg_pool_3x3", "max_pool_3x3")
    space = replace(spaces.get("nasnet"), ops=ops, nodes=2)
    graphdef, params, rest = nnx.split(space.build(space.example, rngs=nnx.Rngs(0), form="patches"), nnx.Param, ...)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((3, 3, 3, 1), np.float32))

    @jax.jit
    def products(x):
        def slope(x):
            return jax.grad(lambda x: jnp.square(nnx.merge(graphdef, params, rest, copy=True)(x)).sum())(x)

        return jax.jvp(slope, (x,), (x,))[1], jax.vjp(slope, x)[1](x)[0]

    forward, reverse = products(x)
    assert np.abs(forward).max() > 0
    np.testing.assert_allclose(forward, reverse, rtol=0, atol=1e-4 * np.abs(forward).max())
