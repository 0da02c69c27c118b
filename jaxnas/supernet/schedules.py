"""How strong the rank loss is at each epoch, as a share of its greatest strength."""

import math
from collections.abc import Callable, Mapping

RAMP = 10  # epochs of the linear warm-up before a constant strength


def cosine_increase(epoch: int, *, epochs: int, warmup: int) -> float:
    """Return c = (1 + cos(pi (1 + e / E))) / 2, e epochs after the warm-up, E all epochs with the warm-up.

    So it does not reach 1 (Yu et al. 2021, their code): .69 at the end of 400 epochs with a warm-up of 150.
    """
    return 0.5 * (1 + math.cos(math.pi * (1 + (epoch - warmup) / epochs))) if epoch > warmup else 0.0


def constant(epoch: int, *, epochs: int, warmup: int) -> float:
    """Return 1, after a linear increase over ten epochs that follow the warm-up."""
    return min(1.0, max(0, epoch - warmup) / RAMP)


SCHEDULES: Mapping[str, Callable[..., float]] = {"cosine": cosine_increase, "constant": constant}
