"""The JavaScript that draws: Vega, Vega-Lite and Vega-Embed as one text, out of a package of the extra `report`."""

import importlib
import importlib.metadata

from jaxnas.cli import process
from jaxnas.errors import UserError
from jaxnas.user_cache import keep, user_cache

PACKAGE = "vl-convert-python"


def version() -> str:
    """The version of the package that brings it; `UserError` where it is not installed."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"the charts need {PACKAGE}, which is not installed: pip install 'jaxnas[report]'") from None


def bundle() -> str:
    """The text, made once for each version of the package and kept in the user's cache."""
    folder = user_cache("charts")
    kept = folder / f"vega-{version()}.js" if folder else None
    if kept is not None and kept.is_file():
        return kept.read_text(encoding="utf-8")
    process.note("making the JavaScript of the charts, which takes up to a minute, once")
    text = str(importlib.import_module("vl_convert").javascript_bundle())
    if kept is not None:
        keep(kept, text)
    return text
