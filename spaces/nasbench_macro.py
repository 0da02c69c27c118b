"""NAS-Bench-Macro (Su et al., CVPR 2021): eight layers, each one of three blocks; 6,561 architectures.

An architecture is `[8]`, the string its digits; lists of them (`[1, 2, 0, 1, 1, 2, 2, 0]`) are read, too. Stages of 2,
3 and 3 layers double the channels and halve the image in their first layer. #params and FLOPs are those of the network
for CIFAR-10; FLOPs are the multiply-adds of convolutions and classifier.

The published scores do not define this space's networks; those here follow their recipes on other spaces. `thin`: three
channels. `patches`: all layers on one channel of 3x3 inputs, none changes the shape. `taps`: the full network
up to its last stage; the taps are the outputs of the stages (16x16, 8x8 and 4x4), and unlike in GenNAS's networks, all
normalisations use the batch's moments in evaluation, too.
"""

import functools
import itertools
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import numpy as np
from flax import nnx

from jaxnas.errors import UserError
from jaxnas.network.module_op import ModuleOp
from jaxnas.network.network import HEAD, Config, Cost, Network, Ops, Path, Walk
from jaxnas.network.ops import ConvNorm, Head
from jaxnas.spaces.blocks.conv_norm import Conv2d, ConvBatchNorm, Depthwise, batch_norm
from jaxnas.spaces.datasets import CIFAR10, Dataset
from jaxnas.spaces.graphs import GraphCode, chain
from jaxnas.spaces.product import RowSpace

BLOCKS = {"identity": (0, 1), "mb3_k3": (3, 3), "mb6_k5": (6, 5)}  # expansion and kernel
STAGES = (2, 3, 3)
LAYERS = sum(STAGES)
FIRST = tuple(sum(STAGES[:stage]) for stage in range(len(STAGES)))  # layers that change the shape
STEM_KERNEL = 3
LAST_CONV = 40  # channels of the last convolution, in multiples of the stem's


class InvertedResidual(nnx.Module):
    """MobileNetV2's block: 1x1 convolution, depthwise convolution, 1x1 convolution without ReLU; added to its input
    where that has the same shape. Expansion 0 is the identity, or where the shape changes a 1x1 convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, block: str, rngs: nnx.Rngs):
        expansion, size = BLOCKS[block]
        hidden, strides = inputs * expansion, (stride, stride)
        self.residual = (inputs, stride) == (outputs, 1)
        self.convs = nnx.List[nnx.Module]([])
        if expansion:
            depthwise = Depthwise(hidden, (size, size), strides=strides, rngs=rngs)
            self.convs.append(_normed(Conv2d(inputs, hidden, (1, 1), rngs=rngs), hidden, rngs))
            self.convs.append(_normed(depthwise, hidden, rngs))
            self.convs.append(_normed(Conv2d(hidden, outputs, (1, 1), rngs=rngs), outputs, rngs, relu=False))
        elif not self.residual:
            shortcut = Conv2d(inputs, outputs, (1, 1), strides=strides, rngs=rngs)
            self.convs.append(_normed(shortcut, outputs, rngs, relu=False))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x
        for conv in self.convs:
            y = conv(y)
        return x + y if self.residual and self.convs else y


@dataclass(frozen=True)
class MakeBlock:
    """Makes the block of a layer."""

    inputs: int
    outputs: int
    stride: int
    block: str

    def __call__(self, rngs: nnx.Rngs) -> nnx.Module:
        return InvertedResidual(self.inputs, self.outputs, self.stride, self.block, rngs)

    def multiply_adds(self, pixels: int) -> int:
        """Those on an image of so many pixels."""
        expansion, size = BLOCKS[self.block]
        hidden, after = self.inputs * expansion, pixels // self.stride**2
        if expansion:
            return self.inputs * hidden * pixels + hidden * (size**2 + self.outputs) * after
        return 0 if (self.inputs, self.stride) == (self.outputs, 1) else self.inputs * self.outputs * after


@dataclass(frozen=True)
class MakeStem:
    """Makes the stem."""

    inputs: int
    outputs: int

    def __call__(self, rngs: nnx.Rngs) -> nnx.Module:
        conv = Conv2d(self.inputs, self.outputs, (STEM_KERNEL, STEM_KERNEL), rngs=rngs)
        return _normed(conv, self.outputs, rngs)

    def multiply_adds(self, pixels: int) -> int:
        """Those on an image of so many pixels."""
        return STEM_KERNEL**2 * self.inputs * self.outputs * pixels


@dataclass(frozen=True)
class BlockOp(ModuleOp):
    """A block or the stem as an op; as in the benchmark's table, its FLOPs are its multiply-adds."""

    make: MakeBlock | MakeStem
    own_init: bool = False

    def flops(self, pixels: int) -> int:
        return self.make.multiply_adds(pixels)


