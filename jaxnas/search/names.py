"""What the names of objectives and limits stand for: one name space of scores and of numbers of an oracle."""

from collections.abc import Iterable

from jaxnas.errors import UserError, spelt, unknown
from jaxnas.scorers.protocol import AnyScore
from jaxnas.scorers.registry import DEFAULTS, load
from jaxnas.search.oracle import Function, Table

SCORE, ORACLE = "score:", "oracle:"
MEASURED = ("params", "flops", "latency")  # of a function, unless it says `score:`


class Names:
    """Tells what a name stands for, and remembers what was asked for.

    A table's columns come first. Of a function nothing is known before it answers: there, names of scores are scores,
    but for a few that everybody measures (`MEASURED`), and all others are the function's; one that answers with the
    name of a score that was asked for is refused. `score:NAME` and `oracle:NAME` say which.

    Attributes:
      known: all scores, by name.
      scores: those that were asked for, by name: what `--scorers` calls them.
      numbers: those of the oracle that were asked for, by the name that they have in the search: what it calls them.

    Args:
      own: scores of the user's that the options name, `path/to/file.py:VARIABLE`.
      oracle: what else is asked.
    """

    def __init__(self, own: Iterable[str], oracle: Function | Table | None):
        self._own = {load(spec).name: spec for spec in own}
        self._oracle = oracle
        self.known: dict[str, AnyScore] = {**DEFAULTS, **{name: load(spec) for name, spec in self._own.items()}}
        self.scores: dict[str, str] = {}
        self.numbers: dict[str, str] = {}

    def __call__(self, text: str, what: str = "score") -> str:
        """The name in the search of what was asked for; `UserError` if nothing is called so."""
        if ".py:" in text:
            return self._as_score(load(text).name)
        if text.startswith(ORACLE):
            own = text.removeprefix(ORACLE)
            return self._as_number(text if own in self.known else own, own)
        name = spelt(text.removeprefix(SCORE), self.known)
        if not text.startswith(SCORE) and self._is_number(text, name):
            return self._as_number(text, text)
        if name not in self.known:
            needs = "" if self._oracle else "; a number of your own needs --oracle"
            raise UserError(f"{unknown(what, name, self.known)}{needs}")
        return self._as_score(name)

    def check(self) -> None:
        """Raise a `UserError` if a score and a number of the oracle would have one name in the search."""
        for name in self.scores.keys() & self.numbers.keys():
            raise UserError(f"{name} would be a score and a number of --oracle; say {ORACLE}{name} for the latter")

    def _is_number(self, text: str, name: str) -> bool:
        if isinstance(self._oracle, Table):
            return text in self._oracle.columns or name not in self.known
        return self._oracle is not None and (name not in self.known or name in MEASURED)

    def _as_score(self, name: str) -> str:
        self.scores[name] = self._own.get(name, name)
        return name

    def _as_number(self, name: str, own: str) -> str:
        if self._oracle is None:
            raise UserError(f"{ORACLE}{own} is a number of an oracle; say which: --oracle")
        self.numbers[name] = own
        return name
