"""A Python file with a plain PyTorch module, and its weights in the .npz file beside it."""

from pathlib import Path

from jaxnas.export import wiring
from jaxnas.export.torch_layers import CLASSES
from jaxnas.export.winner import Winner, save_arrays

SOURCE = '''"""An architecture of {space} as a PyTorch module; needs PyTorch and NumPy.

    model = load()              # with the weights in {weights}, in evaluation mode
    logits = model(images)      # [B, {channels}, {height}, {width}] -> [B, {classes}]
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

ARCHITECTURE = {arch!r}


{helpers}class Network(nn.Module):
    """Images `[B, {channels}, {height}, {width}]` to logits `[B, {classes}]`."""

    def __init__(self):
        super().__init__()
{modules}

    def forward(self, {input}):
{forward}


def load(path=Path(__file__).with_suffix(".npz")):
    """The network with the weights of an .npz file, in evaluation mode; `model.train()` readies it for training."""
    with np.load(path) as weights:
        state = {{name: torch.from_numpy(weights[name]) for name in weights.files}}
    network = Network()
    network.load_state_dict(state)
    return network.eval()
'''


def write(winner: Winner, path: Path, weights: Path) -> None:
    """Write the Python file and the weights."""
    lines, layers = wiring.read(winner.module)
    *before, last = lines
    body = [*(f"{line.target} = {line.code}" for line in before), f"return {last.code}"]
    modules = [f"self.{name} = {layer.code}" for name, layer in layers.items()]
    arrays = {f"{name}.{leaf}": array for name, layer in layers.items() for leaf, array in layer.weights.items()}
    used = [code for name, code in CLASSES.items() if any(f"{name}(" in line for line in modules)]
    height, width, channels = winner.image
    source = SOURCE.format(
        space=winner.space,
        arch=winner.arch,
        weights=weights.name,
        height=height,
        width=width,
        channels=channels,
        classes=winner.classes,
        helpers="".join(f"{code}\n\n" for code in used),
        modules=_indented(modules),
        input=wiring.INPUT,
        forward=_indented(body),
    )
    save_arrays(weights, arrays)
    path.write_text(source)


def _indented(code: list[str]) -> str:
    return "\n".join(f"        {line}" for line in code)
