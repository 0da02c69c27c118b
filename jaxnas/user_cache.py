"""Where jaxnas keeps what it can make again, by kind."""

import contextlib
import os
import warnings
from pathlib import Path

import platformdirs

from jaxnas import atomic_file

PLACE = "JAXNAS_CACHE"  # environment variable: another folder
KINDS = {
    "programs": "compiled programs",
    "references": "reference samples of the consensus",
    "generators": "trained generators of agnet",
    "paces": "how fast scores were on this machine",
    "tables": "tables that were fetched",
    "latencies": "timings of operations on this device",
    "oracles": "tables that a search was given as frames",
    "charts": "the JavaScript of reports",
}


def root() -> Path:
    """The folder of all kinds, which need not exist: that of `JAXNAS_CACHE`, or in the user's cache directory."""
    named = os.environ.get(PLACE)
    return Path(named).expanduser() if named else platformdirs.user_cache_path("jaxnas", appauthor=False)


def user_cache(kind: str) -> Path | None:
    """The folder for things of one of the `KINDS`, or None where none can be written."""
    assert kind in KINDS
    try:
        folder = root() / kind
        str(folder).encode()  # JAX takes no other names
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
        reason = f"no permission to write {folder}"
    except (OSError, RuntimeError, ValueError) as error:  # no home, no folder, not in the locale's encoding
        reason = str(error)
    warnings.warn(f"no cache ({reason}), so every run compiles anew; name a folder by {PLACE}", stacklevel=2)
    return None


def keep(path: Path, content: str | bytes) -> None:
    """Write a file of the cache, which appears complete or not at all; one that cannot be written is not kept."""
    with contextlib.suppress(OSError):
        atomic_file.write(path, content.encode() if isinstance(content, str) else content)
