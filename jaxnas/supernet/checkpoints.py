"""The state of a training on the disk, with Orbax."""

from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp

from jaxnas.supernet.training import State

Curves = list[dict[str, float]]


class Checkpoints:
    """The newest two states of a training and its curves so far; a context manager that waits for the last write."""

    def __init__(self, path: Path):
        self._manager = ocp.CheckpointManager(path.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=2))

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
        if newest is None:
            return like, []
        shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        parts = {"state": ocp.args.StandardRestore(shapes), "curves": ocp.args.JsonRestore()}
        found = self._manager.restore(newest, args=ocp.args.Composite(**parts))
        return found["state"], found["curves"]
