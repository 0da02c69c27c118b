"""Which architectures are scored, in which parts, and what is run for each part."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxnas.digest import digest
from jaxnas.engine import halved
from jaxnas.errors import UserError
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.spaces import Space
from jaxnas.spaces.base import LISTABLE
from jaxnas.tables.joins import different

PROGRAMS = 8  # that a part compiles, in the mean, where there are many: minutes of work, which are lost with the part
BLOCK = 1024  # architectures of a stream that are drawn together
CALLS = 12  # of a part of a stream, ten seconds each on a CPU: parts are files, and a stream has many


class Piece(NamedTuple):
    """Rows of a table, and what is run for them.

    Attributes:
      rows: positions `[N]` in the whole table.
      archs: `[N, E]`, as asked for.
      run: `[M, E]`, what is run.
      source: `[N]`, position in `run` of what stands for each architecture.
    """

    rows: np.ndarray
    archs: np.ndarray
    run: np.ndarray
    source: np.ndarray

    def cut(self, first: int, last: int) -> "Piece":
        """Those rows whose scores come from `run[first:last]`."""
        own = (self.source >= first) & (self.source < last)
        return Piece(self.rows[own], self.archs[own], self.run[first:last], self.source[own] - first)


class Span(NamedTuple):
    """Some of what a part runs: from `first` to before `last`."""

    part: int
    first: int
    last: int

    def halves(self) -> list["Span"]:
        """Two spans, or none where there is one architecture."""
        return [Span(self.part, *ends) for ends in halved(self.first, self.last)]


class Planned(Protocol):
    """Architectures that fall into parts."""

    @property
    def number(self) -> int:
        """Of architectures, all parts together."""

    @property
    def part_size(self) -> int:
        """How large a part had better be."""

    def parts(self, size: int) -> int:
        """Into how many parts of `size` it falls."""

    def span(self, part: int, size: int) -> Span:
        """All that a part runs."""

    def rows(self, parts: Sequence[int], size: int) -> int:
        """Architectures in these parts of `size`."""

    def piece(self, part: int, size: int) -> Piece:
        """One of the parts of `size`."""

    def settings(self) -> dict[str, Any]:
        """What tells this work from another: a run resumes only under the same."""


@dataclass(frozen=True)
class Work:
    """A list of architectures to score and how they fall into parts.

    Attributes:
      archs: `[N, E]`, as asked for.
      representatives: `[M, E]`, what is run: the canonical form of each isomorphism class that occurs, or `archs`;
        those that run in one program stand together.
      owner: `[N]`, position of each architecture's representative.
      part_size: representatives in a part.
    """

    archs: np.ndarray
    representatives: np.ndarray
    owner: np.ndarray
    part_size: int

    @classmethod
    def plan(cls, space: Space, archs: np.ndarray, evaluators: Iterable[Evaluator], *, dedup: bool) -> "Work":
        canonical = space.canonical(archs) if dedup else archs
        first, owner = different(canonical)
        order = np.arange(len(first))
        size = len(order)
        for evaluator in evaluators:
            groups = evaluator.groups(canonical[first[order]])
            numbers = _numbered(groups)
            order = order[np.argsort(numbers, kind="stable")]
            at_once = max(1, PROGRAMS * len(order) // (1 + numbers.max()))
            size = min(size, evaluator.step(groups), at_once)
        return cls(archs, canonical[first[order]], np.argsort(order)[owner], size)

    @property
    def number(self) -> int:
        return len(self.archs)

    def parts(self, size: int) -> int:
        return -(-len(self.representatives) // size)

    def span(self, part: int, size: int) -> Span:
        return Span(part, 0, min(size, len(self.representatives) - part * size))

    def rows(self, parts: Sequence[int], size: int) -> int:
        return int(np.bincount(self.owner // size)[list(parts)].sum())

    def piece(self, part: int, size: int) -> Piece:
        chosen = slice(part * size, (part + 1) * size)
        rows = np.flatnonzero((self.owner >= chosen.start) & (self.owner < chosen.stop))
        return Piece(rows, self.archs[rows], self.representatives[chosen], self.owner[rows] - chosen.start)

    def settings(self) -> dict[str, Any]:
        known = digest(self.archs.astype(np.int32))
        copies = len(self.representatives) < len(self.archs)
        return {
            "archs": {"number": len(self.archs), "fingerprint": known},
            "dedup": copies or bool((self.representatives[self.owner] != self.archs).any()),
        }


@dataclass(frozen=True)
class Stream:
    """Random architectures of which no process holds all: each block is drawn anew, from the seed and its number.

    So a row is the same in parts of any size, and in a longer stream. The architectures of a block are different ones;
    two blocks may have the same.

    Attributes:
      space: where they come from.
      seed: of the draws.
      number: of architectures.
      part_size: architectures in a part.
    """

    space: Space
    seed: int
    number: int
    part_size: int

    @classmethod
    def plan(cls, space: Space, seed: int, number: int, evaluators: Iterable[Evaluator]) -> "Stream":
        """Raise a `UserError` where the space had better be listed."""
        if space.size <= LISTABLE:
            raise UserError(f"--archs stream:{number}: {space.name} has {space.size:,} architectures; say all")
        if number < 1:
            raise UserError(f"--archs stream:{number}: ask for at least 1")
        first = _block(space, seed, 0)
        step = min([one.step(one.groups(first)) for one in evaluators], default=BLOCK)
        return cls(space, seed, number, -(-CALLS * step // BLOCK) * BLOCK)

    def parts(self, size: int) -> int:
        return -(-self.number // size)

    def span(self, part: int, size: int) -> Span:
        return Span(part, 0, min(size, self.number - part * size))

    def rows(self, parts: Sequence[int], size: int) -> int:
        return len(parts) * size - (size * self.parts(size) - self.number) * ((self.parts(size) - 1) in parts)

    def piece(self, part: int, size: int) -> Piece:
        rows = np.arange(part * size, min((part + 1) * size, self.number))
        blocks = range(rows[0] // BLOCK, rows[-1] // BLOCK + 1)
        drawn = np.concatenate([_block(self.space, self.seed, block) for block in blocks])
        archs = drawn[rows - blocks.start * BLOCK]
        return Piece(rows, archs, archs, np.arange(len(rows)))

    def settings(self) -> dict[str, Any]:
        known = digest(_block(self.space, self.seed, 0).astype(np.int32))
        return {"archs": {"number": self.number, "different_within": BLOCK, "fingerprint": known}, "dedup": False}


def _block(space: Space, seed: int, block: int) -> np.ndarray:
    """A block `[BLOCK, E]` of a stream."""
    return space.sample(jax.random.fold_in(jax.random.key(seed), block), BLOCK)


def _numbered(groups: Sequence[Hashable]) -> np.ndarray:
    """The number of each group, in the order in which they occur `[N]`."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups])
