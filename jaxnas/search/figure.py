"""The figure of searches: the front of the first two objectives, and the best so far of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxnas.report.axes import Course
from jaxnas.search.goal import Goal, Scores


def course(label: str, goal: Goal, scores: Scores) -> Course:
    """What a search evaluated, as it is shown."""
    values = {name: scores[name].value.mean(0) for name in goal.signs}
    return Course(label, goal.signs, values, goal.feasible(scores), goal.of_first(2).front(scores))


def limits(goals: Sequence[Goal]) -> Mapping[str, Mapping[str, float]]:
    """The limits on each objective, by what they are called."""
    found: dict[str, dict[str, float]] = {}
    for goal in goals:
        for words, of in (("at most", goal.at_most), ("at least", goal.at_least)):
            for name in goal.signs.keys() & of.keys():
                found.setdefault(name, {})[f"{name} {words}"] = of[name]
    return found


def draw(courses: Sequence[Course], goals: Sequence[Goal], *, title: str, path: Path) -> None:
    """Write the figure; the suffix of `path` names the format. `OSError` where it cannot be written."""
    from jaxnas.report import plots

    plots.draw_search(courses, limits(goals), title=title, path=path)
