"""The cases: one per scorer, at the settings that users get, with the PyTorch loop on the same work as competitor."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench import harness
from jaxnas import data, spaces
from jaxnas.network import Cost
from jaxnas.runner import Evaluator, default_batch
from jaxnas.scorers import NTK, Measured, Regions, Regression
from jaxnas.scorers.signals import load_task, noise

Loop = Callable[[ModuleType, Any, Any], Any]  # (bench.competitor, inputs, architecture) -> score
SPACE = spaces.get("nasbench201")
SEED = 0
FLOPS = (
    "2 x multiply-adds of a forward pass (the space's count at the scorer's network, mean over the sample) x passes,"
    " a backward pass counting as two; plus 2 B^2 P for the NTK's Gram matrix; without heads, optimiser, eigenvalues"
)


@dataclass(frozen=True)
class Case:
    """One scorer and the loops that it is compared with.

    Attributes:
      name: on the command line.
      summary: one line for the list.
      scorer: with its settings.
      archs: size of the sample.
      rivals: by name.
    """

    name: str
    summary: str
    scorer: Measured
    archs: int
    rivals: Mapping[str, Loop]


def ntk_loop(torch_loop: ModuleType, images: Any, arch: Any, *, bn: str) -> float:
    """Return the condition number of a new network."""
    module = torch_loop.Classifier(arch, torch_loop.PRESETS["ntk"])
    return torch_loop.condition_number(torch_loop.ntk_gram(module, images, bn=bn))


def regions_loop(torch_loop: ModuleType, patches: Any, arch: Any) -> int:
    """Return the number of linear regions of a new network."""
    return torch_loop.regions(torch_loop.Classifier(arch, torch_loop.PRESETS["regions"]), patches)


def regression_loop(torch_loop: ModuleType, inputs: Any, arch: Any) -> float:
    """Return the regression error of a new network."""
    images, targets, added = inputs
    module = torch_loop.Regressor(arch, [target.shape[-1] for target in targets])
    return torch_loop.regression(module, images, targets, added)


TE_NAS: dict[str, Loop] = {"TE-NAS loop": partial(ntk_loop, bn="batch")}
FROZEN: dict[str, Loop] = {"frozen loop": partial(ntk_loop, bn="frozen")}
CASES = {
    case.name: case
    for case in (
        Case("ntk_frozen", "NTK, batch statistics held constant (default); C=3, N=1, B=72", NTK(), 16, TE_NAS | FROZEN),
        Case("ntk_exact", "NTK through the batch statistics, as TE-NAS; C=3, N=1, B=72", NTK(bn="batch"), 16, TE_NAS),
        Case("regions", "linear regions; 3 batches of 1,000", Regions(), 256, {"TE-NAS loop": regions_loop}),
        Case("regression", "GenNAS; C=16, N=5, B=16, 100 steps", Regression(), 6, {"GenNAS loop": regression_loop}),
    )
}


def run(case: Case, *, archs: int, rounds: int, command: str) -> dict[str, Any]:
    """Return the record of one run on the first `archs` architectures of the sample."""
    rows, source = sample(archs), data.load("synthetic")
    batch = min(default_batch([case.scorer]), len(rows))
    machine = harness.machine()

    def ours() -> Evaluator:
        return Evaluator(SPACE, case.scorer, source, seed=SEED, batch=batch)

    figures = harness.measure(harness.Workload(rows, ours, lambda: load_rivals(case, source)), rounds=rounds)
    return {
        "case": case.name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": command,
        "machine": machine,
        "versions": harness.versions(),
        "dtype": str(jnp.result_type(float)),
        "archs": len(rows),
        "batch": batch,
        "repeats": 1,
        "rounds": rounds,
        "settings": {"space": SPACE.name, "data": source.name, "seed": SEED, "scorer": asdict(case.scorer)},
        **figures,
        "flops_per_arch": flops(case.scorer, rows),
        "flops_counted_as": FLOPS,
    }


def sample(archs: int) -> np.ndarray:
    """Return the first `archs` architectures `[archs, E]` of a fixed random order of the connected ones."""
    order = SPACE.sample(jax.random.key(SEED), SPACE.size)
    return order[~SPACE.is_disconnected(order)][:archs]


def load_rivals(case: Case, source: data.Source) -> harness.Rivals:
    """Return the case's competitors, with inputs as the scorer draws them; says so if there are none."""
    if harness.installed("torch") is None:
        print("torch is not installed: no competitor in this run; pip install -e '.[bench]'", file=sys.stderr)
        return {}
    if jax.default_backend() != "cpu":
        print(f"the competitor runs on the CPU: none beside {jax.default_backend()}", file=sys.stderr)
        return {}
    import torch

    from bench import competitor

    torch.set_num_threads(harness.machine()["cpus"])
    torch.manual_seed(SEED)
    inputs = draw(case.scorer, source)
    return {name: partial(loop, competitor, inputs) for name, loop in case.rivals.items()}


def draw(scorer: Measured, source: data.Source) -> Any:
    """Return one repeat's inputs as NumPy arrays; for the regression with its noise `[steps + 1, B, H, W, C]`."""
    inputs: Any = scorer.draw(source, np.random.default_rng(SEED))
    if not isinstance(scorer, Regression):
        return inputs
    images, targets = inputs
    shape = (scorer.steps + 1, *images.shape)
    return images, targets, np.asarray(noise(load_task(scorer.task), jax.random.key(SEED), shape))


def flops(scorer: Measured, archs: np.ndarray) -> float:
    """Return the floating-point operations per architecture, counted as `FLOPS` says."""
    network = SPACE.network(scorer.purpose, **scorer.config())
    forward = 2 * mean_count(network.flops_cost(), archs)
    if isinstance(scorer, Regions):
        return forward * scorer.batches * scorer.samples
    if isinstance(scorer, Regression):
        return forward * scorer.images * (3 * scorer.steps + 1)
    backward = 2 * scorer.images if scorer.bn == "batch" else 2
    gram = 2 * scorer.images**2 * mean_count(network.params_cost(), archs)
    return forward * scorer.images * (1 + backward) + gram


def mean_count(cost: Cost, archs: np.ndarray) -> float:
    """Return the mean of `cost` over architectures `[N, E]`."""
    return float(cost.fixed + np.array(cost.per_op)[archs].sum(-1).mean())
