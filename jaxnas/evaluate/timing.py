"""How long networks take on this device: their operations one by one, and as a whole."""

from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnas.network.ops import Zero
from jaxnas.network.pieces import Piece
from jaxnas.pinned import under_pinned
from jaxnas.spaces import Space
from jaxnas.spaces.blocks.architecture import module_of

ROUNDS = 5  # in which all programs are run, one after another: what disturbs this machine seldom lasts for all
LEAST_RUNS, SECONDS = 5, 0.04  # of a program in a round
WEIGHT = 0.01  # of operations: no number that is slow to compute with

Program = Callable[[], jax.Array]


@under_pinned
def of_pieces(pieces: Sequence[Piece], batch: int, dtype: str, tell: Callable[[], None]) -> list[float]:
    """The milliseconds that each operation adds to a network: its module alone, without what any program takes.

    The modules are in evaluation mode, as `Space.build` has them. Zeros take no time, for XLA leaves them out.

    Args:
      pieces: operations and what enters them.
      batch: images at a time.
      dtype: of images and weights.
      tell: called `ROUNDS` + 1 times for each.
    """
    shaped = ((_module(piece), (batch, *piece.shape)) for piece in pieces)
    return _milliseconds((None if m is None else _programs(m, shape, dtype) for m, shape in shaped), tell)


@under_pinned
def of_networks(space: Space, archs: np.ndarray, batch: int, dtype: str, tell: Callable[[], None]) -> list[float]:
    """The milliseconds of the whole networks of architectures `[N, A]`; the other arguments are as of `of_pieces`."""
    networks: Iterable[Any] = (space.build(arch, rngs=nnx.Rngs(0)) for arch in archs)
    shaped = ((network, (batch, *network.network.config.image)) for network in networks)
    return _milliseconds((_programs(network, shape, dtype) for network, shape in shaped), tell)


def _module(piece: Piece) -> nnx.Module | None:
    """The module of an operation; None of zeros."""
    if isinstance(piece.op, Zero):
        return None
    module = module_of(piece.op, {name: jnp.full(shape, WEIGHT) for name, shape in piece.op.shapes().items()})
    module.set_attributes(plain=True, raise_if_not_found=False)
    return module


def _milliseconds(programs: Iterable[tuple[Program, Program] | None], tell: Callable[[], None]) -> list[float]:
    """What each program takes longer than its companion that computes nothing; each one's shortest run counts."""
    compiled = []
    for pair in programs:
        compiled.append(pair)
        tell()
    shortest = np.full((len(compiled), 2), np.inf)
    for _ in range(ROUNDS):
        for row, pair in zip(shortest, compiled, strict=True):
            row[:] = np.minimum(row, [_shortest(program) for program in pair]) if pair else 0
            tell()
    return (1000 * np.maximum(shortest[:, 0] - shortest[:, 1], 0)).tolist()


def _programs(module: nnx.Module, shape: tuple[int, ...], dtype: str) -> tuple[Program, Program]:
    """The compiled module on images `[B, H, W, C]`, and a program with the same arguments that computes nothing."""
    module.eval()
    graphdef, state = nnx.split(module)
    leaves, tree = jax.tree.flatten(state)
    kind = jnp.dtype(dtype)
    weights = [leaf.astype(kind) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf for leaf in leaves]
    images = jnp.asarray(np.random.default_rng(0).standard_normal(shape), kind)

    def forward(weights: list[Any], x: jax.Array) -> jax.Array:
        network: Any = nnx.merge(graphdef, jax.tree.unflatten(tree, weights))
        out: jax.Array = network(x)
        return out

    def nothing(weights: list[Any], x: jax.Array) -> jax.Array:
        return x.ravel()[0]

    compiled = [jax.jit(f, keep_unused=True).lower(weights, images).compile() for f in (forward, nothing)]
    run, idle = ((lambda program=program: program(weights, images)) for program in compiled)
    return run, idle


def _shortest(run: Program) -> float:
    """The seconds of the shortest of many runs: what disturbs a run can only make it longer."""
    jax.block_until_ready(run())
    runs, began = list[float](), perf_counter()
    while len(runs) < LEAST_RUNS or perf_counter() - began < SECONDS:
        start = perf_counter()
        jax.block_until_ready(run())
        runs.append(perf_counter() - start)
    return min(runs)
