"""What a process scores with: in this one, or in one of many on other machines."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from jaxnas.cli.options import Options, machine, provenance
from jaxnas.data import Source
from jaxnas.evaluate import devices
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.scorers.protocol import AnyScore
from jaxnas.scorers.reference import Reference
from jaxnas.spaces import Space, get


class Session:
    """Space, scores, images and evaluators of a command's options; each is there once it is asked for.

    Args:
      options: of the command.
      count: of devices; None for all.
      choose: from the options and the space to the scores, by name.
      most: the largest number of architectures at a time, if that is known.
    """

    def __init__(
        self,
        options: Options,
        count: int | None,
        *,
        choose: Callable[[Any, Space], dict[str, AnyScore]] = Options.select,
        most: int | None = None,
    ) -> None:
        devices.start()
        self.options, self._choose, self._most = replace(options, devices=count), choose, most

    @functools.cached_property
    def space(self) -> Space:
        return get(self.options.space)

    @functools.cached_property
    def chosen(self) -> dict[str, AnyScore]:
        """The scores, by name."""
        return self._choose(self.options, self.space)

    @functools.cached_property
    def source(self) -> Source:
        return self.options.source()

    @functools.cached_property
    def evaluators(self) -> list[Evaluator]:
        return self.options.evaluators(self.space, self.chosen, self.source, most=self._most)

    def settings(self) -> dict[str, Any]:
        """What the scores of an architecture depend on."""
        return self.options.settings(self.chosen, self.source)

    @functools.cached_property
    def machine(self) -> dict[str, Any]:
        """What this machine says of itself."""
        return machine(self.settings())

    def about(self) -> dict[str, Any]:
        """What this machine says of itself."""
        return self.machine

    def provenance(self) -> dict[str, Any]:
        """Where, when and with what a run is made."""
        return provenance(self.source)

    def reference(self) -> Reference | None:
        """What the consensus compares with, if it is among the scores."""
        return self.options.reference(self.space, self.chosen, self.evaluators, self.source)
