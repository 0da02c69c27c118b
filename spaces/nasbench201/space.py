"""NAS-Bench-201 (Dong and Yang, ICLR 2020): cells of four nodes, six edges, five operations; 15,625 architectures.

Its strings are the benchmark's, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`. Read as well are the benchmark's index (`1234`),
op indices in the order of this space (`[3, 3, 4, 1, 3, 1]`), AutoDL's `Structure(...)` and lists of nodes, NNI's
dictionaries (`{"0_1": "conv_3x3", ...}`) and, marked as such, NASLib's tuples (`naslib:(4, 0, 3, 1, 4, 3)`).

#params and FLOPs are the benchmark's own, for each of its data sets (`nasbench201`, `nasbench201:cifar100`,
`nasbench201:imagenet16-120`). Source: the counts in NATS-Bench's files (Dong et al., TPAMI 2021). NASLib's tables
(`c10_mflops`) count normalisations, ReLUs and poolings, too.
"""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from jaxnas.network.network import Config
from jaxnas.network.op import Op
from jaxnas.network.ops import AvgPool, ConvNorm, Identity, Zero
from jaxnas.spaces.cell.network import Cell, CellNetwork
from jaxnas.spaces.cell.space import CellSpace
from jaxnas.spaces.datasets import NATS_BENCH
from jaxnas.spaces.nasbench201.text import EDGES, OPS, op_names, order


def ops(channels: int, config: Config) -> tuple[Op, ...]:
    """The operations on `channels` channels, in the benchmark's order."""
    layout = config.layout

    def conv(size: int) -> ConvNorm:
        return ConvNorm(channels, channels, size, layout, affine=config.affine_cells, bn=config.bn)

    return (Zero(channels, layout), Identity(channels, layout), conv(1), conv(3), AvgPool(channels, layout))


def decode_string(names: list[str]) -> str:
    """The official string of six op names."""
    terms = [f"|{name}~{source}" for name, (_, source) in zip(names, EDGES, strict=True)]
    return f"{terms[0]}|+{''.join(terms[1:3])}|+{''.join(terms[3:])}|"


@dataclass(frozen=True)
class NASBench201(CellSpace):
    """The space, whose benchmark network depends on the data set."""

    convention: str = (
        "multiply-adds of the convolutions and the classifier, and the classifier's biases: NATS-Bench's own count (on "
        "CIFAR-10 #params equal its table on all cells and FLOPs its numbers of 4, on CIFAR-100 both those of one)"
    )
    dataset: str = "cifar10"
    datasets = NATS_BENCH

    @property
    def reads(self) -> str:  # type: ignore[override]
        return f"{super().reads}, AutoDL's Structure(...) and lists of nodes, NNI's dictionaries, naslib:(...)"

    def network(self, form: str = "benchmark", group: Hashable = None, **changes) -> CellNetwork:
        if form == "benchmark":
            data = self.datasets[self.dataset]
            changes = {"image": data.image, "classes": data.classes} | changes
        return super().network(form, group, **changes)

    def flops(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the benchmark's number for one image: multiply-adds, and one for each of the logits' biases."""
        return super().flops(archs) + self.datasets[self.dataset].classes


NASBENCH201 = NASBench201(
    name="nasbench201",
    cell=Cell(EDGES, ops, OPS),
    zero=0,
    identity=1,
    parametric=(2, 3),
    configs={
        "benchmark": Config(channels=16, cells=5),
        "thin": Config(channels=3, cells=1),
        "patches": Config(channels=1, cells=1, stages=1, stem=False, image=(3, 3, 1)),
        "taps": Config(channels=16, cells=5, affine_cells=False, init="pytorch"),
    },
    encode_string=op_names,
    decode_string=decode_string,
    silent=True,
    order=order,
)
