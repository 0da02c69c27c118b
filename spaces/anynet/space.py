"""NDS (Radosavovic et al., ICCV 2019): AnyNets, stages of equal blocks: plain, residual or grouped bottleneck blocks.

An architecture is `[1 + 2 S]`, the stem's width and for each of up to S stages (blocks, width), or with bottleneck
blocks `[1 + 4 S]`: (blocks, width, bottleneck's width in quarters of that, groups); -1 where there are fewer stages.
NDS's lists `ds`, `ws`, `ss`, `bot_muls`, `num_gs` have the stem as their first entry. `resnet` is the space of NDS's
ImageNet networks, `resnet:cifar10` that of its CIFAR-10 networks, which have another stem and three stages.
"""

import json
import math
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from jaxnas.errors import UserError
from jaxnas.spaces.anynet.blocks import BLOCKS, FRAMES, Block, Stage, capacity, count, layers
from jaxnas.spaces.anynet.network import TAPS, AnyNetwork, StageSize, benchmark, with_taps
from jaxnas.spaces.base import Space
from jaxnas.spaces.datasets import NDS
from jaxnas.spaces.sampling import distinct, generator
from jaxnas.spaces.strings import STRINGS

QUARTERS = {0.25: 1, 0.5: 2, 1.0: 4}  # bottleneck multipliers as an architecture has them
MOST_PARAMS, MOST_FLOPS = 6_000_000, 600_000_000  # of what NDS drew on ImageNet
PLAIN_LISTS = ("ds", "ws", "ss")
LARGEST = 9999  # depth, width or number of groups
LISTS = (*PLAIN_LISTS, "bot_muls", "num_gs")


