"""The commands as functions: what `import jaxnas` gives for a notebook or a program of one's own."""

import io
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from jaxnas import data as images
from jaxnas import spaces
from jaxnas.cli.options import SCORERS, Options
from jaxnas.correlate.comparison import read
from jaxnas.correlate.pairs import OF_SCORES, Pair
from jaxnas.correlate.report import flat
from jaxnas.data import Source
from jaxnas.digest import digest
from jaxnas.errors import UserError, unknown
from jaxnas.pinned import under_pinned
from jaxnas.score import table as rows
from jaxnas.scorers.protocol import AnyScore
from jaxnas.scorers.registry import listed
from jaxnas.search.command import Search, find
from jaxnas.search.methods import METHODS
from jaxnas.spaces import Space
from jaxnas.user_cache import keep, user_cache

Archs = str | Sequence[str] | np.ndarray
Scorers = str | AnyScore | Sequence[str | AnyScore]
Place = str | Path | pl.DataFrame
Oracle = Place | Callable[[str], float | Mapping[str, float]]


@dataclass(frozen=True)
class Result:
    """What a search found.

    Attributes:
      arch: string of the chosen architecture.
      scores: its numbers by name.
      feasible: it keeps the limits; if not, it is the best of those that break one, as all do.
      evaluations: networks that were evaluated.
      seconds: that this took.
      front: of several objectives the Pareto front, best known architectures with their numbers.
      record: everything, as `result.json` has it.
      path: directory of the run; None where it was not kept.
    """

    arch: str
    scores: Mapping[str, Any]
    feasible: bool
    evaluations: int
    seconds: float
    front: Sequence[Mapping[str, Any]]
    record: Mapping[str, Any]
    path: Path | None


@under_pinned
def score_archs(
    space: str | Space,
    archs: Archs = "all",
    scorers: Scorers = "consensus",
    *,
    data: str | Source = "synthetic",
    repeats: int = 1,
    seed: int = 0,
    devices: int | None = None,
    dedup: bool = True,
) -> pl.DataFrame:
    """Score architectures, as `jaxnas score` does, into a table in memory.

    Args:
      space: name, such as `nasbench201`, or a `Space`.
      archs: strings, one string, arrays `[N, A]` or `[A]`; or `all`, `random:N`, or a file that lists them.
      scorers: names, separated by commas or in a list, and scores with options such as `jaxnas.scorers.NTK(images=32)`.
      data: images, by name or as `jaxnas.data.load` returns them.
      repeats: measurements of each score, each with new inputs and weights.
      seed: of weights, inputs and random architectures.
      devices: number of devices; by default all.
      dedup: isomorphic architectures are scored once.

    Returns:
      A row for each architecture in its order: `arch_id`, `arch`, `scored_as`, and of each score the value, its
      deviation, its status and what else it knows; `params`, `flops` and `live_flops` are always there.

    Raises:
      UserError: something is not there, malformed, or does not go together; the message is one line.
    """
    found, (names, given, more) = _space(space), _named(scorers)
    options: dict[str, Any] = {"space": space, "scorers": names, "repeats": repeats, "seed": seed, "devices": devices}
    config = Options(**options, **given)
    source = _images(data)
    chosen = config.select(found, more)
    asked = _archs(found, archs, seed)
    evaluators = config.evaluators(found, chosen, source)
    work = rows.Work.plan(found, asked, evaluators, dedup=dedup)
    chosen = config.calibrated(found, chosen, evaluators, source)
    return rows.in_memory(work, evaluators, found, chosen).drop("row")


