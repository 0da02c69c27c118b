"""What a scorer draws, on the devices: once for all batches."""

from typing import Any, Protocol

import jax

MAX_HELD_BYTES = 2**28
Drawn = list[tuple[Any, Any, jax.Array]]


class Drawing(Protocol):
    """A program, as far as its draws go."""

    def draw(self) -> Drawn:
        """Return weights, inputs and keys, on the devices."""


class InputCache:
    """What the programs of an evaluator drew: of those used last, up to `MAX_HELD_BYTES`

    The others draw the same again when they are used again; work that was launched keeps its own.
    """

    def __init__(self) -> None:
        self._held: dict[Drawing, tuple[Drawn, int]] = {}  # in the order of use

    def of(self, program: Drawing) -> Drawn:
        """Return what `program` drew, or let it draw."""
        held = self._held.pop(program, None)
        self._held[program] = _with_size(program.draw()) if held is None else held
        while len(self._held) > 1 and sum(size for _, size in self._held.values()) > MAX_HELD_BYTES:
            self.drop(next(iter(self._held)))
        return self._held[program][0]

    def drop(self, program: Drawing) -> None:
        """Let `program` draw anew."""
        self._held.pop(program, None)


def _with_size(drawn: Drawn) -> tuple[Drawn, int]:
    """The draws and how many bytes they are."""
    return drawn, sum(leaf.nbytes for params, inputs, _ in drawn for leaf in jax.tree.leaves((params, inputs)))
