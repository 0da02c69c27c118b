"""The two ceilings of this machine, measured through JAX on all devices at once, and the floor that they put under a
time: no program does more arithmetic, or moves more bytes to and from memory, in a second.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bench.core import harness

SIDE, ACCELERATOR_SIDE = 2048, 8192  # of each device's matrices
STREAM_BYTES = 2**29  # of all CPU devices together, or of each accelerator: many times the caches
TIMES = 5

Ceilings = dict[str, dict[str, float]]


def measure(precision: str) -> Ceilings:
    """Return `flops_per_second` at a matrix product's `precision` and `bytes_per_second`, read plus written."""
    return {"flops_per_second": arithmetic(precision), "bytes_per_second": bandwidth()}


def arithmetic(precision: str) -> dict[str, float]:
    """The floating-point operations per second of a float32 matrix product A B, rows of A over the devices.

    Args:
      precision: as of `jax.numpy.matmul`; `highest` is float32 arithmetic everywhere, `default` is TF32 on some GPUs.
    """
    count, side = len(jax.devices()), SIDE if jax.default_backend() == "cpu" else ACCELERATOR_SIDE
    a = jax.device_put(jnp.ones((count * side, side)), sharding("devices"))
    b = jax.device_put(jnp.ones((side, side)), sharding())
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=precision))
    return rate(2 * count * side**3, lambda: product(a, b))


def bandwidth() -> dict[str, float]:
    """The bytes per second, read plus written, of adding 1 to a large vector in place.

    In place, because memory that is new to the process costs page faults on top.
    """
    count = len(jax.devices())
    share = STREAM_BYTES // count if jax.default_backend() == "cpu" else STREAM_BYTES
    size = count * (share // 4)
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    vector = [jax.device_put(jnp.zeros(size), sharding("devices"))]

    def run() -> jax.Array:
        vector.append(add(vector.pop()))
        return vector[0]

    return rate(8 * size, run)


def floor(flops: float, moved: float, ceilings: Ceilings) -> dict[str, Any]:
    """The least seconds for `flops` operations and `moved` bytes, and which of the two takes them."""
    least = {
        "arithmetic": flops / ceilings["flops_per_second"]["median"],
        "memory": moved / ceilings["bytes_per_second"]["median"],
    }
    binding = max(least, key=lambda name: least[name])
    return {"floor_seconds_per_arch": least[binding], "floor_bound_by": binding}


def rate(amount: float, function: Callable[[], Any]) -> dict[str, float]:
    """What `function` gets done per second, of `amount` in a call, over several warm calls."""
    for _ in range(2):
        harness.seconds(function)
    return harness.spread([amount / harness.seconds(function) for _ in range(TIMES)])


def sharding(*axes: str) -> NamedSharding:
    """The placement that splits the leading axis over all devices, or without `axes` copies to each."""
    mesh = Mesh(jax.devices(), ("devices",))
    return NamedSharding(mesh, PartitionSpec(*axes))
