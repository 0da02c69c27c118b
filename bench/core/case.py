"""What the kinds of case have in common."""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line can change in a case; None leaves the case's own value."""

    archs: int | None = None
    """Architectures: the size of a scorer's sample, or so many random ones instead of a whole space. A search is never
    shortened."""
    rounds: int | None = None
    """How often to measure: scorers ours and theirs in turn, command lines from an empty directory."""
    steps: int | None = None
    """Steps of the regression, fewer than GenNAS's 100 to try it out."""
    sizes: tuple[int, ...] | None = None
    """Numbers of architectures along a curve."""
    batches: tuple[int, ...] | None = None
    """Architectures per device in a compiled call, along a curve."""

    def given(self, *names: str) -> dict[str, Any]:
        """Those of the named options that were given."""
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


class Case(Protocol):
    """Something to measure.

    Attributes:
      name: on the command line.
      summary: for the list.
      kind: what its records have in common, and which table they go into.
    """

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def kind(self) -> str: ...

    def adapted(self, options: Options) -> "Case":
        """The case with these options; a `UserError` says which make no sense."""
        ...

    def arguments(self) -> str:
        """The options that make this case of the one called `name`, as typed."""
        ...

    def run(self) -> dict[str, Any]:
        """Measure, in processes of its own, and return the record without its provenance."""
        ...
