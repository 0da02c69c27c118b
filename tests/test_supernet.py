"""Weight sharing: schedules, objectives, draws, one step against automatic differentiation, ranking, resuming."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl
import pytest

from jaxnas.data import labelled
from jaxnas.errors import UserError
from jaxnas.scorers import COUNTS
from jaxnas.spaces import get
from jaxnas.spaces.nasbench201.space import NASBENCH201 as SPACE
from jaxnas.supernet.arms import Landmarks, Plain, Teacher
from jaxnas.supernet.batches import Images, centred, random_crops, shuffled
from jaxnas.supernet.checkpoints import Checkpoints
from jaxnas.supernet.guides import Counted, draw_landmarks, read_teacher, uniform
from jaxnas.supernet.ranking import CHUNK, Ranking
from jaxnas.supernet.schedules import constant, cosine_increase
from jaxnas.supernet.training import SGD, Trainer
from jaxnas.tables.measured import Target, read_measured
from jaxnas.tables.store import Store

NETWORK = SPACE.network(channels=8, cells=1, stages=1, image=(8, 8, 3), classes=10)
SHORT = SGD(epochs=4, batch=16)
SAMPLE = uniform(SPACE)


@pytest.fixture(scope="module")
def data():
    return labelled.load("synthetic", side=8)


@pytest.fixture(scope="module")
def images(data):
    return Images.of(data)


def landmarks(count=5, warmup=1):
    return Landmarks(SAMPLE(jax.random.key(5), count), 10.0, "cosine", SHORT.epochs, warmup)


def teacher():
    return Teacher(Counted(SPACE, COUNTS["flops"]), margin=5)


def trainer(images, arm, seed=0, steps=2):
    rows = np.arange(len(images.labels))
    parts = {"train": rows[: steps * SHORT.batch], "hinge": rows[1000:1040]}
    return Trainer(NETWORK, images, parts, arm, SHORT, sample=SAMPLE, seed=seed)


@pytest.mark.parametrize(
    ("epochs", "warmup", "end"),
    [(200, 100, 0.50), (400, 150, 0.69), (400, 100, 0.85), (400, 250, 0.31), (200, 140, 0.21)],
)
def test_cosine_increase_ends_where_published(epochs, warmup, end):
    values = [cosine_increase(epoch, epochs=epochs, warmup=warmup) for epoch in range(epochs + 1)]
    assert values[-1] == pytest.approx(end, abs=0.005)
    assert values[: warmup + 1] == [0.0] * (warmup + 1)
    assert values[warmup:] == sorted(values[warmup:])


def test_constant_follows_a_linear_increase():
    values = [constant(epoch, epochs=40, warmup=5) for epoch in range(40)]
    assert values[:6] == [0.0] * 6
    np.testing.assert_allclose(values[6:16], np.arange(1, 11) / 10)
    assert values[16:] == [1.0] * 24


@pytest.mark.parametrize(("worse", "better", "active"), [(1.0, 1.5, 1), (1.5, 1.0, 0)])
def test_hinge_pushes_both_landmarks_if_the_better_one_has_the_larger_loss(worse, better, active):
    losses = jnp.array([2.0, worse, better])
    total, by = jax.value_and_grad(landmarks().objective)(losses, jnp.float32(3), jnp.float32(1))
    assert float(total) == pytest.approx(2 + 3 * max(0, better - worse))
    np.testing.assert_allclose(by, [1, -3 * active, 3 * active])


@pytest.mark.parametrize(
    ("losses", "sign", "by"),
    [((1, 2), 1, (1, 3)), ((2, 1), 1, (1, 1)), ((2, 1), -1, (1, -1)), ((1, 2), -1, (1, 1)), ((1, 2), 0, (1, 1))],
)
def test_teacher_moves_the_second_subnet_alone(losses, sign, by):
    grads = jax.grad(teacher().objective)(jnp.array(losses, jnp.float32), jnp.float32(2), jnp.float32(sign))
    np.testing.assert_allclose(grads, by)


def test_strengths():
    assert [teacher().strength(epoch) for epoch in (0, 5, 20, 300)] == [0, 0.5, 2, 2]
    assert [landmarks().strength(epoch) for epoch in (0, 1)] == [0, 0]
    assert landmarks().strength(3) == pytest.approx(10 * 0.5 * (1 + math.cos(1.5 * math.pi)))
    assert Plain().strength(100) == 0


def test_pairs_of_landmarks_are_uniform_and_in_order():
    arm = landmarks(4)
    archs, sign = arm.draw(jax.random.key(0), 4000, lambda key, n: np.zeros((n, 6), np.int32))
    place = {arch.tobytes(): i for i, arch in enumerate(arm.archs)}
    pairs = np.array([[place[a.tobytes()], place[b.tobytes()]] for a, b in archs[:, 1:]])
    assert (pairs[:, 0] < pairs[:, 1]).all() and (sign == 1).all()
    np.testing.assert_allclose(np.bincount(pairs[:, 0]) / 4000, [1 / 3] * 3, atol=0.03)
    np.testing.assert_allclose(np.bincount(pairs[pairs[:, 0] == 1, 1])[2:], 4000 / 6, rtol=0.15)


def test_pairs_of_a_teacher_differ_and_follow_its_order():
    archs, sign = teacher().draw(jax.random.key(0), 300, SAMPLE)
    assert ((archs[:, 0] != archs[:, 1]).sum(-1) >= 5).mean() > 0.99
    np.testing.assert_array_equal(sign, np.sign(SPACE.flops(archs[:, 1]) - SPACE.flops(archs[:, 0])))
    assert not SPACE.is_disconnected(archs.reshape(-1, 6)).any()


def test_uniform_draws_are_connected_and_different():
    archs = SAMPLE(jax.random.key(0), 1000)
    assert len(archs) == 1000 and not SPACE.is_disconnected(archs).any()
    assert len(np.unique(archs, axis=0)) > 990
    assert len(SAMPLE(jax.random.key(0), 20_000)) == 20_000


@pytest.mark.parametrize("lower", [False, True])
def test_landmarks_ascend_in_accuracy_whatever_the_order_of_the_file(tmp_path, lower):
    archs = SAMPLE(jax.random.key(1), 40)
    error = np.random.default_rng(0).permutation(40) / 40
    rows = [f"{SPACE.decode(arch)},{value}" for arch, value in zip(archs, error if lower else 1 - error, strict=True)]
    drawn = []
    for order in (rows, rows[::-1]):
        (tmp_path / "table.csv").write_text("\n".join(["arch,measured", *order]))
        known = read_measured(SPACE, Target(tmp_path / "table.csv", "measured"))
        drawn.append(draw_landmarks(SPACE, known, 30, seed=0, lower_is_better=lower))
    np.testing.assert_array_equal(*drawn)
    of = {arch.tobytes(): value for arch, value in zip(archs, error, strict=True)}
    errors = [of[arch.tobytes()] for arch in drawn[0]]
    assert errors == sorted(errors, reverse=True)
    with pytest.raises(UserError, match="at least 2 and at most 40"):
        draw_landmarks(SPACE, known, 41, seed=0, lower_is_better=lower)


@pytest.mark.parametrize(("name", "message"), [("flps", "DIR:SCORE"), ("nowhere:ntk", "not a directory")])
def test_unknown_teacher_is_one_clear_line(name, message):
    with pytest.raises(UserError, match=message):
        read_teacher(SPACE, name)


def test_a_teacher_of_another_data_set_has_the_scores_but_not_the_counts(tmp_path):
    strings = [SPACE.decode(arch) for arch in SAMPLE(jax.random.key(0), 3)]
    frame = pl.DataFrame({"row": range(3), "arch": strings, "ntk": [1.0, 2, 3], "params": [1.0, 2, 3]})
    manifest = {"settings": {"space": "nasbench201:cifar100"}, "scorers": {"ntk": {"sign": -1}, "params": {"sign": 1}}}
    Store.open(tmp_path / "run", manifest | {"part_size": 3}).write(0, frame)
    assert sorted(read_teacher(SPACE, f"{tmp_path / 'run'}:ntk").scores) == [-3, -2, -1]
    with pytest.raises(UserError, match="counts the networks of nasbench201:cifar100; say --teacher params for nasb"):
        read_teacher(SPACE, f"{tmp_path / 'run'}:params")
    with pytest.raises(UserError, match="scores of the space nasbench201:cifar100, not of nats_size"):
        read_teacher(get("nats_size"), f"{tmp_path / 'run'}:ntk")


def test_crops_are_those_of_the_padded_image(data, images):
    rng = np.random.default_rng(0)
    rows, crops = shuffled(rng, np.arange(100), 1, 6)[0], random_crops(rng, images.pad, 1, 6)[0]
    x, y = images.take(jnp.asarray(rows), jnp.asarray(crops))
    np.testing.assert_array_equal(y, data.labels[rows])
    for shown, row, (top, left, mirror) in zip(np.asarray(x), rows, crops, strict=True):
        image = np.pad(data.images[row], ((1, 1), (1, 1), (0, 0)))[top : top + 8, left : left + 8]
        expected = (image[:, ::-1] if mirror else image) - np.array(data.mean)
        np.testing.assert_allclose(shown, expected / np.array(data.std), rtol=1e-5, atol=1e-5)
    plain, _ = images.take(jnp.arange(3), jnp.asarray(centred(1, 3)))
    np.testing.assert_allclose(
        plain, (data.images[:3] - np.array(data.mean)) / np.array(data.std), rtol=1e-5, atol=1e-5
    )


def test_batches_begin_again_where_positions_do_not_suffice():
    drawn = shuffled(np.random.default_rng(0), np.arange(5), 3, 4)
    assert drawn.shape == (3, 4)
    assert sorted(drawn.ravel()[:5]) == list(range(5))


@jax.jit
def mean_cross_entropy(params, arch, x, y):
    return -jnp.take_along_axis(jax.nn.log_softmax(NETWORK.apply(params, arch, x)), y[:, None], 1).mean()


@pytest.mark.parametrize("arm", [Plain(), landmarks(), teacher()], ids=["plain", "landmarks", "teacher"])
def test_a_step_is_that_of_the_written_formula(images, arm):
    own = trainer(images, arm, steps=1)
    start, number = own.init(), 3
    got, record = own.epoch(start, number)
    turns, strength = own._turns(number), arm.strength(number)

    def cross_entropy(params, net, place):
        x, y = images.take(jnp.asarray(turns.rows[0, place]), jnp.asarray(turns.crops[0, place]))
        return mean_cross_entropy(params, jnp.asarray(turns.archs[0, net]), x, y)

    def objective(params):
        first = cross_entropy(params, 0, 0)
        if isinstance(arm, Landmarks):
            gap = cross_entropy(params, 2, 1) - cross_entropy(params, 1, 1)
            return first + strength * jnp.maximum(gap, 0)
        if isinstance(arm, Teacher):
            second = cross_entropy(params, 1, 0)
            gap = turns.sign[0] * (second - jax.lax.stop_gradient(first))
            return first + second + strength * jnp.maximum(gap, 0)
        return first

    grads = jax.grad(objective)(start.params)
    norm = jnp.sqrt(sum(jnp.square(g).sum() for g in jax.tree.leaves(grads)))
    factor = jnp.minimum(1, 5 / norm)
    expected = jax.tree.map(lambda w, g: w - 0.025 * (factor * g + 5e-4 * w), start.params, grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), got.params, expected)
    assert record["strength"] == strength


def test_a_resumed_training_is_the_same_and_compiles_once(images, tmp_path, compiles):
    arm = landmarks()
    own = trainer(images, arm)
    state, curves = own.epoch(own.init(), 0)[0], []
    with compiles(0):  # the rank loss sets in
        for number in (1, 2, 3):
            state, _ = own.epoch(state, number)
    other, record = own.epoch(own.init(), 0)
    with Checkpoints(tmp_path / "states") as saved:
        saved.save(other, [record])
        assert [epoch for epoch, _ in saved.newest(other, 3)] == [1]
    with Checkpoints(tmp_path / "states") as saved:
        other, curves = saved.restore(own.init())
    assert curves == [record]
    for number in (1, 2, 3):
        other, _ = own.epoch(other, number)
    jax.tree.map(np.testing.assert_array_equal, state, other)
    assert [own.passes(number) for number in range(4)] == [1, 1, 3, 3]


def test_training_learns(images):
    rows = np.arange(len(images.labels))
    own = Trainer(NETWORK, images, {"train": rows[:1500]}, Plain(), SGD(epochs=3, batch=16), sample=SAMPLE, seed=0)
    ranking = Ranking(NETWORK, images, rows[1500:], batch=64, batches=3)
    state, archs, losses = own.init(), SAMPLE(jax.random.key(1), 20), []
    before, _ = ranking.all(state.params, archs)
    for number in range(3):
        state, record = own.epoch(state, number)
        losses.append(record["loss"])
    assert losses == sorted(losses, reverse=True)
    after, loss = ranking.all(state.params, archs)
    assert after.mean() > before.mean() + 0.05
    assert loss.mean() < math.log(10)


def test_ranking_uses_the_batch_and_knows_no_neighbours(images):
    params, rows = NETWORK.init(jax.random.key(0)), np.arange(200)
    ranking = Ranking(NETWORK, images, rows, batch=64, batches=20)
    archs = SAMPLE(jax.random.key(0), CHUNK + 3)
    accuracy, loss = ranking.all(params, archs)
    x, y = images.take(jnp.arange(192), jnp.asarray(centred(1, 192)))
    apply = jax.jit(NETWORK.apply)
    for i in (0, CHUNK + 1):
        logits = [apply(params, jnp.asarray(archs[i]), x[k : k + 64]) for k in (0, 64, 128)]
        hits = np.concatenate([own.argmax(-1) for own in logits]) == y
        assert accuracy[i] == pytest.approx(hits.mean())
        entropies = optax.softmax_cross_entropy_with_integer_labels(jnp.concatenate(logits), y)
        assert loss[i] == pytest.approx(float(entropies.mean()), rel=1e-5)
    reverse = ranking.all(params, archs[::-1])
    np.testing.assert_allclose(reverse[1][::-1], loss, rtol=1e-5)


def test_all_images_that_make_batches_are_ranked_on_by_default(images):
    rows = np.arange(200)
    assert Ranking(NETWORK, images, rows, batch=64).batches[1].shape == (3, 64)
    assert Ranking(NETWORK, images, rows, batch=64, batches=2).batches[1].shape == (2, 64)


@pytest.mark.parametrize(("batch", "rows", "message"), [(32, 200, "at least 1 of 64"), (64, 60, "make no batch of 64")])
def test_small_batches_are_refused(images, batch, rows, message):
    with pytest.raises(UserError, match=message):
        Ranking(NETWORK, images, np.arange(rows), batch=batch, batches=2)


def test_recipes_without_sense_are_refused(images):
    with pytest.raises(UserError, match="make no batch of 16"):
        Trainer(NETWORK, images, {"train": np.arange(10)}, Plain(), SHORT, sample=SAMPLE, seed=0)
    for wrong, message in ((SGD(epochs=0), "at least 1 epoch"), (SGD(learning_rate=1e-4), "learning rate")):
        with pytest.raises(UserError, match=message):
            wrong.check()
