"""Strictness of JAX under test, the shared data, the reference, and the interchange form of network weights."""

import contextlib
import gc
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental.compilation_cache import compilation_cache

from jaxnas import pinned
from jaxnas.evaluate import devices
from jaxnas.learn.agnet import pretrain

TESTS = Path(__file__).parent
DATA = Path(os.environ.get("JAXNAS_DATA", TESTS.parents[1] / "shared" / "data"))
CLASSIFIER = {  # leaves of our head: their names in the interchange form
    "scale": "norm/scale",
    "bias": "norm/bias",
    "kernel": "classifier/kernel",
    "offset": "classifier/bias",
}
ONE_TAP = {
    "noise": "uniform",
    "noise_level": 0.1,
    "taps": [{"channels": 4, "signals": [{"kind": "sin1d", "level": 1.0, "betas": [0.3, 0.2], "local": True}]}],
}
COMPILES = "/jax/core/compile/backend_compile_duration"
# Tests compile much and compute little: two thirds of their time would go into optimising machine code. Results differ
# by rounding only, and a test holds for both: with XLA_FLAGS set, be it to nothing, XLA optimises as it does for users.
FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
collect_ignore = ["golden"]  # programs that need PyTorch
compiled: list[str] = []

Weights = dict[str, np.ndarray]


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to broadcast arrays of different ranks silently; start JAX; keep the user's cache out of this.

    Garbage is collected seldom: tracing makes many objects and hardly any cycles.

    JAX is started as the commands start it: runs begun here go on in another process. Programs that a test starts
    inherit the flags and the cache.
    """
    os.environ.setdefault("XLA_FLAGS", FLAGS)
    gc.set_threshold(100_000, 20, 100)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    pinned.SETTINGS += (lambda: jax.numpy_rank_promotion("raise"),)  # which it would allow
    cache = tempfile.TemporaryDirectory(prefix="jaxnas-tests-", ignore_cleanup_errors=True)
    config.add_cleanup(cache.cleanup)
    os.environ["XDG_CACHE_HOME"] = cache.name
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    jax.config.update("jax_compilation_cache_dir", None)
    jax.monitoring.register_event_duration_secs_listener(lambda event, _, **__: compiled.append(event))
    devices.available()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """Undo what a command changes in JAX's configuration, also from a fixture of the module."""
    before = dict(jax.config.values)
    try:
        return (yield)
    finally:
        changed = [name for name, value in jax.config.values.items() if value != before[name]]
        for name in changed:
            jax.config.update(name, before[name])
        if changed:
            compilation_cache.reset_cache()  # it keeps the directory of its first use


@pytest.fixture(scope="session")
def compiled_programs() -> Callable[[], int]:
    """The function that says how many programs were compiled so far."""
    return lambda: compiled.count(COMPILES)


@pytest.fixture(scope="session")
def compiles() -> Callable[[int], contextlib.AbstractContextManager[None]]:
    """A context manager that expects so many programs to be compiled in it."""

    @contextlib.contextmanager
    def expect(count: int) -> Iterator[None]:
        before = compiled.count(COMPILES)
        yield
        assert compiled.count(COMPILES) - before == count

    return expect


