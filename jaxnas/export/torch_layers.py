"""Flax modules as layers of PyTorch: the code that makes each, and its weights in PyTorch's order of axes."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from jaxnas.errors import UserError
from jaxnas.kernels.layout import Pair
from jaxnas.kernels.windows import margins
from jaxnas.spaces.blocks.architecture import HeadModule
from jaxnas.spaces.blocks.conv_norm import Conv2d, ConvBatchNorm, Depthwise
from jaxnas.spaces.blocks.modules import Chain, FactorizedReduction, Pooling
from jaxnas.spaces.nasbench_macro import InvertedResidual

CLASSES = {  # that PyTorch does not have: their code
    "Factorized": '''class Factorized(nn.Module):
    """ReLU, two 1x1 convolutions at stride 2, the second one a pixel further down and right, batch normalisation."""

    def __init__(self, inputs, outputs):
        super().__init__()
        halves = (outputs - outputs // 2, outputs // 2)
        self.convs = nn.ModuleList(nn.Conv2d(inputs, half, 1, stride=2, bias=False) for half in halves)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        x = F.relu(x)
        moved = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        return self.norm(torch.cat([self.convs[0](x), self.convs[1](moved)], 1))
''',
    "Residual": '''class Residual(nn.Sequential):
    """Layers whose input is added to their output."""

    def forward(self, x):
        return x + super().forward(x)
''',
}


class Layer(NamedTuple):
    """A layer.

    Attributes:
      code: makes it.
      weights: by their names in its `state_dict`.
    """

    code: str
    weights: Mapping[str, np.ndarray] = {}


RELU = Layer("nn.ReLU()")


def sequence(layers: Iterable[Layer], kind: str = "nn.Sequential") -> Layer:
    """Layers one after another as one."""
    layers = list(layers)
    weights = {f"{i}.{name}": array for i, layer in enumerate(layers) for name, array in layer.weights.items()}
    return Layer(f"{kind}({', '.join(layer.code for layer in layers)})", weights)


def layers(module: nnx.Module, channels: int) -> list[Layer]:
    """The layers of a module whose input has so many channels; none of the identity.

    Raises:
      UserError: it is a module of a user's own.
    """
    match module:
        case ConvBatchNorm():
            norm = [] if module.norm is None else [_norm(module.norm)]
            return [*_relu(module.relu_before), _conv(module.conv, channels), *norm, *_relu(module.relu_after)]
        case HeadModule():
            norm = [] if module.norm is None else [_norm(module.norm)]
            pooled = [Layer("nn.AdaptiveAvgPool2d(1)"), Layer("nn.Flatten()")]
            return [*norm, *_relu(module.relu), *pooled, _linear(module.classifier)]
        case Chain():
            return _row(module.parts, channels)
        case Pooling():
            return [_pool(module)]
        case FactorizedReduction():
            return [_factorized(module, channels)]
        case InvertedResidual():
            inner = _row(module.convs, channels)
            return [sequence(inner, "Residual")] if module.residual and inner else inner
    raise UserError(f"--to torch does not know the module {type(module).__name__}; say --to flax, stablehlo or onnx")


def _row(modules: Iterable[nnx.Module], channels: int) -> list[Layer]:
    found: list[Layer] = []
    for module in modules:
        found += layers(module, channels)
        if isinstance(module, ConvBatchNorm):
            channels = module.conv.kernel.shape[3]
        elif isinstance(module, FactorizedReduction):
            channels = module.norm.num_features
    return found


def _relu(wanted: bool) -> list[Layer]:
    return [RELU] * wanted


def _conv(conv: Conv2d | Depthwise, channels: int) -> Layer:
    """A convolution; its kernel `[h, w, C_in / groups, C_out]` says the number of groups."""
    kernel, dilation = np.asarray(conv.kernel[...]), getattr(conv, "dilation", 1)
    height, width, of_group, outputs = kernel.shape
    size = height, width
    options = {
        "stride": (conv.strides, 1),
        "padding": (tuple(margins(size, dilation)), 0),
        "dilation": (dilation, 1),
        "groups": (channels // of_group, 1),
    }
    said = [f"{name}={_short(value)}" for name, (value, default) in options.items() if _short(value) != default]
    arguments = ", ".join([str(channels), str(outputs), str(_short(size)), *said, "bias=False"])
    return Layer(f"nn.Conv2d({arguments})", {"weight": kernel.transpose(3, 2, 0, 1)})


def _norm(norm: nnx.BatchNorm) -> Layer:
    """A batch normalisation; PyTorch's momentum is that of the new value."""
    leaves: dict[str, Any] = {"running_mean": norm.mean, "running_var": norm.var}
    leaves |= {name: leaf for name, leaf in (("weight", norm.scale), ("bias", norm.bias)) if leaf is not None}
    plain = [] if "weight" in leaves else ["affine=False"]
    options = [f"eps={norm.epsilon}", f"momentum={round(1 - norm.momentum, 6)}", *plain]
    weights = {name: np.asarray(leaf[...]) for name, leaf in leaves.items()}
    weights["num_batches_tracked"] = np.zeros((), np.int64)
    return Layer(f"nn.BatchNorm2d({norm.num_features}, {', '.join(options)})", weights)


def _linear(linear: nnx.Linear) -> Layer:
    assert linear.bias is not None
    kernel, bias = np.asarray(linear.kernel[...]), np.asarray(linear.bias[...])
    return Layer(f"nn.Linear({kernel.shape[0]}, {kernel.shape[1]})", {"weight": kernel.T, "bias": bias})


def _pool(pool: Pooling) -> Layer:
    kind, more = ("Max", "") if pool.kind == "max" else ("Avg", ", count_include_pad=False")
    return Layer(f"nn.{kind}Pool2d({pool.size}, stride={pool.stride}, padding={pool.size // 2}{more})")


def _factorized(module: FactorizedReduction, channels: int) -> Layer:
    norm, parts = _norm(module.norm), [_conv(conv, channels) for conv in module.convs]
    weights = {f"convs.{i}.{name}": array for i, part in enumerate(parts) for name, array in part.weights.items()}
    weights |= {f"norm.{name}": array for name, array in norm.weights.items()}
    return Layer(f"Factorized({channels}, {module.norm.num_features})", weights)


def _short(value: Pair | Any) -> Any:
    """One number for two equal ones."""
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value
