"""NAS-Bench-101: a TFRecord file of JSON lists, whose metrics are protocol buffers in base64."""

import base64
import binascii
import json
from pathlib import Path
from typing import Any

import polars as pl

from jaxnas.errors import UserError
from jaxnas.spaces.nasbench101.dag import VERTICES
from jaxnas.spaces.nasbench101.network import OPS
from jaxnas.spaces.nasbench101.space import NASBENCH101
from jaxnas.spaces.nasbench101.table import COLUMNS
from jaxnas.tables.official.protobuf import fields
from jaxnas.tables.official.tfrecord import read_records
from jaxnas.tables.release import SEED

FILE = "nasbench_only108.tfrecord or nasbench_full.tfrecord"
EVALUATIONS, PARAMETERS = 1, 2  # fields of ModelMetrics
SPLITS = ("valid", "test", "train", "seconds")
EVALUATION = {1: "epoch", 2: "seconds", 3: "train", 4: "valid", 5: "test"}  # fields of EvaluationData


def read(path: Path) -> pl.DataFrame:
    """A row for each architecture and repeat of its training, with columns such as `test_108`: split, epochs.

    Architectures are in the columns of numbers that the space reads. The records have no seeds: `seed` numbers the
    trainings of an architecture with the same number of epochs.

    Raises:
      UserError: the file is another one, or damaged.
    """
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    repeats: dict[tuple[str, int], int] = {}
    for number, record in enumerate(read_records(path)):
        try:
            name, epochs, matrix, ops, metrics = json.loads(record)
            evaluation, params = _metrics(base64.b64decode(metrics))
            seed = repeats.get((name, epochs), 0)
            if (name, seed) not in rows:
                beside = {SEED: seed, "module_hash": name, "trainable_parameters": params}
                rows[name, seed] = dict(zip(COLUMNS, _architecture(matrix, ops), strict=True)) | beside
            measured = {f"{split}_{int(epochs)}": evaluation.get(split) for split in SPLITS}
        except (ValueError, TypeError, binascii.Error) as error:
            raise UserError(f"{path}: record {number} is no training of a cell ({error}); give {FILE}") from None
        repeats[name, epochs] = seed + 1
        rows[name, seed] |= measured
    if not rows:
        raise UserError(f"{path} has no records; give {FILE}")
    table = pl.DataFrame([rows[key] for key in sorted(rows)], infer_schema_length=None)
    complete = table["module_hash"].n_unique() == NASBENCH101.size
    ids = pl.col("module_hash").rank("dense").cast(pl.Int64) - 1
    return table.with_columns(arch_id=ids) if complete else table


def _architecture(matrix: str, ops: str) -> list[int]:
    """The numbers of a cell, from its matrix in one row of digits and its operations, separated by commas."""
    names = ops.split(",")
    size = len(names)
    if len(matrix) != size**2:
        raise ValueError(f"{len(matrix)} digits for {size} vertices")
    edges = [divmod(place, size) for place, digit in enumerate(matrix) if digit != "0"]
    if any(x >= y for x, y in edges) or size > VERTICES:
        raise ValueError("edges that lead back, or too many vertices")
    inside = [OPS.index(name) for name in names[1:-1]]
    bits = sum(1 << (x + y * (y - 1) // 2) for x, y in edges)
    return [size, bits, *inside, *[-1] * (VERTICES - 2 - len(inside))]


def _metrics(message: bytes) -> tuple[dict[str, float], int | None]:
    """What was measured after the last epoch, and the number of parameters."""
    evaluations: list[dict[str, float]] = []
    params = None
    for number, value in fields(message):
        if number == EVALUATIONS and isinstance(value, bytes):
            inside = fields(value)
            evaluations.append(
                {EVALUATION[n]: float(v) for n, v in inside if n in EVALUATION and not isinstance(v, bytes)}
            )
        elif number == PARAMETERS and isinstance(value, int):
            params = value
    if not evaluations:
        raise ValueError("metrics without evaluations")
    return max(evaluations, key=lambda found: found.get("epoch", 0.0)), params
