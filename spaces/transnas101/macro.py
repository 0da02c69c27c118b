"""TransNAS-Bench-101's macro space (Duan et al., CVPR 2021): 3,256 skeletons of residual blocks.

Strings are `64-SKELETON-basic`, the skeleton a row of modules: 1 plain, 2 twice the channels, 3 half the resolution, 4
both. A list of the modules (`[1, 2, 3, 4]`) is read, too; the benchmark's indices are not. #params and FLOPs are those
of the network for object classification (75 classes) or, in `transnas101_macro:class_scene`, for scene classification
(47 classes). Skeletons that change the shape alike share a network: there are 297, and 3 for `patches`, where nothing
halves.
"""

import functools
import itertools
from collections.abc import Collection, Hashable

import jax
import numpy as np

from jaxnas.errors import UserError
from jaxnas.spaces import literals
from jaxnas.spaces.base import Space
from jaxnas.spaces.datasets import TRANSNAS
from jaxnas.spaces.sampling import check_number, generator
from jaxnas.spaces.transnas101.counts import (
    CONVENTION,
    Shape,
    classes_of,
    conv,
    counts_of,
    frame_counts,
    refuse_index,
    shapes,
)
from jaxnas.spaces.transnas101.network import (
    CHANNELS,
    MACRO,
    MOST_MODULES,
    MacroNetwork,
    doubles,
    halves,
    macro_network,
)

MODULES = range(4, MOST_MODULES + 1)  # numbers of modules of a skeleton,
HALVINGS, DOUBLINGS = range(1, 5), range(1, 4)  # of its modules 3 and 4, and of its modules 2 and 4


class MacroSpace(Space):
    """Skeletons of residual blocks; an architecture is the row of its modules `[6]`, padded with -1."""

    name = "transnas101_macro"
    datasets = TRANSNAS
    dataset = "class_object"
    convention = CONVENTION
    example = "64-1234-basic"
    searched = "4 to 6 modules; which of them halve the image or double the channels"
    reads = "its string, the row of its modules"

    @property
    def size(self) -> int:
        return len(_skeletons())

    def encode(self, string: str) -> np.ndarray:
        expected = (
            f"expected {CHANNELS}-MODULES-basic with 4 to 6 modules of 1 to 4, of them 1 to 4 that halve the resolution"
            " (3, 4) and 1 to 3 that double the channels (2, 4)"
        )
        refuse_index(string, expected)
        parts = string.strip().split("-")
        if (row := literals.row(string)) and set(row) <= {-1, 1, 2, 3, 4}:
            parts = [str(CHANNELS), _to_skeleton(np.array(row)), "basic"]
        if len(parts) != 3 or parts[::2] != [str(CHANNELS), "basic"]:
            raise UserError(f"malformed architecture {string!r}: {expected}")
        skeleton = parts[1]
        for place, module in enumerate(skeleton, start=1):
            if module not in "1234":
                raise UserError(f"malformed architecture {string!r}: module {place} is {module!r}; {expected}")
        if not _is_member(skeleton):
            raise UserError(
                f"{string!r} is not in the space: {len(skeleton)} modules, {_halvings(skeleton)} that halve and "
                f"{_doublings(skeleton)} that double; {expected}"
            )
        return _to_arch(skeleton)

    def decode(self, arch: np.ndarray) -> str:
        return f"{CHANNELS}-{_to_skeleton(arch)}-basic"

    def enumerate(self) -> np.ndarray:
        """All architectures `[3256, 6]`, their strings in ascending order."""
        return np.stack([_to_arch(skeleton) for skeleton in _skeletons()])

    def sample(self, key: jax.Array, n: int) -> np.ndarray:
        check_number(self.name, n, self.size)
        return self.enumerate()[generator(key).choice(self.size, n, replace=False)]

    def mutate(self, key: jax.Array, arch: np.ndarray) -> np.ndarray:
        """Return, uniformly, a skeleton of the space with one module replaced, added or taken out."""
        parent, changed = _to_skeleton(arch), set[str]()
        for place in range(len(parent) + 1):
            before, after = parent[:place], parent[place:]
            changed |= {before + module + after for module in "1234"}
            changed |= {before + module + after[1:] for module in ("", *"1234")}
        neighbours = sorted(skeleton for skeleton in changed - {parent} if _is_member(skeleton))
        return _to_arch(str(generator(key).choice(neighbours)))

    def groups(self, archs: np.ndarray, form: str) -> list[Hashable]:
        """Return for each of `archs` `[N, 6]` the modules that change the shape: `244` for 64-124141-basic.

        Where nothing halves the image, as for `patches`, these are the doublings: `222`.
        """
        self.check_form(form)
        return [_to_skeleton(arch).replace("1", "") for arch in MACRO[form].modules(np.asarray(archs))]

    @property
    def forms(self) -> Collection[str]:
        return MACRO

    def network(self, form: str = "benchmark", group: Hashable = None, **changes) -> MacroNetwork:
        """The network of a group for `form`, with `changes` to its `Config` such as `bn` or `init`."""
        self.check_form(form)
        if not isinstance(group, str) or not set(group) <= set("234" if MACRO[form].halving else "2"):
            raise UserError(f"{self.name} has a network for each change of shape; give one of `groups` as group")
        return macro_network(form, group, **classes_of(self, form) | changes)

    def params(self, archs: np.ndarray) -> np.ndarray:
        return self._counts(archs)[:, 0].astype(np.int64)

    def flops(self, archs: np.ndarray) -> np.ndarray:
        return self._counts(archs)[:, 1].astype(np.int64)

    def layers(self, archs: np.ndarray) -> np.ndarray:
        return self._counts(archs)[:, 2].astype(np.int64)

    def spectral_capacity(self, archs: np.ndarray) -> np.ndarray:
        return self._counts(archs)[:, 3]

    def _counts(self, archs: np.ndarray) -> np.ndarray:
        classes = self.datasets[self.dataset].classes
        return np.array([_macro_counts(_to_skeleton(arch), classes) for arch in archs])


def _halvings(skeleton: str) -> int:
    return sum(map(halves, skeleton))


def _doublings(skeleton: str) -> int:
    return sum(map(doubles, skeleton))


def _is_member(skeleton: str) -> bool:
    return len(skeleton) in MODULES and _halvings(skeleton) in HALVINGS and _doublings(skeleton) in DOUBLINGS


@functools.cache
def _skeletons() -> list[str]:
    rows = ("".join(row) for count in MODULES for row in itertools.product("1234", repeat=count))
    return sorted(filter(_is_member, rows))


def _to_arch(skeleton: str) -> np.ndarray:
    modules = [int(module) for module in skeleton]
    return np.array(modules + [-1] * (MODULES[-1] - len(modules)), np.int32)


def _to_skeleton(arch: np.ndarray) -> str:
    return "".join(str(module) for module in arch if module > 0)


@functools.cache
def _residual_block(before: Shape, after: Shape) -> np.ndarray:
    block = [conv(before, after, 3), conv(after, after, 3)]
    return counts_of(*block, *([] if before == after else [conv(before, after, 1, relu=False)]))


def _macro_counts(skeleton: str, classes: int) -> np.ndarray:
    cells = shapes(skeleton)
    return sum((_residual_block(*cell) for cell in cells), frame_counts(cells[-1][1], classes))


TRANSNAS101_MACRO = MacroSpace()
