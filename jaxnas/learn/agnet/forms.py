"""What AG-Net learns from the architectures that were scored, and how: ours, and as published."""

from dataclasses import dataclass, replace
from typing import Literal

from jaxnas.learn.agnet.weighted import Retraining

GENTLE = Retraining(rate=2e-4)  # that of the pre-training: at 1e-3 the first steps of Adam leave no graph valid


@dataclass(frozen=True)
class Form:
    """How a round is made of what was scored.

    Attributes:
      surrogate: what predicts the proposals: `processes` and `trees` read graphs, `perceptron` the generator's logits;
        None: all of them are asked for.
      retraining: of the generator, and of the perceptron.
      ticks: times that they see what was scored, each round.
      candidates: proposals to draw.
      subset: only a random choice of so many of them is predicted.
      ranked: the better an architecture ranks, the more it weighs; otherwise all weigh the same.
      fractions: the perceptron's targets are shares of the largest of the first round, instead of quartile distances.
      asked: architectures of a round after the first, of which the best, as many as in the first, are learned from; by
        default as many as in the first.
      apart: the weights are the sum of those by the rank in each objective, not those by the sum of the ranks.
    """

    surrogate: Literal["processes", "trees", "perceptron"] | None = "processes"
    retraining: Retraining = GENTLE
    ticks: int = 2
    candidates: int = 300
    subset: bool = False
    ranked: bool = True
    fractions: bool = False
    asked: int | None = None
    apart: bool = False


PAPER = Form("perceptron", Retraining(weighed=True), ticks=30, candidates=100, subset=True, fractions=True)
FORMS = {
    "processes": Form(),
    "paper": PAPER,
    "hardware": replace(PAPER, retraining=Retraining(rate=2e-4, decay=1e-4, alpha=0.95, weighed=True, capped=True)),
    "tenas": Form(None, Retraining(weighed=True), ticks=1, candidates=50, subset=True, asked=50, apart=True),
}
"""By name: ours; the published one, that under limits, and the training-free one of the ImageNet search."""
