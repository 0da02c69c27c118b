"""The settings of JAX on which draws and arithmetic depend, held where results are made.

They come from the environment (`JAX_ENABLE_X64`, `JAX_THREEFRY_PARTITIONABLE`, ...) or from the caller's code, and none
of them changes a score: inside `pinned()` they are what JAX 0.10 has by default.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import jax

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
SETTINGS = (
    lambda: jax.threefry_partitionable(True),  # the numbers that a key gives
    lambda: jax.default_prng_impl("threefry2x32"),
    lambda: jax.enable_x64(False),
    lambda: jax.default_matmul_precision(None),
    lambda: jax.numpy_dtype_promotion("standard"),
    lambda: jax.numpy_rank_promotion("allow"),
    lambda: jax.transfer_guard("allow"),
    lambda: jax.debug_nans(False),  # a network that overflows has a status
    lambda: jax.debug_infs(False),
    lambda: jax.disable_jit(False),
)


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Hold the settings in this thread; what is traced and compiled inside keeps them."""
    with contextlib.ExitStack() as stack:
        for setting in SETTINGS:
            stack.enter_context(setting())
        yield


def under_pinned(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Return `function` that runs inside `pinned()`."""

    @functools.wraps(function)
    def held(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with pinned():
            return function(*args, **kwargs)

    return held
