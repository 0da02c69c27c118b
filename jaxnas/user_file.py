"""Files of users: paths on the command line, Python files named `path/to/file.py:variable`, what tells files apart."""

import os
import re
import sys
import traceback
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxnas.digest import digest
from jaxnas.errors import UserError, unknown

_HOME = re.compile(r"(^|,\s*)(~[^,/]*)(?=[,/]|$)")  # at the start of a path, or of each of several
_SCHEME = re.compile(r"(?:^|,\s*)((?:(?:file|ftp|gs|hdfs|https?|s3):|[A-Za-z][\w+.-]+:(?=/))[^,]*)")

_modules: dict[tuple[Path, str], ModuleType] = {}  # of users' files, by path and content


def local(path: str, asked: str, *, remote: bool = False) -> str:
    """What was given for an option, a path or several (or anything else), with `~` expanded.

    Args:
      path: what was given.
      asked: the option with it, for messages.
      remote: whether it may be an address such as s3://bucket.

    Raises:
      UserError: it is an address, in the home of nobody, or its characters are not those of the locale.
    """
    address = _SCHEME.search(path)
    if address and not remote:
        scheme = address[1].partition(":")[0]
        raise UserError(
            f"{asked}: {scheme}: is no place on this machine; give a local path and copy from there, or to there "
            f"(a local one of that name is ./{address[1]})"
        )
    try:
        path.encode()
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        remedy = "rename it" if encoding == "utf-8" else "set PYTHONUTF8=1"
        raise UserError(f"{asked!a}: not in {encoding}, the encoding of this locale; {remedy}") from None

    def expanded(found: re.Match[str]) -> str:
        home = os.path.expanduser(found[2])
        if home == found[2] and path[found.end() :].startswith("/"):
            raise UserError(
                f"{asked}: there is no user {home[1:]!r} whose home {home} could be; give the whole path "
                f"(a directory here of that name is ./{home})"
            )
        return found[1] + home

    return _HOME.sub(expanded, path)


def load_variable(spec: str, option: str, kind: str, accepts: Callable[[Any], bool]) -> Any:
    """Run the file and return the variable.

    Args:
      spec: `path/to/file.py:variable`.
      option: of the command line, for messages.
      kind: what the variable should be, for messages.
      accepts: whether a value is of that kind.

    Raises:
      UserError: there is no such file, it does not run, or it has no such variable of that kind.
    """
    path, _, variable = spec.rpartition(":")
    if not Path(path).is_file():
        raise UserError(f"{option} {spec}: no file {path or spec}; say path/to/file.py:variable")
    module = _run(Path(path).absolute(), f"{option} {spec}")
    fitting = {name: value for name, value in vars(module).items() if accepts(value) and not name.startswith("_")}
    if variable not in fitting:
        raise unknown(f"{kind} in {path}", variable, fitting)
    return fitting[variable]


def fingerprint(*paths: str | Path) -> str:
    """Return 16 hexadecimal digits that change when the content of the files does."""
    return digest(*(Path(path).read_bytes() for path in paths))


def _run(path: Path, asked: str) -> ModuleType:
    """The module of a file, run once while it stays the same: two variables of one file know each other's classes.

    It is in `sys.modules`, where for instance dataclasses look for it.
    """
    content = path, fingerprint(path)
    if content in _modules:
        return _modules[content]
    name = f"_jaxnas_user_{digest(bytes(path))}"  # no other module's, whatever the file's is
    found = spec_from_file_location(name, path)
    assert found is not None and found.loader is not None
    module = sys.modules[name] = module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, UserError):
            raise
        raise UserError(f"{asked}: the file does not run: {_place(error, path)}{_named(error)}") from error
    _modules[content] = module
    return module


def _place(error: BaseException, path: Path) -> str:
    """The line of the file at which it happened, if that is known."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    return f"line {lines[-1]}: " if lines and lines[-1] else ""


def _named(error: BaseException) -> str:
    says = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {says}" if says else type(error).__name__
