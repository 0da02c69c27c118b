"""Architectures of the rows of a table."""

from collections.abc import Callable, Iterable

import numpy as np

from jaxnas.errors import UserError

STRINGS = ("arch", "arch_str", "arch_string", "architecture")  # columns of official strings


class RowError(UserError):
    """What is wrong with a row of a table, counted from 0."""

    def __init__(self, row: int, problem: str):
        super().__init__(f"row {row}: {problem}")
        self.row, self.problem = row, problem


def encode_rows(encode: Callable[[str], np.ndarray], strings: Iterable[str | None]) -> np.ndarray:
    """The architectures `[N, A]` of strings.

    Raises:
      UserError: there are none, or one is missing or malformed; the message says which.
    """
    known: dict[str, np.ndarray] = {}
    texts = [(string or "").strip() for string in strings]
    for row, text in enumerate(texts):
        try:
            known[text] = known[text] if text in known else encode(text)
        except UserError as error:
            raise RowError(row, str(error)) from None
    if not texts:
        raise nothing()
    return np.stack([known[text] for text in texts])


def nothing() -> UserError:
    """The error for a table without rows."""
    return UserError("the list of architectures is empty; give at least one")


def no_column(wanted: str, columns: Iterable[str]) -> UserError:
    """The error that says which columns of architectures a table lacks, and which it has."""
    return UserError(f"no column {wanted}; the columns are {', '.join(columns)}")
