"""The figure of a supernet's training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl


def draw_training(curves: pl.DataFrame, settings: Mapping[str, Any], path: Path) -> None:
    """Write the losses, epoch by epoch; the suffix of `path` names the format. `OSError` where it cannot be written.

    Args:
      curves: a row for each epoch.
      settings: of the run.
      path: file to write.
    """
    from jaxnas.report import plots

    title = f"{settings['space']}, {settings['arm']['name']}, seed {settings['seed']}"
    plots.draw_training(curves.to_dict(as_series=False), title=title, path=path)
