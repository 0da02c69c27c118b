"""The networks of NDS's AnyNets.

Widths, depths and groups change every shape, so an architecture is a group of its own and every one is compiled, which
no batch shortens.

`benchmark` is NDS's network for the space's data set. `taps` is GenNAS's (Li et al., NeurIPS 2021), whichever
that is: the one for CIFAR-10 with a stem of 12 channels and He's initialisation by fan-out; the taps are the outputs of
the last three stages before their last ReLU.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np

from jaxnas.kernels.conv import grouped_conv2d
from jaxnas.kernels.layout import NHWC, THIN
from jaxnas.network.network import HEAD, Config, Network, Ops, Path, Walk
from jaxnas.network.op import Op, Params, Saved, normalise, through_norm
from jaxnas.network.ops import ConvNorm, Head
from jaxnas.spaces.anynet.blocks import CIFAR_STEM, FRAMES, Block, Frame, Stem
from jaxnas.spaces.blocks.modules import stem_max_pool

TAPS, GENNAS_STEM_WIDTH = 3, 12


class StageSize(NamedTuple):
    """One stage of one architecture; as `blocks.Stage`, whose stages are those of many."""

    depth: int
    width: int
    middle: int
    groups: int
    stride: int


@dataclass(frozen=True)
class GroupedConvNorm(ConvNorm):
    """`ConvNorm` in groups of channels that do not see each other; without an NTK."""

    groups: int = 1

    def shapes(self) -> dict[str, tuple[int, ...]]:
        kernel = self.size, self.size, self.in_channels // self.groups, self.out_channels
        return {**super().shapes(), "kernel": kernel}

    def matrices(self) -> list[tuple[int, int, int]]:
        return [(self.groups, outputs // self.groups, inputs) for _, outputs, inputs in super().matrices()]

    def flops(self, pixels: int) -> int:
        return super().flops(pixels) // self.groups

    def linear(self, params: Params, x: jax.Array) -> jax.Array:
        x = jax.nn.relu(x) if self.relu else x
        return grouped_conv2d(x, params["kernel"], self.groups, self.stride)

    def backward(self, params: Params, x: jax.Array, saved: Saved, g: jax.Array) -> tuple[jax.Array, Params]:
        hat = normalise(saved.linear, saved.moments, self.layout)
        axes = self.layout.all_but_channel
        pulled = through_norm(g, hat, self._gain(params, saved.moments), self.bn, self.layout)
        kernel, dx = jax.vjp(lambda kernel, x: self.linear({"kernel": kernel}, x), params["kernel"], x)[1](pulled)
        return dx, {"kernel": kernel, "scale": (g * hat).sum(axes), "bias": g.sum(axes)}

    def backward_gram(self, params: Params, x: jax.Array, saved: Saved, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        raise NotImplementedError("no NTK of grouped convolutions")


@dataclass(frozen=True)
class AnyNetwork(Network):
    """One AnyNet; a convolution takes the ReLU before it, so that a stage's output is that before its last ReLU.

    Attributes:
      config: image, classes and modes; its `channels` only say that these are too many for another layout than NHWC.
      block: what the stages consist of.
      stem: before them.
      stem_width: its output's channels.
      stages: their sizes.
    """

    config: Config
    block: Block
    stem: Stem
    stem_width: int
    stages: tuple[StageSize, ...]

    @property
    def length(self) -> int:
        return 1  # none of them matters here

    def ops(self) -> dict[Path, Ops]:
        config, inputs, places = self.config, self.config.image[2], dict[Path, Ops]()
        for i, (size, halves, stride) in enumerate(self.stem.convs):
            outputs = self.stem_width * halves // 2
            places["stem", i] = ConvNorm(inputs, outputs, size, NHWC, stride, relu=i > 0, bn=config.bn)
            inputs = outputs
        for number, stage in enumerate(self.stages):
            for depth in range(stage.depth):
                own = self._block_ops(inputs, stage if depth == 0 else stage._replace(stride=1))
                places |= {("stages", number, depth, name): op for name, op in own.items()}
                inputs = stage.width
        return {**places, HEAD: Head(inputs, config.classes, NHWC, norm_first=False)}

    def wire(self, apply: Walk, arch: jax.Array, x: jax.Array) -> list[jax.Array]:
        """The outputs of the last three stages before their last ReLU."""
        for i in range(len(self.stem.convs)):
            x = apply(("stem", i), x)
        if self.stem.pool:
            x = stem_max_pool(x)  # the ReLU after it could as well be before it
        places, features, x = self.ops(), [], apply.block(x)
        for number, stage in enumerate(self.stages):
            for depth in range(stage.depth):
                x = apply.block(self._through(apply, ("stages", number, depth), places, x))
            features.append(x)
        return features[-TAPS:]

    def activations(self, images: int) -> int:
        """The floats that a forward pass of `images` images keeps: two for each input of a convolution."""
        return 2 * images * sum(map(math.prod, self.flow.inputs.values()))

    def costs(self, archs: np.ndarray) -> np.ndarray:
        return np.full(len(archs), self.flops_cost().fixed)

    def _block_ops(self, inputs: int, stage: StageSize) -> dict[str, Op]:
        """The ops of one block."""
        widths = {"in": inputs, "mid": stage.middle, "out": stage.width}
        ops: dict[str, Op] = {}
        for i, conv in enumerate(self.block.convs):
            before, after = widths[conv.inputs], widths[conv.outputs]
            groups, stride = stage.groups if conv.grouped else 1, stage.stride if conv.strided else 1
            plain = ConvNorm(before, after, conv.size, NHWC, stride, bn=self.config.bn)
            ops[f"conv{i}"] = GroupedConvNorm(**vars(plain), groups=groups) if groups > 1 else plain
        if self.block.residual and (inputs != stage.width or stage.stride != 1):
            ops["shortcut"] = ConvNorm(inputs, stage.width, 1, NHWC, stage.stride, bn=self.config.bn)
        return ops

    def _through(self, apply: Walk, block: Path, places: dict[Path, Ops], x: jax.Array) -> jax.Array:
        y = x
        for i in range(len(self.block.convs)):
            y = apply((*block, f"conv{i}"), y)
        if not self.block.residual:
            return y
        shortcut = (*block, "shortcut")
        return y + (apply(shortcut, x) if shortcut in places else jax.nn.relu(x))


def benchmark(frame: Frame, block: Block, stride: int, width: int, stages: tuple[StageSize, ...]) -> AnyNetwork:
    """Return NDS's network; `stride` and `width` are those of the stem."""
    return AnyNetwork(_config(frame), block, frame.stems[stride], width, stages)


def with_taps(block: Block, stages: tuple[StageSize, ...]) -> AnyNetwork:
    """Return GenNAS's network."""
    return AnyNetwork(_config(FRAMES["cifar10"]), block, CIFAR_STEM, GENNAS_STEM_WIDTH, stages)


def _config(frame: Frame) -> Config:
    image = (frame.image, frame.image, 3)
    return Config(channels=THIN, cells=0, image=image, classes=frame.classes, init="kaiming_fan_out")
