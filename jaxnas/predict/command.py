"""The command line `python -m jaxnas.predict`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from jaxnas import spaces
from jaxnas.cli import frame
from jaxnas.cli.common import parts
from jaxnas.errors import UserError, check_least, check_package, check_seed, unknown
from jaxnas.learn.models import MODELS
from jaxnas.learn.transfer import PRIOR, TRANSFERS
from jaxnas.predict import report
from jaxnas.predict.examples import Architectures, Examples, asked_for, check_coverage, coverage
from jaxnas.predict.fitting import Problem, Read, fit
from jaxnas.tables.archs import read_architectures

Column = Annotated[str | None, tyro.conf.arg(metavar="COLUMN")]
File = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]
Name = Annotated[str | None, tyro.conf.arg(metavar="NAME")]


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Predict a measured value from a few labels and from training-free scores."""

    train: Path
    """Table (.csv, .parquet, ...) with architectures and measured values; several rows of an architecture, such as
    seeds, count as their mean."""
    target: str
    """Column of --train to predict, for example `c10_test_200`; rows without a value are not learnt from."""
    space: str = "nasbench201"
    """Search space."""
    lower_is_better: bool = False
    """The target is an error, a loss or a perplexity."""
    key: Column = None
    """Column of architectures of all the tables; by default `arch`, `arch_str` or what the space's benchmark has."""
    predict: str = "all"
    """Architectures to predict: `all`, `random:N`, or a table."""
    model: str = "graph"
    """`graph`: a graph network on pairs, a prior on the scores with it. `ridge`: ridge regression on ranks of the
    scores. `trees`: boosted trees on scores and features of the graph. `gp`: a Gaussian process around the score that
    needs no label, on scores and features of the graph."""
    scores: str = ""
    """Comma-separated directories of `jaxnas.score`, or table:NAME; #params and FLOPs are always there."""
    allow_missing_scores: bool = False
    """Go on where a score is there for less than half of the labelled architectures, or of those to predict; an
    architecture without a score ranks last by it."""
    features: str = ""
    """Comma-separated numeric columns of --train, --predict FILE and --source that serve as scores, too; higher is
    taken for better."""
    source: File = None
    """Table of another task, to learn from first."""
    source_target: Column = None
    """Column of --source to learn from."""
    source_space: Name = None
    """Search space of --source, if it is another one; with as many cells as --space, and the same scores."""
    source_scores: str = ""
    """What --scores is for --space, for --source-space: directories with the same scores in the same order."""
    source_lower_is_better: bool = False
    """The source's target is an error, a loss or a perplexity."""
    transfer: Name = None
    """What happens to what was learnt from the source. `prior`, the default but for the model `graph`: its prediction
    is half of the score from which the labels start. With `graph` alone: `zero-shot` nothing; `head`: its last layer is
    trained on; `finetune`, the default there: all of it; `residual`: ridge regression on the scores learns what it
    leaves."""
    folds: int = 5
    """Parts of the training rows; each is predicted from the others to estimate how good the predictions are."""
    seed: int = 0
    """Seed of the folds, the models and the random sample of architectures."""
    out: Path | None = None
    """Directory for the predictions, in the form of `jaxnas.score` (so for `jaxnas.correlate`), and result.json."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""


def predict(config: Predict) -> None:
    """Run the command."""
    _check(config)
    problem = _read(config)
    fitted = fit(problem, model=config.model, transfer=_transfer(config), folds=config.folds, seed=config.seed)
    record = report.as_json(problem, fitted, _settings(config))
    if config.out is not None:
        report.write(config.out, problem, fitted, record)
    if config.json:
        print(json.dumps(record, allow_nan=False))
    else:
        report.show(record, out=config.out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m jaxnas.predict` and return its exit code."""
    return frame.run(Predict, predict, argv, prog="jaxnas predict")


