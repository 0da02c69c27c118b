"""What a score is. There are three kinds, and a user's own is a subclass of one of them in a file of the user's:

* `Scorer`: measured on a network, in compiled batches;
* `Count`: computed from the architectures alone;
* `Combined`: computed from other scores of the whole set.

`jaxnas score --scorers ntk,my_score.py:GRAD_NORM` takes an instance (`examples/own_score.py`); a score of jaxnas is a
file here and a line in `registry.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, Self

import jax
import numpy as np

from jaxnas.data import Source
from jaxnas.network.network import Network
from jaxnas.network.recipe import Recipe
from jaxnas.types import Finished, Status


class Pass(ABC):
    """One measurement of a network that one score or several read. Passes are equal if all their options are.

    Attributes:
      name: the draws of weights and inputs follow from it, the seed and the number of the repeat alone.
      shared_weights: all repeats use the weights of the first.
      float64: `measure` may compute in float64, from parameters and inputs in float32.
      counts_dead_ends: edges that lead nowhere have a say; where they have none, they are taken out before.
      archs_per_call: architectures that are about ten seconds of a CPU core's work.
    """

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    def shared_weights(self) -> bool:
        return False

    @property
    def float64(self) -> bool:
        return False

    @property
    def counts_dead_ends(self) -> bool:
        return False

    @property
    def archs_per_call(self) -> int:
        return 16

    @property
    def recipe(self) -> Recipe:
        """The network that is measured."""
        return Recipe("thin")

    def check_data(self, source: Source) -> None:  # noqa: B027
        """Raise a `UserError` if `source` has too few images."""

    def check_network(self, network: Any) -> None:  # noqa: B027
        """Raise a `UserError` if the score does not go with this network of the space."""

    def draw(self, source: Source, rng: np.random.Generator) -> Any:
        """The inputs of one repeat: arrays, for instance images `[B, H, W, C]`."""
        return source.images(rng, 64)

    def for_all(self, inputs: Any, key: jax.Array) -> Any:
        """The inputs and whatever else no architecture changes, made once for many of them. Traced by JAX.

        Args:
          inputs: one repeat's, as drawn.
          key: as `measure` gets it.
        """
        return inputs

    @abstractmethod
    def measure(self, network: Network, params: Any, arch: jax.Array, inputs: Any, key: jax.Array) -> Any:
        """What was measured of one architecture: arrays of the same shapes for all. Traced by JAX.

        Args:
          network: with the space's wiring; `network.apply(params, arch, inputs)` are the logits `[B, classes]`.
          params: weights that all architectures share.
          arch: the architecture `[A]`.
          inputs: one repeat's, as `for_all` returned them.
          key: for further draws.
        """

    def floats(self, network: Any) -> int:
        """About how many floats the measurement of one architecture holds at once."""
        activations: int = network.activations(64)
        return activations


class Described(ABC):
    """What every kind of score says of itself.

    Attributes:
      name: the column of tables.
      sign: 1 where higher is better, -1 where lower is.
      paper: where the score comes from.
      cost: of one architecture, in words.
    """

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    def sign(self) -> int:
        return 1

    @property
    def paper(self) -> str:
        return "user"

    @property
    def cost(self) -> str:
        return "not stated"

    def oriented(self, values: np.ndarray) -> np.ndarray:
        """The values `[N]` so that higher is better, on a scale whose steps mean about the same everywhere."""
        return self.sign * values


class Scorer(Described, Pass):
    """A score that is measured on a network.

    Attributes:
      reads: the pass that the score reads, if others read it too; by default the score measures by itself. Recipe,
        inputs and the other attributes of a pass are then those of this one.
    """

    @property
    def reads(self) -> Pass | None:
        return None

    @property
    def recipe(self) -> Recipe:
        """The network that is measured."""
        return super().recipe if self.reads is None else self.reads.recipe

    def check(self) -> None:
        """Raise a `UserError` if the options make no sense together."""

    def on(self, space: Any) -> Self:
        """The score as it is on a `Space`, which may bring defaults of its own."""
        return self

    def fits(self, space: Any) -> bool:
        """Say whether a `Space` has the network that is measured."""
        return self.recipe.form in space.forms

    def measure(self, network: Network, params: Any, arch: jax.Array, inputs: Any, key: jax.Array) -> Any:
        assert self.reads is not None, f"{self.name} neither measures nor reads a pass"
        return self.read(self.reads.measure(network, params, arch, inputs, key))

    def read(self, seen: Any) -> Any:
        """The raw score of one architecture from what the pass `reads` measured. Traced by JAX."""
        return seen

    def finish(self, raw: Any) -> Finished:
        """Turn the raw scores of a batch, with leading axis N, into values and statuses `[N]`, on the host."""
        values = np.asarray(raw, np.float64)
        finite = np.isfinite(values)
        return Finished(np.where(finite, values, np.nan), np.where(finite, Status.ok, Status.nonfinite), {})


class Count(Described):
    """A score that needs no network."""

    @property
    def paper(self) -> str:
        return "baseline"

    @property
    def cost(self) -> str:
        return "none"

    def on(self, space: Any) -> "Count":
        """The count as it is on a `Space`; `UserError` where something it needs is not there."""
        return self

    @abstractmethod
    def of(self, space: Any, archs: np.ndarray) -> np.ndarray:
        """The counts `[N]` of architectures `[N, A]` of a `Space`."""

    def finish(self, counts: np.ndarray) -> Finished:
        """Turn the counts `[N]` into values and statuses."""
        return Finished(counts.astype(np.float64), np.full(len(counts), Status.ok), {})


class Combined(Described):
    """A score that is made of other scores.

    Attributes:
      needs: the names of the scores that it is made of.
      relative: it compares the whole scored set, so that adding architectures may change it.
    """

    @property
    def relative(self) -> bool:
        return True

    @property
    @abstractmethod
    def needs(self) -> tuple[str, ...]: ...

    @property
    def cost(self) -> str:
        return "that of the scores it needs"

    @abstractmethod
    def combine(self, scores: Mapping[str, Finished]) -> Finished:
        """Return values and statuses `[N]` from those of the scores that it needs, by name."""


AnyScore = Scorer | Count | Combined


def pass_of(scorer: Scorer) -> Pass:
    """The pass that a score reads: its own, or one that it shares."""
    return scorer if scorer.reads is None else scorer.reads


def that_fit(scores: Mapping[str, AnyScore], space: Any) -> list[str]:
    """The names of the measured scores for which a `Space` has the network."""
    return [name for name, one in scores.items() if isinstance(one, Scorer) and one.fits(space)]


def failed(scores: Mapping[str, AnyScore], repeats: int, count: int) -> dict[str, Finished]:
    """The measured scores, by name, of so many architectures that end whatever measures them: `[repeats, count]`."""
    none = Finished.without_value(Status.failed, repeats, count)
    return {name: none for name, score in scores.items() if isinstance(score, Scorer)}


def options_of(score: AnyScore) -> dict[str, Any]:
    """The options of a score and their values, for records: its fields, if its class is a dataclass."""
    return asdict(score) if is_dataclass(score) else {}
