"""Where jaxnas keeps what it can make again: compiled programs, trained generators."""

import os
from pathlib import Path


def user_cache(kind: str) -> Path:
    """Return the folder for things of this kind in the user's cache directory; it need not be there yet."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "jaxnas" / kind
