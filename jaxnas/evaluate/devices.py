"""The devices of this machine, and what a command sets up before it uses them; importing this sets up nothing."""

import functools
import os
import re
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnas.errors import UserError
from jaxnas.pinned import under_pinned
from jaxnas.processor import processor as processor
from jaxnas.user_cache import user_cache

Devices = tuple[jax.Device, ...]

THREADS = "PJRT_NPROC"  # environment variable: threads of XLA's CPU backend, read once when JAX starts
HARMLESS = ("--xla_dump", "--xla_force_host_platform_device_count", "--xla_cpu_multi_thread_eigen")  # for scores
FLAGS = ("LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")  # environment variables like XLA_FLAGS
UNPINNED = {  # settings of JAX that decide the numbers or their last bits, and have no public context manager
    "jax_random_seed_offset": 0,
    "jax_disable_most_optimizations": False,
    "jax_exec_time_optimization_effort": 0.0,
    "jax_memory_fitting_effort": 0.0,
    "jax_optimization_level": "UNKNOWN",
}


def available(count: int | None = None) -> Devices:
    """Return `count` devices, by default all: the accelerators, or else the CPU once for each of its cores.

    It starts JAX by `start`. Several architectures are run on as many threads of ours.

    Raises:
      UserError: fewer than `count` accelerators.
    """
    if count is not None and count < 1:
        raise UserError(f"--devices is {count}; it must be at least 1")
    start()
    return shared(jax.local_devices(), count)


def shared(found: Sequence[jax.Device], count: int | None = None) -> Devices:
    """Return `count` of the devices that were `found`, by default all; a CPU as often as it has cores."""
    if found[0].platform == "cpu":
        return (found[0],) * (count or _cores())
    if count is not None and count > len(found):
        raise UserError(f"--devices is {count}, but there are {len(found)}: {found[0].device_kind}")
    return tuple(found[:count])


def named(devices: Sequence[jax.Device]) -> str:
    """How many devices of which kind, for people."""
    return f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"


def start() -> None:
    """Start JAX, if it does not run yet, so that XLA's CPU backend has one thread.

    By their number, XLA's compiler decides how it divides the operations, and so in which order it sums (see `parts`).
    A command does so before it runs files of the user's, which may start JAX otherwise.
    """
    before = os.environ.get(THREADS)
    try:
        jax.config.update("jax_num_cpu_devices", 1)
        jax.config.update("jax_cpu_enable_async_dispatch", False)  # XLA's one thread would run one program at a time
    except RuntimeError:  # JAX runs already
        return
    os.environ[THREADS] = "1"
    try:
        jax.local_devices()
    finally:
        if before is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = before


def trouble() -> str | None:
    """Return in one line why JAX finds no device, if it does not."""
    try:
        jax.local_devices()
    except (RuntimeError, AssertionError) as error:
        said = re.sub(r"[.\s]*\(set JAX_PLATFORMS.*\)", "", str(error)) or "there is none of that kind"
        wanted = os.environ.get("JAX_PLATFORMS") or jax.config.values["jax_platforms"]
        return f"JAX cannot use the devices of JAX_PLATFORMS={wanted}: {said}; unset it, or set it to cpu"
    return None


def arithmetic() -> dict[str, Any]:
    """What decides the last bits of a score beside its settings and versions: processor, parts, flags."""
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if not flag.startswith(HARMLESS)]
    now = jax.config.values
    flags += [f"{name}={now[name]}" for name, usual in UNPINNED.items() if now.get(name, usual) != usual]
    others = [f"{name}={os.environ[name]}" for name in FLAGS if name in os.environ]
    return {"processor": processor(), "parts": parts(), "flags": " ".join(sorted(flags) + others)}


@functools.cache
@under_pinned
def parts() -> int:
    """Return into how many parts XLA's CPU compiler divides a large operation: 1 if `available` has started JAX.

    Where a sum is divided its terms are added in another order. Accelerators' compilers do not divide by threads: 1.
    """
    if jax.local_devices()[0].platform != "cpu":
        return 1

    def probe(x: jax.Array) -> jax.Array:
        return jnp.tanh(x)

    probe.__name__ = f"probe_{os.getpid()}_{time.time_ns()}"  # JAX's cache on the disk does not know of threads
    compiled = jax.jit(probe).lower(jax.ShapeDtypeStruct((1024, 1024), jnp.float32)).compile()
    found = re.findall(r'outer_dimension_partitions":\["(\d+)"', compiled.as_text() or "")
    return max(map(int, found), default=1)


def cache_programs() -> None:
    """Keep compiled programs, small ones too, in the user's cache directory, unless JAX was told of another place."""
    if jax.config.values["jax_compilation_cache_dir"] is None and (folder := user_cache("programs")) is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_maps() -> int:
    """The number of memory maps of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/maps", "rb") as maps:
            return sum(1 for _ in maps)
    except OSError:
        return 0
