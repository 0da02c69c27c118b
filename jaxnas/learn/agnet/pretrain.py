"""Training of the generator on the architectures of a space, without any score (AG-Net, section 3.1)."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxnas import atomic_file
from jaxnas.digest import digest
from jaxnas.errors import UserError
from jaxnas.learn.agnet.generator import NOISE, Generator, reconstruction
from jaxnas.spaces import Space
from jaxnas.spaces.base import LISTABLE
from jaxnas.spaces.graphs import GraphCode
from jaxnas.spaces.sampling import LARGEST_SHARE
from jaxnas.user_cache import user_cache

BATCH, RATE, BETAS = 32, 2e-4, (0.5, 0.999)
DIFFERENT = 20_000  # architectures to draw; more graphs than these are repeats
FINGERPRINT_ARCHS = 16  # architectures by which spaces are told apart
FORMAT = 1  # of the generator: raise it when its weights change their meaning

Module = TypeVar("Module", bound=nnx.Module)


@dataclass(frozen=True)
class Pretraining:
    """How the generator is trained before the search.

    Attributes:
      graphs: that it sees, in batches of 32.
      layers: of its graph network.
      seed: of its weights, of the noise and of the architectures.
    """

    graphs: int
    layers: int = 2
    seed: int = 0


class Pretrained(NamedTuple):
    """A generator in two parts: `nnx.merge(graphdef, params)` is the module."""

    graphdef: nnx.GraphDef[Generator]
    params: nnx.State


def code_of(space: Space) -> GraphCode:
    """The graphs of a space; `UserError` if it has none."""
    if space.graph_code is None:
        raise UserError(f"{space.name} has no graphs of ops for a generator; choose another space or --method")
    return space.graph_code


def pretrained(space: Space, how: Pretraining) -> Pretrained:
    """The generator of a space's graphs, from the user's cache directory if it was trained before."""
    few = training_set(space, FINGERPRINT_ARCHS, how.seed)
    start = untrained(code_of(space), few, how)
    path = _cache(space, few, how)
    if path is not None and path.is_file():
        return start._replace(params=_load(path, start.params))
    params, _ = train(start, training_set(space, DIFFERENT, how.seed), how)
    if path is not None:
        _save(path, params)
    return start._replace(params=params)


def training_set(space: Space, most: int, seed: int) -> np.ndarray:
    """The vectors `[M, size]` of the cells of at most so many random architectures."""
    code = code_of(space)
    there = space.size if space.size <= LISTABLE else space.size // LARGEST_SHARE
    archs = space.sample(jax.random.key(seed), min(most, there))
    return code.vectors(code.encode(archs[code.fits(archs)])).reshape(-1, code.size)


def untrained(code: GraphCode, vectors: np.ndarray, how: Pretraining) -> Pretrained:
    """A generator with random weights for graphs like those of `vectors` `[M, size]`."""
    first_edge = bool(vectors[0, code.nodes * len(code.classes)])
    make = partial(Generator, code, layers=how.layers, first_edge=first_edge)
    return Pretrained(*in_parts(make, how.seed))


def in_parts(make: Callable[..., Module], seed: int) -> tuple[nnx.GraphDef[Module], nnx.State]:
    """The module that `make(rngs=...)` makes and its weights, drawn without a program to compile.

    Kernels are uniform up to one over the root of their inputs, PyTorch's default, which the authors use; the rest 0.
    """
    graphdef, shapes = nnx.split(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))
    rng = np.random.default_rng(seed)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.Array:
        bound = leaf.shape[-2] ** -0.5 if "kernel" in jax.tree_util.keystr(path) else 0.0
        return jnp.asarray(rng.uniform(-bound, bound, leaf.shape), leaf.dtype)

    return graphdef, jax.tree_util.tree_map_with_path(draw, shapes)


def train(start: Pretrained, vectors: np.ndarray, how: Pretraining) -> tuple[nnx.State, jax.Array]:
    """The parameters after training on graphs `[M, size]`, and the loss of each step."""
    key = jax.random.key(how.seed)
    return _train(start.params, jnp.asarray(vectors), key, graphdef=start.graphdef, steps=how.graphs // BATCH)


@partial(jax.jit, static_argnames=("graphdef", "steps"))
def _train(params: nnx.State, vectors: jax.Array, key: jax.Array, *, graphdef: nnx.GraphDef[Generator], steps: int):
    """Adam on graphs and noise that have nothing to do with each other: what is learned are the marginals."""
    optimiser = optax.adam(RATE, *BETAS)

    def loss(params: nnx.State, chosen: jax.Array, noise: jax.Array) -> jax.Array:
        return reconstruction(nnx.merge(graphdef, params)(noise), chosen).mean()

    def step(state: tuple[nnx.State, optax.OptState], key: jax.Array):
        params, moments = state
        rows_key, noise_key = jax.random.split(key)
        chosen = vectors[jax.random.randint(rows_key, (BATCH,), 0, len(vectors))]
        value, gradient = jax.value_and_grad(loss)(params, chosen, jax.random.normal(noise_key, (BATCH, NOISE)))
        updates, moments = optimiser.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), value

    (params, _), losses = jax.lax.scan(step, (params, optimiser.init(params)), jax.random.split(key, steps))
    return params, losses


def _cache(space: Space, few: np.ndarray, how: Pretraining) -> Path | None:
    known = digest(FORMAT, how, space.graph_code and space.graph_code.classes, few)
    folder = user_cache("generators")
    return None if folder is None else folder / f"{known}.npz"


def _save(path: Path, params: nnx.State) -> None:
    try:
        with atomic_file.writing(path) as file:
            np.savez(file, *jax.tree.leaves(params))
    except OSError as error:
        warnings.warn(f"the trained generator is not kept: cannot write {path} ({error.strerror})", stacklevel=2)


def _load(path: Path, like: nnx.State) -> nnx.State:
    with np.load(path) as stored:
        return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(stored[name]) for name in stored.files])
