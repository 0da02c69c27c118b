"""`jaxnas export`: one architecture with its weights as a file for other programs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxnas import spaces
from jaxnas.cli import frame
from jaxnas.commands.top import Top, ranking
from jaxnas.errors import UserError
from jaxnas.export import Winner, formats
from jaxnas.export.winner import read_result
from jaxnas.tables.named import is_named
from jaxnas.tables.store import RESULT

SPACE = "nasbench201"


@dataclass(frozen=True)
class Export:
    """Write an architecture as a file for other programs.

    It is the benchmark's network, its batch normalisations in evaluation mode.
    """

    winner: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="ARCH|RESULT|DIR")]]
    """An architecture, in any form that its space reads; the result.json of `jaxnas search`, or its directory; or a
    directory that `jaxnas score` wrote (or table:NAME), of which the best row is taken."""
    to: formats.Name
    """`flax`: a Python file that builds the module, weights beside it (.npz). `stablehlo`: one file, as `jax.export`
    reads it, for any number of images. `onnx`: likewise. `torch`: a Python file with a plain PyTorch module, weights
    beside it (.npz)."""
    space: str | None = None
    """Search space, SPACE:DATASET for the network for another data set of its benchmark; by default that of the result
    or the table, of a mere architecture nasbench201."""
    by: str | None = None
    """Score by which a row of a table is best, as for `jaxnas top`."""
    weights: Path | None = None
    """Trained weights: an .npz file such as --to flax and examples/train_winner.py write."""
    seed: int = 0
    """Seed of the weights that are drawn."""
    out: Path = Path("winner")
    """Path of the file, with or without its suffix: .py, .stablehlo or .onnx."""


def export(config: Export) -> None:
    """Run the command."""
    formats.check(config.to, config.out)
    space, arch = _chosen(config)
    winner = Winner.build(space, arch, seed=config.seed)
    if config.weights is not None:
        winner.load(config.weights)
    written = formats.write(winner, config.to, config.out)
    origin = f"drawn from seed {config.seed}" if config.weights is None else f"of {config.weights}"
    print(f"{winner.space}: {winner.arch}")
    print(f"  {winner.parameters:,} parameters {origin}; {winner.classes} classes of images {_sizes(winner)}")
    print(f"written to {' and '.join(map(str, written))}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Export, export, argv, prog="jaxnas export")


def _chosen(config: Export) -> tuple[str, str]:
    """The names of the space and of the architecture that are meant."""
    given = config.winner
    result = os.path.join(given, RESULT)
    if given.endswith(".json") or os.path.isfile(result):  # of `os`: an architecture may be too long for a path
        own, arch = read_result(Path(given if given.endswith(".json") else result))
    elif os.path.isdir(given) or is_named(given):
        own, arch = _best(config)
    else:
        own, arch = config.space or SPACE, config.winner
    space = own if config.space is None else config.space
    if not spaces.same_scores(spaces.get(space), spaces.get(own)):
        raise UserError(f"--space {space}: {given} is of {own}; leave --space out, or say {own}:DATASET")
    return space, arch


def _best(config: Export) -> tuple[str, str]:
    found = ranking(Top(Path(config.winner), by=config.by))
    if not len(found.best):
        raise UserError(f"no architecture of {config.winner} has a {found.by}; say another score: --by")
    return found.manifest["settings"]["space"], found.table["arch"][int(found.best[0])]


def _sizes(winner: Winner) -> str:
    return "x".join(map(str, winner.image))