def load(path: Path) -> ModuleType:
    """Import one file by its path."""
    spec = importlib.util.spec_from_file_location(f"jaxnas_tests_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of measured accuracies, published scores and real images."""
    if not DATA.is_dir():
        pytest.skip(f"no shared data in {DATA}; set JAXNAS_DATA to its folder")
    return DATA


@pytest.fixture(scope="module")
def optimised_training() -> Iterator[None]:
    """Training of AG-Net's generator by a program that XLA optimises: it runs for longer than it compiles."""
    jit = partial(
        jax.jit,
        static_argnames=("graphdef", "steps"),
        compiler_options={"xla_backend_optimization_level": 1},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain, "_train", jit(pretrain._train.__wrapped__))
        yield


@pytest.fixture(scope="session")
def one_tap(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file of a regression task for networks of one stage, which compile several times as fast."""
    path = tmp_path_factory.mktemp("task") / "task.json"
    path.write_text(json.dumps(ONE_TAP))
    return str(path)


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """`tests/reference.py`: every score in plain NumPy float64 loops."""
    return load(TESTS / "reference.py")


@pytest.fixture(scope="session")
def networks() -> ModuleType:
    """`tests/networks.py`: networks wired by hand."""
    return load(TESTS / "networks.py")


@pytest.fixture(scope="session")
def make_frozen() -> ModuleType:
    """`tests/golden/make_frozen.py`: the recipe and the adapter of `tests/golden/frozen.json`."""
    return load(TESTS / "golden" / "make_frozen.py")


@pytest.fixture(scope="session")
def golden_inputs() -> ModuleType:
    """`tests/golden/inputs.py`: the weights and inputs behind `tests/golden/torch.json`."""
    return load(TESTS / "golden" / "inputs.py")


@pytest.fixture(scope="session")
def flat_weights() -> Callable[[nnx.State], Weights]:
    """Convert our network's parameters to the interchange form that the reference and the golden values use."""
    return _flat_weights


@pytest.fixture(scope="session")
def nested_weights() -> Callable[[Mapping[str, Any], nnx.State], nnx.State]:
    """Put interchange weights into parameters like those given; weights that our network does not have are dropped.

    Those are the cells' convolution biases and the heads of the regression network: a bias has no effect before a
    normalisation, and the heads belong to the scorer. Where the interchange form has no classifier, ours is kept.
    """
    return _nested_weights


def _name(path: tuple[Any, ...]) -> tuple[str, tuple[int, ...]]:
    """A parameter's name in the interchange form and its position along that tensor's leading axes."""
    group, *numbers, leaf = path
    if group == "head":
        return CLASSIFIER[leaf], ()
    if group == "stem":
        return f"stem/{_part(leaf)}/{leaf}", ()
    block, number, *copy, op = (group, *numbers)
    if block == "stages":
        return f"stages/{number}/{_part(leaf)}{op.removeprefix('nor_conv_')}/{leaf}", tuple(copy)
    return f"reductions/{number}/{op if leaf == 'kernel' else op.replace('conv', 'norm')}/{leaf}", ()


def _part(leaf: str) -> str:
    return "conv" if leaf == "kernel" else "norm"


def _flat_weights(params: nnx.State) -> Weights:
    pieces: dict[str, dict[tuple[int, ...], np.ndarray]] = {}
    for path, leaf in nnx.to_flat_state(params):
        name, copy = _name(path)
        pieces.setdefault(name, {})[copy] = np.asarray(leaf[...])
    return {name: _stack(copies) for name, copies in pieces.items()}


def _stack(copies: dict[tuple[int, ...], np.ndarray]) -> np.ndarray:
    """The tensor whose element at each key is that key's array."""
    lead = tuple(1 + max(axis) for axis in zip(*copies, strict=True))
    first = next(iter(copies.values()))
    whole = np.empty((*lead, *first.shape), first.dtype)
    for copy, value in copies.items():
        whole[copy] = value
    return whole


def _nested_weights(flat: Mapping[str, Any], params_like: nnx.State) -> nnx.State:
    has_classifier, used, leaves = "classifier/kernel" in flat, set(), []
    for path, like in nnx.to_flat_state(params_like):
        name, copy = _name(path)
        if path[0] == "head" and not has_classifier:
            leaves.append((path, like))
            continue
        value = np.asarray(flat[name])[copy]
        assert value.shape == like[...].shape, f"{name}: {value.shape} instead of {like[...].shape}"
        leaves.append((path, like.replace(jnp.asarray(value, like[...].dtype))))
        used.add(name)
    left = {name for name in flat.keys() - used if not name.startswith("heads/")}
    assert all("/conv" in name and name.endswith("/bias") for name in left), f"weights without a place: {sorted(left)}"
    return nnx.from_flat_state(leaves)
