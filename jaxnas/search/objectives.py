"""What a search goes by, from the options of the command: training-free scores, or an oracle and perhaps a prior."""

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxnas.cli import process
from jaxnas.cli.common import parts
from jaxnas.cli.options import Options, against, own_files, provenance
from jaxnas.data import Source
from jaxnas.engine import Crew, Here, Hire
from jaxnas.errors import UserError, check_least, unknown
from jaxnas.scorers.consensus import Consensus
from jaxnas.scorers.protocol import AnyScore, Combined, Count, Scorer, pass_of
from jaxnas.scorers.registry import listed, load
from jaxnas.scorers.te_nas import TeNas
from jaxnas.search.goal import Goal, limits
from jaxnas.search.loop import Panel, beside, evaluate_with
from jaxnas.search.method import Evaluate, Prior
from jaxnas.search.names import Names
from jaxnas.search.oracle import Function, Table
from jaxnas.search.prior import CachedPrior, StoredScores
from jaxnas.search.remote import PanelSession, shared_out
from jaxnas.spaces import Space, name_of
from jaxnas.tables.named import is_named

Fits = Callable[[Mapping[str, Any]], str]
"""From what a machine says of itself to why it must not take part; empty if it may."""
MAX_ARCHS_AT_ONCE = 128  # architectures at a time, where nothing says otherwise


