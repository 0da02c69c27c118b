"""Files that appear under their names complete or not at all.

A file is written beside its place under a temporary name (`NAME.tmp-HOST-PID`, so that processes do not clash), flushed
to the disk and renamed.
"""

import contextlib
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_TEMPORARY = re.compile(r".+\.tmp-(?P<host>.+)-(?P<pid>\d+)")
_STALE_SECONDS = 86_400  # when a temporary file of another machine counts as left behind


@contextlib.contextmanager
def writing(path: Path, publish: Callable[[Path, Path], None] = os.replace) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` when the block ends; if it raises, nothing has changed.

    Args:
      path: the final name.
      publish: gives the finished temporary file, its first argument, the final name.
    """
    unfinished = path.with_name(f"{path.name}.tmp-{_host()}-{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        publish(unfinished, path)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def write(path: Path, content: bytes, publish: Callable[[Path, Path], None] = os.replace) -> None:
    """Write a whole file; see `writing`."""
    with writing(path, publish) as file:
        file.write(content)


def unless_there(unfinished: Path, path: Path) -> None:
    """What `publish` may be: give a file its name unless another process was first."""
    try:
        os.link(unfinished, path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        os.replace(unfinished, path)


def is_temporary(name: str) -> bool:
    """Whether a file is called as one that is being written."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_leftovers(folder: Path) -> None:
    """Delete what killed processes were writing in a folder."""
    for name in os.listdir(folder):
        match = _TEMPORARY.fullmatch(name)
        if match and _left_behind(folder / name, match["host"], int(match["pid"])):
            (folder / name).unlink(missing_ok=True)


def _left_behind(path: Path, host: str, pid: int) -> bool:
    """Whether no process is about to rename this temporary file."""
    if host == _host() and os.name == "posix":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
    with contextlib.suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > _STALE_SECONDS
    return False


def _host() -> str:
    return re.sub(r"[^\w.-]", "_", socket.gethostname())
