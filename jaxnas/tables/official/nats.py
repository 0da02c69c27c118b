"""NAS-Bench-201 and NATS-Bench: one pickle of all architectures, each with its trainings."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from jaxnas.errors import UserError
from jaxnas.tables.official.pickles import read_pickle

FILES = {  # space: file of the benchmark, to name it
    "nasbench201": "NATS-tss-v1_0-3ffb9.pickle.pbz2 or NAS-Bench-201-v1_1-096897.pth",
    "nats_size": "NATS-sss-v1_0-50262.pickle.pbz2",
}


def read(space: str, path: Path) -> pl.DataFrame:
    """A row for each architecture and seed of its trainings.

    Accuracies after the last epoch are in columns such as `cifar10_ori-test_200`: data set, split as the benchmark
    calls it, epochs of the training.

    Raises:
      UserError: the file is another one.
    """
    found = read_pickle(path, f"give the benchmark's own file, {FILES[space]}")
    try:
        archs, infos = list(found["meta_archs"]), found["arch2infos"]
        rows: dict[tuple[int, int], dict[str, Any]] = {}
        for index, by_budget in infos.items():
            for seed, column, value in _values(by_budget):
                row = rows.setdefault((int(index), seed), {"arch": str(archs[int(index)]), "seed": seed})
                row[column] = value
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path} is no file of all architectures ({type(error).__name__}: {error}); give {FILES[space]}"
        ) from None
    return pl.DataFrame([rows[key] for key in sorted(rows)], infer_schema_length=None)


def _values(by_budget: Mapping[str, Any]) -> Iterator[tuple[int, str, float]]:
    """Yield seed, column and accuracy of the trainings of one architecture."""
    for info in by_budget.values():
        for (dataset, seed), result in info["all_results"].items():
            last: dict[str, int] = {}
            accuracies = _field(result, "eval_acc1es")
            for name in accuracies:
                split, _, epoch = name.partition("@")
                last[split] = max(last.get(split, 0), int(epoch))
            for split, epoch in last.items():
                column = f"{dataset}_{split}_{_field(result, 'epochs')}"
                yield int(seed), column, float(accuracies[f"{split}@{epoch}"])


def _field(result: Mapping[str, Any], name: str) -> Any:
    """A field of a training; some versions of the file have an underscore before the names."""
    return result[name] if name in result else result[f"_{name}"]