@dataclass(frozen=True, kw_only=True)
class ObjectiveOptions(Options):
    """What decides which architecture is better."""

    oracle: str | None = None
    """What to ask, instead of the scorers or beside them: a table of measurements (.csv, .parquet, ..., table:NAME, or
    a run directory such as that of `jaxnas supernet`; several, separated by commas, are joined by architecture and on
    the columns that they share; several rows of an architecture, such as seeds, count as their mean), or a function of
    yours, path/to/file.py:function, from an architecture's string to a number or a dictionary of numbers. What a
    function answers is kept at once: a search that was stopped asks again only for what is missing of its last round,
    and for what failed there."""
    maximize: str | None = None
    """Comma-separated objectives of which more is better: scores, and numbers of the oracle; several count by the sum
    of their ranks and give a Pareto front. With an oracle that is a table, a name is its column, if it has one; with a
    function, a score, if one is called so (but params, flops and latency are the function's). score:NAME and
    oracle:NAME say which."""
    minimize: str | None = None
    """Objectives of which less is better."""
    at_most: str | None = None
    """Limits from above, such as latency=5 or flops=1e8, on the same names: whoever breaks one comes after all who do
    not. --method prune takes params and flops, and its result keeps the limits."""
    at_least: str | None = None
    """Limits from below."""
    record: str | None = None
    """What to write down beside, such as test accuracies, of the same names; no method sees it."""
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
      connect: from the largest number of architectures asked for at a time, and from which machines may take part, to
        what evaluates them and its provenance.
      prior: cheap scores to look at before.
      function: that of the user, where it answers.
      table: that of measurements, where it answers.
      scored: a score is among the objectives.
      by_cost: the names of the scores, see `Task`.
      last: what decides among the last few, see `Task`.
    """

    space: Space
    goal: Goal
    batch: int
    settings: Mapping[str, Any]
    connect: Callable[[int, Fits], tuple[Evaluate, dict[str, Any]]]
    prior: Prior | None = None
    function: Function | None = None
    table: Table | None = None
    scored: bool = True
    by_cost: tuple[tuple[str, ...], ...] = ((),)
    last: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Connect:
    """What starts the evaluation, in this process or by one engine for scores and function.

    Attributes:
      options: of the command, with all scores that are asked for.
      space: that is searched.
      chosen: the scores; none where the oracle alone is asked.
      source: images.
      hire: gives the engine.
      oracle: what else is asked.
      numbers: of the oracle, by the names of its answers.
    """

    options: ObjectiveOptions
    space: Space
    chosen: dict[str, AnyScore]
    source: Source
    hire: Hire
    oracle: Function | Table | None
    numbers: tuple[str, ...]

    def __call__(self, most: int, fits: Fits) -> tuple[Evaluate, dict[str, Any]]:
        """What evaluates, and its provenance.

        Args:
          most: the largest number of architectures at a time.
          fits: which machines may take part.
        """
        function = self.oracle if isinstance(self.oracle, Function) else None
        engine = None if self.options.on is None else self._engine(most, fits, function)
        if engine is not None and function is not None:
            function.ask_on(engine)
        if engine is not None and self._measured:
            about = engine.ask(PanelSession.provenance)
            calibrated = against(self.chosen, engine.ask(PanelSession.reference))
            evaluate = evaluate_with(self.space, calibrated, shared_out(engine))
        else:
            about = provenance(self.source)
            if not self.chosen:
                assert self.oracle is not None
                return self.oracle, about
            evaluate = _scorers(self.options, self.space, self.chosen, self.source, most)
        return evaluate if self.oracle is None else beside(evaluate, self.oracle, self.numbers), about

    @property
    def _measured(self) -> bool:
        """Whether a score is measured; counts are made here."""
        return any(isinstance(score, Scorer) for score in self.chosen.values())

    def _engine(self, most: int, fits: Fits, function: Function | None) -> Here[Any] | None:
        """The one that measures the scores and asks the function, if there is such work."""
        if not self._measured:
            return None if function is None else self.hire(function.crew(self.options.devices or 1))
        setup = functools.partial(PanelSession, self.options, choose=_decisive, most=most)
        if function is not None:
            setup = functools.partial(setup, oracle=function.spec)

        def differs(said: Mapping[str, Any]) -> str:
            return fits(said) or (function.differs(said["oracle"]) if function else "")

        return self.hire(Crew(setup, self.options.devices, PanelSession.about, differs))


def objectives(options: ObjectiveOptions, space: Space, source: Source, hire: Hire) -> Objectives:
    """Return what the options say, or raise a `UserError` if they do not fit together.

    Args:
      options: of the command.
      space: that is searched.
      source: images.
      hire: gives engines.
    """
    check_least(options, {"warm_start": 0})
    if options.warm_start and options.prior is None:
        raise UserError("--warm-start needs scores to choose by; say --prior ntk,regions or other scorers")
    if options.prior is not None and options.oracle is None:
        raise UserError("--prior goes with --oracle; without one the scores decide themselves")
    oracle = _oracle(options, space)
    given = [*listed(options.scorers), *parts(options.maximize), *parts(options.minimize), *parts(options.record)]
    names = Names([spec for spec in given if ".py:" in spec], oracle)
    signs = _signs(options, space, names)
    bounds = limits(options.at_most, options.at_least, names.known)
    goal = Goal(signs, *({names(n, "score with a limit"): limit for n, limit in of.items()} for of in bounds))
    record = [names(name) for name in parts(options.record)]
    names.check()
    asked = replace(options, scorers=",".join(dict.fromkeys([*listed(options.scorers), *names.scores.values()])))
    chosen = deciding(asked, space)[0] if asked.scorers else {}
    settings = asked.settings(chosen, source) if chosen else _settings(options)
    by_cost = _by_cost(chosen, names.numbers, free=isinstance(oracle, Table))
    if [*signs] == [Consensus.name] and len(by_cost) == 1:
        process.note(
            f"on {space.name} the consensus is of counts alone, so this finds a large network; name --scorers, "
            "--consensus.members or --method prune to go by more"
        )
    found = Objectives(
        space,
        goal,
        _batch(chosen),
        {**settings, **_goal_settings(goal)},
        Connect(asked, space, chosen, source, hire, oracle, tuple(names.numbers)),
        scored=any(name in chosen for name in signs),
        by_cost=by_cost,
        last={n: chosen[n].sign for n in by_cost[-1] if n in chosen} if [*signs] == [Consensus.name] else {},
    )
    return found if oracle is None else _with_oracle(found, oracle, names, record, options, source)


def _signs(options: ObjectiveOptions, space: Space, names: Names) -> dict[str, int]:
    """The objectives: --scorers each in its own direction, and those whose direction is given."""
    signs = deciding(options, space)[1] if options.scorers else {}
    given: dict[str, int] = {}
    for listed_, sign in ((options.maximize, 1), (options.minimize, -1)):
        for name in map(names, parts(listed_)):
            if given.setdefault(name, sign) != sign:
                raise UserError("--maximize and --minimize name the same number; say once in which direction is better")
            score = names.known.get(name) if name in names.scores else None
            if isinstance(score, Combined) and score.relative:
                raise UserError(f"{name} compares the whole set; say --scorers {name}, or the scores it is made of")
    if not signs and not given:
        if options.oracle is not None:
            raise UserError("--oracle needs to know what to look for; say --maximize NAME or --minimize NAME")
        raise unknown("scorer", options.scorers, names.known)
    return signs | given


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


def _oracle(options: ObjectiveOptions, space: Space) -> Function | Table | None:
    if options.oracle is None:
        return None
    if callable(options.oracle) or ".py:" in options.oracle:
        return Function(space, options.oracle)
    return Table(space, [Path(path) for path in parts(options.oracle)])


def _with_oracle(
    found: Objectives,
    oracle: Function | Table,
    names: Names,
    record: list[str],
    options: ObjectiveOptions,
    source: Source,
) -> Objectives:
    """The objectives with what an oracle is asked for.

    Args:
      found: the objectives without it.
      oracle: what is asked.
      names: of its numbers.
      record: what is written down beside.
      options: all options.
      source: the images.
    """
    if not names.numbers:
        raise UserError("nothing asks --oracle: name a number of it by --maximize, --minimize, --at-most or --at-least")
    table = oracle if isinstance(oracle, Table) else None
    function = oracle if isinstance(oracle, Function) else None
    if table is not None:
        table.ask(names.numbers)
    if function is not None:
        function.ask(names.numbers, names.scores)
    prior, about = _prior(options, found.space, source)
    settings: dict[str, Any] = {
        "oracle": {
            "name": function.name if function else options.oracle,
            "fingerprint": oracle.fingerprint,
            "record": record,
        },
        "warm_start": options.warm_start,
        "prior": about,
    }
    return replace(
        found,
        space=oracle.space,
        settings={**found.settings, **settings},
        prior=prior,
        function=function,
        table=table,
    )


def _prior(options: ObjectiveOptions, space: Space, source: Source) -> tuple[Prior | None, dict[str, Any] | None]:
    """The scores that a search may look at before it asks, and what they depend on."""
    if options.prior is None:
        return None, None
    if is_named(options.prior):
        stored = StoredScores(space, options.prior)
        return CachedPrior(space, stored, Goal(stored.signs)), stored.settings
    scored = replace(options, scorers=options.prior)
    chosen, signs = deciding(scored, space)
    prior = CachedPrior(space, _scorers(scored, space, chosen, source, None), Goal(signs))
    return prior, scored.settings(chosen, source)


def _settings(options: Options) -> dict[str, Any]:
    """What no score but an oracle depends on."""
    return {"space": name_of(options.space), "seed": options.seed, **own_files(options.space)}


def _scorers(options: Options, space: Space, chosen: dict[str, AnyScore], source: Source, most: int | None) -> Evaluate:
    evaluators = options.evaluators(space, chosen, source, most=most)
    return evaluate_with(space, options.calibrated(space, chosen, evaluators, source), Panel(evaluators))


def _decisive(options: Options, space: Space) -> dict[str, AnyScore]:
    return deciding(options, space)[0]


def _batch(chosen: Mapping[str, AnyScore]) -> int:
    return min(
        [
            MAX_ARCHS_AT_ONCE,
            *(pass_of(scorer).archs_per_call for scorer in chosen.values() if isinstance(scorer, Scorer)),
        ]
    )


def _by_cost(chosen: Mapping[str, AnyScore], numbers: Collection[str], *, free: bool) -> tuple[tuple[str, ...], ...]:
    """The names of the counts, then those of the measured scores in classes, whose costs differ by less than four.

    The numbers of an oracle are among the counts if they are free, and otherwise among the cheapest scores.
    """
    pace = {name: pass_of(score).archs_per_call for name, score in chosen.items() if isinstance(score, Scorer)}
    classes: list[list[str]] = []
    for name in sorted(pace, key=lambda name: -pace[name]):
        if not classes or 4 * pace[name] <= pace[classes[-1][0]]:
            classes.append([])
        classes[-1].append(name)
    counts = [n for n, s in chosen.items() if isinstance(s, Count)]
    if free or not numbers:
        counts += numbers
    else:
        classes = [[*(classes[:1] or [[]])[0], *numbers], *classes[1:]]
    return (tuple(counts), *map(tuple, classes))


def _goal_settings(goal: Goal) -> dict[str, Any]:
    return {"goal": {name: dict(value) for name, value in asdict(goal).items() if value}}
