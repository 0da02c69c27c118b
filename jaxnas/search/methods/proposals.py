"""AG-Net's candidates: new architectures from a generator of the graphs of one cell."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.learn.agnet.generator import NOISE, Logits
from jaxnas.learn.agnet.sampling import draw
from jaxnas.search.method import keys
from jaxnas.spaces import Space
from jaxnas.spaces.graphs import GraphCode, Graphs

BOX = 3.0  # noise is uniform in [-BOX, BOX], wider than what the generator was trained on: for diversity
CHUNK, CHUNKS = 300, 15  # graphs drawn at a time, and how often at most


class Proposals(NamedTuple):
    """Different architectures that were not scored yet.

    Attributes:
      archs: `[N, A]`.
      soft: the generator's logits `[N, size]` of which they were drawn.
      drawn: graphs that were drawn in all.
      valid: how many of them the space has.
    """

    archs: np.ndarray
    soft: np.ndarray
    drawn: int
    valid: int


class Cell(NamedTuple):
    """The cell that is searched, number `place` of its architecture; the others are those of `base` `[A]`."""

    code: GraphCode
    place: int
    base: np.ndarray

    def vectors(self, archs: np.ndarray) -> np.ndarray:
        """The vectors `[N, size]` of this cell of architectures `[N, A]`; zeros for those that have no graph."""
        vectors, fits = np.zeros((len(archs), self.code.size), np.float32), self.code.fits(archs)
        vectors[fits] = self.code.vectors(self.code.encode(archs[fits]))[:, self.place]
        return vectors

    def architectures(self, ops: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The architectures `[N, A]` with these classes `[N, V]` and edges `[N, pairs]`, and which are valid."""
        if self.code.cells == 1:
            return self.code.decode(Graphs(ops[:, None], edges[:, None]))
        graphs = Graphs(*(np.repeat(part, len(ops), 0) for part in self.code.encode(self.base[None])))
        graphs.ops[:, self.place], graphs.edges[:, self.place] = ops, edges
        return self.code.decode(graphs)

    def of(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N, A]`, the architectures with this cell of `archs` `[N, A]`; of a single cell, these."""
        if self.code.cells == 1:
            return archs
        graphs = self.code.encode(archs)
        return self.architectures(graphs.ops[:, self.place], graphs.edges[:, self.place])[0]


def propose(
    space: Space,
    cell: Cell,
    generate: Callable[[jax.Array], Logits],
    seen: np.ndarray,
    *,
    enough: int,
    subset: bool,
    seed: tuple[int, int],
) -> Proposals:
    """Draw until there are more than `enough` architectures or 4,500 graphs were drawn.

    Args:
      space: which architectures there are.
      cell: what is drawn.
      generate: the generator.
      seen: architectures `[M, A]` not to propose.
      enough: proposals.
      subset: keep a random `enough` of them, as the authors do.
      seed: of the draws.
    """
    known, drawn, valid = {*keys(space, seen)}, 0, 0
    archs, soft = list[np.ndarray](), list[np.ndarray]()
    while len(archs) <= enough and drawn < CHUNK * CHUNKS:
        rng = np.random.default_rng([*seed, drawn])
        drew = generate(jnp.asarray(rng.uniform(-BOX, BOX, (CHUNK, NOISE)), jnp.float32))
        new, there = cell.architectures(*draw(cell.code, drew, rng))
        there[there] = space.contains(new[there])
        vectors = np.asarray(drew.vectors)
        drawn, valid = drawn + CHUNK, valid + int(there.sum())
        for row, key in zip(np.flatnonzero(there), keys(space, new[there]), strict=True):
            if key not in known:
                known.add(key)
                archs.append(new[row])
                soft.append(vectors[row])
    chosen = np.random.default_rng([*seed, drawn]).permutation(len(archs))[: enough if subset else None]
    found = np.array(archs, np.int32).reshape(-1, seen.shape[1])  # of a type, though there may be none
    logits = np.array(soft, np.float32).reshape(-1, cell.code.size)
    return Proposals(found[chosen], logits[chosen], drawn, valid)
