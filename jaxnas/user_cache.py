"""Where jaxnas keeps what it can make again: compiled programs, trained generators."""

import os
import warnings
from pathlib import Path


def user_cache(kind: str) -> Path | None:
    """The folder for things of this kind in the user's cache directory, or None where none can be written."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxnas" / kind
        str(folder).encode()  # JAX takes no other names
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
        reason = f"no permission to write {folder}"
    except (OSError, RuntimeError, ValueError) as error:  # no home, no folder, not in the locale's encoding
        reason = str(error)
    warnings.warn(f"no cache ({reason}), so every run compiles anew; name a folder by XDG_CACHE_HOME", stacklevel=2)
    return None