def _check(config: Predict) -> None:
    if config.model not in MODELS:
        raise unknown("model", config.model, MODELS)
    if config.model in ("trees", "gp"):
        check_package(f"--model {config.model}", "sklearn", "learn")
    if config.transfer is not None and config.transfer not in (PRIOR, *TRANSFERS):
        raise unknown("transfer", config.transfer, (PRIOR, *TRANSFERS))
    check_least(config, {"folds": 2})
    check_seed(config.seed)
    if (config.source is None) != (config.source_target is None):
        raise UserError("--source TABLE and --source-target COLUMN go together; give both or neither")
    given = {"--transfer": config.transfer is not None, "--source-lower-is-better": config.source_lower_is_better}
    if config.source is None and any(given.values()):
        raise UserError(f"{' and '.join(name for name in given if given[name])} without --source; give both or neither")
    if config.transfer in TRANSFERS and config.model != "graph":
        raise UserError(f"--transfer {config.transfer} needs the model graph, not {config.model}; say --transfer prior")
    if config.source_space is not None and config.source is None:
        raise UserError("--source-space says of which space the --source is; give both or neither")
    if config.source_space is not None and spaces.name_of(config.source_space) == spaces.name_of(config.space):
        raise UserError(f"--source-space {config.space} is the --space itself; leave it out")
    if config.source_scores and config.source_space is None:
        raise UserError("--source-scores goes with --source-space; those of a source of the same space are in --scores")


def _read(config: Predict) -> Problem:
    """Read the tables and join them."""
    space, key = spaces.get(config.space), config.key
    train = read_architectures(config.train, space, key)
    asked, listed = asked_for(space, config.predict, config.seed, key)
    source = None if config.source is None or config.source_space else read_architectures(config.source, space, key)
    known = Architectures.join(space, [asked, train.archs, *([] if source is None else [source.archs])])
    tables = {place: table for place, table in enumerate((listed, train, source)) if table is not None}
    sign = _sign(config.lower_is_better)
    labels = known.labels(train, config.target, sign)
    rows = np.unique(known.places[0], return_index=True)[1]
    groups = {"labelled": labels.rows, "asked-for": (chosen := known.places[0][np.sort(rows)])}
    given = known.given(_paths(config.scores), tables, parts(config.features))
    examples = None
    if source is not None and config.source_target is not None:
        of_source = known.labels(source, config.source_target, _sign(config.source_lower_is_better))
        groups["source's"] = of_source.rows
        examples = Examples(known.pool(given), of_source, {})
    elif config.source is not None:
        examples = _elsewhere(config)
    if not config.allow_missing_scores:
        check_coverage(given, groups)
    sizes = {group: len(rows) for group, rows in groups.items()}
    files = given.counts(groups) | ({} if examples is None else examples.files)
    read = Read(len(asked), files, coverage(given, groups))
    return Problem(known, chosen, known.pool(given), labels, sign, examples, sizes, read)


def _elsewhere(config: Predict) -> Examples:
    """Read a source of another space."""
    assert config.source is not None and config.source_space is not None and config.source_target is not None
    space = spaces.get(config.source_space)
    table = read_architectures(config.source, space, config.key)
    known = Architectures.join(space, [table.archs])
    labels = known.labels(table, config.source_target, _sign(config.source_lower_is_better))
    given = known.given(_paths(config.source_scores), {0: table}, parts(config.features))
    if not config.allow_missing_scores:
        check_coverage(given, {"source's": labels.rows})
    return Examples(known.pool(given), labels, given.counts({"source's": labels.rows}))


def _sign(lower_is_better: bool) -> int:
    return -1 if lower_is_better else 1


def _paths(text: str) -> list[Path]:
    return [Path(item) for item in parts(text)]


def _transfer(config: Predict) -> str:
    return config.transfer or ("finetune" if config.model == "graph" else PRIOR)


def _settings(config: Predict) -> dict[str, Any]:
    """What the predictions depend on."""
    given = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}
    kept = {name: value for name, value in given.items() if name not in ("out", "json")}
    transfer = None if config.source is None else _transfer(config)
    return kept | {"space": spaces.name_of(config.space), "transfer": transfer}
