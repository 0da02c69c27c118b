"""Scoring many architectures: compiled batches, common random numbers, repeats.

Weights, inputs and every other draw depend on (seed, scorer, repeat) alone, so a score does not change with the batch
size, the order of the architectures, their neighbours in a batch, the shard or a restart.
"""

import zlib
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.data import Source
from jaxnas.scorers import NTK, Count, Measured, Regression
from jaxnas.spaces import CellSpace
from jaxnas.types import Finished, Status


def default_batch(scorers: list[Any]) -> int:
    """Return the number of architectures in a compiled batch: about ten seconds of a laptop's work."""
    if any(isinstance(s, Regression) for s in scorers):
        return 2
    return 16 if any(isinstance(s, NTK) and s.bn == "batch" for s in scorers) else 128


class Evaluator:
    """One scorer on one space, compiled once.

    Args:
      space: where the architectures come from.
      scorer: a measured scorer with its options.
      source: images.
      repeats: how often to measure, each time with new inputs and, if the scorer says so, new weights.
      seed: of all random draws.
      batch: architectures in a compiled batch; the last one may have fewer.
    """

    def __init__(
        self, space: CellSpace, scorer: Measured, source: Source, *, repeats: int = 1, seed: int = 0, batch: int = 128
    ):
        self.space, self.scorer, self.source = space, scorer, source
        self.repeats, self.seed, self.batch = repeats, seed, batch
        self.network = space.network(scorer.purpose, **scorer.config())
        self._program = jax.jit(self._measure)

    def __call__(self, archs: np.ndarray) -> Finished:
        """Return values and statuses `[R, N]` of op indices `[N, E]` or op masks `[N, E, O]`, info `[R, N, ...]`.

        Disconnected architectures are recognised from the graph and not run.
        """
        archs, n = np.asarray(archs, np.int32), len(archs)
        lost = self.space.is_disconnected(archs)
        run = np.flatnonzero(~lost)
        value = np.full((self.repeats, n), np.nan)
        status = np.full((self.repeats, n), int(Status.disconnected))
        info: dict[str, np.ndarray] = {}
        for first in range(0, len(run), self.batch):
            rows = run[first : first + self.batch]
            padded = archs[np.resize(rows, max(self.batch, 2))]  # for a batch of one XLA compiles other arithmetic
            raw = [self._program(params, padded, len(rows), inputs, key) for params, inputs, key in self._draws]
            for repeat, measured in enumerate(raw):
                scores = self.scorer.finish(np.asarray(measured)[: len(rows)])
                value[repeat, rows], status[repeat, rows] = scores.value, scores.status
                for name, found in scores.info.items():
                    if name not in info:
                        info[name] = np.full((self.repeats, n, *found.shape[1:]), np.nan)
                    info[name][repeat, rows] = found
        return Finished(value, status, info)

    def _measure(self, params: Any, archs: jax.Array, number: jax.Array, inputs: Any, key: jax.Array) -> jax.Array:
        """Return the raw scores `[B, ...]` of the first `number` architectures, zeros for the others.

        XLA does not know the number of turns, so it compiles the same loop body for every batch size.
        """

        def measure(arch: jax.Array) -> jax.Array:
            return self.scorer.measure(self.network, params, arch, inputs, key)

        one = jax.eval_shape(measure, archs[0])
        out = jnp.zeros((len(archs), *one.shape), one.dtype)
        return jax.lax.fori_loop(0, number, lambda i, out: out.at[i].set(measure(archs[i])), out)

    @cached_property
    def _draws(self) -> list[tuple[Any, Any, jax.Array]]:
        """Parameters, inputs and key of each repeat."""
        stream = zlib.crc32(self.scorer.name.encode())
        root = jax.random.fold_in(jax.random.key(self.seed), stream)
        draws: list[tuple[Any, Any, jax.Array]] = []
        for repeat in range(self.repeats):
            weights_key, key = jax.random.split(jax.random.fold_in(root, repeat))
            reuse = repeat and self.scorer.shared_weights
            params = draws[0][0] if reuse else self.network.init(weights_key)
            inputs = self.scorer.draw(self.source, np.random.default_rng([self.seed, stream, repeat]))
            draws.append((params, jax.tree.map(jnp.asarray, inputs), key))
        return draws


def count(space: CellSpace, scorer: Count, archs: np.ndarray) -> Finished:
    """Return a property of the architectures as scores `[1, N]`."""
    scores = scorer.finish({"params": space.params, "flops": space.flops}[scorer.name](archs))
    return Finished(scores.value[None], scores.status[None], {})


def summarise(scores: Finished) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, sample standard deviation (NaN for one repeat) and worst status `[N]` over the repeats.

    An architecture that failed in any repeat has neither mean nor deviation.
    """
    deviation = np.full(scores.value.shape[1], np.nan)
    if len(scores.value) > 1:
        deviation = scores.value.std(0, ddof=1)
    return scores.value.mean(0), deviation, scores.status.max(0)
