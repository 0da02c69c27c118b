"""The tables of the transfer protocol: where architectures, measured values and training-free scores come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from bench.core import benchmarks
from jaxnas import spaces
from jaxnas.learn.features import Pool, counts_of, make_pool
from jaxnas.predict.examples import Architectures
from jaxnas.tables.archs import Table, read_architectures, read_table
from jaxnas.tables.store import read_scores

PROXIES = "published_proxies/nasbench201_naslib_9445.parquet"
SCORES = ("jacov",)  # of the default consensus what costs little, beside the live counts
PROXY, DATASET = "proxy_", "c10_"  # before the names of its columns, here and in the file


class Measured(NamedTuple):
    """The architectures of a table.

    Attributes:
      pool: what models see of them.
      values: measured `[N]`, higher is better.
      counts: #params, FLOPs, live FLOPs and live layers `[N]` each.
      classes: `[N]`, the same for isomorphic architectures.
    """

    pool: Pool
    values: np.ndarray
    counts: dict[str, np.ndarray]
    classes: np.ndarray


@dataclass(frozen=True)
class Data:
    """A column of a table.

    Attributes:
      space: of the architectures.
      table: file in the folder of the benchmarks.
      column: measured values, higher is better.
      proxies: take the 13 published proxies on CIFAR-10 instead of our own scores; the architectures that have them.
      scores: our own ones.
    """

    space: str
    table: str
    column: str
    proxies: bool = False
    scores: tuple[str, ...] = SCORES

    def read(self, scores: Path) -> Measured:
        """The architectures that have scores in the directory `scores`/SPACE, or published proxies."""
        space = spaces.get(self.space)
        table = read_architectures(benchmarks.folder() / self.table, space)
        where = scores / self.space
        extra = published() if self.proxies else read_scores(where)[0].select("arch")
        table = with_value(table, self.column)
        table = joined(table, extra, [space.decode(arch) for arch in table.archs])
        known = Architectures.join(space, [table.archs])
        if self.proxies:
            names = [name for name in extra.columns if name.startswith(PROXY)]
            found = known.given([], {0: table}, names).scores
            own = {name.removeprefix(PROXY + DATASET): values for name, values in found.items()}
        else:
            found = known.given([where], {}, []).scores
            own = {name: found[name] for name in self.scores}
        pool, counts = make_pool(space, known.archs, own), counts_of(space, known.archs)
        classes = np.unique(space.canonical(known.archs), axis=0, return_inverse=True)[1].reshape(-1)
        return Measured(pool, known.labels(table, self.column, 1).values, counts, classes)


def with_value(table: Table, column: str) -> Table:
    """The rows of a table that have a number in the column."""
    known = np.isfinite(table.numbers(column))
    return Table(table.path, table.frame.filter(pl.Series(known)), table.archs[known])


def published() -> pl.DataFrame:
    """The index and the proxies of the architectures that have them."""
    table = read_table(benchmarks.folder() / PROXIES)
    columns = [name for name in table.columns if name.startswith(DATASET)]
    return table.select("idx", pl.col(columns).name.prefix(PROXY))


def joined(table: Table, extra: pl.DataFrame, strings: list[str]) -> Table:
    """The rows of a table that are in `extra`, with its columns; its first one says which rows they are."""
    frame = table.frame.with_columns(arch=pl.Series(strings)).with_row_index("place")
    frame = frame.join(extra, on=extra.columns[0], how="inner", maintain_order="left")
    return Table(table.path, frame, table.archs[frame["place"].to_numpy()])
