"""Condition number of the neural tangent kernel (TE-NAS: Chen, Gong and Wang, ICLR 2021).

With f_i the sum of sample i's logits and g_i its gradient with respect to the weights (kernels and normalisation
scales, no biases), K[i, j] = g_i . g_j and kappa = lambda_max(K) / lambda_min(K): lower is better, easier to train.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.data import Source
from jaxnas.errors import UserError
from jaxnas.kernels.gram import gram
from jaxnas.kernels.spectrum import condition_number, eigenvalues, eigenvalues_on_host
from jaxnas.network.network import Init, Network
from jaxnas.network.op import is_weight
from jaxnas.network.recipe import Recipe
from jaxnas.scorers.protocol import Scorer
from jaxnas.types import Finished, Score, Status

Apply = Callable[[Any, jax.Array], jax.Array]
INITS: dict[str, Init] = {"paper": "kaiming", "as_shipped": "pytorch"}  # what the paper says, what the code does
ROWS = 24  # backward passes at once: each reads what all of them share
ROUNDING = float(np.finfo(np.float32).eps)


def ntk_gram(apply: Apply, params: Any, x: jax.Array, *, independent: bool = False) -> jax.Array:
    """The empirical NTK `[B, B]` of the summed logits of `apply(params, x)`.

    Args:
      apply: `(params, x [B, ...]) -> logits [B, K]`.
      params: any pytree; leaves whose last name is `bias`, `offset` or `beta` are left out, as in TE-NAS.
      x: inputs `[B, ...]`.
      independent: promise that row i of the logits depends on row i of `x` only (no batch statistics). Then every
        gradient costs one sample's backward pass; otherwise one of the whole batch.

    Raises:
      ValueError: no leaf is a weight, or the logits are not `[B, K]`.
    """
    shape = jax.eval_shape(apply, params, x).shape
    if len(shape) != 2 or shape[0] != x.shape[0]:
        raise ValueError(f"apply(params, x) must return logits [B, K] with B = {x.shape[0]}; got shape {shape}")
    with jax.default_matmul_precision("highest"):  # TF32 would swamp the smallest eigenvalues
        return _gram(apply, params, x, independent)


def _gram(apply: Apply, params: Any, x: jax.Array, independent: bool) -> jax.Array:
    if independent:
        rows = jax.vmap(lambda one: _flatten(jax.grad(lambda p: apply(p, one[None]).sum())(params)))(x)
        return gram(rows)
    logits, pull = jax.vjp(lambda p: apply(p, x).sum(-1), params)
    rows = jax.lax.map(lambda row: _flatten(pull(row)[0]), jnp.eye(x.shape[0], dtype=logits.dtype), batch_size=ROWS)
    return gram(rows)


def ntk(apply: Apply, params: Any, x: jax.Array, *, independent: bool = False) -> Score:
    """The condition number of the empirical NTK, with its ascending `spectrum` `[B]` in `info`.

    Pure; works under `jit` and `vmap`. Eigenvalues are computed in float64 on the host. Arguments as `ntk_gram`.
    """
    spectrum = eigenvalues(ntk_gram(apply, params, x, independent=independent))
    kappa, status = _judged(spectrum, ROUNDING, jnp)
    return Score(kappa, status.astype(jnp.int32), {"spectrum": spectrum})


@dataclass(frozen=True)
class NTK(Scorer):
    """Condition number of the neural tangent kernel."""

    bn: Literal["frozen", "batch"] = "frozen"
    """Derivative of batch normalisation: `frozen` holds the batch statistics constant (fast), `batch` goes through
    them (TE-NAS; as many backward passes as images)."""
    preset: Literal["paper", "as_shipped"] = "paper"
    """Weights. `paper`: Kaiming-normal, new ones for every repeat. `as_shipped`, as the official code's initialisation
    works out: the defaults of PyTorch, the same ones for every repeat. All rounds of a search share these draws."""
    images: int = 72
    """Images in the batch (official launcher 72; the paper's appendix states 32)."""

    name: ClassVar[str] = "ntk"
    sign: ClassVar[int] = -1
    paper: ClassVar[str] = "TE-NAS (Chen et al., ICLR 2021)"

    def check(self) -> None:
        """Raise a `UserError` if the options make no sense together."""
        if self.images < 2:
            raise UserError(f"ntk.images is {self.images}; a condition number needs at least 2 images")

    @property
    def cost(self) -> str:
        return "one backward pass" if self.bn == "frozen" else "one backward pass per image"

    def check_data(self, source: Source) -> None:
        """Raise a `UserError` if `source` has too few images."""
        source.check(images=self.images, option="--ntk.images")

    @property
    def recipe(self) -> Recipe:
        return Recipe("thin", bn=self.bn, init=INITS[self.preset])

    @property
    def archs_per_call(self) -> int:
        return 256 if self.bn == "frozen" else 16

    @property
    def shared_weights(self) -> bool:
        return self.preset == "as_shipped"

    def draw(self, source: Source, rng: np.random.Generator) -> np.ndarray:
        """One repeat's inputs: images `[B, H, W, C]`."""
        return source.images(rng, self.images)

    def measure(self, network: Network, params: Any, arch: jax.Array, inputs: jax.Array, key: jax.Array) -> jax.Array:
        """The NTK `[B, B]` of one architecture."""
        params = network.rescale_to_fan_in(params, arch)
        if self.bn == "batch":
            return ntk_gram(lambda p, x: network.apply(p, arch, x), params, inputs)
        probe = jnp.zeros((inputs.shape[0],) * 2, inputs.dtype)
        with jax.default_matmul_precision("highest"):
            return jax.grad(lambda z: network.apply(params, arch, inputs, z).sum())(probe)

    def floats(self, network: Network) -> int:
        """About how many floats the measurement of one architecture holds at once."""
        forward = network.activations(self.images)
        return forward if self.bn == "frozen" else forward + ROWS * forward // 2

    def finish(self, grams: np.ndarray) -> Finished:
        """Turn the NTKs `[N, B, B]` of a batch into values and statuses `[N]` and spectra `[N, B]`, on the host."""
        return condition_numbers(grams, ROUNDING)


def condition_numbers(grams: np.ndarray, rounding: float) -> Finished:
    """The condition numbers and statuses `[N]` of `grams` `[N, B, B]`, and their ascending spectra `[N, B]`."""
    spectrum = eigenvalues_on_host(grams)
    return Finished(*_judged(spectrum, rounding, np), {"spectrum": spectrum})


def _judged(spectrum: Any, rounding: float, xp: Any) -> tuple[Any, Any]:
    """The condition numbers and statuses `[...]` of ascending spectra `[..., B]`, of NumPy or JAX: the module `xp`."""
    kappa, trusted = condition_number(spectrum, rounding)
    status = xp.where(trusted, Status.ok, Status.rank_deficient)
    status = xp.where(xp.isfinite(spectrum).all(-1), status, Status.nonfinite)
    return xp.where(status == Status.ok, kappa, xp.nan), status


def _flatten(gradient: Any) -> jax.Array:
    leaves = [leaf.ravel() for path, leaf in jax.tree_util.tree_leaves_with_path(gradient) if is_weight(path)]
    if not leaves:
        raise ValueError("no weights to differentiate: every leaf of params is named as a bias")
    return jnp.concatenate(leaves)
