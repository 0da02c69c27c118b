"""One network and the scores that read one pass of it, compiled: batches of architectures on one or several devices.

Weights, inputs and every other draw depend on (seed, pass, repeat) alone, so a score does not change with the batch
size, the order of the architectures, their neighbours in a batch, the device, the shard or a restart.
"""

import contextlib
import functools
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxnas.data import Source
from jaxnas.errors import UserError
from jaxnas.evaluate import devices
from jaxnas.evaluate.input_cache import Drawn, InputCache
from jaxnas.network.network import Network
from jaxnas.pinned import pinned, under_pinned
from jaxnas.scorers.protocol import Pass, Scorer, pass_of

Mode = Literal["loop", "dispatch"]
AXIS = "archs"
_threads_that_compile: set[int] = set()
_finished: dict[jax.Device, float] = {}  # when an accelerator was last waited for
Raws = tuple[Any, ...]
"""The raw score of each scorer: arrays `[N, ...]`."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """On what, how often and where a scorer is run; `Evaluator` says what each of these is."""

    source: Source
    repeats: int
    seed: int
    batch: int | None
    devices: tuple[jax.Device, ...]
    mode: Mode


@dataclass
class Spent:
    """What the programs of an evaluator took so far; several threads may add to it.

    Attributes:
      archs: architectures that ran, each with all its repeats.
      seconds: of devices: those of two devices, or of two threads of a CPU, add up.
      programs: that were compiled, or found in the cache on the disk.
      compiling: seconds that this took.
    """

    archs: int = 0
    seconds: float = 0.0
    programs: int = 0
    compiling: float = 0.0

    def add(self, *, archs: int = 0, seconds: float = 0.0, programs: int = 0, compiling: float = 0.0) -> None:
        """Add to all of them."""
        with _spending:
            self.archs, self.seconds = self.archs + archs, self.seconds + seconds
            self.programs, self.compiling = self.programs + programs, self.compiling + compiling


_spending = threading.Lock()


class CompiledScorer:
    """Scorers that read the same pass, on one network, compiled once.

    Args:
      network: takes the architectures.
      scorers: with their options.
      setup: how it is run.
      draws: keeps what this program and others drew.
      spent: what this program and others took.

    Attributes:
      batch: architectures per device in a call; halved where the device runs out of memory.
    """

    def __init__(
        self, network: Network, scorers: Sequence[Scorer], setup: RunSettings, draws: InputCache, spent: Spent
    ):
        self.network, self.scorers, self.setup, self._draws, self._spent = network, tuple(scorers), setup, draws, spent
        self.batch = setup.batch or batch_size(self.reads, network, setup.devices[0], setup.mode)
        self._mesh = Mesh(np.array(list(dict.fromkeys(setup.devices))), (AXIS,))
        self._executables: dict[int, Any] = {}  # by architectures in a call
        self._compiling = threading.Lock()
        mapped = jax.shard_map(
            self._loop if setup.mode == "loop" else self._dispatch,
            mesh=self._mesh,
            in_specs=(P(), P(AXIS), P(AXIS), P(), P()),
            out_specs=P(AXIS),
            check_vma=False,
        )

        def measure(*args: Any) -> Any:
            return mapped(*args)

        # JAX's cache on the disk, which knows neither, goes by the name too
        measure.__name__ = f"{setup.mode}_{devices.parts()}_{zlib.crc32(devices.processor().encode()):x}"
        self._jitted: Any = jax.jit(measure, compiler_options=self._compiler_options())

    @property
    def reads(self) -> Pass:
        """The pass that the scorers read."""
        return pass_of(self.scorers[0])

    @property
    def step(self) -> int:
        """Architectures in a call."""
        return self.batch * len(self.setup.devices)

    def redraw(self, seed: int, *scorers: Scorer) -> None:
        """Draw anew from another seed; nothing is compiled again.

        Args:
          seed: of all draws.
          scorers: in place of those there, if they differ in what they draw alone.
        """
        self.scorers, self.setup = scorers or self.scorers, replace(self.setup, seed=seed)
        self._draws.drop(self)

    def release(self) -> None:
        """Give up what was compiled and drawn; both come back when the program is used again."""
        self._executables.clear()
        self._jitted.clear_cache()
        self._draws.drop(self)

    def launch(self, archs: np.ndarray) -> Callable[[], list[Raws]]:
        """Start `archs` `[N, ...]` and return the function that waits for their raw scores, per repeat."""
        order = np.argsort(-self.network.costs(archs), kind="stable")
        step = self.step
        started = [self._start(archs[order[first : first + step]]) for first in range(0, len(archs), step)]

        def wait() -> list[Raws]:
            parts = [fetch() for fetch in started]
            return [_rows(_joined(repeat), np.argsort(order)) for repeat in zip(*parts, strict=True)]

        return wait

    def _start(self, archs: np.ndarray) -> Callable[[], list[Raws]]:
        """Start one batch, sorted by cost, and return the function that gets its raw scores, per repeat.

        Where the device runs out of memory, the batch is halved, for later ones too, and run again.
        """
        if len(archs) > (step := self.step):  # halved since these were put together
            parts = [self._start(archs[first : first + step]) for first in range(0, len(archs), step)]
            return lambda: [_joined(repeats) for repeats in zip(*(part() for part in parts), strict=True)]
        batch = max(self.batch, 2)  # for a batch of one XLA compiles other arithmetic
        places = deal(len(archs), len(self.setup.devices), batch)
        hands = np.repeat(archs[:1], len(self.setup.devices) * batch, 0)
        hands[places] = archs
        numbers = np.bincount(places // batch, minlength=len(self.setup.devices)).astype(np.int32)

        def run() -> list[Callable[[], Raws]]:
            return [self._launch(params, hands, numbers, inputs, key) for params, inputs, key in self._draws.of(self)]

        def fetch() -> list[Raws]:
            try:
                found = [_rows(raw(), places) for raw in (run() if raws is None else raws)]
                self._spent.add(archs=len(archs))
                return found
            except jax.errors.JaxRuntimeError as error:
                self._halve(error, batch)
            return self._start(archs)()

        raws = None
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # `fetch` meets it again
            raws = run()
        return fetch

    @under_pinned
    def _launch(self, params: Any, hands: Any, numbers: Any, inputs: Any, key: Any) -> Callable[[], Raws]:
        """Start the program on all hands and return the function that waits for their raw scores.

        A thread gets one hand; those without any architecture, the last ones, are left out.
        """
        if self.setup.devices[0].platform != "cpu":
            program = self._compiled(params, hands, numbers, inputs, key)
            since, raw = time.perf_counter(), self.execute(program, params, hands, numbers, inputs, key)
            return lambda: self._waited(since, raw)
        batch, threads = len(hands) // len(numbers), workers(len(numbers))
        calls = [
            (params, hands[own * batch : (own + 1) * batch], numbers[own : own + 1], inputs, key)
            for own in range(np.count_nonzero(numbers))
        ]
        program = self._compiled(*calls[0])  # here: what waits in a thread keeps it when it is given up
        started = [threads.submit(self._fetched, program, *call) for call in calls]
        return lambda: _joined([one.result() for one in started])

    @under_pinned
    def prepare(self, archs: np.ndarray) -> Callable[[], Any]:
        """The function that compiles the program for such as `archs` `[N, ...]`; another thread may call it."""
        params, inputs, key = self._draws.of(self)[0]
        hands = 1 if self.setup.devices[0].platform == "cpu" else len(self.setup.devices)
        copies = np.repeat(archs[:1], hands * max(self.batch, 2), 0)
        return under_pinned(lambda: self._compiled(params, copies, np.zeros(hands, np.int32), inputs, key))

    def _compiled(self, *args: Any) -> Any:
        """The program for arguments of these shapes; it is compiled when it is first used."""
        with self._compiling:
            if len(args[1]) not in self._executables:
                started = time.perf_counter()
                with _compiling(), jax.enable_x64(self.reads.float64):
                    self._executables[len(args[1])] = self._jitted.lower(*args).compile()
                self._spent.add(programs=1, compiling=time.perf_counter() - started)
            return self._executables[len(args[1])]

    def execute(self, program: Any, *args: Any) -> Any:
        """Run the compiled program."""
        with pinned():  # threads have settings of their own
            return program(*args)

    def _fetched(self, *args: Any) -> Raws:
        started = time.perf_counter()
        raws = _on_host(self.execute(*args))
        self._spent.add(seconds=time.perf_counter() - started)
        return raws

    def _waited(self, started: float, raw: Any) -> Raws:
        """What accelerators computed since `started`, but for what they had to finish before."""
        raws, device = _on_host(raw), self.setup.devices[0]
        ended = time.perf_counter()
        self._spent.add(seconds=(ended - max(started, _finished.get(device, 0.0))) * len(self.setup.devices))
        _finished[device] = ended
        return raws

    def _halve(self, error: jax.errors.JaxRuntimeError, batch: int) -> None:
        """Halve the batch if `error` says that one of `batch` architectures needs too much memory; raise it if not."""
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise error
        if batch == 2:
            kind = self.setup.devices[0].device_kind
            raise UserError(
                f"{self.reads.name}: the memory of {kind} does not hold two architectures;"
                " use fewer images, or a device with more memory"
            ) from error
        self.batch = min(self.batch, batch // 2)

    def _compiler_options(self) -> dict[str, Any]:
        """On a CPU, run each op on the thread that calls it: the order of a sum would depend on how many share it.

        And take the widest vectors that it has; half of them is what LLVM prefers, for programs that seldom use any.
        """
        if self.setup.devices[0].platform != "cpu":
            return {}
        return {"xla_cpu_multi_thread_eigen": False, "xla_cpu_prefer_vector_width": 512}

    def _measure(self, params: Any, arch: jax.Array, inputs: Any, key: jax.Array) -> tuple[Any, ...]:
        """The raw score of each scorer."""
        seen = self.reads.measure(self.network, params, arch, inputs, key)
        return tuple(seen if scorer is self.reads else scorer.read(seen) for scorer in self.scorers)

    def _loop(self, params: Any, archs: jax.Array, number: jax.Array, inputs: Any, key: jax.Array) -> tuple[Any, ...]:
        """The raw scores `[B, ...]` of the first `number` `[1]` architectures, zeros for the others.

        XLA does not know the number of turns, so it compiles the same loop body for every batch size.
        """

        inputs = self.reads.for_all(inputs, key)

        @jax.jit  # so that it is traced once
        def measure(arch: jax.Array) -> tuple[Any, ...]:
            return self._measure(params, arch, inputs, key)

        def put(i: jax.Array, out: tuple[Any, ...]) -> tuple[Any, ...]:
            return jax.tree.map(lambda rows, row: rows.at[i].set(row), out, measure(archs[i]))

        one = jax.eval_shape(measure, archs[0])
        out = jax.tree.map(lambda leaf: jnp.zeros((len(archs), *leaf.shape), leaf.dtype), one)
        return jax.lax.fori_loop(0, number[0], put, out)

    def _dispatch(self, params: Any, archs: jax.Array, number: jax.Array, inputs: Any, key: jax.Array) -> Any:
        """The raw scores `[B, ...]`; those behind the first `number` `[1]` are of copies."""
        inputs = self.reads.for_all(inputs, key)
        return jax.vmap(lambda arch: self._measure(params, arch, inputs, key))(archs)

    @under_pinned
    def draw(self) -> Drawn:
        """Draw parameters, inputs and key of each repeat, on every device."""
        stream = zlib.crc32(self.reads.name.encode())
        draws: Drawn = []
        with jax.default_device(self.setup.devices[0]):  # another one may be busy
            root = jax.random.fold_in(jax.random.key(self.setup.seed), stream)
            for repeat in range(self.setup.repeats):
                weights_key, key = jax.random.split(jax.random.fold_in(root, repeat))
                reuse = repeat and self.reads.shared_weights
                params = draws[0][0] if reuse else self.network.init(weights_key)
                inputs = self.reads.draw(self.setup.source, np.random.default_rng([self.setup.seed, stream, repeat]))
                draws.append(jax.device_put((params, inputs, key), NamedSharding(self._mesh, P())))
        return draws


@functools.cache
def workers(count: int) -> ThreadPoolExecutor:
    """The `count` threads of this process that run programs on a CPU."""
    return ThreadPoolExecutor(count, thread_name_prefix="jaxnas")


def is_compiling() -> bool:
    """Say whether a thread of this process is compiling scores just now."""
    return bool(_threads_that_compile)


@contextlib.contextmanager
def _compiling() -> Iterator[None]:
    thread = threading.get_ident()
    _threads_that_compile.add(thread)
    try:
        yield
    finally:
        _threads_that_compile.discard(thread)


def batch_size(reads: Pass, network: Network, device: jax.Device, mode: Mode) -> int:
    """How many architectures a device scores in one call: in a loop as many as the pass says, or at once as many
    as half of its free memory holds, up to 512.
    """
    if mode == "loop":
        return reads.archs_per_call
    memory = device.memory_stats() or {"bytes_limit": 2**32, "bytes_in_use": 0}
    free = memory["bytes_limit"] - memory["bytes_in_use"]
    return max(2, min(512, free // 2 // (4 * reads.floats(network))))


def _joined(parts: Sequence[Raws]) -> Raws:
    joined: Raws = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return joined


def _rows(raws: Raws, rows: np.ndarray) -> Raws:
    chosen: Raws = jax.tree.map(lambda leaf: leaf[rows], raws)
    return chosen


def _on_host(raws: Raws) -> Raws:
    fetched: Raws = jax.tree.map(np.asarray, raws)
    return fetched


def deal(count: int, devices: int, batch: int) -> np.ndarray:
    """The places `[count]` in `devices` hands of `batch` of things sorted by size, dealt to and fro.

    >>> deal(5, 2, 4)
    array([0, 4, 5, 1, 2])
    """
    turn, device = np.divmod(np.arange(count), devices)
    return np.where(turn % 2, devices - 1 - device, device) * batch + turn