@under_pinned
def run_search(
    space: str | Space = "nasbench201",
    method: str = "sift",
    *,
    scorers: Scorers | None = None,
    oracle: Oracle | None = None,
    maximize: str | Iterable[str] = (),
    minimize: str | Iterable[str] = (),
    at_most: Mapping[str, float] | None = None,
    at_least: Mapping[str, float] | None = None,
    prior: Scorers | None = None,
    warm_start: int = 0,
    budget: int | None = None,
    options: Mapping[str, Any] | None = None,
    data: str = "synthetic",
    repeats: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
) -> Result:
    """Search a space, as `jaxnas search` does.

    Args:
      space: name, or a `Space`.
      method: `sift`, `prune`, `evolve`, `local`, `agnet`, `predictor` or `random`.
      scorers: scores to go by, each in its own direction; by default, where nothing else is named, the method's.
      oracle: what to ask instead, or beside: a table of measurements, a file or a frame; or a function from an
        architecture's string to a number or a dictionary of numbers.
      maximize: objectives of which more is better, a name or several: scores, and numbers of the oracle.
      minimize: those of which less is better.
      at_most: limits from above, by name.
      at_least: limits from below.
      prior: scores that a search by an oracle may look at before it asks.
      warm_start: random architectures of which the prior chooses those to begin with.
      budget: architectures to evaluate; by default the method's.
      options: the method's own, such as `{"population": 20}` of `evolve`.
      data: images, by name.
      repeats: measurements of each score; by default the method's.
      seed: of all draws.
      out: directory to keep the rounds in, where the same call goes on; by default they are not kept. A function of
        which only the object is given is not compared: give `file.py:NAME` where that matters.

    Raises:
      UserError: the arguments do not fit together, or nothing was found; the message is one line.
    """
    _space(space)
    names, given, own = ("", {}, []) if scorers is None else _named(scorers)
    first, before, others = ("", {}, []) if prior is None else _named(prior)
    if own or others:
        name = [*own, *others][0].name
        raise UserError(f"a search takes a score of yours by its file: give 'FILE.py:NAME' for {name!r}")
    if differs := [name for name in given.keys() & before.keys() if given[name] != before[name]]:
        raise UserError(f"scorers and prior have {differs[0]} with other options; give it once, or alike")
    settings: dict[str, Any] = {
        "space": space,
        "method": method,
        "scorers": names or None,
        "maximize": _joined(maximize),
        "minimize": _joined(minimize),
        "at_most": _limits(at_most),
        "at_least": _limits(at_least),
        "prior": first or None,
        "warm_start": warm_start,
        "budget": budget,
        "data": data,
        "repeats": repeats,
        "seed": seed,
        **given,
        **before,
        **_of_method(method, options or {}),
    }
    with tempfile.TemporaryDirectory(prefix="jaxnas-") as folder:
        asked = _kept(oracle, Path(folder)) if isinstance(oracle, Place) else oracle
        config = Search(**settings, oracle=asked, out=str(out or Path(folder) / "run"))  # type: ignore[arg-type]
        found = find(config)
    record = found.record
    return Result(
        arch=record["arch"],
        scores=record["scores"],
        feasible="nearest_miss" not in record,
        evaluations=record["evaluations"],
        seconds=record["seconds"],
        front=record.get("front", []),
        record=record,
        path=None if out is None else found.path,
    )


