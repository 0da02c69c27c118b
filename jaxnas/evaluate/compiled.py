"""One network and one scorer, compiled: batches of architectures on one or several devices.

Weights, inputs and every other draw depend on (seed, scorer, repeat) alone, so a score does not change with the batch
size, the order of the architectures, their neighbours in a batch, the device, the shard or a restart.
"""

import contextlib
import functools
import zlib
from collections.abc import Callable
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
from jaxnas.scorers import NTK, Measured, Regression, Sequences

Mode = Literal["loop", "dispatch"]
AXIS = "archs"


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """On what, how often and where a scorer is run; `Evaluator` says what each of these is."""

    source: Source
    repeats: int
    seed: int
    batch: int | None
    devices: tuple[jax.Device, ...]
    mode: Mode


"""Parameters, inputs and key of each repeat."""


class CompiledScorer:
    """One scorer on one network, compiled once.

    Args:
      network: takes the architectures.
      scorer: a measured scorer with its options.
      setup: how it is run.
      draws: keeps what this program and others drew.

    Attributes:
      batch: architectures per device in a call; halved where the device runs out of memory.
    """

    def __init__(self, network: Network, scorer: Measured, setup: RunSettings, draws: InputCache):
        self.network, self.scorer, self.setup, self._draws = network, scorer, setup, draws
        self.batch = setup.batch or batch_size(scorer, network, setup.devices[0], setup.mode)
        self._mesh = Mesh(np.array(list(dict.fromkeys(setup.devices))), (AXIS,))
        self._executables: dict[int, Any] = {}  # by architectures in a call
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
    def step(self) -> int:
        """Architectures in a call."""
        return self.batch * len(self.setup.devices)

    def redraw(self, scorer: Measured, seed: int) -> None:
        """Draw anew from another seed, for a scorer that differs in what it draws alone; nothing is compiled again."""
        self.scorer, self.setup = scorer, replace(self.setup, seed=seed)
        self._draws.drop(self)

    def release(self) -> None:
        """Give up what was compiled and drawn; both come back when the program is used again."""
        self._executables.clear()
        self._jitted.clear_cache()
        self._draws.drop(self)

    def launch(self, archs: np.ndarray) -> Callable[[], list[np.ndarray]]:
        """Start `archs` `[N, ...]` and return the function that waits for their raw scores `[N, ...]` per repeat."""
        order = np.argsort(-self.network.costs(archs), kind="stable")
        step = self.step
        started = [self._start(archs[order[first : first + step]]) for first in range(0, len(archs), step)]

        def wait() -> list[np.ndarray]:
            parts = [fetch() for fetch in started]
            return [np.concatenate(repeat)[np.argsort(order)] for repeat in zip(*parts, strict=True)]

        return wait

    def _start(self, archs: np.ndarray) -> Callable[[], list[np.ndarray]]:
        """Start one batch, sorted by cost, and return the function that gets its raw scores `[N, ...]` per repeat.

        Where the device runs out of memory, the batch is halved, for later ones too, and run again.
        """
        if len(archs) > (step := self.step):  # halved since these were put together
            parts = [self._start(archs[first : first + step]) for first in range(0, len(archs), step)]
            return lambda: [np.concatenate(repeats) for repeats in zip(*(part() for part in parts), strict=True)]
        batch = max(self.batch, 2)  # for a batch of one XLA compiles other arithmetic
        places = deal(len(archs), len(self.setup.devices), batch)
        hands = np.repeat(archs[:1], len(self.setup.devices) * batch, 0)
        hands[places] = archs
        numbers = np.bincount(places // batch, minlength=len(self.setup.devices)).astype(np.int32)

        def run() -> list[Callable[[], np.ndarray]]:
            return [self._launch(params, hands, numbers, inputs, key) for params, inputs, key in self._draws.of(self)]

        def fetch() -> list[np.ndarray]:
            try:
                return [raw()[places] for raw in (run() if raws is None else raws)]
            except jax.errors.JaxRuntimeError as error:
                self._halve(error, batch)
            return self._start(archs)()

        raws = None
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # `fetch` meets it again
            raws = run()
        return fetch

    @under_pinned
    def _launch(self, params: Any, hands: Any, numbers: Any, inputs: Any, key: Any) -> Callable[[], np.ndarray]:
        """Start the program on all hands and return the function that waits for their raw scores.

        A thread gets one hand; those without any architecture, the last ones, are left out.
        """
        if self.setup.devices[0].platform != "cpu":
            raw = self.execute(self._compiled(params, hands, numbers, inputs, key), params, hands, numbers, inputs, key)
            return lambda: np.asarray(raw)
        batch, threads = len(hands) // len(numbers), workers(len(numbers))
        calls = [
            (params, hands[own * batch : (own + 1) * batch], numbers[own : own + 1], inputs, key)
            for own in range(np.count_nonzero(numbers))
        ]
        program = self._compiled(*calls[0])  # here: what waits in a thread keeps it when it is given up
        started = [threads.submit(self._fetched, program, *call) for call in calls]
        return lambda: np.concatenate([one.result() for one in started])

    def _compiled(self, *args: Any) -> Any:
        """Return the program for arguments of these shapes; it is compiled when it is first used."""
        if len(args[1]) not in self._executables:
            self._executables[len(args[1])] = self._jitted.lower(*args).compile()
        return self._executables[len(args[1])]

    def execute(self, program: Any, *args: Any) -> Any:
        """Run the compiled program."""
        with pinned():  # threads have settings of their own
            return program(*args)

    def _fetched(self, *args: Any) -> np.ndarray:
        return np.asarray(self.execute(*args))

    def _halve(self, error: jax.errors.JaxRuntimeError, batch: int) -> None:
        """Halve the batch if `error` says that one of `batch` architectures needs too much memory; raise it if not."""
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise error
        if batch == 2:
            kind = self.setup.devices[0].device_kind
            raise UserError(
                f"{self.scorer.name}: the memory of {kind} does not hold two architectures;"
                " use fewer images, or a device with more memory"
            ) from error
        self.batch = min(self.batch, batch // 2)

    def _compiler_options(self) -> dict[str, Any]:
        """Run each op on the thread that calls it: the order of a sum would depend on how many share it."""
        return {"xla_cpu_multi_thread_eigen": False} if self.setup.devices[0].platform == "cpu" else {}

    def _loop(self, params: Any, archs: jax.Array, number: jax.Array, inputs: Any, key: jax.Array) -> jax.Array:
        """Return the raw scores `[B, ...]` of the first `number` `[1]` architectures, zeros for the others.

        XLA does not know the number of turns, so it compiles the same loop body for every batch size.
        """

        @jax.jit  # so that it is traced once
        def measure(arch: jax.Array) -> jax.Array:
            return self.scorer.measure(self.network, params, arch, inputs, key)

        one = jax.eval_shape(measure, archs[0])
        out = jnp.zeros((len(archs), *one.shape), one.dtype)
        return jax.lax.fori_loop(0, number[0], lambda i, out: out.at[i].set(measure(archs[i])), out)

    def _dispatch(self, params: Any, archs: jax.Array, number: jax.Array, inputs: Any, key: jax.Array) -> jax.Array:
        """Return the raw scores `[B, ...]`; those behind the first `number` `[1]` are of copies."""
        return jax.vmap(lambda arch: self.scorer.measure(self.network, params, arch, inputs, key))(archs)

    @under_pinned
    def draw(self) -> Drawn:
        """Draw parameters, inputs and key of each repeat, on every device."""
        stream = zlib.crc32(self.scorer.name.encode())
        draws: Drawn = []
        with jax.default_device(self.setup.devices[0]):  # another one may be busy
            root = jax.random.fold_in(jax.random.key(self.setup.seed), stream)
            for repeat in range(self.setup.repeats):
                weights_key, key = jax.random.split(jax.random.fold_in(root, repeat))
                reuse = repeat and self.scorer.shared_weights
                params = draws[0][0] if reuse else self.network.init(weights_key)
                inputs = self.scorer.draw(self.setup.source, np.random.default_rng([self.setup.seed, stream, repeat]))
                draws.append(jax.device_put((params, inputs, key), NamedSharding(self._mesh, P())))
        return draws


@functools.cache
def workers(count: int) -> ThreadPoolExecutor:
    """Return the `count` threads of this process that run programs on a CPU."""
    return ThreadPoolExecutor(count, thread_name_prefix="jaxnas")


def loop_batch(scorer: Measured) -> int:
    """Return how many architectures are about ten seconds of a CPU core's work."""
    slow = isinstance(scorer, NTK) and scorer.bn == "batch"
    return 2 if isinstance(scorer, Regression | Sequences) else 16 if slow else 256


def batch_size(scorer: Measured, network: Network, device: jax.Device, mode: Mode) -> int:
    """Return how many architectures a device scores in one call: `loop_batch`, or at once as many as half of its free
    memory holds, up to 512.
    """
    if mode == "loop":
        return loop_batch(scorer)
    memory = device.memory_stats() or {"bytes_limit": 2**32, "bytes_in_use": 0}
    free = memory["bytes_limit"] - memory["bytes_in_use"]
    return max(2, min(512, free // 2 // (4 * scorer.floats(network))))


def deal(count: int, devices: int, batch: int) -> np.ndarray:
    """Return the places `[count]` in `devices` hands of `batch` of things sorted by size, dealt to and fro.

    >>> deal(5, 2, 4)
    array([0, 4, 5, 1, 2])
    """
    turn, device = np.divmod(np.arange(count), devices)
    return np.where(turn % 2, devices - 1 - device, device) * batch + turn
