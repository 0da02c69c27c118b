"""Scoring architectures of a space: which of them run, on which network, and what became of each."""

import functools
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from jaxnas.data import Source
from jaxnas.errors import UserError
from jaxnas.evaluate.compiled import CompiledScorer, Mode, Raws, RunSettings, Spent
from jaxnas.evaluate.devices import Devices, memory_maps, shared
from jaxnas.evaluate.input_cache import InputCache
from jaxnas.network.network import Network
from jaxnas.pinned import under_pinned
from jaxnas.scorers import DEFAULTS
from jaxnas.scorers.protocol import Combined, Count, Pass, Scorer, pass_of, that_fit
from jaxnas.spaces import Space
from jaxnas.types import Finished, Status

MAX_MEMORY_MAPS = 20_000  # memory maps of the process beyond which programs are given up; Linux gives it 65,530
MIN_KEPT_PROGRAMS = 5  # programs of an evaluator that are kept nevertheless: the maps may be others'


class Evaluator:
    """One scorer on one space, or several that read the same pass, compiled once for each size of the space's networks.

    Args:
      space: where the architectures come from.
      scorer: with its options; others of `together` are measured beside it, in the same program.
      source: images.
      repeats: how often to measure, each time with new inputs and, if the scorer says so, new weights.
      seed: of all random draws.
      batch: architectures per device in a compiled batch; by default chosen by `compiled.batch_size`.
      devices: that share the work, by default all; each gets architectures of about the same FLOPs. Groups of fewer
        architectures than accelerators run on as many, the others meanwhile on the rest. A CPU, the first one that is
        named, runs as many threads as CPUs are named (`devices.available` names it once for each core). On one kind of
        processor the scores are the same bits on any number of threads, if `devices.start` started JAX, as the commands
        do; where JAX ran before, they are those of its number of threads.
      mode: `loop` runs a device's architectures one after another, each op on its own (the default on a CPU),
        `dispatch` all at once, sorted by op (the default elsewhere).

    Attributes:
      spent: what all this took so far.
    """

    def __init__(
        self,
        space: Space,
        scorer: Scorer,
        source: Source,
        *,
        together: Sequence[Scorer] = (),
        repeats: int = 1,
        seed: int = 0,
        batch: int | None = None,
        devices: Sequence[jax.Device] | None = None,
        mode: Mode | None = None,
    ):
        _check_kinds(space, scorer, source)
        on = tuple(devices or shared(jax.local_devices()))
        if on[0].platform == "cpu":
            on = (on[0],) * len(on)
        mode = mode or ("loop" if on[0].platform == "cpu" else "dispatch")
        self.space = space
        self.scorers = tuple(one.on(space) for one in (scorer, *together))
        assert len({pass_of(one) for one in self.scorers}) == 1, "scorers of several passes"
        self.setup = RunSettings(source=source, repeats=repeats, seed=seed, batch=batch, devices=on, mode=mode)
        self._programs: dict[Hashable, CompiledScorer] = {}  # in the order of use
        self._draws, self.spent = InputCache(), Spent()
        self._on: dict[Hashable, Devices] = {}  # where each group runs
        self._load = dict.fromkeys(on, 0.0)  # FLOPs that each device was given beside others

    @under_pinned
    def check(self) -> None:
        """Raise a `UserError` if the score does not go with the space, or takes more images than there are."""
        form = self.reads.recipe.form
        if form not in self.space.forms:
            why = f": {self.space.refusals[form]}" if form in self.space.refusals else ""
            fits = that_fit(DEFAULTS, self.space)
            names = ",".join(one.name for one in self.scorers)
            hint = f"; say --scorers {','.join(fits)}" if fits else ""
            raise UserError(f"{self.space.name} has no {names}{why}{hint}")
        self.reads.check_data(self.setup.source)
        example = self.space.encode(self.space.example)[None]
        self.reads.check_network(self._network(self.groups(example)[0]))

    def __call__(self, archs: np.ndarray | str | Sequence[str]) -> Finished:
        """Return values and statuses `[R, N]` of architectures, info `[R, N, ...]`.

        Disconnected architectures are recognised from the graph and not run.

        Args:
          archs: arrays `[N, A]` or `[A]`, one string or several, or op masks `[N, E, O]`.

        Raises:
          UserError: they are no architectures of the space.
        """
        return self.launch(archs)()

    def launch(self, archs: np.ndarray | str | Sequence[str]) -> Callable[[], Finished]:
        """Start scoring and return the function that waits for the first scorer's scores."""
        return self.launch_each(archs)[self.scorer.name]

    @under_pinned
    def launch_each(self, archs: np.ndarray | str | Sequence[str]) -> dict[str, Callable[[], Finished]]:
        """Start scoring and return for each scorer, by name, the function that waits for its scores."""
        is_masks = getattr(archs, "ndim", 0) == 3
        archs = np.asarray(archs, np.int32) if is_masks else self.space.arrays(archs)
        found = np.flatnonzero(~self.space.is_disconnected(archs))
        archs = self._run_as(archs)
        groups = self.space.by_group(archs[found], self.reads.recipe.form)
        started = []
        for group, own in groups:
            rows = found[own]
            self._on[group] = self._devices(group, archs[rows], alone=len(groups) == 1)
            started.append((rows, self.program(group).launch(archs[rows])))

        fetched: list[tuple[np.ndarray, list[Raws]]] = []

        def wait(position: int, scorer: Scorer) -> Finished:
            if not fetched:
                fetched.extend((rows, fetch()) for rows, fetch in started)
            shape = self.setup.repeats, len(archs)
            value = np.full(shape, np.nan)
            status = np.full(shape, int(Status.disconnected))
            info: dict[str, np.ndarray] = {}
            for rows, raws in fetched:
                for repeat, raw in enumerate(raws):
                    scores = scorer.finish(raw[position])
                    value[repeat, rows], status[repeat, rows] = scores.value, scores.status
                    for name, array in scores.info.items():
                        if name not in info:
                            info[name] = np.full((*shape, *array.shape[1:]), np.nan)
                        info[name][repeat, rows] = array
            return Finished(value, status, info)

        return {one.name: functools.partial(wait, i, one) for i, one in enumerate(self.scorers)}

    @under_pinned
    def prepare(self, archs: np.ndarray) -> Callable[[], Any]:
        """The function that compiles what `archs` `[N, A]` run on, for another thread meanwhile.

        It does nothing where they run on several networks: which of these are ever used is not known.
        """
        groups = self.programs(archs)
        if len(groups) != 1:
            return lambda: None
        return self.program(*groups).prepare(self._run_as(archs))

    def redraw(self, seed: int, *scorers: Scorer) -> None:
        """Draw anew from another seed; nothing is compiled again.

        Args:
          seed: of all draws.
          scorers: in place of those there, if they differ in what they draw alone.
        """
        self.scorers, self.setup = scorers or self.scorers, replace(self.setup, seed=seed)
        for program in self._programs.values():
            program.redraw(seed, *scorers)

    def program(self, group: Hashable = None) -> CompiledScorer:
        """The program of a group of architectures (see `Space.groups`), on the devices where it runs.

        It is compiled when it is first used. On a CPU a compiled program has hundreds or thousands of memory maps:
        where there are too many, those that were not used for longest are given up before another one is compiled.
        """
        devices = self._on.get(group, self.setup.devices)
        program = self._programs.pop(group, None)
        if program is not None and program.setup.devices != devices:
            program.release()
            program = None
        if program is None:
            while len(self._programs) >= MIN_KEPT_PROGRAMS and memory_maps() > MAX_MEMORY_MAPS:
                self._programs.pop(next(iter(self._programs))).release()
            program = self._new(group, devices)
        self._programs[group] = program
        return program

    def _new(self, group: Hashable, devices: Devices) -> CompiledScorer:
        setup = replace(self.setup, devices=devices)
        return CompiledScorer(self._network(group), self.scorers, setup, self._draws, self.spent)

    @property
    def scorer(self) -> Scorer:
        """The first of the scorers."""
        return self.scorers[0]

    @property
    def reads(self) -> Pass:
        """The pass that the scorers read."""
        return pass_of(self.scorers[0])

    def _network(self, group: Hashable) -> Network:
        return self.space.network_for(self.reads.recipe, group)

    def _devices(self, group: Hashable, archs: np.ndarray, *, alone: bool) -> Devices:
        """The devices for `archs` `[N, A]` of a group: where it ran before, unless twice as many would help.

        Otherwise all if it is alone in a call, or else the N that have been given least. On a CPU always all: whichever
        thread is free takes the next.
        """
        every, used = self.setup.devices, self._on.get(group, ())
        if every[0].platform == "cpu":
            return every
        most = min(len(archs), len(every))
        if not used and alone:
            used = every
        elif most >= 2 * len(used):
            least = sorted(every, key=self._load.__getitem__)[:most]
            used = tuple(device for device in every if device in least)
        if len(used) < len(every):
            for device in used:
                self._load[device] += (self.space.flops(archs).sum() + len(archs)) / len(used)
        return used

    def step(self, groups: Iterable[Hashable]) -> int:
        """The largest number of architectures that one call takes, for those of `groups`."""
        some = set(groups) if self.setup.mode == "dispatch" else list(groups)[:1]  # in a loop they are all the same
        return max(self._new(group, self.setup.devices).step for group in some)

    def memory(self, archs: np.ndarray) -> int:
        """About how many bytes a device holds at once while it scores `archs` `[N, A]`."""
        programs = [self._new(group, self.setup.devices) for group in self.programs(archs)]
        at_once = [1 if self.setup.mode == "loop" else one.batch for one in programs]
        return max((4 * n * self.reads.floats(p.network) for n, p in zip(at_once, programs, strict=True)), default=0)

    def groups(self, archs: np.ndarray) -> list[Hashable]:
        """The group of each of `archs` `[N, A]`; those of one group run in one program."""
        return self.space.groups(self._run_as(archs), self.reads.recipe.form)

    def programs(self, archs: np.ndarray) -> set[Hashable]:
        """The groups of those of `archs` `[N, A]` that run, each of which is a program."""
        return set(self.groups(archs[~self.space.is_disconnected(archs)])) if len(archs) else set()

    def _run_as(self, archs: np.ndarray) -> np.ndarray:
        return archs if self.reads.counts_dead_ends else self.space.without_dead_ends(archs)