class Drawn(NamedTuple):
    """What NDS drew from for a data set.

    Attributes:
      strides: of the stem, then of the first block of each stage.
      stem_widths: of the stem.
      choices: for each of a stage's numbers, in the architecture's order.
    """

    strides: tuple[int, ...]
    stem_widths: tuple[int, ...]
    choices: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class AnyNet(Space):
    """Networks of stages.

    Attributes:
      name: as given on the command line.
      block_type: a name in `BLOCKS`.
      drawn: what NDS drew from, by data set.
      small_flops: NDS drew networks with too many parameters, too, where they have few operations.
      dataset: as in `Space`.
    """

    name: str
    block_type: str
    drawn: Mapping[str, Drawn]
    small_flops: bool = False
    dataset: str = "imagenet"

    datasets = NDS
    convention = (
        "multiply-adds of the convolutions and the classifier with its biases, five operations for each element of a "
        "normalisation: NDS's own count (equal to its ImageNet tables on all rows at hand, and on CIFAR-10 to three of "
        "its entries)"
    )
    string_columns = (*STRINGS, "net")
    reads = "an entry of NDS (JSON)"

    @property
    def searched(self) -> str:  # type: ignore[override]
        more = ", bottleneck and groups" if self.block.bottleneck else ""
        return f"blocks, width{more} of each stage"

    refusals: ClassVar[Mapping[str, str]] = {
        **Space.refusals,
        **dict.fromkeys(
            ("thin", "patches"), "TE-NAS measures a cell of few channels, which its architectures do not have"
        ),
    }

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the stem, then of the first block of each stage."""
        return self.drawn[self.dataset].strides

    @property
    def example(self) -> str:  # type: ignore[override]
        """The second choice everywhere."""
        return self.decode(np.array([choices[:2][-1] for choices in self._all_choices]))

    @property
    def size(self) -> int:
        """Number of the networks of NDS's choices."""
        return math.prod(len(choices) for choices in self._all_choices)

    @property
    def block(self) -> Block:
        return BLOCKS[self.block_type]

    def encode(self, string: str) -> np.ndarray:
        """The architecture `[A]` of a JSON entry of NDS; other depths, widths and groups than NDS's, too."""
        try:
            return self._encode(_read(string))
        except UserError as error:
            shown = " ".join(string.split())
            raise UserError(f"malformed architecture {shown!r}: {error}; expected, say, {self.example}") from None

    def decode(self, arch: np.ndarray) -> str:
        """Return NDS's JSON of an architecture `[A]`."""
        stem, stages = self.split(np.asarray(arch)[None])
        depths, widths, *bottlenecks = stages[0][stages[0, :, 0] > 0].T.tolist()
        lists: dict[str, Any] = {"bot_muls": [], "num_gs": []}
        if bottlenecks:
            multipliers = {quarters: multiplier for multiplier, quarters in QUARTERS.items()}
            lists = {"bot_muls": [1.0, *map(multipliers.get, bottlenecks[0])], "num_gs": [1, *bottlenecks[1]]}
        lists |= {"ds": [1, *depths], "ws": [int(stem[0]), *widths], "ss": self.strides[: 1 + len(depths)]}
        return json.dumps({"block_type": self.block_type, **lists}, sort_keys=True, separators=(",", ":"))

    def split(self, archs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The stems' widths `[N]` and the stages `[N, S, 2 or 4]` of architectures `[N, A]`."""
        archs = np.asarray(archs)
        return archs[:, 0], archs[:, 1:].reshape(len(archs), len(self.strides) - 1, -1)

    def sample(self, key: jax.Array, n: int) -> np.ndarray:
        """Draw `n` different architectures `[n, A]` as NDS did: all choices uniform, on ImageNet at most 6 million
        parameters.

        Where the space has `small_flops`, at most 600 million operations instead will do. For CIFAR-10 the paper says
        how many choices there are, not which: of plain and residual blocks 9 depths up to 24, 12 widths from 16 to 256.
        """
        rng = generator(key)

        def propose(draws: int) -> np.ndarray:
            archs = np.stack([rng.choice(choices, draws) for choices in self._all_choices], 1).astype(np.int32)
            return archs[self._is_small(archs)]

        return distinct(self.name, self.size, n, propose)

    def mutate(self, key: jax.Array, arch: np.ndarray) -> np.ndarray:
        """Return `arch` `[A]` with one of its numbers changed to another of NDS's choices, both uniform.

        It is no larger than what `sample` draws, unless `arch` is.
        """
        rng, arch = generator(key), np.array(arch, np.int32)
        places = [place for place, choices in enumerate(self._all_choices) if arch[place] != -1 and len(choices) > 1]
        (limited,) = self._is_small(arch[None])
        while True:
            child, place = arch.copy(), rng.choice(places)
            child[place] = rng.choice([choice for choice in self._all_choices[place] if choice != arch[place]])
            if not self._indivisible(child) and (not limited or self._is_small(child[None])[0]):
                return child

    def groups(self, archs: np.ndarray, form: str) -> list[Hashable]:
        """Each of `archs` `[N, A]` itself: no two have a network of the same shapes."""
        if form == "taps":
            stages = (self.split(archs)[1][..., 0] > 0).sum(-1)
            if (short := stages < TAPS).any():
                arch = self.decode(archs[short.argmax()])
                raise UserError(f"a network with taps needs {TAPS} stages, {arch} has {stages[short][0]}; leave it out")
        return [tuple(map(int, arch)) for arch in archs]

    def shrunk(self, width: int) -> None:
        return None

    @property
    def forms(self) -> Collection[str]:
        return ("benchmark", "taps")

    def network(self, form: str = "benchmark", group: Hashable = None, **changes) -> AnyNetwork:
        """The network of the architecture `group` for `form`, with `changes` to its `Config`."""
        if not isinstance(group, tuple):
            raise UserError(f"{self.name}: every architecture has a network of its own; give one of `groups` as group")
        self.check_form(form)
        stem, stages = self.split(np.array([group]))
        rows = zip(*self._stage(stages[0]), self.strides[1:], strict=True)
        sizes = tuple(StageSize(*map(int, row)) for row in rows if row[0] > 0)
        network = with_taps(self.block, sizes)
        if form == "benchmark":
            network = benchmark(FRAMES[self.dataset], self.block, self.strides[0], int(stem[0]), sizes)
        return replace(network, config=replace(network.config, **changes))

    def params(self, archs: np.ndarray) -> np.ndarray:
        return self.counts(archs)[:, 0]

    def flops(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` the operations on one image, as NDS counts them (see `blocks`)."""
        return self.counts(archs)[:, 1]

    def counts(self, archs: np.ndarray) -> np.ndarray:
        """The parameters and operations `[N, 2]`."""
        return self._counted(archs, count)

    def layers(self, archs: np.ndarray) -> np.ndarray:
        return self._counted(archs, layers)

    def spectral_capacity(self, archs: np.ndarray) -> np.ndarray:
        return self._counted(archs, capacity)

    def _counted(self, archs: np.ndarray, of: Callable[..., np.ndarray]) -> np.ndarray:
        frame = FRAMES[self.dataset]
        stem, numbers = self.split(np.asarray(archs, np.int64))
        stages = [
            Stage(*self._stage(stage), stride)
            for stage, stride in zip(np.moveaxis(numbers, 1, 0), self.strides[1:], strict=True)
        ]
        return of(self.block, frame.stems[self.strides[0]], stem, stages, frame)

    def _stage(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return depth, width, bottleneck's width and groups `[N]` of a stage's numbers `[N, 2 or 4]`."""
        if not self.block.bottleneck:
            depth, width = numbers.T
            return depth, width, width, np.ones_like(width)
        depth, width, quarters, groups = numbers.T
        return depth, width, width * quarters // max(QUARTERS.values()), groups

    @property
    def _all_choices(self) -> list[tuple[int, ...]]:
        """The choices of each of an architecture's numbers."""
        drawn = self.drawn[self.dataset]
        return [drawn.stem_widths, *drawn.choices * (len(drawn.strides) - 1)]

    def _is_small(self, archs: np.ndarray) -> np.ndarray:
        """Return `[N]` whether NDS would draw networks of the sizes of `archs` `[N, A]`."""
        if self.dataset != "imagenet":
            return np.ones(len(archs), bool)
        params, flops = self.counts(archs).T
        return (params <= MOST_PARAMS) | (self.small_flops & (flops <= MOST_FLOPS))

    def _indivisible(self, arch: np.ndarray) -> str:
        """What is wrong with the groups of an architecture `[A]`, if anything."""
        for number, (depth, width, *bottleneck) in enumerate(self.split(arch[None])[1][0].tolist(), start=1):
            if depth > 0 and bottleneck and width * bottleneck[0] % (max(QUARTERS.values()) * bottleneck[1]):
                part = bottleneck[0] / max(QUARTERS.values())
                return f"stage {number}: {part:g} of {width} channels do not divide into {bottleneck[1]} groups"
        return ""

    def _encode(self, lists: dict[str, Any]) -> np.ndarray:
        if lists["block_type"] != self.block_type:
            raise UserError(f"block_type is {lists['block_type']!r}, not {self.block_type!r}")
        names = LISTS if self.block.bottleneck else PLAIN_LISTS
        stages = len(lists["ds"]) - 1
        if not 1 <= stages < len(self.strides) or any(len(lists[name]) != stages + 1 for name in names):
            most = len(self.strides)
            raise UserError(f"{', '.join(names)} need the same number of entries, 2 to {most}, the stem's first")
        if lists["ds"][0] != 1:
            raise UserError(f"the first of ds is {lists['ds'][0]}, the stem's; it must be 1")
        self._check_strides(lists["ss"])
        rows = [lists["ds"][1:], lists["ws"][1:]]
        if self.block.bottleneck:
            rows += [[QUARTERS[multiplier] for multiplier in lists["bot_muls"][1:]], lists["num_gs"][1:]]
        missing = [-1] * len(rows) * (len(self.strides) - 1 - stages)
        arch = np.array([lists["ws"][0], *np.transpose(rows).ravel(), *missing], np.int32)
        if wrong := self._indivisible(arch):
            raise UserError(wrong)
        return arch

    def _check_strides(self, strides: list[int]) -> None:
        """Refuse strides that the networks for `dataset` do not have; those of another data set are told apart."""
        of = {name: list(drawn.strides[: len(strides)]) for name, drawn in self.drawn.items()}
        if strides == of[self.dataset]:
            return
        others = [self.on(name).name for name in of if of[name] == strides]
        hint = f"; it is a network of the space {others[0]}: say --space {others[0]}" if others else ""
        raise UserError(f"ss is {strides}; in {self.name} it is {of[self.dataset]}{hint}")


def _read(string: str) -> dict[str, Any]:
    """The block type and lists of an entry of NDS, their numbers checked."""
    try:
        entry = json.loads(string)
    except (ValueError, RecursionError) as error:
        raise UserError(f"not JSON ({error})") from None
    if not isinstance(entry, dict) or entry.keys() != {"block_type", *LISTS}:
        raise UserError(f"its entries must be block_type, {', '.join(LISTS)}")
    for name in LISTS:
        if not isinstance(entry[name], list):
            raise UserError(f"{name} is {entry[name]!r}, not a list")
    for name in ("ds", "ws", "ss", "num_gs"):
        for value in entry[name]:
            if type(value) is not int or not 1 <= value <= LARGEST:
                raise UserError(f"{name} has {value!r} where a number from 1 to {LARGEST} belongs")
    for value in entry["bot_muls"][1:]:
        if not isinstance(value, int | float) or value not in QUARTERS:
            raise UserError(f"bot_muls has {value!r}; choose from {', '.join(map(str, QUARTERS))}")
    return entry


_DEPTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24)
_WIDTHS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_CIFAR_DEPTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24)
_CIFAR_WIDTHS = (16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256)
_POWERS = (1, 2, 4, 8, 16)
_BOTTLENECKS = tuple(QUARTERS.values())
_CIFAR_STRIDES, _CIFAR_STEMS = (1, 1, 2, 2), (16,)


def _plain(name: str, block_type: str) -> AnyNet:
    drawn = {
        "imagenet": Drawn((4, 1, 2, 2, 2), (16, 32, 64), (_DEPTHS, _WIDTHS)),
        "cifar10": Drawn(_CIFAR_STRIDES, _CIFAR_STEMS, (_CIFAR_DEPTHS, _CIFAR_WIDTHS)),
    }
    return AnyNet(name, block_type, drawn)


def _bottlenecks(name: str, widths: tuple[int, ...], groups: tuple[int, ...]) -> AnyNet:
    choices = (_POWERS, widths, _BOTTLENECKS, groups)
    drawn = {
        "imagenet": Drawn((8, 1, 2, 2), (64,), choices),
        "cifar10": Drawn(_CIFAR_STRIDES, _CIFAR_STEMS, choices),
    }
    return AnyNet(name, "res_bottleneck_block", drawn, small_flops=True)


VANILLA = _plain("vanilla", "double_plain_block")
RESNET = _plain("resnet", "res_basic_block")
RESNEXT_A = _bottlenecks("resnext_a", (16, 32, 64, 128, 256), (1, 2, 4))
RESNEXT_B = _bottlenecks("resnext_b", (64, 128, 256, 512, 1024), _POWERS)
ANYNETS = (RESNET, RESNEXT_A, RESNEXT_B, VANILLA)
