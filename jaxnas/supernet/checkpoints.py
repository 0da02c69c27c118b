"""The state of a training on the disk, with Orbax."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp

from jaxnas.supernet.training import State

Curves = list[dict[str, float]]
FEWEST = 2  # that are kept, lest the last write fails


class Checkpoints:
    """The newest states of a training and its curves so far; a context manager that waits for the last write.

    Args:
      path: directory.
      keep: states, at least two are kept.
    """

    def __init__(self, path: Path, keep: int = FEWEST):
        options = ocp.CheckpointManagerOptions(max_to_keep=max(keep, FEWEST))
        self._manager = ocp.CheckpointManager(path.absolute(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        self._manager.close()

    def save(self, state: State, curves: Curves) -> None:
        """Write the state after the epochs of `curves`; the next call waits until it is on the disk."""
        parts = {"state": ocp.args.StandardSave(state), "curves": ocp.args.JsonSave(curves)}
        self._manager.save(len(curves), args=ocp.args.Composite(**parts))

    def restore(self, like: State) -> tuple[State, Curves]:
        """The newest state, shaped `like` this one, and its curves; `like` and none if there is no state."""
        newest = self._manager.latest_step()
        return (like, []) if newest is None else self._read(newest, like)

    def newest(self, like: State, number: int) -> Iterator[tuple[int, State]]:
        """Yield the last `number` states, or as many as there are, each after its epoch, the oldest first."""
        self._manager.wait_until_finished()
        for epoch in sorted(self._manager.all_steps())[-number:]:
            yield epoch, self._read(epoch, like)[0]

    def _read(self, epoch: int, like: State) -> tuple[State, Curves]:
        shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        parts = {"state": ocp.args.StandardRestore(shapes), "curves": ocp.args.JsonRestore()}
        found = self._manager.restore(epoch, args=ocp.args.Composite(**parts))
        return found["state"], found["curves"]