def launch_all(evaluators: Iterable[Evaluator], archs: np.ndarray) -> dict[str, Callable[[], Finished]]:
    """Start scoring `archs` by several evaluators, and return for each score the function that waits for it.

    Programs are compiled side by side.
    """
    with ThreadPoolExecutor() as pool:
        started = list(pool.map(lambda evaluator: evaluator.launch_each(archs), evaluators))
    return {name: wait for each in started for name, wait in each.items()}


def _check_kinds(space: object, scorer: object, source: object) -> None:
    """Raise a `UserError` about the first that is its name or class, or a score that is not measured."""
    if isinstance(space, str | type):
        raise UserError(f"the space of an Evaluator is {space!r}; give a Space: jaxnas.spaces.get('nasbench201')")
    if isinstance(scorer, str | type | Count | Combined):
        raise UserError(f"the score of an Evaluator is {scorer!r}; give one that is measured: jaxnas.scorers.NTK()")
    if isinstance(source, str | type):
        raise UserError(f"the images of an Evaluator are {source!r}; give a Source: jaxnas.data.load('synthetic')")


def count(space: Space, scorer: Count, archs: np.ndarray) -> Finished:
    """A property of the architectures as scores `[1, N]`."""
    return one_repeat(scorer.finish(scorer.of(space, archs)))


def one_repeat(scores: Finished) -> Finished:
    """Scores `[N]` as those `[1, N]` of one repeat."""
    info = {name: found[None] for name, found in scores.info.items()}
    return Finished(scores.value[None], scores.status[None], info)


def summarise(scores: Finished) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, sample standard deviation (NaN for one repeat) and worst status `[N]` over the repeats.

    An architecture that failed in any repeat has neither mean nor deviation.
    """
    deviation = np.full(scores.value.shape[1], np.nan)
    if len(scores.value) > 1:
        deviation = scores.value.std(0, ddof=1)
    return scores.value.mean(0), deviation, scores.status.max(0)
