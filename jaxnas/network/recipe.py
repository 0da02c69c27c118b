"""What a score asks of a network: its form, sizes, normalisation and initial weights."""

from dataclasses import dataclass
from typing import Any, Literal

from jaxnas.network.op import BatchNormMode
from jaxnas.network.weights import Init

Form = Literal["benchmark", "thin", "patches", "taps", "sequence"]


@dataclass(frozen=True)
class Recipe:
    """The network that a space is asked for. What is None is as the space has it in that form.

    Sizes are a wish: a space whose architectures decide a size (NDS the width and depth, TransNAS-Bench-101 the number
    of cells, AnyNets the channels) keeps its own.

    Attributes:
      form: `benchmark`, the network that is counted and built, for the space's data set; `thin`, one of few channels
        and cells on images; `patches`, one channel on 3x3x1 inputs; `taps`, one with feature maps of three sizes to
        look at; `sequence`, a recurrent one. A space has some of these.
      channels: of the first stage.
      cells: per stage.
      stages: number of stages.
      bn: `batch` differentiates through the batch moments, `frozen` holds them constant, `identity` does not normalise.
      init: of the weights.
      others: further fields of the network's configuration, each with its value.
    """

    form: Form = "thin"
    channels: int | None = None
    cells: int | None = None
    stages: int | None = None
    bn: BatchNormMode | None = None
    init: Init | None = None
    others: tuple[tuple[str, Any], ...] = ()

    def changes(self) -> dict[str, Any]:
        """What differs from the space's own configuration, by the names of its fields."""
        given = {name: getattr(self, name) for name in ("channels", "cells", "stages", "bn", "init")}
        return {name: value for name, value in given.items() if value is not None} | dict(self.others)
