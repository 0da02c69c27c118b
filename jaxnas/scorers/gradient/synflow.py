"""Synaptic flow (Tanaka et al., NeurIPS 2020; Abdelfattah et al., ICLR 2021), and its logarithm by weight (FreeREA,
Cavagnero et al., WACV 2023).

Every weight is replaced by its absolute value, normalisations and biases are left out, and R is the sum of the logits
of one image of ones. Over the weights of convolutions and matrix products, with g = dR/dw,

    synflow = log sum |w| g,    logsynflow = sum |w| log(1 + g).

No image, no label. Without normalisation values grow with the depth, beyond float32 in many networks: the pass runs in
float64, and a network that overflows even there has the status `nonfinite`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.data import Source
from jaxnas.network.network import Init, Network
from jaxnas.network.op import is_weight
from jaxnas.network.recipe import Recipe
from jaxnas.scorers.gradient.ntk import Apply
from jaxnas.scorers.protocol import Pass
from jaxnas.scorers.thin import ThinScorer
from jaxnas.types import Score, if_finite


class Flows(NamedTuple):
    """Both scores of one network `[]`."""

    synflow: jax.Array
    logsynflow: jax.Array


def flows(apply: Apply, params: Any, x: jax.Array) -> Flows:
    """Both scores of `apply(params, x)`, computed in float64.

    Leaves of `params` with more than one axis are weights; of the others, biases are set to 0 and what else there is,
    factors of normalisations, to 1.
    """
    with jax.enable_x64(True):
        params = jax.tree_util.tree_map_with_path(_positive, params)
        g = jax.grad(lambda params: apply(params, x.astype(jnp.float64)).sum())(params)
        leaves = zip(jax.tree.leaves(params), jax.tree.leaves(g), strict=True)
        pairs = [(w, dw) for w, dw in leaves if w.ndim > 1]
        flow = jnp.stack([jnp.vdot(w, dw) for w, dw in pairs]).sum()
        by_weight = jnp.stack([jnp.vdot(w, jnp.log1p(dw)) for w, dw in pairs]).sum()
        return Flows(jnp.log(flow).astype(jnp.float32), by_weight.astype(jnp.float32))


def synflow(apply: Apply, params: Any, x: jax.Array) -> Score:
    """The logarithm of the synaptic flow of any model.

    Pure; works under `jit` and `vmap`, within `jax.enable_x64(True)`: JAX may refuse float64 in a program that is
    compiled without. Normalisations are for `apply` to leave out.

    Args:
      apply: `(params, x [B, ...]) -> logits [B, K]`.
      params: any pytree; its leaves of more than one axis are weights.
      x: one input of ones `[1, ...]`.
    """
    return if_finite(flows(apply, params, x).synflow)


def logsynflow(apply: Apply, params: Any, x: jax.Array) -> Score:
    """The logarithm of the synaptic flow by weight, of any model; arguments as of `synflow`."""
    return if_finite(flows(apply, params, x).logsynflow)


@dataclass(frozen=True)
class SynapticFlow(Pass):
    """The pass that both scores read."""

    init: Init
    width: int | None
    name: ClassVar[str] = "synflow"
    float64: ClassVar[bool] = True
    archs_per_call: ClassVar[int] = 256

    @property
    def recipe(self) -> Recipe:
        return Recipe("taps", channels=self.width, bn="identity", init=self.init)

    def draw(self, source: Source, rng: np.random.Generator) -> tuple[()]:
        return ()

    def measure(self, network: Network, params: Any, arch: jax.Array, inputs: Any, key: jax.Array) -> Flows:
        params = network.rescale_to_fan_in(params, arch)
        return flows(lambda params, x: network.apply(params, arch, x), params, jnp.ones((1, *network.config.image)))

    def floats(self, network: Network) -> int:
        return 2 * network.activations(1)


@dataclass(frozen=True)
class Synflow(ThinScorer):
    """Synaptic flow, as its logarithm."""

    init: Init = "kaiming"
    """Initial weights: `kaiming` and `kaiming_fan_out` (logsynflow as published), normal, or those of PyTorch (synflow
    as published)."""

    name: ClassVar[str] = "synflow"
    sign: ClassVar[int] = 1
    paper: ClassVar[str] = "Tanaka et al. (NeurIPS 2020); Abdelfattah et al. (ICLR 2021)"
    cost: ClassVar[str] = "one backward pass of one image, of a thin network of full depth"

    @property
    def reads(self) -> SynapticFlow:
        return SynapticFlow(self.init, self.width)

    def read(self, seen: Flows) -> jax.Array:
        """The score of one architecture."""
        value: jax.Array = getattr(seen, self.name)
        return value


@dataclass(frozen=True)
class LogSynflow(Synflow):
    """Synaptic flow by weight, with the logarithm of each gradient."""

    name: ClassVar[str] = "logsynflow"
    paper: ClassVar[str] = "FreeREA (Cavagnero et al., WACV 2023)"


def _positive(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
    leaf = jnp.asarray(leaf, jnp.float64)
    if leaf.ndim > 1:
        return jnp.abs(leaf)
    return jnp.ones_like(leaf) if is_weight(path) else jnp.zeros_like(leaf)
