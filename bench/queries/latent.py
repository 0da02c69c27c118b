"""`python -m bench.queries.latent`: what AG-Net's pre-trained generator draws, and how smooth its latent space is.

Of graphs drawn from normal noise, as in the training, and from the search's box: the share that the space has (valid),
of these the share of different ones, and of those the share that was not in the training set (new). Smoothness: in how
many nodes and edges the most likely graphs of two noises differ, a given distance apart, and of independent ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnas import spaces
from jaxnas.cli import frame
from jaxnas.learn.agnet.generator import NOISE, Logits
from jaxnas.learn.agnet.pretrain import DIFFERENT, Pretraining, code_of, pretrained, training_set
from jaxnas.learn.agnet.sampling import draw
from jaxnas.search.method import keys
from jaxnas.search.methods.proposals import BOX
from jaxnas.spaces.graphs import GraphCode, Graphs

STEPS = (0.1, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, kw_only=True)
class Latent:
    """Describe the latent space of a generator."""

    space: str = "nasbench201"
    """A space of one cell."""
    draws: int = 10_000
    """Graphs."""
    pretrain: int = 64_000
    """Graphs of its training."""
    seed: int = 0
    """Of the draws."""


def describe(config: Latent) -> None:
    """Run the command."""
    space, how = spaces.get(config.space), Pretraining(config.pretrain)
    code, generator = code_of(space), nnx.jit(nnx.merge(*pretrained(space, how)))
    rng = np.random.default_rng(config.seed)
    graphs = training_set(space, DIFFERENT, how.seed)
    nodes = code.nodes * len(code.classes)
    trained = space_of(code, graphs[:, :nodes].reshape(len(graphs), code.nodes, -1).argmax(-1), graphs[:, nodes:])
    known = {*keys(space, trained[0])}
    size = (config.draws, NOISE)
    for name, noise in {"normal": rng.normal(size=size), "box": rng.uniform(-BOX, BOX, size)}.items():
        archs, there = space_of(code, *draw(code, generator(jnp.asarray(noise, jnp.float32)), rng))
        there[there] = space.contains(archs[there])
        different = {*keys(space, archs[there])}
        shares = there.mean(), len(different) / max(there.sum(), 1), len(different - known) / max(len(different), 1)
        named = zip(("valid", "different", "new"), shares, strict=True)
        print(f"{name:<7}", " ".join(f"{share} {value:.3f}" for share, value in named))
    start = rng.normal(size=(1000, NOISE))
    way = rng.normal(size=start.shape)
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    likely = {step: most_likely(generator(jnp.asarray(start + step * way, jnp.float32))) for step in (0.0, *STEPS)}
    apart = {f"{step:g}": (likely[step] != likely[0.0]).sum(1).mean() for step in STEPS}
    apart["independent"] = (likely[0.0] != rng.permutation(likely[0.0])).sum(1).mean()
    print("nodes and edges that differ, by distance:", " ".join(f"{n}: {v:.2f}" for n, v in apart.items()))


def space_of(code: GraphCode, ops: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The architectures `[N, A]` of a cell with classes `[N, V]` and edges, and which of them are valid `[N]`."""
    return code.decode(Graphs(ops[:, None].astype(int), edges[:, None].astype(int)))


def most_likely(logits: Logits) -> np.ndarray:
    """The classes and edges `[N, V + E]` of the largest probability."""
    return np.concatenate([np.asarray(logits.ops).argmax(-1), np.asarray(logits.edges) > 0], 1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Latent, describe, argv, prog="bench.queries.latent")


if __name__ == "__main__":
    raise SystemExit(main())
