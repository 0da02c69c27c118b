"""The kind of case that times one scorer, with the PyTorch loop on the same work as competitor."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from bench.core import harness
from bench.core.case import Options
from bench.core.machine import installed, machine
from bench.scorers import ceilings, counts
from jaxnas import data
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.scorers import Regression
from jaxnas.scorers.training.targets import noise
from jaxnas.spaces.nasbench201.space import NASBENCH201

Loop = Callable[[ModuleType, Any, Any], Any]  # (bench.competitor, inputs, architecture) -> score
SPACE = NASBENCH201
SEED = 0


@dataclass(frozen=True)
class ScorerCase:
    """One scorer and the loops that it is compared with.

    Attributes:
      name: on the command line.
      summary: one line for the list.
      scorer: with its settings.
      archs: size of the sample.
      rivals: by name.
      precision: of the scorer's matrix products, and so of the ceiling that it is held against.
      rounds: of ours and theirs in turn.
    """

    name: str
    summary: str
    scorer: counts.Images
    archs: int
    rivals: Mapping[str, Loop]
    precision: Literal["default", "highest"] = "default"
    rounds: int = 3
    kind: ClassVar[str] = "scorer"

    def adapted(self, options: Options) -> "ScorerCase":
        scorer = self.scorer
        if isinstance(scorer, Regression):
            scorer = replace(scorer, **options.given("steps"))
        scorer.check()
        return replace(self, scorer=scorer, **options.given("archs", "rounds"))

    def arguments(self) -> str:
        steps = f" --steps {self.scorer.updates}" if isinstance(self.scorer, Regression) else ""
        return f"--archs {self.archs} --rounds {self.rounds}{steps}"

    def run(self) -> dict[str, Any]:
        return harness.in_new_process(figures, self)


def figures(case: ScorerCase) -> dict[str, Any]:
    """All that is measured in this process, and what it was measured on."""
    rows, source = sample(case.archs), data.load("synthetic")

    latest: list[Evaluator] = []  # where memory is short it lowers its batch

    def ours() -> Evaluator:
        latest[:] = [Evaluator(SPACE, case.scorer, source, seed=SEED)]
        return latest[0]

    timed = harness.measure(harness.Workload(rows, ours, lambda: load_rivals(case, source)), rounds=case.rounds)
    return {
        "dtype": str(jnp.result_type(float)),
        "archs": len(rows),
        "batch": latest[0].program().batch,
        "mode": latest[0].setup.mode,
        "repeats": 1,
        "rounds": case.rounds,
        "settings": {"space": SPACE.name, "data": source.name, "seed": SEED, "scorer": asdict(case.scorer)},
        **timed,
        **share(case, rows, timed["seconds_per_arch"]["median"]),
    }


def share(case: ScorerCase, rows: np.ndarray, seconds: float) -> dict[str, Any]:
    """What architectures `[N, E]` must cost on this machine, and its share of the `seconds` that each took."""
    flops, moved = (count(SPACE, case.scorer, rows) for count in (counts.flops, counts.moved))
    found = ceilings.measure(case.precision)
    least = ceilings.floor(flops, moved, found)
    return {
        "flops_per_arch": flops,
        "flops_counted_as": counts.FLOPS,
        "bytes_per_arch": moved,
        "bytes_counted_as": counts.BYTES,
        "ceilings": {"precision": case.precision, **found},
        **least,
        "share_of_floor": least["floor_seconds_per_arch"] / seconds,
    }


def sample(archs: int) -> np.ndarray:
    """The first `archs` architectures `[archs, E]` of a fixed random order of the connected ones."""
    order = SPACE.sample(jax.random.key(SEED), SPACE.size)
    return order[~SPACE.is_disconnected(order)][:archs]


def load_rivals(case: ScorerCase, source: data.Source) -> harness.Rivals:
    """Return the case's competitors, with inputs as the scorer draws them; says so if there are none."""
    if installed("torch") is None:
        print("torch is not installed: no competitor in this run; pip install -e '.[bench]'", file=sys.stderr)
        return {}
    if jax.default_backend() != "cpu":
        print(f"the competitor runs on the CPU: none beside {jax.default_backend()}", file=sys.stderr)
        return {}
    import torch

    from bench.scorers import competitor

    torch.set_num_threads(machine()["cpus"])
    torch.manual_seed(SEED)
    inputs = draw(case.scorer, source)
    return {name: partial(loop, competitor, inputs) for name, loop in case.rivals.items()}


def draw(scorer: counts.Images, source: data.Source) -> Any:
    """One repeat's inputs as NumPy arrays; for the regression with its noise `[steps + 1, B, H, W, C]`."""
    inputs: Any = scorer.draw(source, np.random.default_rng(SEED))
    if not isinstance(scorer, Regression):
        return inputs
    images, targets = inputs
    shape = (scorer.updates + 1, *images.shape)
    return images, targets, np.asarray(noise(scorer.stored(), jax.random.key(SEED), shape))


def ntk_loop(torch_loop: ModuleType, images: Any, arch: Any, *, bn: str) -> float:
    """The condition number of a new network."""
    module = torch_loop.Classifier(arch, torch_loop.PRESETS["ntk"])
    return torch_loop.condition_number(torch_loop.ntk_gram(module, images, bn=bn))


def regions_loop(torch_loop: ModuleType, patches: Any, arch: Any) -> int:
    """The number of linear regions of a new network."""
    return torch_loop.regions(torch_loop.Classifier(arch, torch_loop.PRESETS["regions"]), patches)


def regression_loop(torch_loop: ModuleType, inputs: Any, arch: Any, **sizes: int) -> float:
    """The regression error of a new network, of other `channels` or `cells` than GenNAS's if they are given."""
    images, targets, added = inputs
    preset = replace(torch_loop.PRESETS["regression"], **sizes)
    module = torch_loop.Regressor(arch, [target.shape[-1] for target in targets], preset)
    return torch_loop.regression(module, images, targets, added)
