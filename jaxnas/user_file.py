"""Python files of users, named on the command line as `path/to/file.py:variable`."""

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from jaxnas.errors import UserError, unknown


def load_variable(spec: str, option: str, kind: str, accepts: Callable[[Any], bool]) -> Any:
    """Run the file and return the variable.

    Args:
      spec: `path/to/file.py:variable`.
      option: of the command line, for messages.
      kind: what the variable should be, for messages.
      accepts: whether a value is of that kind.

    Raises:
      UserError: there is no such file, or no such variable of that kind in it.
    """
    path, _, variable = spec.rpartition(":")
    if not Path(path).is_file():
        raise UserError(f"{option} {spec}: no file {path or spec}; say path/to/file.py:variable")
    found = spec_from_file_location(Path(path).stem, path)
    assert found is not None and found.loader is not None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    fitting = {name: value for name, value in vars(module).items() if accepts(value) and not name.startswith("_")}
    if variable not in fitting:
        raise unknown(f"{kind} in {path}", variable, fitting)
    return fitting[variable]
