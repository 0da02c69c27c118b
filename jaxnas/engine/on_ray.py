"""Work by processes on the machines of a Ray cluster, which may come, go and fail.

Each process is an actor of its own, so it keeps its accelerator and what it compiled. This process decides who does
what; Ray starts processes and carries data, and neither repeats nor moves any work:

* a machine that joins is asked about itself, gets one process and, once that has a result, one for each device;
* what kills its process three times is halved until one architecture is left, which has no score;
* an error is raised if it comes three times; a machine that fails on three things that did not fail before is left out;
* what ran on a machine that is gone is done elsewhere.
"""

import contextlib
import functools
import os
import pickle
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic

import jax

from jaxnas.cli import process
from jaxnas.engine.here import Answer, Crew, Here, Item, Result, State, Task
from jaxnas.engine.named import Hire
from jaxnas.engine.todo import Todo
from jaxnas.errors import UserError, check_package
from jaxnas.pinned import pinned

QUEUED = 2  # items that a process has at a time, so that it need not wait
FAILURES = 3  # of a machine
CONNECT_SECONDS = 10.0
LOOK_SECONDS = 10.0  # between two looks at what machines there are


class Worker(Generic[State]):
    """A process that works; the class of the actors.

    Args:
      setup: pickled, see `Crew`.
      devices: that it uses; None for all that it sees.
      folder: where the command runs, which relative paths start from.
    """

    def __init__(self, setup: bytes, devices: int | None, folder: str) -> None:
        self._setup, self._devices = setup, devices
        with contextlib.suppress(OSError):
            os.chdir(folder)

    @functools.cached_property
    def _state(self) -> State:
        state: State = pickle.loads(self._setup)(self._devices)
        return state

    def ask(self, question: Callable[..., Answer], *args: Any) -> Answer:
        with pinned():
            return question(self._state, *args)

    def do(self, start: Callable[[State, Any, Item], Callable[[], Result]], shared: Any, item: Item) -> Result:
        with pinned():
            return start(self._state, shared, item)()


