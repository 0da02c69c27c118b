"""The PyTorch loop that people use today: one NAS-Bench-201 architecture at a time, as ordinary `nn.Module`s.

Written from the formulas, to be timed against jaxnas and to make its golden values. Images come in as `[B, H, W, C]`.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

Array = NDArray[Any]
OPS = ("none", "skip_connect", "conv1x1", "conv3x3", "avg_pool_3x3")
SOURCES = (0, 0, 1, 0, 1, 2)  # the node that each edge reads
INCOMING = ((0,), (1, 2), (3, 4, 5))  # the edges summed by nodes 1, 2, 3


@dataclass(frozen=True)
class Preset:
    """Sizes of a network; `affine=False` is GenNAS's cell: bare norms without running statistics, conv biases."""

    channels: int
    cells: int
    stages: int = 3
    stem: bool = True
    affine: bool = True


PRESETS = {
    "benchmark": Preset(16, 5),
    "ntk": Preset(3, 1),
    "regions": Preset(1, 1, stages=1, stem=False),
    "regression": Preset(16, 5, affine=False),
}


def named(**layers: nn.Module) -> nn.Sequential:
    """The layers in sequence, under their names."""
    return nn.Sequential(OrderedDict(layers))


class Zero(nn.Module):
    """The operation `none`."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


def operation(name: str, channels: int, affine: bool) -> nn.Module:
    """A new module for the operation `name` of `OPS`."""
    if name.startswith("conv"):
        size = int(name[-1])
        conv = nn.Conv2d(channels, channels, size, padding=size // 2, bias=not affine)
        norm = nn.BatchNorm2d(channels, affine=affine, track_running_stats=affine)
        return named(relu=nn.ReLU(), conv=conv, norm=norm)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return Zero() if name == "none" else nn.Identity()


def active_ops(arch: ArrayLike) -> list[list[str]]:
    """The operations of each edge of six op indices `[6]`, or of a mask `[6, 5]` with a 1 in every row."""
    array = np.asarray(arch)
    mask = array if array.ndim == 2 else np.eye(len(OPS), dtype=int)[array]
    return [[name for name, on in zip(OPS, row, strict=True) if on] for row in mask]


class Edge(nn.ModuleDict):
    """The mean of the active operations, by name."""

    def forward(self, x: Tensor) -> Tensor:
        outputs = [op(x) for op in self.values()]
        return outputs[0] if len(outputs) == 1 else torch.stack(outputs).mean(0)


class Cell(nn.Module):
    """Four nodes: the input, and three that sum their incoming edges; the last is the output."""

    def __init__(self, edges: Sequence[Sequence[str]], channels: int, affine: bool):
        super().__init__()
        self.edges = nn.ModuleList(Edge({op: operation(op, channels, affine) for op in ops}) for ops in edges)

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        for edges in INCOMING:
            first, *others = (self.edges[edge](nodes[SOURCES[edge]]) for edge in edges)
            nodes.append(sum(others, start=first))
        return nodes[-1]


class Reduction(nn.Module):
    """Residual block of stride 2 that doubles the width."""

    def __init__(self, channels: int):
        super().__init__()
        wide = 2 * channels
        self.conv_a = nn.Conv2d(channels, wide, 3, stride=2, padding=1, bias=False)
        self.conv_b = nn.Conv2d(wide, wide, 3, padding=1, bias=False)
        self.norm_a, self.norm_b = nn.BatchNorm2d(wide), nn.BatchNorm2d(wide)
        self.shortcut = nn.Conv2d(channels, wide, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        main = self.norm_a(self.conv_a(F.relu(x)))
        return self.norm_b(self.conv_b(F.relu(main))) + self.shortcut(F.avg_pool2d(x, 2))


class Backbone(nn.Module):
    """Stem, stages of cells, and the reductions between them, for one architecture."""

    def __init__(self, arch: ArrayLike, preset: Preset):
        super().__init__()
        self.widths = [preset.channels * 2**stage for stage in range(preset.stages)]
        conv = nn.Conv2d(3, preset.channels, 3, padding=1, bias=False)
        self.stem = named(conv=conv, norm=nn.BatchNorm2d(preset.channels)) if preset.stem else nn.Identity()
        edges = active_ops(arch)
        cells = ([Cell(edges, width, preset.affine) for _ in range(preset.cells)] for width in self.widths)
        self.stages = nn.ModuleList(nn.Sequential(*stage) for stage in cells)
        self.reductions = nn.ModuleList(Reduction(width) for width in self.widths[:-1])

    def taps(self, x: Tensor) -> list[Tensor]:
        """The output of every stage."""
        outputs = [self.stages[0](self.stem(x))]
        for reduction, stage in zip(self.reductions, self.stages[1:], strict=True):
            outputs.append(stage(reduction(outputs[-1])))
        return outputs


class Classifier(Backbone):
    """Backbone, batch norm, ReLU, global average pool, linear layer: the presets benchmark, ntk and regions."""

    def __init__(self, arch: ArrayLike, preset: Preset = PRESETS["benchmark"]):
        super().__init__(arch, preset)
        self.norm = nn.BatchNorm2d(self.widths[-1])
        self.relu = nn.ReLU()
        self.classifier = nn.Linear(self.widths[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.relu(self.norm(self.taps(x)[-1])).mean((2, 3)))


class Regressor(Backbone):
    """Backbone with GenNAS's heads to `targets` channels: nearest resize to 8x8, batch norm, 1x1 convolution."""

    def __init__(self, arch: ArrayLike, targets: Sequence[int], preset: Preset = PRESETS["regression"]):
        super().__init__(arch, preset)
        pairs = zip(self.widths, targets, strict=True)
        self.heads = nn.ModuleList(named(norm=nn.BatchNorm2d(c), conv=nn.Conv2d(c, out, 1)) for c, out in pairs)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [F.interpolate(tap, size=(8, 8), mode="nearest") for tap in self.taps(x)]
        return [head(features) for head, features in zip(self.heads, maps, strict=True)]


