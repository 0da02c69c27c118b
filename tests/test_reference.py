"""The NumPy reference against what can be checked by hand, by finite differences and by public tables."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

spec = importlib.util.spec_from_file_location("jaxnas_reference", Path(__file__).with_name("reference.py"))
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)

DATA = Path(os.environ.get("JAXNAS_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
MIXED = [3, 1, 2, 4, 2, 3]
SUPERNET = np.array([[0, 1, 1, 1, 1]] * 6)


def norm_weights(rng, *shape):
    return {"scale": 1 + 0.2 * rng.normal(size=shape), "bias": 0.2 * rng.normal(size=shape)}


def kernel_weights(rng, *shape):
    return {"kernel": rng.normal(size=shape) / np.sqrt(np.prod(shape[-4:-1]))}


def make_weights(rng, channels=2, cells=1, heads=None):
    """Random weights of a small network; `heads` gives the channels of the regression heads."""
    groups = {"stem/conv": kernel_weights(rng, 3, 3, 3, channels), "stem/norm": norm_weights(rng, channels)}
    for s in range(3):
        c = channels * 2**s
        for k in (1, 3):
            conv = kernel_weights(rng, cells, 6, k, k, c, c)
            norm = norm_weights(rng, cells, 6, c)
            groups[f"stages/{s}/conv{k}x{k}"] = conv | ({"bias": norm["bias"]} if heads else {})
            groups[f"stages/{s}/norm{k}x{k}"] = {} if heads else norm
    for r in range(2):
        c = channels * 2**r
        groups[f"reductions/{r}/conv_a"] = kernel_weights(rng, 3, 3, c, 2 * c)
        groups[f"reductions/{r}/conv_b"] = kernel_weights(rng, 3, 3, 2 * c, 2 * c)
        groups[f"reductions/{r}/shortcut"] = kernel_weights(rng, 1, 1, c, 2 * c)
        groups[f"reductions/{r}/norm_a"] = norm_weights(rng, 2 * c)
        groups[f"reductions/{r}/norm_b"] = norm_weights(rng, 2 * c)
    for level, width in enumerate(heads or ()):
        c = channels * 2**level
        groups[f"heads/{level}/norm"] = norm_weights(rng, c)
        groups[f"heads/{level}/conv"] = kernel_weights(rng, 1, 1, c, width) | {"bias": rng.normal(size=width)}
    if not heads:
        groups["norm"] = norm_weights(rng, 4 * channels)
        groups["classifier"] = {"kernel": rng.normal(size=(4 * channels, 10)), "bias": rng.normal(size=10)}
    return {f"{group}/{name}": value for group, named in groups.items() for name, value in named.items()}


def slope(function, weights, direction, h=1e-6):
    """Central difference of `function(weights)` along `direction`."""
    plus, minus = ({k: v + sign * h * direction[k] for k, v in weights.items()} for sign in (1, -1))
    return (function(plus) - function(minus)) / (2 * h)


# --- backward passes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", [MIXED, SUPERNET], ids=["index", "mask"])
def test_gradient_through_batch_statistics_is_the_slope(arch):
    rng = np.random.default_rng(0)
    weights, images = make_weights(rng), rng.normal(size=(3, 8, 8, 3))
    direction = {name: rng.normal(size=value.shape) for name, value in weights.items()}
    seed = rng.normal(size=(3, 10))
    network = reference.Network(weights, arch)
    gradients = network.gradients(network.logits(images), seed)
    expected = slope(lambda w: np.vdot(seed, reference.logits(w, arch, images)), weights, direction)
    assert sum(np.vdot(gradients[k], direction[k]) for k in weights) == pytest.approx(expected, rel=1e-5)


def test_gradient_with_frozen_statistics_ignores_other_samples():
    rng = np.random.default_rng(1)
    weights, images = make_weights(rng), rng.normal(size=(3, 8, 8, 3))
    network = reference.Network(weights, MIXED, bn="frozen")
    output = network.logits(images)
    image_leaf = reference.Var(images)
    x = network.norm("stem/norm", network.conv("stem/conv", image_leaf))
    seed = np.zeros(x.value.shape)
    seed[0] = 1.0
    assert not reference.backward(x, seed)[image_leaf][1:].any()
    assert output.value == pytest.approx(reference.logits(weights, MIXED, images))


@pytest.mark.parametrize("evaluate", [False, True])
def test_gradient_of_the_regression_loss_is_the_slope(evaluate):
    rng = np.random.default_rng(2)
    weights, images = make_weights(rng, cells=2, heads=(3, 2, 2)), rng.normal(size=(2, 16, 16, 3))
    targets = [rng.normal(size=(2, 4, 4, c)) for c in (3, 2, 2)]
    direction = {name: rng.normal(size=value.shape) for name, value in weights.items()}

    def loss(w):
        network = reference.Network(w, MIXED, running=reference.fresh_running(w), evaluate=evaluate)
        return network, reference.weighted_loss(network, images, targets, (0.25, 0.5, 1.0))

    network, output = loss(weights)
    gradients = network.gradients(output, np.ones(()))
    expected = slope(lambda w: loss(w)[1].value, weights, direction)
    assert sum(np.vdot(gradients[k], direction[k]) for k in weights) == pytest.approx(expected, rel=1e-5)


# --- NTK, regions, regression ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bn", ["batch", "frozen"])
def test_gram_is_symmetric_and_positive(bn):
    rng = np.random.default_rng(3)
    gram = reference.ntk_gram(make_weights(rng), MIXED, rng.normal(size=(4, 8, 8, 3)), bn)
    assert np.allclose(gram, gram.T)
    assert reference.condition_number(gram) > 1


def test_index_and_one_hot_mask_agree():
    rng = np.random.default_rng(4)
    weights, images = make_weights(rng), rng.normal(size=(2, 8, 8, 3))
    one_hot = np.eye(5, dtype=int)[MIXED]
    assert np.array_equal(reference.logits(weights, MIXED, images), reference.logits(weights, one_hot, images))


def test_pool_does_not_count_padding():
    ones = reference.Var(np.ones((1, 4, 4, 1)))
    assert reference.avg_pool(ones, 3, 1, 1).value == pytest.approx(1.0)


def test_condition_number_of_a_diagonal():
    assert reference.condition_number(np.diag([2.0, 8.0, 4.0])) == pytest.approx(4.0)


def test_regions_count_distinct_samples_over_all_batches():
    rng = np.random.default_rng(5)
    weights = {k: v for k, v in make_weights(rng, channels=1).items() if k.startswith("stages/0")}
    weights |= {"norm/scale": np.ones(1), "norm/bias": np.zeros(1)}
    batch = rng.normal(size=(20, 3, 3, 1))
    one = reference.regions(weights, SUPERNET, batch[None])
    assert reference.patterns(weights, SUPERNET, batch).shape == (20, 117)
    assert reference.regions(weights, SUPERNET, np.stack([batch, batch])) == one
    assert 1 < one <= 20
    assert reference.regions(weights, [0] * 6, batch[None]) == 1


def test_skip_only_regions_are_the_signs_of_the_standardised_input():
    rng = np.random.default_rng(6)
    weights = {"norm/scale": np.ones(1), "norm/bias": np.zeros(1)}
    patches = rng.normal(size=(1, 200, 3, 3, 1))
    expected = len(np.unique((patches[0] > patches.mean()).reshape(200, 9), axis=0))
    assert reference.regions(weights, [1] * 6, patches) == expected


def test_regression_trains():
    rng = np.random.default_rng(7)
    weights, images = make_weights(rng, heads=(2, 2, 2)), rng.normal(size=(4, 16, 16, 3))
    targets = [rng.normal(size=(4, 4, 4, 2)) for _ in range(3)]
    noise = 0.1 * rng.normal(size=(16, *images.shape))
    before, after = (reference.regression(weights, MIXED, images, targets, noise, steps=s, lr=0.02) for s in (1, 15))
    assert after < before


def test_running_statistics_move_by_a_tenth_with_unbiased_variance():
    x = np.array([0.0, 2.0]).reshape(2, 1, 1, 1)
    running = {"heads/0/norm": (np.zeros(1), np.ones(1))}
    reference.Network({}, MIXED, running=running).norm("heads/0/norm", reference.Var(x))
    assert running["heads/0/norm"] == (pytest.approx(0.1), pytest.approx(0.9 + 0.1 * 2.0))


# --- signals ---------------------------------------------------------------------------------------------------------


def test_sin1d_starts_at_position_one_along_rows_then_columns():
    pool = reference.sin1d_pool([0.25], np.array([[0.0, 0.0]]))
    assert pool.shape == (4, 8, 8)
    assert pool[0, :4, 5] == pytest.approx([1, 0, -1, 0])  # sine along y
    assert pool[1, :4, 5] == pytest.approx([0, -1, 0, 1])  # cosine along y
    assert np.array_equal(pool[2:], pool[:2].transpose(0, 2, 1))


def test_sin2d_adds_the_angles_and_flips():
    pool = reference.sin2d_pool([0.0, 0.25], np.full((2, 2, 1), np.pi / 4))
    assert pool.shape == (8, 8, 8)
    assert pool[0] == pytest.approx(1.0)  # the phase counts twice
    assert pool[2, 3, :4] == pytest.approx([0, -1, 0, 1])  # (0, 1/4) varies along columns
    assert pool[4, :4, 3] == pytest.approx([0, -1, 0, 1])
    assert np.array_equal(pool[5], pool[4, ::-1])


def test_gaussian_dot_reflects_at_the_border_and_peaks_at_one():
    dots = reference.dot_map([(0, 0), (5, 6)], [1, -1])
    blurred = reference.gaussian_blur(dots)
    assert blurred.sum() == pytest.approx(0.0)  # a reflecting border loses no mass
    assert np.abs(reference.gaussian_dot(dots)).max() == 1.0
    assert [reference.reflect(i, 3) for i in range(-4, 7)] == [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]


def test_blur_equals_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    image = np.random.default_rng(8).normal(size=(8, 8))
    assert reference.gaussian_blur(image) == pytest.approx(ndimage.gaussian_filter(image, 1))


def test_resize_takes_every_fourth_pixel_and_scales_the_whole_batch():
    images = np.zeros((2, 32, 32, 3))
    images[0, 4, 8, 1], images[1, 0, 0, 2], images[1, 1, 1, 0] = 3.0, -1.0, 100.0
    maps = reference.resize_maps(images, [4, 2, 999])
    assert maps.shape == (2, 8, 8, 3)
    assert (maps[0, 1, 2, 0], maps[1, 0, 0, 1], maps[1, 0, 0, 2]) == (1.0, -1.0, -0.5)


# --- pruning ---------------------------------------------------------------------------------------------------------


def test_dense_ranks_close_up_after_ties():
    assert reference.dense_ranks([0.3, 0.1, 0.3, 0.2]) == ([2, 0, 2, 1], [1, 3, 0, 2])
    assert reference.dense_ranks([0.3, 0.1, 0.3, 0.2], descending=True) == ([0, 2, 0, 1], [0, 2, 3, 1])


def test_the_sort_rounds_but_the_tie_test_does_not():
    assert reference.significant(0.12349) == pytest.approx(0.123)
    assert reference.significant(-1234.0) == pytest.approx(-1230.0)
    assert reference.significant(1.005) == pytest.approx(1.01)
    assert reference.dense_ranks([0.12349, 0.12341]) == ([0, 1], [0, 1])  # equal keys keep their order


def test_mean_change_rounds_every_repeat():
    assert reference.mean_change([3.0, 4.0], [2.0, 4.0]) == pytest.approx(0.333 / 2)


def test_prune_order_breaks_ties_in_the_order_of_the_ntk():
    assert reference.prune_order([0.1, 0.2], [0.1, 0.2]) == [1, 0]


def test_prune_round_takes_the_lowest_sum_of_every_edge():
    kappa = [0.5, 0.1, 0.2, 0.4, 0.3, -0.1]  # ranks 0 4 3 1 2 5
    regions = [0.9, 0.0, 0.1, 0.3, 0.2, 0.2]  # ranks 4 0 1 3 2 2
    edges = [0, 0, 0, 1, 1, 1]  # sums 4 4 4 | 4 4 7; NTK order 0 3 4 2 1 5
    assert reference.prune_round(kappa, regions, edges) == [0, 3]
    assert reference.prune_round(kappa, regions, edges, prune_number=9) == [0, 2, 3, 4]


# --- counts and correlation ------------------------------------------------------------------------------------------


def test_params_equal_the_published_table():
    polars = pytest.importorskip("polars")
    path = DATA / "nasbench201" / "accuracies.parquet"
    if not path.exists():
        pytest.skip(f"{path} is missing; set JAXNAS_DATA to the folder of shared data")
    table = polars.read_parquet(path).gather_every(61)
    archs = table.select(f"e{i}" for i in range(6)).rows()
    assert [reference.params(arch) for arch in archs] == table["params_c10"].to_list()


@pytest.mark.parametrize(
    ("arch", "flops"),  # NATS-Bench's own numbers for CIFAR-10 of its indices 0, 1, 11 and 284
    [
        ([4, 2, 1, 2, 1, 1], 15_647_370),
        ([3, 3, 4, 1, 3, 1], 113_951_370),
        ([3, 3, 4, 0, 3, 4], 113_951_370),
        ([1, 1, 1, 0, 2, 0], 11_715_210),
    ],
)
def test_flops_are_the_published_ones(arch, flops):
    assert reference.flops(arch) == flops


def test_spearman_and_kendall_by_hand():
    assert reference.average_ranks([3, 1, 3]) == [2.5, 1.0, 2.5]
    assert reference.spearman([1, 2, 3, 4], [1, 4, 9, 16]) == pytest.approx(1.0)
    assert reference.spearman([1, 2, 3], [3, 1, 2]) == pytest.approx(-0.5)
    assert reference.kendall([1, 2, 3], [3, 1, 2]) == pytest.approx(-1 / 3)
    assert reference.kendall([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / np.sqrt(2 * 3))
    assert np.isnan(reference.spearman([1, 1], [1, 2])) and np.isnan(reference.kendall([1, 1], [1, 2]))
