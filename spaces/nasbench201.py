"""NAS-Bench-201 (Dong and Yang, ICLR 2020): cells of four nodes, six edges, five operations; 15,625 architectures.

#params and FLOPs are the benchmark's own, for each of its data sets (`nasbench201`, `nasbench201:cifar100`,
`nasbench201:imagenet16-120`). Source: the counts in NATS-Bench's files (Dong et al., TPAMI 2021). NASLib's tables
(`c10_mflops`) count normalisations, ReLUs and poolings, too.
"""

import re
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from jaxnas.errors import UserError
from jaxnas.layers import AvgPool, ConvNorm, Identity, Op, Zero
from jaxnas.network import Config
from jaxnas.spaces.cell import CellSpace
from jaxnas.spaces.cell_network import Cell, CellNetwork
from jaxnas.spaces.datasets import NATS_BENCH

EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def ops(channels: int, config: Config) -> tuple[Op, ...]:
    """Return the operations on `channels` channels, in the benchmark's order."""
    layout = config.layout

    def conv(size: int) -> ConvNorm:
        return ConvNorm(channels, channels, size, layout, affine=config.affine_cells, bn=config.bn)

    return (Zero(channels, layout), Identity(channels, layout), conv(1), conv(3), AvgPool(channels, layout))


def encode_string(string: str) -> list[str]:
    """Return the six op names of `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`."""
    expected = "expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
    if not string.strip():
        raise UserError(f"malformed architecture {string!r}: it is empty; {expected}")
    nodes = string.strip().split("+")
    if len(nodes) != 3:
        raise UserError(f"malformed architecture {string!r}: {len(nodes)} nodes instead of 3; {expected}")
    names: list[str] = []
    for target, node in enumerate(nodes, start=1):
        terms = node.strip("|").split("|")
        if len(terms) != target or not (node.startswith("|") and node.endswith("|")):
            raise UserError(f"malformed architecture {string!r}: node {target} needs {target} edges; {expected}")
        for source, term in enumerate(terms):
            match = re.fullmatch(r"(\w+)~(\d)", term)
            if match is None or int(match[2]) != source:
                raise UserError(
                    f"malformed architecture {string!r}: edge {len(names)} ({target}<-{source}) is {term!r}, "
                    f"expected OP~{source} with OP one of {', '.join(OPS)}"
                )
            names.append(match[1])
    return names


def decode_string(names: list[str]) -> str:
    """Return the official string of six op names."""
    terms = [f"|{name}~{source}" for name, (_, source) in zip(names, EDGES, strict=True)]
    return f"{terms[0]}|+{''.join(terms[1:3])}|+{''.join(terms[3:])}|"


@dataclass(frozen=True)
class NASBench201(CellSpace):
    """The space, whose benchmark network depends on the data set."""

    convention: str = (
        "multiply-adds of the convolutions and the classifier, and the classifier's biases: NATS-Bench's own count "
        "(#params equal its table on all 15,625 cells, FLOPs its published numbers of 5)"
    )
    dataset: str = "cifar10"
    datasets = NATS_BENCH

    def network(self, purpose: str = "benchmark", group: Hashable = None, **changes) -> CellNetwork:
        if purpose == "benchmark":
            data = self.datasets[self.dataset]
            changes = {"image": data.image, "classes": data.classes} | changes
        return super().network(purpose, group, **changes)

    def flops(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the benchmark's number for one image: multiply-adds, and one for each of the logits' biases."""
        return super().flops(archs) + self.datasets[self.dataset].classes


NASBENCH201 = NASBench201(
    name="nasbench201",
    cell=Cell(EDGES, ops, OPS),
    zero=0,
    identity=1,
    parametric=(2, 3),
    networks={
        "benchmark": Config(channels=16, cells=5),
        "ntk": Config(channels=3, cells=1),
        "regions": Config(channels=1, cells=1, stages=1, stem=False, image=(3, 3, 1)),
        "regression": Config(channels=16, cells=5, affine_cells=False, init="pytorch"),
    },
    encode_string=encode_string,
    decode_string=decode_string,
    silent=True,
)
