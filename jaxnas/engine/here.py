"""What an engine does, and the one that does it in this process."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

State = TypeVar("State")
Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Crew(Generic[State]):
    """The processes that work.

    Attributes:
      setup: from a number of devices (None: all) to what a process works with; it can be sent to others.
      devices: of each process, by default all that there are.
      about: what a machine says of itself, from the state of a process.
      differs: why a machine must not take part, from what it said; empty if it may. Without it all may.
    """

    setup: Callable[[int | None], State]
    devices: int | None = None
    about: Callable[[State], Any] = lambda state: None
    differs: Callable[[Any], str] | None = None


@dataclass(frozen=True)
class Task(Generic[State, Item, Result]):
    """The same work on many items.

    Attributes:
      start: from the state of a process, `shared` and an item to the function that waits for the result; it can be
        sent to others.
      shared: what all items need; sent once.
      lost: from an item that kills its process, and the reason, to what stands in place of its result.
      halves: smaller items that make up one; none where there is no smaller one.
    """

    start: Callable[[State, Any, Item], Callable[[], Result]]
    shared: Any
    lost: Callable[[Item, str], Result]
    halves: Callable[[Item], Sequence[Item]] = lambda item: ()


class Here(Generic[State]):
    """This process.

    Attributes:
      state: what it works with.
    """

    def __init__(self, crew: Crew[State]) -> None:
        self.state = crew.setup(crew.devices)

    @property
    def width(self) -> int:
        """How many items are worked on at a time."""
        return 1

    def ask(self, question: Callable[..., Answer], *args: Any) -> Answer:
        """What a process that works answers: `question(state, *args)`."""
        return question(self.state, *args)

    def each(self, task: Task[State, Item, Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        """Yield the items, or the smaller ones that make them up, with their results, in any order.

        Here in theirs: while the host waits for one, the devices are busy with the next.
        """
        started: list[tuple[Item, Callable[[], Result]]] = []
        for item in items:
            started.append((item, task.start(self.state, task.shared, item)))
            if len(started) > 1:
                before, finish = started.pop(0)
                yield before, finish()
        yield from ((item, finish()) for item, finish in started)


def halved(first: int, last: int) -> list[tuple[int, int]]:
    """The two halves of the range from `first` to before `last`; none of a single number."""
    middle = (first + last) // 2
    return [(first, middle), (middle, last)] * (middle > first)
