"""What AG-Net learns from the architectures that were scored, and how: ours, and as published."""

from dataclasses import dataclass, field
from typing import Literal

from jaxnas.learn.agnet.weighted import Retraining


@dataclass(frozen=True)
class Form:
    """How a round is made of what was scored.

    Attributes:
      surrogate: what predicts the proposals: `processes` and `trees` read graphs, `perceptron` the generator's logits.
      retraining: of the generator, and of the perceptron.
      ticks: times that they see what was scored, each round.
      candidates: proposals to draw.
      subset: only a random choice of so many of them is predicted.
      ranked: the better an architecture ranks, the more it weighs; otherwise all weigh the same.
      fractions: the perceptron's targets are shares of the largest of the first round, instead of quartile distances.
    """

    surrogate: Literal["processes", "trees", "perceptron"] = "processes"
    retraining: Retraining = field(default_factory=Retraining)
    ticks: int = 5
    candidates: int = 500
    subset: bool = False
    ranked: bool = True
    fractions: bool = False


PAPER = Form("perceptron", Retraining(alpha=0.9, weighed=True), ticks=30, candidates=100, subset=True, fractions=True)
FORMS = {
    "processes": Form(),
    "paper": PAPER,
    "hardware": Form(
        "perceptron",
        Retraining(rate=2e-4, decay=1e-4, alpha=0.95, weighed=True, capped=True),
        ticks=30,
        candidates=100,
        subset=True,
        fractions=True,
    ),
}