def compare(
    scores: Place | Sequence[Place],
    table: Place | None,
    target: str,
    *,
    key: str | None = None,
    lower_is_better: bool = False,
    space: str | Space | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> pl.DataFrame:
    """How scores agree with what was measured, as `jaxnas correlate` says it.

    Args:
      scores: frames such as `score_archs` returns, directories, `table:NAME` or files; one, or several in a list.
      table: measured values, a frame or a file; None where the target is `score:NAME`, one of the scores.
      target: its column.
      key: its column of architectures; by default what the space finds.
      lower_is_better: the target is an error or a loss.
      space: of the architectures, where no directory says it.
      bootstrap: resamples behind each 95 % interval.
      seed: of these.

    Returns:
      A row for each score and for #params, FLOPs and live FLOPs: `score`, `n`, `failures`, `spearman` and `kendall`
      with `_low` and `_high`, `spearman_top` (within the best tenth), `partial_given_flops`, `top_target`. Positive
      means that the score agrees with the target.

    Raises:
      UserError: something cannot be read, or there is no architecture in common; the message is one line.
    """
    places = [scores] if isinstance(scores, Place) else list(scores)
    if not places:
        raise UserError("there are no scores to compare; give a frame, a directory or table:NAME")
    if table is None and not target.startswith(OF_SCORES):
        raise UserError(f"no table has the target {target!r}; give one, or {OF_SCORES}NAME for one of the scores")
    if space is None and all(isinstance(place, pl.DataFrame) for place in places):
        raise UserError("frames do not say of which space their architectures are; give space, such as 'nasbench201'")
    with tempfile.TemporaryDirectory(prefix="jaxnas-") as folder:
        read_from = [_place(place, Path(folder) / f"scores{i}.parquet") for i, place in enumerate(places)]
        measured = Path(read_from[0]) if table is None else Path(_place(table, Path(folder) / "table.parquet"))
        name = None if space is None else spaces.name_of(space)
        pair = Pair(tuple(read_from), measured, target, key, lower_is_better, space=name)
        found = read(pair).agreements(resamples=bootstrap, seed=seed)
    records = [{"score": score, **flat(agreement)} for score, agreement in found.items()]
    return pl.DataFrame(records, infer_schema_length=None).drop("label", "top_ties")


def _space(space: str | Space) -> Space:
    if not isinstance(space, str | Space):
        raise UserError(f"the space is {space!r}; give its name, such as 'nasbench201', or a Space")
    return spaces.get(space)


def _of_method(method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a method by its name; `UserError` if it has none that is called so."""
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    of = METHODS[method].options
    known = [] if of is None else [field.name for field in fields(of)]
    for name in options:
        if name not in known:
            raise unknown(f"option of {method}", name, known)
    return {} if of is None else {method: of(**options)}


def _images(data: str | Source) -> Source:
    return images.load(data) if isinstance(data, str) else data


def _archs(space: Space, archs: Archs, seed: int) -> np.ndarray:
    """The architectures `[N, A]`."""
    if not isinstance(archs, str):
        return space.arrays(archs)
    try:
        return rows.read_archs(space, archs, seed).archs
    except UserError as error:
        raise UserError(str(error).replace("--archs", "archs")) from None


def _named(scorers: Scorers) -> tuple[str, dict[str, Any], list[AnyScore]]:
    """The names, separated by commas; those of jaxnas's scores that come with options; and scores of the user's."""
    asked = [scorers] if isinstance(scorers, str | AnyScore) else list(scorers)
    names: list[str] = []
    given: dict[str, Any] = {}
    own: list[AnyScore] = []
    for score in asked:
        if isinstance(score, str):
            names += listed(score)
        elif isinstance(score, AnyScore):
            names.append(score.name)
            if type(score) is SCORERS.get(score.name):
                given[score.name] = score
            else:
                own.append(score)
        else:
            raise UserError(f"a score is {score!r}; give names, or scores such as jaxnas.scorers.NTK()")
    return ",".join(names), given, own


def _place(place: Place, file: Path) -> str:
    """Where the rows are: a path, or the file into which a frame is written."""
    if not isinstance(place, pl.DataFrame):
        return str(place)
    place.write_parquet(file)
    return str(file)


def _kept(place: Place, folder: Path) -> str:
    """Where the rows of an oracle are: of a frame a file of the cache that the same rows are in the next time.

    Args:
      place: of the rows.
      folder: where nothing can be kept.
    """
    if not isinstance(place, pl.DataFrame):
        return str(place)
    content = io.BytesIO()
    place.write_parquet(content)
    path = (user_cache("oracles") or folder) / f"oracle-{digest(content.getvalue())}.parquet"
    if not path.exists():
        keep(path, content.getvalue())
    return str(path)


def _joined(names: str | Iterable[str]) -> str | None:
    return (names if isinstance(names, str) else ",".join(names)) or None


def _limits(limits: Mapping[str, float] | None) -> str | None:
    return ",".join(f"{name}={float(value)!r}" for name, value in limits.items()) if limits else None
