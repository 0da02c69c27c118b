"""What is exported: an architecture, its module, and the weights by name."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import jax
import numpy as np
from flax import nnx

from jaxnas import spaces
from jaxnas.errors import UserError, check_seed
from jaxnas.spaces.blocks.architecture import ArchitectureModule


@dataclass(frozen=True, eq=False)
class Winner:
    """One architecture with its weights.

    Attributes:
      space: the name of its space, as for `--space`.
      arch: its official string.
      module: images `[B, H, W, C]` to logits `[B, classes]`, in evaluation mode.
    """

    space: str
    arch: str
    module: ArchitectureModule

    @classmethod
    def build(cls, space: str, arch: str, *, seed: int = 0) -> Self:
        """The benchmark's network of an architecture, with weights drawn from `seed`.

        Args:
          space: name of the space, `SPACE:DATASET` for another data set of its benchmark.
          arch: in any form that the space reads, such as its benchmark's index.
          seed: of the weights.

        Raises:
          UserError: there is no such space or architecture, or it has no networks of images.
        """
        check_seed(seed)
        of = spaces.get(space)
        if "benchmark" not in of.forms:
            raise UserError(f"{of.name} has no networks of images, and export takes no others")
        found = of.encode(arch)
        module = of.build(found, rngs=nnx.Rngs(seed))
        assert isinstance(module, ArchitectureModule)
        module.eval()
        return cls(spaces.name_of(space), of.decode(found), module)

    @classmethod
    def of_result(cls, path: str | Path, *, seed: int = 0) -> Self:
        """The architecture in the result.json of a search, with weights drawn from `seed`."""
        return cls.build(*read_result(Path(path)), seed=seed)

    @property
    def image(self) -> tuple[int, int, int]:
        """Height, width and channels of its images."""
        return self.module.network.config.image

    @property
    def classes(self) -> int:
        """The number of logits."""
        return self.module.network.config.classes

    @property
    def parameters(self) -> int:
        """The number of weights, scales and biases."""
        return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(self.module, nnx.Param)))

    def weights(self) -> dict[str, np.ndarray]:
        """Weights, scales, biases and running moments, by path."""
        return {_name(path): np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(nnx.state(self.module))}

    def save(self, path: str | Path) -> None:
        """Write `weights` into an .npz file."""
        save_arrays(Path(path), self.weights())

    def load(self, path: str | Path) -> None:
        """Take the weights of an .npz file that `save` wrote.

        Raises:
          UserError: it cannot be read, or has the weights of another network.
        """
        try:
            with np.load(path) as file:
                given = {name: file[name] for name in file.files}
        except (OSError, ValueError, BadZipFile) as error:
            raise UserError(f"{path}: not the .npz file of weights that jaxnas export writes ({error})") from None
        flat = nnx.to_flat_state(nnx.state(self.module))
        wanted = {_name(path): leaf.shape for path, leaf in flat}
        if wanted != {name: array.shape for name, array in given.items()}:
            wrong = next(
                name for name in [*wanted, *given] if name not in given or given[name].shape != wanted.get(name)
            )
            raise UserError(f"{path} has the weights of another network: {wrong} is not that of {self.arch}")
        nnx.update(self.module, nnx.from_flat_state([(path, leaf.replace(given[_name(path)])) for path, leaf in flat]))


def read_result(path: Path) -> tuple[str, str]:
    """The name of the space and the architecture in the result.json of a search.

    Raises:
      UserError: it is no such file.
    """
    try:
        result: Any = json.loads(path.read_text())
        return str(result["settings"]["space"]), str(result["arch"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path} is no result.json of jaxnas search") from None


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays into an .npz file, by name."""
    with path.open("wb") as file:  # a path without the suffix would get it
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(map(str, path))
