"""Where the benchmarks' tables are."""

import os
from pathlib import Path

from jaxnas.errors import UserError

BESIDE = Path(__file__).parents[3] / "shared" / "data"  # of the checkout


def folder() -> Path:
    """The folder of the benchmarks' tables: `JAXNAS_DATA`, or `shared/data` beside the checkout.

    Raises:
      UserError: it is not there.
    """
    found = Path(os.environ.get("JAXNAS_DATA") or BESIDE)
    if not found.is_dir():
        raise UserError(f"no benchmark tables in {found}; set JAXNAS_DATA to their folder")
    return found
