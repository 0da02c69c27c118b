"""What a page shows, as one figure in a file for a paper."""

from collections.abc import Sequence
from pathlib import Path

from jaxnas.correlate import figure as correlated
from jaxnas.correlate.comparison import Comparison, against
from jaxnas.correlate.sources import read_sources
from jaxnas.errors import UserError
from jaxnas.report.page import scores, search
from jaxnas.search import figure as searched
from jaxnas.supernet.figure import draw_training
from jaxnas.tables.runs import Run


def draw(runs: Sequence[Run], measured: scores.Measured | None, path: Path) -> str:
    """Write the figure of runs on one space, and return what is on it; the suffix of `path` names the format.

    Args:
      runs: of one kind, on one space.
      measured: what scores are compared with, if that is given.
      path: file to write.

    Raises:
      UserError: there is nothing to draw.
      OSError: the file cannot be written.
    """
    first = runs[0]
    if first.kind == "search":
        return _searches(runs, path)
    if measured is not None:
        compared = against(scores.pair(runs, measured), read_sources([run.path for run in runs]))
        agreements = compared.agreements(resamples=measured.bootstrap, seed=measured.seed)
        correlated.draw(Comparison(compared, agreements, compared.over_seeds()), path)
        return f"{measured.column} against the ranks by each score"
    if "held_out" in first.frame.columns:
        return _predictions(first, path)
    if len(first.curves):
        draw_training(first.curves, first.settings, path)
        return "the losses"
    raise UserError(
        f"--out {path}: a figure shows scores against a target; say --table FILE --target COLUMN, or --target "
        "score:NAME for one of the scores"
    )


def _searches(runs: Sequence[Run], path: Path) -> str:
    shown = [one for one in search.searches_of(runs) if one.whole]
    if not shown:
        method = runs[0].settings["method"]
        raise UserError(f"--out {path}: {method} compares within its rounds alone; give an .html, which shows these")
    seeds = sorted({one.run.seed for one in shown})
    methods = ", ".join(dict.fromkeys(one.run.settings["method"] for one in shown))
    said = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    title = f"{shown[0].run.space.name}, {methods}, {said}, n = {sum(len(one.archs) for one in shown):,}"
    searched.draw([one.course for one in shown], [one.goal for one in shown], title=title, path=path)
    return "best so far" + (", front" if len(shown[0].goal.signs) > 1 else "")


def _predictions(run: Run, path: Path) -> str:
    from jaxnas.report import plots

    known, settings = run.frame.drop_nulls("held_out"), run.settings
    if known.is_empty():
        raise UserError(f"{run.path} has no held-out predictions; give a run of jaxnas predict with more labels")
    title = f"{run.space.name}, {settings['model']}, seed {run.seed}, n = {len(known):,}"
    columns = known["measured"].to_numpy(), known["held_out"].to_numpy()
    plots.draw_predictions(*columns, target_name=settings["target"], title=title, path=path)
    return "held-out predictions against what was measured"
