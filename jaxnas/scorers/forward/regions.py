"""Number of linear regions (TE-NAS: Chen, Gong and Wang, ICLR 2021; after Xiong et al., ICML 2020).

A ReLU network is linear where the signs of all its ReLUs stay the same. The score is the number of different sign
patterns that a fixed sample of inputs meets: higher is better, more expressive.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.data import Source
from jaxnas.errors import UserError
from jaxnas.kernels.patterns import count_distinct, count_distinct_on_host, pack_bits
from jaxnas.kernels.relus import relu_inputs
from jaxnas.network.network import Network
from jaxnas.network.recipe import Recipe
from jaxnas.scorers.gradient.ntk import INITS, Apply
from jaxnas.scorers.protocol import Scorer
from jaxnas.types import Finished, Score, Status

CACHED = 2**17  # floats of a batch up to which a CPU is twice as fast with a batch after the other as with all at once


def _read(apply: Apply, params: Any, x: jax.Array) -> jax.Array:
    _, read = relu_inputs(apply, params, x)
    if not read:
        raise ValueError("apply has no ReLU (max with 0) over the batch, so it has no linear regions to count")
    return jnp.concatenate(read, -1)


def regions(apply: Apply, params: Any, x: jax.Array) -> Score:
    """The number of distinct ReLU sign patterns of `apply(params, x)` over the batch `x` `[B, ...]`.

    Pure; works under `jit` and `vmap`. `saturated` says that all B patterns differ: use more or smaller inputs;
    `nonfinite`, without a value, that a ReLU reads NaN or infinity.
    """
    read = _read(apply, params, x)
    count = count_distinct(pack_bits((read > 0).T))
    status = jnp.where(count < x.shape[0], Status.ok, Status.saturated)
    status = jnp.where(jnp.isfinite(read).all(), status, Status.nonfinite).astype(jnp.int32)
    return Score(jnp.where(status == Status.nonfinite, jnp.nan, count.astype(jnp.float32)), status, {})


@dataclass(frozen=True)
class Regions(Scorer):
    """Number of linear regions."""

    preset: Literal["paper", "as_shipped"] = "paper"
    """Weights. `paper`: Kaiming-normal. `as_shipped`: the defaults of PyTorch, as the official code's initialisation
    works out. New ones for every repeat either way."""
    batches: int = 3
    """Batches of inputs, each with its own batch statistics."""
    samples: int = 1000
    """3x3x1 inputs in a batch (3 x 1000 in the official code; the paper's appendix states 5000 in all)."""

    name: ClassVar[str] = "regions"
    sign: ClassVar[int] = 1
    paper: ClassVar[str] = "TE-NAS (Chen et al., ICLR 2021)"
    counts_dead_ends: ClassVar[bool] = True
    archs_per_call: ClassVar[int] = 256
    cost: ClassVar[str] = "one forward pass of 3,000 tiny inputs"

    def check(self) -> None:
        """Raise a `UserError` if the options make no sense together."""
        if self.batches < 1 or self.samples < 2:
            raise UserError(f"regions: {self.batches} batches of {self.samples}; give at least 1 batch of 2 samples")

    def check_data(self, source: Source) -> None:
        """Raise a `UserError` if `source` has too few images."""
        source.check(patches=self.batches * self.samples, option="--regions.batches times --regions.samples")

    @property
    def recipe(self) -> Recipe:
        return Recipe("patches", init=INITS[self.preset])

    def draw(self, source: Source, rng: np.random.Generator) -> np.ndarray:
        """One repeat's inputs `[batches, samples, 3, 3, 1]`."""
        return source.patches(rng, self.batches * self.samples).reshape(self.batches, self.samples, 3, 3, 1)

    def measure(self, network: Network, params: Any, arch: jax.Array, inputs: jax.Array, key: jax.Array) -> jax.Array:
        """The packed patterns `[W, batches, samples]` of one architecture; the first bit says: not finite."""
        params = network.rescale_to_fan_in(params, arch)

        def words(x: jax.Array) -> jax.Array:
            signs, finite = network.patterns(params, arch, x)
            return pack_bits(jnp.full((1, len(x)), ~finite), *signs)

        if self.floats(network) <= CACHED:
            return jnp.stack([words(x) for x in inputs], 1)
        return jax.vmap(words, out_axes=1)(inputs)

    def floats(self, network: Network) -> int:
        """About how many floats the measurement of one architecture holds at once."""
        return network.activations(self.samples)

    def finish(self, words: np.ndarray) -> Finished:
        """Turn the patterns `[N, W, batches, samples]` of a batch into values and statuses, on the host."""
        counts = count_distinct_on_host(words.reshape(*words.shape[:2], -1))
        status = np.where(counts >= self.batches * self.samples, Status.saturated, Status.ok)
        broken = (words[:, 0, :, 0] & 1).any(-1)
        return Finished(np.where(broken, np.nan, counts), np.where(broken, Status.nonfinite, status), {})
