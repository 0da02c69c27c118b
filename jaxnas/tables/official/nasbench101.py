"""NAS-Bench-101: a TFRecord file of JSON lists, whose metrics are protocol buffers in base64."""

import base64
import binascii
import json
import math
from pathlib import Path
from typing import Any

import polars as pl

from jaxnas.errors import UserError
from jaxnas.tables.official.protobuf import fields
from jaxnas.tables.official.tfrecord import read_records

FILE = "nasbench_only108.tfrecord or nasbench_full.tfrecord"
EVALUATIONS, PARAMETERS = 1, 2  # fields of ModelMetrics
EVALUATION = {1: "epoch", 2: "seconds", 3: "train", 4: "valid", 5: "test"}  # fields of EvaluationData


def read(path: Path) -> pl.DataFrame:
    """A row for each architecture and repeat of its training, with columns such as `test_108`: split, epochs.

    The records have no seeds: `seed` numbers the trainings of an architecture with the same number of epochs.

    Raises:
      UserError: the file is another one, or damaged.
    """
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    repeats: dict[tuple[str, int], int] = {}
    strings: dict[str, str] = {}
    for number, record in enumerate(read_records(path)):
        try:
            name, epochs, matrix, ops, metrics = json.loads(record)
            if name not in strings:
                strings[name] = _architecture(matrix, ops)
            evaluation, params = _metrics(base64.b64decode(metrics))
            epochs = int(epochs)
        except (ValueError, TypeError, binascii.Error) as error:
            raise UserError(f"{path}: record {number} is no training of a cell ({error}); give {FILE}") from None
        seed = repeats[name, epochs] = repeats.get((name, epochs), -1) + 1
        start = {"arch": strings[name], "seed": seed, "module_hash": name, "trainable_parameters": params}
        row = rows.setdefault((name, seed), start)
        row |= {f"{split}_{epochs}": evaluation.get(split, math.nan) for split in ("valid", "test", "train", "seconds")}
    if not rows:
        raise UserError(f"{path} has no records; give {FILE}")
    return pl.DataFrame([rows[key] for key in sorted(rows)], infer_schema_length=None)


def _architecture(matrix: str, ops: str) -> str:
    """The string of a cell, from its matrix in one row of digits and its operations, separated by commas."""
    names = ops.split(",")
    size = len(names)
    if len(matrix) != size**2:
        raise ValueError(f"{len(matrix)} digits for {size} vertices")
    rows = [[int(digit) for digit in matrix[row * size : (row + 1) * size]] for row in range(size)]
    return json.dumps({"matrix": rows, "ops": names}, separators=(",", ":"))


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
