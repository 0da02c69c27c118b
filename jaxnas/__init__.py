"""jaxnas: training-free scores of neural architectures, computed in compiled batches."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxnas import data as data
    from jaxnas import export as export
    from jaxnas import scorers as scorers
    from jaxnas import spaces as spaces
    from jaxnas import tables as tables
    from jaxnas.api import Result as Result
    from jaxnas.api import compare as compare
    from jaxnas.api import run_search as run_search
    from jaxnas.api import score_archs as score_archs
    from jaxnas.errors import UserError as UserError
    from jaxnas.evaluate.evaluator import Evaluator as Evaluator
    from jaxnas.tables.runs import Run as Run
    from jaxnas.tables.runs import read_run as read_run
    from jaxnas.types import Score as Score
    from jaxnas.types import Status as Status

    __version__: str

_HOMES = {  # name: module that has it, or that it is; imported on first use, so that `jaxnas --help` need not wait
    "data": "",
    "export": "",
    "scorers": "",
    "spaces": "",
    "tables": "",
    "UserError": "errors",
    "Evaluator": "evaluate.evaluator",
    "Score": "types",
    "Status": "types",
    "Result": "api",
    "Run": "tables.runs",
    "compare": "api",
    "read_run": "tables.runs",
    "run_search": "api",
    "score_archs": "api",
}

__all__ = [
    *("Evaluator", "Result", "Run", "Score", "Status", "UserError", "compare", "data", "read_run", "run_search"),
    *("score_archs", "scorers", "spaces", "tables"),
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from jaxnas.cli.versions import version

        return version("jaxnas")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES[name] or name}")
    return getattr(module, name) if _HOMES[name] else module


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
