"""A Python file that builds the Flax module and reads its weights from the .npz file beside it."""

from pathlib import Path

from jaxnas.export.winner import Winner

SOURCE = '''"""An architecture of {space} as a Flax NNX module; needs jaxnas.

    model = load()              # with the weights in {weights}, in evaluation mode
    logits = model(images)      # [B, {height}, {width}, {channels}] -> [B, {classes}]
"""

from pathlib import Path

import numpy as np
from flax import nnx

from jaxnas import spaces

SPACE = {space!r}
ARCHITECTURE = {arch!r}


def load(path: str | Path = Path(__file__).with_suffix(".npz")) -> nnx.Module:
    """The module with the weights of an .npz file; `model.train()` readies it for training."""
    model = nnx.eval_shape(lambda: spaces.get(SPACE).build(ARCHITECTURE, rngs=nnx.Rngs(0)))
    graphdef, state = nnx.split(model)
    with np.load(path) as weights:
        flat = [(name, leaf.replace(weights["/".join(map(str, name))])) for name, leaf in nnx.to_flat_state(state)]
    model = nnx.merge(graphdef, nnx.from_flat_state(flat))
    model.eval()
    return model
'''


def write(winner: Winner, path: Path, weights: Path) -> None:
    """Write the Python file and the weights."""
    height, width, channels = winner.image
    shapes = {"height": height, "width": width, "channels": channels, "classes": winner.classes}
    winner.save(weights)
    path.write_text(SOURCE.format(space=winner.space, arch=winner.arch, weights=weights.name, **shapes))
