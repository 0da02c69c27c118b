"""What is to do, and how often it was tried in vain."""

import itertools
from collections import Counter, deque
from collections.abc import Iterable
from typing import Generic

from jaxnas.engine.here import Item

TRIES = 3  # of an item


class Todo(Generic[Item]):
    """Items in their order, each of which is tried `TRIES` times, on different machines where there are some."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._new = iter(items)
        self._next: deque[Item] = deque()  # before the new ones
        self._tries: Counter[Item] = Counter()
        self._failed_on: dict[Item, str] = {}

    def __bool__(self) -> bool:
        """Whether something is left to begin."""
        if not self._next:
            self._next.extend(itertools.islice(self._new, 1))
        return bool(self._next)

    def take(self, machine: str, *, alone: bool) -> Item | None:
        """The next item for a machine, if there is one.

        Args:
          machine: its name; what has just failed there is for another one.
          alone: there is no other one.
        """
        for item in self._next:
            if alone or self._failed_on.get(item) != machine:
                self._next.remove(item)
                return item
        return next(self._new, None)

    def give_back(self, items: Iterable[Item]) -> None:
        """Take in items that were begun and not finished, through no fault of theirs."""
        self._next.extend(items)

    def try_again(self, item: Item, machine: str) -> int:
        """Take in an item that failed, and return how often it has; or return 0: it was tried often enough."""
        self._tries[item] += 1
        self._failed_on[item] = machine
        if self._tries[item] >= TRIES:
            return 0
        self._next.append(item)
        return self._tries[item]

    def split(self, smaller: Iterable[Item]) -> None:
        """Take in items in place of one that failed for the last time; each has a single try."""
        for item in smaller:
            self._tries[item] = TRIES - 1
            self._next.append(item)
