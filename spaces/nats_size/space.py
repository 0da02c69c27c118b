"""The size space of NATS-Bench (Dong et al., TPAMI 2021): five widths of eight, 32,768 networks of one cell per stage.

An architecture is `[5]`: positions in `WIDTHS`, for stage 1, reduction 1, stage 2, reduction 2, stage 3. Its string is
the widths, `8:16:32:48:64`. Read as well are the benchmark's index (`284`, the last width varying fastest) and lists of
widths (`[8, 16, 32, 48, 64]`) or of positions (`[0, 1, 3, 5, 7]`). #params and FLOPs are the benchmark's own, for each
of its data sets.
"""

import functools
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np

from jaxnas.errors import UserError
from jaxnas.kernels.layout import NHWC
from jaxnas.network.network import Config
from jaxnas.network.op import Op
from jaxnas.network.ops import ConvNorm, Head
from jaxnas.spaces import literals
from jaxnas.spaces.datasets import NATS_BENCH, Dataset
from jaxnas.spaces.graphs import GraphCode, chain
from jaxnas.spaces.nats_size.network import CHOICES, LAYERS, SizeNetwork
from jaxnas.spaces.product import RowSpace

WIDTHS = tuple(8 * k for k in range(1, CHOICES + 1))
CELL_INPUT_CONVS, CELL_INNER_CONVS = 2, 3  # of |nor_conv_3x3~0|+|conv~0|conv~1|+|skip_connect~0|conv~1|conv~2|

NETWORKS: Mapping[str, Config] = {
    "benchmark": Config(channels=WIDTHS[-1], cells=1),
    "thin": Config(channels=8, cells=1),  # an eighth of all widths
    "taps": Config(channels=WIDTHS[-1], cells=1, init="pytorch"),
}


class NATSSize(RowSpace):
    """Networks that differ in the widths of their five layers."""

    name = "nats_size"
    example = "8:16:32:48:64"
    places = LAYERS
    choices = CHOICES
    searched = f"1 of {CHOICES} widths of each of {LAYERS} layers"
    reads = "its string, the benchmark's index, a list of widths or of their places"
    datasets = NATS_BENCH
    dataset = "cifar10"
    convention = (
        "multiply-adds of the convolutions and the classifier, and the classifier's biases: NATS-Bench's own count "
        "(#params by its layers, on CIFAR-10 FLOPs equal to its numbers of 4)"
    )
    order = staticmethod(lambda: np.arange(CHOICES**LAYERS))
    refusals: ClassVar[Mapping[str, str]] = {
        **RowSpace.refusals,
        "patches": "they are counted in networks of one channel, and its architectures differ in their channels alone",
    }

    @property
    def graph_code(self) -> GraphCode:
        return chain([str(width) for width in WIDTHS], LAYERS)

    def encode(self, string: str) -> np.ndarray:
        """The architecture `[5]` of a string, an index or a list; `UserError` says which width is wrong."""
        parts = [part.strip() for part in string.split(":")]
        if (row := literals.row(string)) and set(row) <= set(WIDTHS):
            parts = list(map(str, row))
        elif (arch := self.from_numbers(string)) is not None:
            return arch
        if len(parts) != LAYERS:
            raise UserError(f"{string!r}: {len(parts)} widths instead of {LAYERS}; expected, say, {self.example}")
        allowed = [str(width) for width in WIDTHS]
        for layer, part in enumerate(parts):
            if part not in allowed:
                raise UserError(f"{string!r}: width {layer + 1} is {part!r}; choose from {', '.join(allowed)}")
        return np.array([allowed.index(part) for part in parts], np.int32)

    def decode(self, arch: np.ndarray) -> str:
        return ":".join(str(WIDTHS[k]) for k in arch)

    def shrunk(self, width: int) -> int:
        return -(-width // CHOICES) * CHOICES

    @property
    def forms(self) -> Collection[str]:
        return NETWORKS

    def network(self, form: str = "benchmark", group: Hashable = None, **changes) -> SizeNetwork:
        """The network of all architectures, with `changes` to its `Config`."""
        self.check_form(form)
        if form == "benchmark":
            data = self.datasets[self.dataset]
            changes = {"image": data.image, "classes": data.classes} | changes
        config = replace(NETWORKS[form], **changes)
        if config.channels % CHOICES or config.cells != 1:
            raise UserError(
                f"{self.name}: {config.channels} channels, {config.cells} cells per stage; give a multiple of {CHOICES}"
                " channels, of which the widths are eighths, and one cell"
            )
        return SizeNetwork(config)

    def params(self, archs: np.ndarray) -> np.ndarray:
        return _total(_params_tables(self.datasets[self.dataset]), archs)

    def flops(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the benchmark's number for one image: multiply-adds, and one for each of the logits' biases."""
        data = self.datasets[self.dataset]
        return _total(_flops_tables(data), archs) + data.classes

    def layers(self, archs: np.ndarray) -> np.ndarray:
        return _total(_layers_tables(self.datasets[self.dataset]), archs)

    def spectral_capacity(self, archs: np.ndarray) -> np.ndarray:
        return _total(_capacity_tables(self.datasets[self.dataset]), archs)


def _ops(data: Dataset, layer: int, before: int, after: int) -> Iterator[tuple[Op, int]]:
    """Yield the ops, and the pixels of their inputs, of one layer from `before` to `after` channels.

    The first layer comes with the stem, the last one with the head. A cell whose width changes replaces its skip
    connection by a 1x1 convolution; a reduction is a residual block at stride 2.
    """
    conv = functools.partial(ConvNorm, layout=NHWC)
    pixels = (data.image[0] >> layer // 2) ** 2
    if layer % 2:
        yield conv(before, after, 3, stride=2), pixels
        yield conv(after, after, 3), pixels // 4
        yield conv(before, after, 1, relu=False, norm=False), pixels // 4
        return
    if layer == 0:
        yield conv(3, before, 3, relu=False), pixels
    yield from [(conv(before, after, 3), pixels)] * CELL_INPUT_CONVS
    yield from [(conv(after, after, 3), pixels)] * CELL_INNER_CONVS
    if before != after:
        yield conv(before, after, 1), pixels
    if layer == LAYERS - 1:
        yield Head(after, data.classes, NHWC), pixels


def _tables(data: Dataset, count: Callable[[Op, int], float]) -> np.ndarray:
    """The cost of each layer `[5, 8, 8]` by the positions of the widths before and after it."""
    return np.array(
        [
            [[sum(count(*op) for op in _ops(data, layer, a, b)) for b in WIDTHS] for a in WIDTHS]
            for layer in range(LAYERS)
        ]
    )


@functools.cache
def _params_tables(data: Dataset) -> np.ndarray:
    return _tables(data, lambda op, pixels: op.num_params)


@functools.cache
def _flops_tables(data: Dataset) -> np.ndarray:
    return _tables(data, lambda op, pixels: op.flops(pixels))


@functools.cache
def _layers_tables(data: Dataset) -> np.ndarray:
    return _tables(data, lambda op, pixels: op.num_layers)


@functools.cache
def _capacity_tables(data: Dataset) -> np.ndarray:
    return _tables(data, lambda op, pixels: op.capacity)


def _total(tables: np.ndarray, archs: np.ndarray) -> np.ndarray:
    archs = np.asarray(archs)
    before = np.concatenate([archs[:, :1], archs[:, :-1]], 1)
    return tables[np.arange(LAYERS), before, archs].sum(-1)


NATS_SIZE = NATSSize()