@dataclass(eq=False)
class Process:
    """An actor, and the items that it has, by the reference to their result, in their order."""

    actor: Any
    items: dict[Any, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Machine:
    """A node of the cluster.

    Attributes:
      name: for people.
      node: Ray's name.
      needs: resources of a process, as options of Ray.
      devices: of a process; None for all that it sees.
      room: for processes.
      out: it is left out.
      processes: that run.
      asked: the reference to what it says of itself, while it is being asked.
      fit: it may work.
      proven: it has had a result.
      failures: since the last result.
      rests: until this time of the clock `time.monotonic`; after an error, lest it fail on everything before others
        have started.
    """

    name: str
    node: str
    needs: dict[str, float]
    devices: int | None
    room: int
    processes: list[Process] = field(default_factory=list)
    asked: Any = None
    fit: bool = False
    out: bool = False
    proven: bool = False
    failures: int = 0
    rests: float = 0.0

    @classmethod
    def of(cls, node: dict[str, Any], devices: int | None) -> "Machine":
        """From what Ray says of it.

        A process has `devices` accelerators, by default one; where there are none so many cores, by default all.
        """
        cores, gpus = (int(node["Resources"].get(name, 0)) for name in ("CPU", "GPU"))
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, node {node['NodeID'][:6]})"
        if gpus:
            each = devices or 1
            return cls(name, node["NodeID"], {"num_cpus": 0, "num_gpus": each}, None, gpus // each)
        each = devices or max(cores, 1)
        return cls(name, node["NodeID"], {"num_cpus": each}, each, cores // each)


class OnRay(Here[State]):
    """A Ray cluster.

    Args:
      ray: the package, connected to the cluster.
      crew: the processes that work.
    """

    def __init__(self, ray: Any, crew: Crew[State]) -> None:
        super().__init__(crew)
        self._ray = ray
        self._crew, self._setup = crew, self._ray.cloudpickle.dumps(crew.setup)
        self._machines: dict[str, Machine] = {}
        self._looked, self._waited = -LOOK_SECONDS, False

    @property
    def width(self) -> int:
        return max(1, sum(machine.room for machine in self._machines.values() if not machine.out))

    def ask(self, question: Callable[..., Answer], *args: Any) -> Answer:
        task = Task[State, int, Answer](_answer, (question, args), _died)
        return next(self.each(task, [0]))[1]

    def each(self, task: Task[State, Item, Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        try:
            yield from self._each(task, Todo(items))
        finally:  # what an error or whoever asked left unfinished is no result of the next task
            for machine in self._machines.values():
                for one in machine.processes:
                    one.items.clear()

    def _each(self, task: Task[State, Item, Result], todo: Todo[Item]) -> Iterator[tuple[Item, Result]]:
        shared = self._ray.put(task.shared)
        while True:
            self._look(todo)
            for machine, one in self._free():
                if (item := todo.take(machine.name, alone=len(self._fit()) == 1)) is not None:
                    one.items[one.actor.do.remote(task.start, shared, item)] = item
            running = {ref: (machine, one) for machine in self._fit() for one in machine.processes for ref in one.items}
            if not running and not todo:
                return
            for machine, one in [running[ref] for ref in self._finished(running, todo)]:
                yield from self._result(task, todo, machine, one)

    def _result(
        self, task: Task[State, Item, Result], todo: Todo[Item], machine: Machine, one: Process
    ) -> Iterator[tuple[Item, Result]]:
        """Yield the first item of a process with its result, or see to it that there will be one.

        If the process died, this is the one that it died of; the others have not begun.
        """
        if not one.items:  # given back
            return
        ref = next(iter(one.items))
        item: Item = one.items.pop(ref)
        try:
            result: Result = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, UserError) or not (trying := todo.try_again(item, machine.name)):
                raise cause from None
            machine.rests = time.monotonic() + LOOK_SECONDS
            self._blame(machine, trying, f"{type(cause).__name__}: {cause}", todo)
        except self._ray.exceptions.RayError as error:
            self._end(one, machine, todo)
            if self._gone(machine, todo):
                todo.give_back([item])
            elif trying := todo.try_again(item, machine.name):
                self._blame(machine, trying, "its processes die", todo)
            elif smaller := task.halves(item):
                todo.split(smaller)
            else:
                yield item, task.lost(item, " ".join(str(error).split()))
        else:
            machine.proven, machine.failures = True, 0
            yield item, result

    def _look(self, todo: Todo[Any]) -> None:
        """Look at what machines there are, and ask new ones about themselves."""
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked, alive = time.monotonic(), self._alive()
            for machine in [machine for node, machine in self._machines.items() if node not in alive]:
                self._forget(machine, todo)
            new = [node for name, node in alive.items() if name not in self._machines]
            for node in sorted(new, key=lambda node: -node["Resources"].get("GPU", 0)):
                self._machines[node["NodeID"]] = Machine.of(node, self._crew.devices)
        for machine in self._machines.values():
            if machine.room and not (machine.fit or machine.out) and machine.asked is None:
                one = machine.processes[0] if machine.processes else self._new(machine)
                machine.asked = one.actor.ask.remote(self._crew.about)

    def _finished(self, running: Iterable[Any], todo: Todo[Any]) -> list[Any]:
        """Wait for something to happen; return the references whose results are there, in their order."""
        asked = {machine.asked: machine for machine in self._machines.values() if machine.asked is not None}
        refs = [*running, *asked]
        if not refs:
            working = [machine for machine in self._machines.values() if machine.room]
            if working and all(machine.out for machine in working):
                raise UserError("no machine of the cluster is left to work on; the notes say why")
            if not working and not self._waited:
                process.note("waiting for a machine that can work to join the cluster")
                self._waited = True
            time.sleep(LOOK_SECONDS)
            return []
        self._ray.wait(refs, num_returns=1, timeout=LOOK_SECONDS)
        there = set(self._ray.wait(refs, num_returns=len(refs), timeout=0)[0])
        for ref in [ref for ref in asked if ref in there]:
            self._answered(asked[ref], todo)
        return [ref for ref in running if ref in there]

    def _answered(self, machine: Machine, todo: Todo[Any]) -> None:
        """Take in what a machine says of itself."""
        ref, machine.asked, why = machine.asked, None, ""
        try:
            said = self._ray.get(ref)
            why = self._crew.differs(said) if self._crew.differs else ""
        except self._ray.exceptions.RayTaskError as error:
            why = f"{type(error.cause).__name__}: {error.cause}"
        except self._ray.exceptions.RayError:
            self._end(machine.processes[0], machine, todo)
            if not self._gone(machine, todo):
                self._blame(machine, 1, "its processes die", todo)
        else:
            machine.fit = not why
        if why:
            self._leave_out(machine, why, todo)

    def _fit(self) -> list[Machine]:
        return [machine for machine in self._machines.values() if machine.fit]

    def _alive(self) -> dict[str, dict[str, Any]]:
        """The nodes of the cluster by Ray's names."""
        return {node["NodeID"]: node for node in self._ray.nodes() if node["Alive"]}

    def _free(self) -> Iterator[tuple[Machine, Process]]:
        """Yield the processes that can take an item, the idle ones first; one alone until a machine is proven.

        So it compiles once: the others find the programs in the cache.
        """
        for queued in range(QUEUED):
            for machine in [machine for machine in self._fit() if machine.rests <= time.monotonic()]:
                room = machine.room if machine.proven else 1
                while len(machine.processes) < room:
                    self._new(machine)
                yield from ((machine, one) for one in machine.processes[:room] if len(one.items) == queued)

    def _new(self, machine: Machine) -> Process:
        place = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(machine.node, soft=False)
        actor = self._ray.remote(Worker).options(scheduling_strategy=place, max_restarts=0, **machine.needs)
        machine.processes.append(Process(actor.remote(self._setup, machine.devices, os.getcwd())))
        return machine.processes[-1]

    def _end(self, one: Process, machine: Machine, todo: Todo[Any]) -> None:
        """End a process; what it has is done by others."""
        self._ray.kill(one.actor)
        machine.processes.remove(one)
        todo.give_back(one.items.values())
        one.items.clear()

    def _blame(self, machine: Machine, trying: int, why: str, todo: Todo[Any]) -> None:
        """Leave out a machine that fails on whatever it gets: what failed before counts no more against another one."""
        machine.failures += trying == 1
        if machine.failures >= FAILURES and (len(self._fit()) > 1 or not machine.fit):
            self._leave_out(machine, why, todo)

    def _leave_out(self, machine: Machine, why: str, todo: Todo[Any]) -> None:
        process.note(f"machine {machine.name} is left out: {' '.join(why.split())}")
        machine.fit, machine.out = False, True
        for one in list(machine.processes):
            self._end(one, machine, todo)

    def _gone(self, machine: Machine, todo: Todo[Any]) -> bool:
        """Say whether a machine is gone; if so, forget it."""
        if machine.node in self._alive():
            return False
        self._forget(machine, todo)
        return True

    def _forget(self, machine: Machine, todo: Todo[Any]) -> None:
        for one in list(machine.processes):
            self._end(one, machine, todo)
        self._machines.pop(machine.node, None)


def _answer(state: Any, shared: tuple[Callable[..., Any], tuple[Any, ...]], item: int) -> Callable[[], Any]:
    question, args = shared
    return lambda: question(state, *args)


def _died(item: int, why: str) -> Any:
    raise UserError(f"the process that plans has died again and again: {why}")


def _ignored(*_: Any, **__: Any) -> None:
    pass


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Hire]:
    """What gives engines on the cluster at an address, that of `RAY_ADDRESS` or of this machine, or else a new one.

    This process touches no accelerator from now on.
    """
    check_package("--on ray", "ray", "ray")
    import ray

    jax.config.update("jax_platforms", "cpu")
    own = not ray.is_initialized()
    if own:
        _start(ray, address)
    try:
        yield functools.partial(OnRay, ray)
    finally:
        if own:
            ray.shutdown()


def _start(ray: Any, address: str | None) -> None:
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):
        os.environ.setdefault(name, "0")
    host, colon, port = (address or "").rpartition(":")
    if colon and port.isdecimal():  # Ray would wait for minutes
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise UserError(f"--on ray:{address}: no cluster answers there ({error})") from None
    caught = {number: signal.getsignal(number) for number in process.SIGNALS}
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise UserError(f"--on ray{f':{address}' if address else ''}: {said}") from None
    ray._private.worker.print_to_stdstream = _ignored  # what daemons report, which would stand amid our output
    for number, handler in caught.items():
        signal.signal(number, handler)  # Ray has one of its own