CELL_PARAMETER = re.compile(r"stages\.(\d+)\.(\d+)\.edges\.(\d+)\.conv(\dx\d)\.(conv|norm)\.(weight|bias)")


def flat_key(name: str) -> tuple[str, tuple[int, ...]]:
    """The key and the leading index in the flat dictionary of the parameter called `name` here."""
    index: tuple[int, ...] = ()
    if cell := CELL_PARAMETER.fullmatch(name):
        stage, position, edge, size, layer, leaf = cell.groups()
        index, name = (int(position), int(edge)), f"stages.{stage}.{layer}{size}.{leaf}"
    *path, layer, leaf = name.split(".")
    weight = "scale" if layer.startswith("norm") else "kernel"
    return "/".join([*path, layer, weight if leaf == "weight" else leaf]), index


def load_weights(module: nn.Module, flat: dict[str, Array]) -> None:
    """Copy into `module` the weights that its architecture uses.

    Args:
      flat: every weight of the network of one preset by name (`stages/0/conv3x3/kernel`): convolution kernels HWIO,
        linear kernels `[in, out]`; what belongs to cells has two leading axes, cell and edge.
    """
    order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            key, index = flat_key(name)
            parameter.copy_(torch.from_numpy(flat[key][index].transpose(order[parameter.ndim])))


def to_tensor(module: nn.Module, images: Array) -> Tensor:
    """Return images `[..., H, W, C]` as channels-first, in the type of the module's parameters."""
    return torch.from_numpy(np.moveaxis(images, -1, -3).copy()).to(next(module.parameters()).dtype)


def gradient_row(output: Tensor, weights: Sequence[Tensor], *, keep: bool = False) -> Tensor:
    """Return d output / d weights as one vector `[P]`; zeros where the output does not depend on a weight."""
    grads = torch.autograd.grad(output, weights, retain_graph=keep, allow_unused=True, materialize_grads=True)
    return torch.cat([grad.flatten() for grad in grads])


@contextmanager
def hooked(module: nn.Module, kind: type[nn.Module], hook: Callable[..., None]) -> Iterator[None]:
    """Call `hook(layer, inputs, output)` after every layer of this kind."""
    handles = [layer.register_forward_hook(hook) for layer in module.modules() if isinstance(layer, kind)]
    yield
    for handle in handles:
        handle.remove()


