"""The PyTorch competitor is what it claims to be: NAS-Bench-201's networks, TE-NAS's gradients, the golden values."""

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the competitor needs PyTorch")
ROOT = Path(__file__).parents[1]
SUPERNET = [[0, 1, 1, 1, 1]] * 6


def load(path: str) -> ModuleType:
    """Import one file of the checkout by its path."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


competitor = load("bench/scorers/competitor.py")
recipe = load("tests/golden/make_torch.py")
GOLDEN = json.loads((ROOT / "tests/golden/torch.json").read_text())


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def images() -> Any:
    return np.random.default_rng(0).standard_normal((5, 32, 32, 3))


def classifier(arch: Any, preset: str) -> Any:
    return competitor.Classifier(arch, competitor.PRESETS[preset]).double()


def test_parameter_counts_are_the_benchmarks() -> None:
    table = Path(os.environ.get("JAXNAS_DATA", ROOT.parent / "shared" / "data")) / "nasbench201" / "accuracies.parquet"
    if not table.exists():
        pytest.skip(f"no {table}; set JAXNAS_DATA to the shared data")
    polars = pytest.importorskip("polars")
    for row in polars.read_parquet(table)[::1500].iter_rows(named=True):
        network = competitor.Classifier([row[f"e{edge}"] for edge in range(6)])
        assert sum(p.numel() for p in network.parameters()) == row["params_c10"], row["arch_str"]


def test_supernet_has_the_published_number_of_weights() -> None:
    named = classifier(SUPERNET, "ntk").named_parameters()
    assert sum(p.numel() for name, p in named if name.endswith("weight")) == 14_364


def test_supernet_patterns_have_the_published_number_of_bits() -> None:
    patches = np.random.default_rng(0).standard_normal((2, 20, 3, 3, 1))
    assert competitor.patterns(classifier(SUPERNET, "regions"), patches).shape == (40, 117)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("stem.norm.weight", ("stem/norm/scale", ())),
        ("stages.2.4.edges.5.conv3x3.norm.weight", ("stages/2/norm3x3/scale", (4, 5))),
        ("stages.0.1.edges.3.conv1x1.conv.bias", ("stages/0/conv1x1/bias", (1, 3))),
        ("reductions.1.shortcut.weight", ("reductions/1/shortcut/kernel", ())),
        ("classifier.bias", ("classifier/bias", ())),
        ("heads.0.conv.weight", ("heads/0/conv/kernel", ())),
    ],
)
def test_flat_key(name: str, key: tuple[str, tuple[int, ...]]) -> None:
    assert competitor.flat_key(name) == key


@pytest.mark.parametrize("arch", [[3, 1, 2, 4, 3, 2], [3, 0, 2, 1, 0, 3]])
def test_one_hot_mask_is_the_index_form(arch: list[int], images: Any) -> None:
    flat = recipe.inputs.golden_weights(recipe.inputs.classifier_shapes(3, 1), seed=0)
    grams = []
    for form in (arch, np.eye(5, dtype=int)[arch]):
        module = classifier(form, "thin")
        competitor.load_weights(module, flat)
        grams.append(competitor.ntk_gram(module, images))
    np.testing.assert_allclose(grams[0], grams[1], rtol=1e-12)


def test_sequential_gram_is_the_batched_vjp(images: Any) -> None:
    module = classifier(SUPERNET, "ntk")
    weights = [p for name, p in module.named_parameters() if name.endswith("weight")]
    outputs = module(competitor.to_tensor(module, images)).sum(1)
    rows = torch.autograd.grad(outputs, weights, torch.eye(5, dtype=torch.float64), is_grads_batched=True)
    g = torch.cat([row.flatten(1) for row in rows], 1)
    np.testing.assert_allclose(competitor.ntk_gram(module, images), (g @ g.T).numpy(), rtol=1e-9)


def test_frozen_gram_is_the_gradient_with_detached_statistics(images: Any) -> None:
    def detached(norm: Any, inputs: Any, _: Any) -> Any:
        variance, mean = torch.var_mean(inputs[0].detach(), (0, 2, 3), correction=0, keepdim=True)
        scaled = (inputs[0] - mean) / torch.sqrt(variance + 1e-5)
        return scaled * norm.weight[:, None, None] + norm.bias[:, None, None]

    module = classifier([3, 1, 2, 4, 3, 2], "ntk")
    frozen = competitor.ntk_gram(module, images, bn="frozen")
    with competitor.hooked(module, torch.nn.BatchNorm2d, detached):
        np.testing.assert_allclose(frozen, competitor.ntk_gram(module, images), rtol=1e-9)


def test_regions_counts_distinct_patterns() -> None:
    module = classifier([3, 1, 2, 4, 3, 2], "regions")
    patches = np.random.default_rng(0).standard_normal((1, 30, 3, 3, 1))
    rows = {tuple(row) for row in competitor.patterns(module, patches)}
    assert competitor.regions(module, np.concatenate([patches, patches])) == len(rows)


@pytest.mark.parametrize("name", ["none_edges", "pruned"])
def test_golden_ntk_and_regions_follow_from_their_recipe(name: str) -> None:
    arch = GOLDEN["archs"][name]
    for bn, summary in recipe.ntk(arch).items():
        for key, value in summary.items():
            np.testing.assert_allclose(value, GOLDEN["ntk"][name][bn][key], rtol=1e-6)
    assert recipe.regions(arch) == GOLDEN["regions"][name]


def test_golden_regression_follows_from_its_recipe() -> None:
    again = recipe.regression(GOLDEN["archs"]["skip_heavy"], recipe.SETTINGS["regression_short"])
    assert again == pytest.approx(GOLDEN["regression_short"]["skip_heavy"], rel=1e-4)


def test_golden_region_counts_do_not_hang_on_rounding() -> None:
    assert all(counts["float32"] == counts["float64"] for counts in GOLDEN["regions"].values())


def test_regression_weight_decay_spares_vectors() -> None:
    module = competitor.Regressor([1] * 6, (4, 4, 4), competitor.Preset(2, 1, affine=False)).double()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    still = np.zeros((2, 2, 32, 32, 3))
    targets = [np.zeros((2, 8, 8, 4))] * 3
    decay = competitor.Training(lr=1.0, weight_decay=0.5, train_weights=(0, 0, 0))
    competitor.regression(module, still[0], targets, still, decay)
    for name, after in module.named_parameters():
        torch.testing.assert_close(after.detach(), before[name] * (0.5 if after.ndim >= 2 else 1.0))
