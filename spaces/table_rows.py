"""Architectures of the rows of a table."""

from collections.abc import Callable, Hashable, Iterable

import numpy as np

from jaxnas.errors import UserError

STRINGS = ("arch", "arch_str")  # columns of official strings


def encode_rows(encode: Callable[[str], np.ndarray], strings: Iterable[str | None]) -> np.ndarray:
    """Return the architectures `[N, A]` of strings.

    Raises:
      UserError: there are none, one is missing or malformed, or two are equal; the message says which.
    """
    archs, texts = [], [(string or "").strip() for string in strings]
    for row, text in enumerate(texts):
        try:
            archs.append(encode(text))
        except UserError as error:
            raise UserError(f"row {row}: {error}") from None
    refuse_repeats(texts)
    return np.stack(archs)


def refuse_repeats(rows: Iterable[Hashable]) -> None:
    """Raise a `UserError` if there are no rows, or two of them are equal."""
    seen: dict[Hashable, int] = {}
    for row, content in enumerate(rows):
        if seen.setdefault(content, row) != row:
            raise UserError(f"rows {seen[content]} and {row} are the same architecture; list each one once")
    if not seen:
        raise nothing()


def nothing() -> UserError:
    """Return the error for a table without rows."""
    return UserError("the list of architectures is empty; give at least one")


def no_column(wanted: str, columns: Iterable[str]) -> UserError:
    """Return the error that says which columns of architectures a table lacks, and which it has."""
    return UserError(f"no column {wanted}; the columns are {', '.join(columns)}")
