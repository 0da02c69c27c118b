"""The figure of a comparison: the target against the ranks, and Kendall's taus."""

from pathlib import Path

from jaxnas.correlate.comparison import Comparison


def draw(comparison: Comparison, path: Path) -> None:
    """Write the figure; the suffix of `path` names the format. `OSError` where it cannot be written."""
    from jaxnas.report import plots

    measured = comparison.measured
    seed = "" if measured.seed is None else f", seed {measured.seed}"
    plots.draw_agreements(
        comparison.agreements,
        measured.orderings(),
        measured.target,
        target_name=measured.pair.target,
        lower_is_better=measured.pair.lower_is_better,
        title=f"{measured.name}{seed}, n = {len(measured.target):,}",
        path=path,
    )
