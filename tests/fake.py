"""A score and an oracle that are cheap; files beside a copy of this one say what is to go wrong."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp

from jaxnas.network.recipe import Recipe
from jaxnas.scorers.protocol import Scorer

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Fake(Scorer):
    name = "fake"
    recipe = Recipe("patches")

    def draw(self, source, rng):
        return source.images(rng, 2)

    def measure(self, network, params, arch, inputs, key):
        return jnp.sin(arch * 1.7 + jnp.arange(6)).sum() + inputs.mean()

    def finish(self, raw):
        if (kills := HERE / "kills").exists() and any(f"{value:.6f}" in kills.read_text() for value in raw):
            os._exit(1)
        time.sleep(float((HERE / "slow").read_text()) if (HERE / "slow").exists() else 0)
        return super().finish(raw)


FAKE = Fake()


def evaluate(arch):
    if "nor_conv_1x1~2" in arch:
        raise ValueError("none today")
    (HERE / "processes" / str(os.getpid())).touch()
    deadline = time.time() + 60
    while len(list((HERE / "processes").iterdir())) < int((HERE / "wanted").read_text()) and time.time() < deadline:
        time.sleep(0.05)
    return {"accuracy": arch.count("nor_conv_3x3") + arch.count("skip") / 10, "process": os.getpid()}
