"""Write `torch.json`: scores of a few architectures by the PyTorch loop `bench/scorers/competitor.py`.

Run as `python tests/golden/make_torch.py`, about three minutes on one core. Weights and inputs are not stored:
`inputs.py` draws them again from the seeds and shapes in the file. Kappa and Gram are computed in float64, region
counts and the regression loss in float32 and float64, whose difference shows how far rounding alone moves a loss.
"""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent


def load(path: Path) -> ModuleType:
    """Import one file by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


inputs = load(HERE / "inputs.py")
competitor = load(HERE.parents[1] / "bench" / "scorers" / "competitor.py")

ARCHS = {
    "all_conv3x3": [3, 3, 3, 3, 3, 3],
    "all_conv1x1": [2, 2, 2, 2, 2, 2],
    "residual": [3, 3, 3, 1, 3, 3],
    "mixed": [3, 1, 2, 4, 3, 2],
    "none_edges": [3, 0, 2, 1, 0, 3],
    "dead_node": [0, 1, 3, 2, 4, 3],
    "pool_heavy": [4, 1, 4, 3, 4, 1],
    "skip_heavy": [1, 1, 2, 1, 4, 1],
}
MASKS = {
    "supernet": [[0, 1, 1, 1, 1]] * 6,
    "pruned": [[0, 1, 0, 1, 1], [0, 0, 0, 1, 0], [1, 0, 1, 0, 0], [0, 1, 1, 0, 1], [0, 0, 1, 1, 0], [0, 1, 0, 0, 0]],
}
FULL = ("mixed", "pool_heavy")  # 100 steps at full size
TARGETS = (64, 48, 16)
SETTINGS: dict[str, dict[str, Any]] = {
    "ntk": {"channels": 3, "cells": 1, "weights_seed": 0, "inputs_seed": 1, "images": [16, 32, 32, 3]},
    "regions": {"channels": 1, "cells": 1, "weights_seed": 2, "inputs_seed": 3, "patches": [3, 1000, 3, 3, 1]},
    "regression_short": {"channels": 8, "cells": 2, "weights_seed": 4, "inputs_seed": 5, "batch": 8, "steps": 20},
    "regression_full": {"channels": 16, "cells": 5, "weights_seed": 6, "inputs_seed": 7, "batch": 16, "steps": 100},
}


def ntk(arch: Any) -> dict[str, Any]:
    """Return kappa and a summary of the Gram matrix for both treatments of batch norm, in float64."""
    set_up = SETTINGS["thin"]
    module = competitor.Classifier(arch, competitor.PRESETS["ntk"]).double()
    shapes = inputs.classifier_shapes(set_up["channels"], set_up["cells"])
    competitor.load_weights(module, inputs.golden_weights(shapes, set_up["weights_seed"]))
    images = inputs.golden_inputs({"images": set_up["images"]}, set_up["inputs_seed"])["images"]
    grams = {bn: competitor.ntk_gram(module, images, bn=bn) for bn in ("batch", "frozen")}
    return {bn: summary(gram) for bn, gram in grams.items()}


def summary(gram: Any) -> dict[str, Any]:
    """Return what the tests compare of a Gram matrix."""
    return {
        "kappa": competitor.condition_number(gram),
        "diagonal": np.diag(gram).tolist(),
        "first_row": gram[0].tolist(),
        "spectrum": np.linalg.eigvalsh(gram).tolist(),
    }


def regions(arch: Any) -> dict[str, int]:
    """Return the number of linear regions in float32 and float64."""
    set_up = SETTINGS["patches"]
    shapes = inputs.classifier_shapes(set_up["channels"], set_up["cells"], stages=1)
    flat = inputs.golden_weights(shapes, set_up["weights_seed"])
    patches = inputs.golden_inputs({"patches": set_up["patches"]}, set_up["inputs_seed"])["patches"]
    counts = {}
    for dtype in (torch.float32, torch.float64):
        module = competitor.Classifier(arch, competitor.PRESETS["regions"]).to(dtype)
        competitor.load_weights(module, flat)
        counts[str(dtype).removeprefix("torch.")] = competitor.regions(module, patches)
    return counts


def regression(arch: Any, set_up: dict[str, Any]) -> dict[str, float]:
    """Return the regression loss in float32 and float64."""
    preset = replace(competitor.PRESETS["regression"], channels=set_up["channels"], cells=set_up["cells"])
    shapes = inputs.regression_shapes(set_up["channels"], set_up["cells"], TARGETS)
    flat = inputs.golden_weights(shapes, set_up["weights_seed"])
    sizes = {"batch": set_up["batch"], "steps": set_up["steps"], "targets": TARGETS}
    images, maps, noise = inputs.golden_regression(set_up["inputs_seed"], **sizes)
    losses = {}
    for dtype in (torch.float32, torch.float64):
        module = competitor.Regressor(arch, TARGETS, preset).to(dtype)
        competitor.load_weights(module, flat)
        losses[str(dtype).removeprefix("torch.")] = competitor.regression(module, images, maps, noise)
    return losses


def golden() -> dict[str, Any]:
    """Return the contents of `torch.json`."""
    nets = ARCHS | MASKS
    return {
        "torch": torch.__version__,
        "recipe": "python tests/golden/make_torch.py",
        "dtype": {
            "ntk": "float64",
            "regions": "float32, float64",
            "regression": "float32, float64",
            "weights": "float32",
        },
        "settings": SETTINGS | {"targets": TARGETS},
        "archs": nets,
        "ntk": {name: ntk(arch) for name, arch in nets.items()},
        "regions": {name: regions(arch) for name, arch in nets.items()},
        "regression_short": {name: regression(arch, SETTINGS["regression_short"]) for name, arch in ARCHS.items()},
        "regression_full": {name: regression(ARCHS[name], SETTINGS["regression_full"]) for name in FULL},
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    text = json.dumps(golden(), indent=1)
    (HERE / "torch.json").write_text(text + "\n")
    print(f"wrote torch.json, {len(text) / 1000:.0f} kB", file=sys.stderr)
