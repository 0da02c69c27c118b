"""The package neural-tangents on a current JAX, without TensorFlow.

Its last release, 0.6.5 of 2023, imports names that JAX has moved since, and a folder of its own, `experimental`, that
needs TensorFlow. Both are lent to it while it is imported: the names from where they are now, the folder empty. Its
closed-form kernels (`stax`) and `empirical_ntk_fn` without structured derivatives then work; JAX is as it was.
"""

import contextlib
import functools
import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from jaxnas.errors import check_package

MOVED = [  # where the package looks for names, and where JAX keeps them
    ("jax.core", "jax.extend.core", ("Jaxpr", "JaxprEqn", "Literal", "Var", "Primitive")),
    ("jax.core", "jax._src.core", ("ShapedArray", "Value", "AbstractValue", "eval_context")),
    ("jax.util", "jax._src.util", ("safe_map", "safe_zip")),
    ("jax.interpreters.ad", "jax._src.ad_util", ("zeros_like_p", "add_jaxvals_p")),
]
NEEDS_TENSORFLOW = "neural_tangents.experimental"
_importing = threading.Lock()


def load() -> ModuleType:
    """The package; `UserError` where it is not installed."""
    with _importing:
        return _load()


@functools.cache
def _load() -> ModuleType:
    with lent_names():
        check_package("a score of infinite width", "neural_tangents", "neural-tangents")
        return importlib.import_module("neural_tangents")


@contextlib.contextmanager
def lent_names() -> Iterator[None]:
    """Let the package be imported inside: what it looks for and no longer finds is there."""
    lent: list[tuple[dict[str, Any], str]] = []

    def lend(namespace: dict[str, Any], name: str, value: Any) -> None:
        if name not in namespace:
            namespace[name] = value
            lent.append((namespace, name))

    lend(sys.modules, NEEDS_TENSORFLOW, ModuleType(NEEDS_TENSORFLOW))
    for place, source, names in MOVED:
        if importlib.util.find_spec(place) is None:
            lend(sys.modules, place, ModuleType(place))
        for name in names:
            lend(vars(importlib.import_module(place)), name, getattr(importlib.import_module(source), name))
    try:
        yield
    finally:
        for namespace, name in lent:
            del namespace[name]
