"""Agreement of ReLU patterns (NASWOT; Mellor et al., ICML 2021).

K `[B, B]` counts on how many ReLUs, of all layers, channels and pixels, two images have the same sign; the score is
log det K. It is high where the network tells the images apart, and grows with the number of ReLUs. A tensor counts once
for each ReLU that reads it, as in the official code.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.kernels.patterns import agreement
from jaxnas.kernels.relus import relu_inputs
from jaxnas.kernels.spectrum import DOUBLE, condition_number, eigenvalues, eigenvalues_on_host
from jaxnas.scorers.forward.forward_pass import ForwardScore, Seen, Sizes
from jaxnas.scorers.gradient.ntk import Apply
from jaxnas.types import Finished, Score, Status


def nwot(apply: Apply, params: Any, x: jax.Array) -> Score:
    """The score of any model, from the ReLUs that `apply(params, x)` runs, found in its jaxpr as `max(., 0)`.

    Pure; works under `jit` and `vmap`. `rank_deficient`, without a value, says that two inputs have the same signs.

    Args:
      apply: `(params, x [B, ...]) -> logits [B, K]`.
      params: any pytree.
      x: inputs `[B, ...]`.

    Raises:
      ValueError: there is no ReLU, or one is inside a loop or a branch, where it cannot be seen from outside.
    """
    _, read = relu_inputs(apply, params, x)
    if not read:
        raise ValueError("apply has no ReLU (max with 0) over the batch, so no signs agree")
    spectrum = eigenvalues(sum((agreement(tensor.T) for tensor in read), jnp.zeros(())))
    _, full = condition_number(spectrum, DOUBLE)
    status = jnp.where(full, Status.ok, Status.rank_deficient).astype(jnp.int32)
    return Score(jnp.where(full, jnp.log(spectrum).sum(-1), jnp.nan), status, {})


@dataclass(frozen=True)
class Nwot(ForwardScore):
    """Agreement of ReLU patterns."""

    name: ClassVar[str] = "nwot"
    paper: ClassVar[str] = "NASWOT (Mellor et al., ICML 2021)"
    published: ClassVar[Sizes] = Sizes(None, 128)

    def read(self, seen: Seen) -> jax.Array:
        """The agreement `[B, B]` of one architecture."""
        return seen.agreement

    def finish(self, agreements: np.ndarray) -> Finished:
        """Turn the agreements `[N, B, B]` of a batch into values and statuses `[N]`, in float64 on the host."""
        spectrum = eigenvalues_on_host(agreements)
        _, full = condition_number(spectrum, DOUBLE)
        values = np.log(np.where(full[:, None], spectrum, np.nan)).sum(-1)
        return Finished(values, np.where(full, Status.ok, Status.rank_deficient), {})
