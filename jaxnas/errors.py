"""The one exception for bad input, and the wording it shares."""

import difflib
import importlib
import math
from collections.abc import Iterable, Mapping

MANY = 50  # names that are not listed where one is near


class UserError(ValueError):
    """Bad input: one line that says what was wrong, what is allowed and what to do.

    The command line prints the message alone on standard error and exits with code 2.
    """


def unknown(what: str, name: str, allowed: Iterable[str]) -> UserError:
    """The error for a `what` called `name` that is none of `allowed`, with the nearest valid name."""
    names = sorted(allowed)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    listed = "" if near and len(names) > MANY else f" choose from: {', '.join(names)}"
    return UserError(f"unknown {what} {name!r}{hint}{listed}")


def spelt(name: str, allowed: Iterable[str]) -> str:
    """The one of `allowed` that `name` means, `-` and `_` being one; `name` itself where there is none."""
    return next((known for known in allowed if known.replace("_", "-") == name.replace("_", "-")), name)


def check_package(what: str, package: str, extra: str) -> None:
    """Raise a `UserError` that names the command which installs a package of an extra, if `what` lacks it."""
    try:
        importlib.import_module(package)
    except ImportError:
        raise UserError(f"{what} needs the package {package}: pip install 'jaxnas[{extra}]'") from None


def check_least(options: object, least: Mapping[str, float], prefix: str = "") -> None:
    """Raise a `UserError` about the first of the `options` below its least value, or infinite; None is no value."""
    for name, low in least.items():
        value = getattr(options, name)
        if value is not None and not low <= value < math.inf:
            finite = "" if math.isfinite(value) else "finite and "
            raise UserError(f"--{prefix}{name.replace('_', '-')} is {value}; it must be {finite}at least {low}")


def check_seed(seed: int) -> None:
    """Raise a `UserError` unless `seed` is one that NumPy and JAX take."""
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed is {seed}; it must lie in 0 to {2**32 - 1}")