@dataclass(frozen=True)
class MacroNetwork(Network):
    """[Stem,] layers [, 1x1 convolution], and the head.

    Attributes:
      config: of one stage, all layers keep the shape.
      last: channels of the last convolution; 0 leaves it out.
    """

    config: Config
    last: int = 0

    @property
    def length(self) -> int:
        return LAYERS

    def ops(self) -> dict[Path, Ops]:
        config, width = self.config, self.config.channels
        places: dict[Path, Ops] = {}
        if config.stem:
            places["stem",] = self._op(MakeStem(config.image[2], width))
        for layer in range(LAYERS):
            stride = 2 if config.stages > 1 and layer in FIRST else 1
            inputs, width = width, width * stride
            makers = {name: MakeBlock(inputs, width, stride, name) for name in BLOCKS}
            places["layers", layer] = {name: self._op(make, stride) for name, make in makers.items()}
        if self.last:
            places["last",] = ConvNorm(width, self.last, 1, config.layout, relu=False, norm=False)
        return {**places, HEAD: Head(self.last or width, config.classes, config.layout, config.bn)}

    def wire(self, apply: Walk, arch: jax.Array, x: jax.Array) -> list[jax.Array]:
        """The outputs of the stages and what the head gets."""
        if self.config.stem:
            x = apply.block(apply(("stem",), x))
        features = []
        for layers in self._equal_layers():
            if len(layers) > 1:
                blocks = arch[layers.start : layers.stop]
                paths: list[Path] = [("layers", layer) for layer in layers]
                x = apply.each(paths, lambda run_op, x, block: apply.block(run_op(x, block)), x, blocks)
            else:
                x = apply.block(apply(("layers", layers.start), x, arch[layers.start]))
            if layers.stop in (*FIRST[1:], LAYERS):
                features.append(x)
        return [*features, apply(("last",), x)] if self.last else features

    def _equal_layers(self) -> list[range]:
        """The runs of layers with the same blocks to choose from."""
        if self.config.stages == 1:
            return [range(LAYERS)]
        bounds = sorted({*FIRST, *(first + 1 for first in FIRST), LAYERS})
        return [range(*pair) for pair in itertools.pairwise(bounds)]

    def _op(self, make: MakeBlock | MakeStem, stride: int = 1) -> BlockOp:
        return BlockOp(make, make.inputs, make.outputs, self.config.layout, stride, self.config.bn)


NETWORKS: Mapping[str, MacroNetwork] = {
    "benchmark": MacroNetwork(Config(channels=32, cells=1), last=32 * LAST_CONV),
    "thin": MacroNetwork(Config(channels=3, cells=1), last=3 * LAST_CONV),
    "patches": MacroNetwork(Config(channels=1, cells=1, stages=1, stem=False, image=(3, 3, 1))),
    "taps": MacroNetwork(Config(channels=32, cells=1, init="pytorch")),
}


class NASBenchMacro(RowSpace):
    """Rows of eight blocks."""

    name = "nasbench_macro"
    example = "12011220"
    searched = f"1 of {len(BLOCKS)} blocks at each of {LAYERS} places"
    reads = f"its string, a list of {LAYERS} numbers"
    datasets: ClassVar[Mapping[str, Dataset]] = {"cifar10": CIFAR10}
    dataset = "cifar10"
    convention = (
        "multiply-adds of the convolutions and the classifier: the benchmark's own count (equal to its table on 3,280 "
        "rows)"
    )
    places = LAYERS
    choices = len(BLOCKS)

    @property
    def graph_code(self) -> GraphCode:
        return chain([*BLOCKS], LAYERS)

    def encode(self, string: str) -> np.ndarray:
        if (arch := self.from_numbers(string)) is not None:
            return arch
        digits = string.strip()
        allowed = f"one of {', '.join(f'{k} ({name})' for k, name in enumerate(BLOCKS))}"
        if len(digits) != LAYERS:
            raise UserError(
                f"malformed architecture {string!r}: {len(digits)} layers; give {LAYERS} digits, each {allowed}; a "
                "table may have lost zeros at the front"
            )
        for layer, digit in enumerate(digits):
            if digit not in "012":
                raise UserError(f"malformed architecture {string!r}: layer {layer} is {digit!r}; it must be {allowed}")
        return np.array([int(digit) for digit in digits], np.int32)

    def decode(self, arch: np.ndarray) -> str:
        return "".join(str(block) for block in arch)

    def canonical(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N, 8]` the architectures that the benchmark trained, of each isomorphism class one of 3,969.

        In a stage, identities behind the first layer come last: wherever they are, they do nothing.
        """
        archs = np.array(archs, np.int32)
        for first, count in zip(FIRST, STAGES, strict=True):
            rest = archs[:, first + 1 : first + count]
            rest[:] = np.take_along_axis(rest, np.argsort(rest == 0, axis=1, kind="stable"), 1)
        return archs

    @property
    def forms(self) -> Collection[str]:
        return NETWORKS

    def network(self, form: str = "benchmark", group: Hashable = None, **changes) -> MacroNetwork:
        """The network for `form`, with `changes` to its `Config` such as `bn`, `init` or `channels`."""
        self.check_form(form)
        network = NETWORKS[form]
        return replace(network, config=replace(network.config, **changes))

    def params(self, archs: np.ndarray) -> np.ndarray:
        return _params_cost().total(np.asarray(archs))

    def flops(self, archs: np.ndarray) -> np.ndarray:
        return self.network().flops_cost().total(np.asarray(archs))


def _normed(conv: Conv2d | Depthwise, outputs: int, rngs: nnx.Rngs, *, relu: bool = True) -> ConvBatchNorm:
    return ConvBatchNorm(conv, batch_norm(outputs, rngs), relu_after=relu)


@functools.cache
def _params_cost() -> Cost:
    return NETWORKS["benchmark"].params_cost()  # makes every block


NASBENCH_MACRO = NASBenchMacro()