def freeze_statistics(module: nn.Module, x: Tensor) -> None:
    """Put `module` into eval mode with the mean and biased variance of this batch in every batch norm."""

    def store(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        norm.running_var, norm.running_mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)

    with torch.no_grad(), hooked(module, nn.BatchNorm2d, store):
        module(x)
    module.eval()


def ntk_gram(module: nn.Module, images: Array, *, bn: Literal["batch", "frozen"] = "batch") -> Array:
    """The NTK `K = G G^T` `[B, B]` of the summed logits, over the weights but not the biases.

    Args:
      images: `[B, H, W, C]`.
      bn: "batch" differentiates through the batch statistics (B backward passes over the whole batch, as TE-NAS does);
        "frozen" holds them constant, so that one image at a time will do.
    """
    x, weights = to_tensor(module, images), [p for name, p in module.named_parameters() if name.endswith("weight")]
    module.train()
    if bn == "batch":
        rows = [gradient_row(output, weights, keep=True) for output in module(x).sum(1)]
    else:
        freeze_statistics(module, x)
        rows = [gradient_row(module(image[None]).sum(), weights) for image in x]
    g = torch.stack(rows).double()
    return (g @ g.T).numpy()


def condition_number(gram: Array) -> float:
    """Return lambda_max / lambda_min of a symmetric matrix."""
    eigenvalues = np.linalg.eigvalsh(gram)
    return float(eigenvalues[-1] / eigenvalues[0])


def patterns(module: nn.Module, patches: Array) -> NDArray[np.bool_]:
    """The signs of every ReLU's output, `[batches * B, bits]`, for patches `[batches, B, H, W, C]`."""
    module.train()
    signs: list[Tensor] = []
    rows: list[Tensor] = []
    with torch.no_grad(), hooked(module, nn.ReLU, lambda _layer, _inputs, y: signs.append((y > 0).flatten(1))):
        for batch in to_tensor(module, patches):
            signs.clear()
            module(batch)
            rows.append(torch.cat(signs, 1))
    return torch.cat(rows).numpy()


def regions(module: nn.Module, patches: Array) -> int:
    """The number of linear regions: distinct sign patterns over patches `[3, 1000, 3, 3, 1]`."""
    return len(np.unique(np.packbits(patterns(module, patches), axis=1), axis=0))


@dataclass(frozen=True)
class Training:
    """How GenNAS trains and scores: SGD settings and the weight of each tap; decay is for tensors of 2 or more axes."""

    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 4e-5
    train_weights: Sequence[float] = (1.0, 1.0, 1.0)
    score_weights: Sequence[float] = (0.25, 0.5, 1.0)


def weighted_mse(outputs: Sequence[Tensor], targets: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return sum_l w_l mean((output_l - target_l)^2)."""
    return torch.stack([w * F.mse_loss(y, t) for w, y, t in zip(weights, outputs, targets, strict=True)]).sum()


def regression(
    module: Regressor, images: Array, targets: Sequence[Array], noise: Array, training: Training = Training()
) -> float:
    """Train `module` in place to map images to signals and return its loss in eval mode (GenNAS; lower is better).

    Args:
      images: `[B, 32, 32, 3]`.
      targets: one `[B, 8, 8, C_l]` per tap.
      noise: `[steps + 1, B, 32, 32, 3]`, added to the images: one per step, the last for the score.
    """
    x, y, fresh = to_tensor(module, images), [to_tensor(module, t) for t in targets], to_tensor(module, noise)
    kernels, others = ([p for p in module.parameters() if (p.ndim >= 2) == wanted] for wanted in (True, False))
    optimiser = torch.optim.SGD(others, lr=training.lr, momentum=training.momentum)
    optimiser.add_param_group({"params": kernels, "weight_decay": training.weight_decay})
    module.train()
    for extra in fresh[:-1]:
        optimiser.zero_grad()
        weighted_mse(module(x + extra), y, training.train_weights).backward()
        optimiser.step()
    module.eval()
    with torch.no_grad():
        return float(weighted_mse(module(x + fresh[-1]), y, training.score_weights))
