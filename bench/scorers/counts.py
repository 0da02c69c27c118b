"""What a score must do per architecture, counted from the network: floating-point operations and bytes moved."""

import itertools
from typing import NamedTuple

import numpy as np

from jaxnas.network.network import Config, Cost
from jaxnas.network.ops import Zero
from jaxnas.scorers import NTK, Regions, Regression
from jaxnas.spaces import CellSpace
from jaxnas.spaces.cell.network import CellNetwork

Images = NTK | Regions | Regression
WORD = 4  # bytes of a float32
FLOPS = (
    "2 x multiply-adds of a forward pass (the space's count at the scorer's network, mean over the sample) x passes,"
    " a backward pass counting as two; plus 2 B^2 P for the NTK's Gram matrix; without heads, optimiser, eigenvalues"
)
BYTES = (
    "float32 node tensors, each written once and read once by every op that takes it (nothing for `none`), mean over"
    " the sample; a backward pass moves as much again in gradients; what ops with weights took in is read once more for"
    " all backward passes together; nothing is kept in caches between ops, normalisation and ReLU move nothing of their"
    " own; without weights and their gradients, Gram matrices, sign patterns, optimiser"
)


class Passes(NamedTuple):
    """Images that go through the network per architecture.

    Attributes:
      forward: in forward passes.
      backward: in backward passes.
      kept: whose activations backward passes read again.
    """

    forward: int
    backward: int
    kept: int


def passes(scorer: Images) -> Passes:
    """How many images a score takes through the network."""
    if isinstance(scorer, Regions):
        return Passes(scorer.batches * scorer.samples, 0, 0)
    if isinstance(scorer, Regression):
        trained = scorer.images * scorer.updates
        return Passes(trained + scorer.images, trained, trained)
    return Passes(scorer.images, scorer.images * (scorer.images if scorer.bn == "batch" else 1), scorer.images)


def flops(space: CellSpace, scorer: Images, archs: np.ndarray) -> float:
    """The floating-point operations per architecture of `archs` `[N, E]`, counted as `FLOPS` says."""
    network, images = space.network(scorer.recipe.form, **scorer.recipe.changes()), passes(scorer)
    total = 2 * mean(network.flops_cost(), archs) * (images.forward + 2 * images.backward)
    if isinstance(scorer, NTK):
        total += 2 * scorer.images**2 * mean(network.params_cost(), archs)
    return total


def moved(space: CellSpace, scorer: Images, archs: np.ndarray) -> float:
    """The least bytes per architecture of `archs` `[N, E]` to and from memory, counted as `BYTES` says."""
    network, images = space.network(scorer.recipe.form, **scorer.recipe.changes()), passes(scorer)
    activations = mean(activation_cost(network), archs) * (images.forward + images.backward)
    return WORD * (activations + mean(kept_cost(network), archs) * images.kept)


def activation_cost(network: CellNetwork) -> Cost:
    """Return the numbers that a forward pass reads and writes per image, by op."""
    nodes = 1 + max(target for target, _ in network.cell.edges)
    written = sum(size * network.config.cells * (nodes - 1) for size in sizes(network.config))
    return _reads(network, weighted_only=False, fixed=written + _around(network.config, written=True))


def kept_cost(network: CellNetwork) -> Cost:
    """The numbers per image that ops with weights took in, by op."""
    return _reads(network, weighted_only=True, fixed=_around(network.config, written=False))


def sizes(config: Config) -> list[int]:
    """The numbers of one image's node tensor, by stage."""
    return [config.width(stage) * config.pixels(stage) for stage in range(config.stages)]


def mean(cost: Cost, archs: np.ndarray) -> float:
    """The mean of `cost` over architectures `[N, E]`."""
    return float(cost.total(archs).mean())


def _reads(network: CellNetwork, *, weighted_only: bool, fixed: int) -> Cost:
    """Return `fixed`, and one node tensor per cell for each op that reads its input."""
    config = network.config
    ops = network.cell.ops(config.channels, config)
    counted = [bool(op.shapes()) if weighted_only else not isinstance(op, Zero) for op in ops]
    per_edge = config.cells * sum(sizes(config))
    return Cost(fixed, np.tile(per_edge * np.array(counted, np.int64), (network.length, 1)))


def _around(config: Config, *, written: bool) -> int:
    """The numbers per image that stem, reductions and head read and, if asked for, write."""
    tensors = sizes(config)
    total = tensors[-1]  # read by the head
    if config.stem:
        height, width, channels = config.image
        total += height * width * channels + tensors[0] * written
    for before, after in itertools.pairwise(tensors):  # conv_a and shortcut read the one before, conv_b reads conv_a's
        total += 2 * before + after + 2 * after * written
    return total
