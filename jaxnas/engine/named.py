"""The engine that `--on` names."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from jaxnas.engine.here import Crew, Here
from jaxnas.errors import UserError

RAY = "ray"
Hire = Callable[[Crew[Any]], Here[Any]]
"""From the processes that are wanted to the engine that has them; one at a time, for it may take all there is."""


@contextlib.contextmanager
def named(on: str | None) -> Iterator[Hire]:
    """What gives engines, until the context ends; to be called before JAX starts.

    Args:
      on: `ray` or `ray:ADDRESS`; None for this process.

    Raises:
      UserError: there is no such engine, or it is not installed.
    """
    name, _, address = (on or "").partition(":")
    if on is None:
        yield Here
    elif name != RAY:
        raise UserError(f"--on {on}: say ray, or ray:ADDRESS for a cluster that is there")
    else:
        from jaxnas.engine.on_ray import connected

        with connected(address or None) as hire:
            yield hire
