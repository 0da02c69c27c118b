"""The options that every command has, beside its own: `--config`, `--quiet`, `--verbose`."""

import json
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from jaxnas.cli.help_text import flat
from jaxnas.errors import UserError, unknown
from jaxnas.user_file import local


@dataclass(frozen=True)
class Common:
    """What every command takes."""

    config: Path | None = None
    """TOML file of options by their long names; what the command line says comes before it."""
    quiet: bool = False
    """Say nothing on standard error but why it failed: no progress, no notes (-q)."""
    verbose: bool = False
    """Say more on standard error: versions, devices, what is compiled, what was read from --config (-v)."""


EVERYWHERE = "Every command takes --config FILE.toml, -q and -v, too: see jaxnas help."
SWITCHES = {"-q": "quiet", "--quiet": "quiet", "-v": "verbose", "--verbose": "verbose"}


def split(argv: Sequence[str]) -> tuple[Common, list[str]]:
    """The common options among `argv`, and the other words; `UserError` if they do not fit together."""
    given: dict[str, Any] = {}
    rest, words = list[str](), iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if word in SWITCHES:
            given[SWITCHES[word]] = True
        elif name == "--config":
            value = value if equals else next(words, "")
            if not value:
                raise UserError("--config needs a file")
            given["config"] = Path(local(value, f"--config {value}"))
        else:
            rest.append(word)
    if given.get("quiet") and given.get("verbose"):
        raise UserError("--quiet and --verbose: say one of them")
    return Common(**given), rest


def parts(text: str | None) -> list[str]:
    """What stands between the commas of an option."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def words_of(path: Path, config_class: type[Any]) -> list[str]:
    """The words of a command line that say what a TOML file says.

    A key is an option's long name without `--`, `-` and `_` being one; `evolve.population = 20` and a table `[evolve]`
    are the same.

    Raises:
      UserError: the file cannot be read, or has a key or a kind of value that the command has not.
    """
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {path}: cannot read it ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path}: no TOML: {error}") from None
    known = {name.removeprefix("--"): hint for name, hint in flat(config_class)}
    words = []
    for key, value in _flat(read):
        name = key.replace("_", "-")
        if name not in known:
            raise UserError(f"--config {path}: {unknown('key', key, known)}")
        words += _words(name, value, known[name], f"--config {path}: {key} = {value!r}")
    return words


def words_again(path: Path, prog: str) -> list[str]:
    """The words of the command that wrote a manifest.json.

    Raises:
      UserError: it is none, it does not tell, or another program than `prog` wrote it.
    """
    try:
        command = json.loads(path.read_text(encoding="utf-8"))["command"]
    except OSError as error:
        raise UserError(f"--config {path}: cannot read it ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"--config {path}: no manifest.json that tells its command; give a TOML file") from None
    if not command.startswith(f"{prog} "):
        raise UserError(
            f"--config {path}: it was written by {' '.join(command.split()[:2]) or 'a program'}, not {prog}"
        )
    return shlex.split(command.removeprefix(prog))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _words(name: str, value: Any, hint: Any, asked: str) -> list[str]:
    """The words for one option of the type `hint`."""
    if hint is bool:
        if not isinstance(value, bool):
            raise UserError(f"{asked}: say true or false")
        return [f"--{name}"] if value else []
    if isinstance(value, bool):
        raise UserError(f"{asked}: this option takes a value, not true or false")
    if isinstance(value, list):
        several = any(get_origin(kind) is tuple for kind in (hint, *get_args(hint)))
        return [f"--{name}", *(map(str, value) if several else [",".join(map(str, value))])]
    return [f"--{name}", str(value)]
