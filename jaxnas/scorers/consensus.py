"""One score of several that agree, without any label: the weighted sum of log-shares in a sample of the space.

Scores of different families see different things. Each becomes the share u_k of a reference sample of the space that
the architecture beats, and the consensus is the sum over k of w_k log u_k; `reference.py` has the distribution function
and the weights. It is a function of one architecture: no batch-mate, order or shard changes it.

After AZ-NAS (Lee and Ham, CVPR 2024) and VKDNW (Tybl and Neumann, CVPR 2025), which add up logarithms of ranks within
the scored set, with equal weights.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from jaxnas.errors import UserError
from jaxnas.scorers.protocol import Combined, Count, Described, Scorer, that_fit
from jaxnas.scorers.reference import MAX_FAILURES, MIN_FAMILIES, Reference, grouped
from jaxnas.types import Finished, Status

MEMBERS = "live_flops,live_layers,jacov,az_trainability,regression"
SIZE = "live_params,live_flops"  # where others would be measured on networks of full size
NAMED_FAMILIES = 3  # that members must be of: of fewer, none can be outvoted
FAMILIES = (  # scores that measure about the same
    {"params", "flops", "live_params", "live_flops", "live_layers", "spectral_capacity"},
    {"nwot", "swap", "regions"},
    {"synflow", "logsynflow"},
    {"zico", "intrain", "intrain_health", "snip", "grad_norm", "plain", "l2_norm"},
    {"az_expressivity", "az_progressivity", "intrain_capacity"},
    {"ntk", "vkdnw"},
)


@dataclass(frozen=True)
class Consensus(Combined):
    """Weighted sum of log-shares of several scores in a reference sample."""

    members: str | None = None
    """Comma-separated scores, of three families or more (#params and FLOPs are one family, whose scores count together
    as one), or counts alone; by default live_flops, live_layers, jacov, az_trainability and regression or, where these
    would be measured on networks of full size, live_params and live_flops alone. Those that a space cannot have are
    left out there."""

    name: ClassVar[str] = "consensus"
    sign: ClassVar[int] = 1
    paper: ClassVar[str] = "jaxnas; after AZ-NAS (CVPR 2024) and VKDNW (CVPR 2025)"
    cost: ClassVar[str] = "that of its members, and of 128 more architectures where no reference is stored"
    relative: ClassVar[bool] = False

    @property
    def needs(self) -> tuple[str, ...]:
        members = (self.members or MEMBERS).replace("-", "_")
        return tuple(dict.fromkeys(filter(None, map(str.strip, members.split(",")))))

    def on(self, space: Any, scores: Mapping[str, Any]) -> Self:
        """The consensus with those members that the space can have.

        Args:
          space: a `Space`.
          scores: all there are, by name.

        Raises:
          UserError: fewer than three families remain.
        """
        full_size = "taps" in space.forms and space.shrunk(1) is None
        given = replace(self, members=SIZE) if full_size and not self.members else self
        others = that_fit(scores, space)
        kept = [name for name in given.needs if name in others or not isinstance(scores.get(name), Scorer)]
        if not _counts_alone(map(scores.get, given.needs)) and len(grouped(kept, FAMILIES)) < NAMED_FAMILIES:
            raise UserError(
                f"consensus needs members of {NAMED_FAMILIES} families; of {', '.join(given.needs)} {space.name} has "
                f"{', '.join(kept) or 'none'}: say --scorers {','.join(others)} or other --consensus.members"
            )
        return replace(self, members=",".join(kept))

    def against(self, scores: Mapping[str, Described], reference: Reference) -> "Calibrated":
        """The consensus of `scores`, by name, with its reference sample.

        Raises:
          UserError: too few of them tell the architectures of the sample apart.
        """
        least = 1 if _counts_alone(scores.values()) else MIN_FAMILIES
        if len(reference.grouped) < least:
            raise UserError(
                f"consensus: of {', '.join(reference.scores)} only {', '.join(reference.usable) or 'none'} tell the "
                f"{reference.size} architectures of the reference apart without failing on more than "
                f"{MAX_FAILURES:.0%} of them; those of {least} families must: name other --consensus.members"
            )
        return Calibrated(self.members, scores=scores, reference=reference)

    def combine(self, scores: Mapping[str, Finished]) -> Finished:
        raise TypeError("a consensus has no value before it has a reference: see `against`")


@dataclass(frozen=True)
class Calibrated(Consensus):
    """A consensus with its reference sample.

    Attributes:
      scores: the members by name.
      reference: their oriented scores of the sample.
    """

    scores: Mapping[str, Described] = field(kw_only=True)
    reference: Reference = field(kw_only=True)

    @property
    def said(self) -> str:
        """The weights, in words."""
        weights = ", ".join(f"{name} {self.reference.weights.get(name, 0):.2f}" for name in self.needs)
        said = f"weights of the consensus, from {self.reference.size} architectures: {weights}"
        if len(self.reference.grouped) > 1 and not self.reference.agreement[1]:
            return f"{said}; they are equal, for the members do not agree here"
        silent = [name for name in self.needs if not self.reference.weights.get(name)]
        return said + (
            f"; {', '.join(silent)} contradicts the others here, does not vary, or fails too often" if silent else ""
        )

    def combine(self, scores: Mapping[str, Finished]) -> Finished:
        """The sum of log-shares; info by the names of the members are the shares `[N]` of the sample that they beat.

        A member that failed counts as far below the sample; one that is not among `scores`, or does not tell the sample
        apart, not at all. What is disconnected has no value, nor has anything without such a member.
        """
        known = [name for name in self.needs if name in scores]
        values = {name: self.scores[name].oriented(scores[name].value) for name in known}
        cut = np.any([scores[name].status == Status.disconnected for name in known], 0)
        if usable := [name for name in self.reference.usable if name in values]:
            total, status = self.reference.combine(values), Status.ok
        else:
            total, status = np.full(len(cut), np.nan), Status.skipped
        shares = {name: np.exp(self.reference.log_share(name, values[name])) for name in usable}
        return Finished(np.where(cut, np.nan, total), np.where(cut, Status.disconnected, status), shares)


def _counts_alone(members: Iterable[object]) -> bool:
    """Whether there are members, all of which need no network."""
    kinds = [isinstance(member, Count) for member in members]
    return bool(kinds) and all(kinds)
