"""Pickles of others, read without running any code of theirs: numbers, strings, arrays and containers only."""

import bz2
import pickle
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from jaxnas.errors import UserError

HARMLESS = {
    ("collections", "OrderedDict"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("builtins", "complex"),
    ("builtins", "list"),
    ("builtins", "dict"),
    ("builtins", "int"),
    ("builtins", "float"),
    ("_codecs", "encode"),  # bytes in old protocols
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
}
TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # first of the pickles in a file of `torch.save` before version 1.6
_BROKEN = (pickle.UnpicklingError, EOFError, OSError, AttributeError, LookupError, TypeError, ValueError, MemoryError)
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)  # the last two: how it was packed


class ForeignError(UserError):
    """A pickle that holds something else."""


class Harmless(pickle.Unpickler):
    """An unpickler that makes numbers, strings, arrays and containers, and refuses the rest before it is made."""

    def find_class(self, module: str, name: str) -> Any:
        module = {"__builtin__": "builtins"}.get(module, module).replace("numpy.core.", "numpy._core.")
        if (module, name) not in HARMLESS:
            raise ForeignError(f"it holds {module}.{name}")
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        raise ForeignError("it holds tensors")


def read_pickle(path: Path, instead: str) -> Any:
    """What is in a pickle, `.pbz2` or not, or in a file of `torch.save` without tensors.

    Args:
      path: file.
      instead: what to do where it holds something else, for the message.

    Raises:
      UserError: it cannot be read, or holds objects of classes.
    """
    try:
        with _opened(path) as file:
            found = Harmless(file).load()
            if isinstance(found, int) and found == TORCH_MAGIC:
                _protocol, _system, found = (Harmless(file).load() for _ in range(3))
            return found
    except ForeignError as error:
        raise UserError(f"{path}: {error}, which could run code; {instead}") from None
    except (*_BROKEN, *_BROKEN_ZIP) as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{path}: cannot be read as a pickle ({reason}); is it complete? {instead}") from None


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The stream of pickles in a file, decompressed."""
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start[:3] == b"BZh":
            with bz2.open(file) as inside:
                yield inside  # type: ignore[misc]
        elif start == b"PK\3\4":
            with zipfile.ZipFile(file) as archive, archive.open(_data(archive)) as inside:
                yield inside
        else:
            yield file


def _data(archive: zipfile.ZipFile) -> str:
    """The pickle within a file of `torch.save` since version 1.6."""
    names = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
    if not names:
        raise pickle.UnpicklingError("a zip file without data.pkl")
    return names[0]
