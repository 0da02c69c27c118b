"""The measured values that scores are compared with: a table for each space."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from bench.core import benchmarks
from jaxnas import spaces
from jaxnas.errors import UserError
from jaxnas.tables.joins import different


@dataclass(frozen=True)
class Truth:
    """A table of measured values.

    Attributes:
      table: file in the folder of the benchmarks.
      targets: columns by name of the task.
      rows: value of the column `space` of the rows that count; None for all.
      sign: -1 where the columns are errors.
    """

    table: str
    targets: dict[str, str]
    rows: str | None = None
    sign: int = 1


class Sample(NamedTuple):
    """Different architectures as strings `[n]`, and their measured values `[n]` by task, higher is better."""

    archs: list[str]
    targets: dict[str, np.ndarray]


TRANSNAS = {"scene": "class_scene_best", "object": "class_object_best", "segmentation": "segmentsemantic_miou_best"}
NDS = {
    name: Truth("nds/imagenet_half.parquet", {"ImageNet": "err_min"}, rows=rows, sign=-1)
    for name, rows in {
        "darts:imagenet": "DARTS_in",
        "darts_fix_w_d:imagenet": "DARTS_fix-w-d_in",
        "enas:imagenet": "ENAS_in",
        "nasnet:imagenet": "NASNet_in",
        "amoeba:imagenet": "Amoeba_in",
        "pnas:imagenet": "PNAS_in",
        "resnext_a:imagenet": "ResNeXt-A_in",
        "resnext_b:imagenet": "ResNeXt-B_in",
    }.items()
}
TRUTHS: dict[str, Truth] = {
    "nasbench201": Truth("nasbench201/accuracies.parquet", {"CIFAR-10": "c10_test_200"}),
    "nasbench101": Truth("nasbench101/accuracies_sample.parquet", {"CIFAR-10": "c10_test_108_mean3"}),
    "transnas101_micro": Truth("transnas101/micro.parquet", TRANSNAS),
    "transnas101_macro": Truth("transnas101/macro.parquet", TRANSNAS),
    "nasbench_macro": Truth("nasbench_macro/c10_half.parquet", {"CIFAR-10": "mean_acc"}),
    "darts": Truth("darts/c10_half.parquet", {"CIFAR-10": "acc"}),
    **NDS,
}


def sample(name: str, count: int, seed: int = 0) -> Sample:
    """`count` architectures of the table of the space called `name`, all equally likely; all where it has no more.

    Raises:
      UserError: the table is not there.
    """
    truth, space = TRUTHS[name], spaces.get(name)
    path = benchmarks.folder() / truth.table
    if not path.exists():
        raise UserError(f"{path} is not there; set JAXNAS_DATA to the folder of the benchmarks' tables")
    frame = pl.read_parquet(path).drop_nulls(list(truth.targets.values()))
    if truth.rows is not None:
        frame = frame.filter(pl.col("space") == truth.rows)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(frame))[:count])
    frame = frame[chosen]
    archs = space.from_table(frame.to_dict())
    first, _ = different(archs)
    strings = [space.decode(arch) for arch in archs[first]]
    return Sample(
        strings, {task: truth.sign * frame[column].to_numpy()[first] for task, column in truth.targets.items()}
    )
