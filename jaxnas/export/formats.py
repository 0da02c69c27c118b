"""The formats by name, and writing one of them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from jaxnas.errors import UserError, check_package, unknown
from jaxnas.export import flax_file, onnx_file, stablehlo, torch_file
from jaxnas.export.winner import Winner

Name = Literal["flax", "stablehlo", "onnx", "torch"]


class Format(NamedTuple):
    """A format.

    Attributes:
      suffixes: of the files that it consists of, the main one first.
      write: writes a winner into these files.
      needs: packages of the extra `export`.
    """

    suffixes: tuple[str, ...]
    write: Callable[..., None]
    needs: tuple[str, ...] = ()


FORMATS: Mapping[str, Format] = {
    "flax": Format((".py", ".npz"), flax_file.write),
    "stablehlo": Format((".stablehlo",), stablehlo.write, ("flatbuffers",)),
    "onnx": Format((".onnx",), onnx_file.write, ("jax2onnx",)),
    "torch": Format((".py", ".npz"), torch_file.write),
}


def write(winner: Winner, to: str, path: str | Path) -> list[Path]:
    """Write `winner` in a format and return the files that are there now.

    Args:
      winner: the architecture and its weights.
      to: `flax`, `stablehlo`, `onnx` or `torch`.
      path: of the main file, with or without its suffix.

    Raises:
      UserError: there is no such format, a file is there already or cannot be written, a package is missing, or the
        format cannot express an operation.
    """
    paths = check(to, path)
    try:
        FORMATS[to].write(winner, *paths)
    except OSError as error:
        raise UserError(f"cannot write {error.filename or paths[0]} ({error.strerror})") from error
    return paths


def check(to: str, path: str | Path) -> list[Path]:
    """The files that `write` would write; the errors are those that are known before the network is built."""
    if to not in FORMATS:
        raise unknown("format", to, FORMATS)
    main, *others = FORMATS[to].suffixes
    base = str(path).removesuffix(main)
    paths = [Path(base + suffix) for suffix in (main, *others)]
    for one in paths:
        if one.exists():
            raise UserError(f"{one} is there already; give another --out, or delete it")
    if not paths[0].parent.is_dir():
        raise UserError(f"there is no directory {paths[0].parent} for {paths[0].name}; make it, or give another --out")
    for package in FORMATS[to].needs:
        check_package(f"--to {to}", package, "export")
    return paths
