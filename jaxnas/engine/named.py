"""The engine that `--on` names."""

import contextlib
from collections.abc import Iterator

from jaxnas.engine.here import Crew, Here, State
from jaxnas.errors import UserError

RAY = "ray"


@contextlib.contextmanager
def named(on: str | None, crew: Crew[State]) -> Iterator[Here[State]]:
    """The engine `ray` or `ray:ADDRESS`, or for None this process, until the context ends.

    Raises:
      UserError: there is no such engine, or it is not installed.
    """
    engine = Here(crew) if on is None else _on_ray(on, crew)
    try:
        yield engine
    finally:
        engine.close()


def _on_ray(on: str, crew: Crew[State]) -> Here[State]:
    name, _, address = on.partition(":")
    if name != RAY:
        raise UserError(f"--on {on}: say ray, or ray:ADDRESS for a cluster that is there")
    from jaxnas.engine.on_ray import OnRay

    return OnRay(crew, address or None)
