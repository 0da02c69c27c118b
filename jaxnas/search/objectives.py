"""What a search goes by, from the options of the command: training-free scores, or an oracle and perhaps a prior."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxnas.cli.options import Options, own_files
from jaxnas.data import Source
from jaxnas.errors import UserError, check_least, unknown
from jaxnas.scorers.consensus import Consensus
from jaxnas.scorers.protocol import AnyScore, Combined, Count, Scorer, pass_of
from jaxnas.scorers.registry import DEFAULTS, listed, load
from jaxnas.scorers.te_nas import TeNas
from jaxnas.search.goal import Goal, limits
from jaxnas.search.loop import evaluate_with
from jaxnas.search.method import Evaluate, Prior
from jaxnas.search.oracle import Function, Table
from jaxnas.search.prior import CachedPrior, StoredScores
from jaxnas.spaces import Space, name_of
from jaxnas.tables.named import is_named

MAX_ARCHS_AT_ONCE = 128  # architectures at a time, where nothing says otherwise


@dataclass(frozen=True, kw_only=True)
class ObjectiveOptions(Options):
    """What decides which architecture is better."""

    oracle: str | None = None
    """What to ask instead of the scorers: a table of measurements (.csv, .parquet, ..., or table:NAME; several,
    separated by commas, are joined by architecture and on the columns that they share; several rows of an architecture,
    such as seeds, count as their mean), or a function of yours, path/to/file.py:function, from an architecture's string
    to a number or a dictionary of numbers. What a function answers is kept at once: a search that was stopped asks
    again only for what is missing of its last round, and for what failed there."""
    maximize: str | None = None
    """Of the oracle: comma-separated numbers of which more is better; several objectives count by the sum of their
    ranks."""
    minimize: str | None = None
    """Of the oracle: comma-separated numbers of which less is better."""
    at_most: str | None = None
    """Limits from above, such as latency=5 or flops=1e8 (of an oracle its own numbers, otherwise scores): whoever
    breaks one comes after all who do not."""
    at_least: str | None = None
    """Limits from below."""
    record: str | None = None
    """Of the oracle: comma-separated numbers to write down beside, such as test accuracies; no method sees them."""
    prior: str | None = None
    """Training-free scorers, comma-separated, that a search by an oracle may look at before it asks; or table:NAME,
    scores that are stored (table:NAME:SCORE,SCORE for some of them)."""
    warm_start: int = 0
    """Random architectures of which the prior chooses those to begin with; 0 to draw these alone."""


@dataclass(frozen=True)
class Objectives:
    """What a search goes by.

    Attributes:
      space: what can be evaluated.
      goal: which architectures are better.
      batch: a good number of architectures to evaluate at a time.
      settings: what the answers depend on.
      connect: from the largest number of architectures asked for at a time to what evaluates them.
      prior: cheap scores to look at before.
      function: that of the user, where it answers.
      table: that of measurements, where it answers.
      by_cost: the names of the scores, see `Task`.
      last: what decides among the last few, see `Task`.
    """

    space: Space
    goal: Goal
    batch: int
    settings: Mapping[str, Any]
    connect: Callable[[int], Evaluate]
    prior: Prior | None = None
    function: Function | None = None
    table: Table | None = None
    by_cost: tuple[tuple[str, ...], ...] = ((),)
    last: Mapping[str, int] = field(default_factory=dict)


def objectives(options: ObjectiveOptions, space: Space, source: Source) -> Objectives:
    """Return what the options say, or raise a `UserError` if they do not fit together."""
    check_least(options, {"warm_start": 0})
    if options.warm_start and options.prior is None:
        raise UserError("--warm-start needs scores to choose by; say --prior ntk,regions or other scorers")
    return _by_scores(options, space, source) if options.oracle is None else _by_oracle(options, space, source)


def deciding(options: Options, space: Space) -> tuple[dict[str, AnyScore], dict[str, int]]:
    """The scores that were asked for with those that they are made of, and the signs of those that decide.

    `te_nas` stands for the two that it is made of.
    """
    named = [load(name).name if ".py:" in name else name for name in listed(options.scorers)]
    chosen = options.select(space)
    needed: set[str] = set()
    for score in [chosen[name] for name in named]:
        if isinstance(score, Combined):
            needed |= {*score.needs}
        if isinstance(score, Combined) and score.relative:
            if score.name != TeNas.name:
                raise UserError(
                    f"a search compares architectures by scores of their own, and {score.name} is made of the whole "
                    f"set; say --scorers {','.join(score.needs)}"
                )
            named += score.needs
            named.remove(score.name)
    scores = {name: chosen[name] for name in chosen if name in needed or name in named}
    return scores, {name: scores[name].sign for name in dict.fromkeys(named)}


def _by_scores(options: ObjectiveOptions, space: Space, source: Source) -> Objectives:
    for name in ("maximize", "minimize", "record", "prior"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name} goes with --oracle; without one the --scorers decide, each in its own direction")
    chosen, signs = deciding(options, space)
    known = {name: score for name, score in DEFAULTS.items() if isinstance(score, Count)} | chosen
    goal = Goal(signs, *limits(options.at_most, options.at_least, known))
    for name in sorted(goal.limited):
        if name not in known:
            raise unknown("score with a limit", name, known)
    if limited := goal.limited - chosen.keys():
        more = replace(options, scorers=",".join(sorted(limited))).select(space)
        chosen |= {name: more[name] for name in limited}
    settings, by_cost = {**options.settings(chosen, source), **_goal_settings(goal)}, _by_cost(chosen)
    return Objectives(
        space,
        goal,
        _batch(chosen),
        settings,
        lambda most: _scorers(options, space, chosen, source, most),
        by_cost=by_cost,
        last={name: chosen[name].sign for name in by_cost[-1]} if [*signs] == [Consensus.name] else {},
    )


def _by_oracle(options: ObjectiveOptions, space: Space, source: Source) -> Objectives:
    assert options.oracle is not None
    up, down, beside = (_names(getattr(options, name)) for name in ("maximize", "minimize", "record"))
    if not up and not down:
        raise UserError("--oracle needs to know what to look for; say --maximize NAME or --minimize NAME")
    goal = Goal({**dict.fromkeys(up, 1), **dict.fromkeys(down, -1)}, *limits(options.at_most, options.at_least, ()))
    if len(goal.signs) < len(up) + len(down):
        raise UserError("--maximize and --minimize name the same number; say once in which direction it is better")
    names = list(dict.fromkeys([*goal.signs, *sorted(goal.limited), *beside]))
    own = callable(options.oracle) or ".py:" in options.oracle
    function = Function(space, options.oracle, names) if own else None
    oracle = function or Table(space, [Path(path) for path in _names(options.oracle)], names)
    settings: dict[str, Any] = {
        "space": name_of(options.space),
        "seed": options.seed,
        "oracle": {
            "name": function.name if function else options.oracle,
            "fingerprint": oracle.fingerprint,
            "record": beside,
        },
        "warm_start": options.warm_start,
        "prior": None,
        **own_files(options.space),
        **_goal_settings(goal),
    }
    prior = None
    if options.prior is not None and is_named(options.prior):
        stored = StoredScores(space, options.prior)
        prior, settings["prior"] = CachedPrior(space, stored, Goal(stored.signs)), stored.settings
    elif options.prior is not None:
        scored = replace(options, scorers=options.prior)
        chosen, signs = deciding(scored, space)
        prior = CachedPrior(space, _scorers(scored, space, chosen, source, None), Goal(signs))
        settings["prior"] = scored.settings(chosen, source)
    table = oracle if isinstance(oracle, Table) else None
    return Objectives(oracle.space, goal, MAX_ARCHS_AT_ONCE, settings, lambda most: oracle, prior, function, table)


def _scorers(options: Options, space: Space, chosen: dict[str, AnyScore], source: Source, most: int | None) -> Evaluate:
    evaluators = options.evaluators(space, chosen, source, most=most)
    return evaluate_with(space, options.calibrated(space, chosen, evaluators, source), evaluators)


def _batch(chosen: Mapping[str, AnyScore]) -> int:
    return min(
        [
            MAX_ARCHS_AT_ONCE,
            *(pass_of(scorer).archs_per_call for scorer in chosen.values() if isinstance(scorer, Scorer)),
        ]
    )


def _by_cost(chosen: Mapping[str, AnyScore]) -> tuple[tuple[str, ...], ...]:
    """The names of the counts, then those of the measured scores in classes, whose costs differ by less than four."""
    pace = {name: pass_of(score).archs_per_call for name, score in chosen.items() if isinstance(score, Scorer)}
    classes: list[list[str]] = []
    for name in sorted(pace, key=lambda name: -pace[name]):
        if not classes or 4 * pace[name] <= pace[classes[-1][0]]:
            classes.append([])
        classes[-1].append(name)
    return (tuple(n for n, s in chosen.items() if isinstance(s, Count)), *map(tuple, classes))


def _names(listed: str | None) -> list[str]:
    return [] if listed is None else list(filter(None, (part.strip() for part in listed.split(","))))


def _goal_settings(goal: Goal) -> dict[str, Any]:
    return {"goal": {name: dict(value) for name, value in asdict(goal).items() if value}}
