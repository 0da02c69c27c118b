"""The devices of this machine, and what a command sets up before it uses them; importing this sets up nothing."""

import contextlib
import os

import jax

from jaxnas.errors import UserError
from jaxnas.user_cache import user_cache


def available(count: int | None = None) -> tuple[jax.Device, ...]:
    """Return `count` devices, by default all: the accelerators, or else a device for each core of the CPU.

    XLA's CPU backend runs small programs on one core. It divides itself into devices only before its first use;
    later, the devices are those that are there.

    Raises:
      UserError: fewer than `count` devices.
    """
    if count is not None and count < 1:
        raise UserError(f"--devices is {count}; it must be at least 1")
    with contextlib.suppress(RuntimeError):  # already in use
        jax.config.update("jax_num_cpu_devices", count or _cores())
    found = tuple(jax.local_devices())
    if count is not None and count > len(found):
        raise UserError(f"--devices is {count}, but there are {len(found)}: {found[0].device_kind}")
    return found[:count]


def cache_programs() -> None:
    """Keep compiled programs, small ones too, in the user's cache directory, unless JAX was told of another place."""
    if jax.config.values["jax_compilation_cache_dir"] is None and (folder := user_cache("programs")) is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_maps() -> int:
    """Return the number of memory maps of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/maps", "rb") as maps:
            return sum(1 for _ in maps)
    except OSError:
        return 0
