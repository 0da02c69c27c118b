"""Timings of operations, their sums, the score `latency` and the command that times."""

import json

import jax
import numpy as np
import pytest

from jaxnas import score_archs, spaces
from jaxnas.cli.main import main
from jaxnas.errors import UserError
from jaxnas.evaluate import timing
from jaxnas.network.network import HEAD
from jaxnas.network.ops import AvgPool, ConvNorm, Zero
from jaxnas.network.pieces import Piece, every, pieces, total
from jaxnas.network.recipe import Recipe
from jaxnas.scorers.latency import Latency, Timings
from jaxnas.spaces import SPACES

SPACE = SPACES["nasbench201"]
CHAIN = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXNAS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def fake(monkeypatch):
    """Timings that are a convolution's kernel size and less for pooling, of networks their sum: nothing is compiled."""

    def of_piece(piece):
        return 1e-3 * getattr(piece.op, "size", 0.1 * isinstance(piece.op, AvgPool))

    def of_pieces(pieces, batch, dtype, tell):
        assert (batch, dtype) in [(1, "float32"), (8, "bfloat16")]
        return [batch * of_piece(piece) for piece in pieces]

    def of_networks(space, archs, batch, dtype, tell):
        return [batch * total(space.network(), arch[None], of_piece)[0] for arch in space.without_dead_ends(archs)]

    monkeypatch.setattr(timing, "of_pieces", of_pieces)
    monkeypatch.setattr(timing, "of_networks", of_networks)


@pytest.fixture
def run(capsys):
    def run(*words):
        assert main([*map(str, words)]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return run


# --- pieces ----------------------------------------------------------------------------------------------------------


def test_the_pieces_of_a_cell():
    network = SPACE.network()
    found = [*pieces(network, SPACE.encode(CHAIN))]
    convs = [piece for piece in found if isinstance(piece.op, ConvNorm)]
    # a stem, one 3x3 and one 1x1 in each of 15 cells, three convolutions in each of two reductions
    assert len(convs) == 1 + 2 * 15 + 2 * 3
    assert sum(isinstance(piece.op, Zero) for piece in found) == 3 * 15
    assert convs[0].shape == (32, 32, 3) and found[-1] == Piece(network.ops()[HEAD], (8, 8, 64))
    assert str(convs[0]) == "ConvNorm 3x3 32x32x3->16"
    assert {*found} < {*every(network, SPACE.encode(CHAIN)[None])}
    assert len({piece.key for piece in every(network, SPACE.encode(CHAIN)[None])}) == 21


@pytest.mark.parametrize("name", ["nasbench201", "nats_size", "nasbench_macro"])
def test_the_total_is_the_sum_over_the_pieces(name):
    space = SPACES[name]
    (network, _), *_ = space.networks(archs := np.array([space.encode(space.example)] * 2), Recipe("benchmark"))
    sums = [sum(piece.op.flops(np.prod(piece.shape[:2])) for piece in pieces(network, arch)) for arch in archs]
    found = total(network, archs, lambda piece: piece.op.flops(np.prod(piece.shape[:2])))
    assert found.tolist() == sums
    assert total(network, archs[:0], lambda piece: 1).shape == (0,)


def test_a_users_operation_is_known_by_what_it_computes(tmp_path):
    source = """
import jax
from flax import nnx
from jaxnas.spaces import own
class Block(nnx.Module):
    def __init__(self, channels, rngs): pass
    def __call__(self, x): return %s
space = own.cell_space("mine", edges=((1, 0),), ops={"a": Block, "b": own.identity})
"""
    keys = []
    for number, body in enumerate(["jax.numpy.tanh(x)", "jax.numpy.tanh(x)", "jax.numpy.sin(x)"]):
        (tmp_path / f"{number}.py").write_text(source % body)
        space = spaces.get(f"{tmp_path}/{number}.py:space")
        network = space.network()
        keys.append({piece.key for piece in every(network, space.encode("a")[None])})
    assert keys[0] == keys[1] != keys[2]


# --- the score -------------------------------------------------------------------------------------------------------


def test_the_score_is_the_sum_of_what_was_timed(fake, run):
    run("latency")
    found = score_archs(SPACE, [CHAIN, "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"], "latency")
    fixed = 3 + 2 * (3 + 3 + 1)
    np.testing.assert_allclose(found["latency"], [1e-3 * (fixed + 15 * (3 + 1)), 1e-3 * (fixed + 15 * 3)])
    assert found["latency_status"].to_list() == ["ok", "ok"]
    cut = score_archs(SPACE, ["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"], "latency")
    assert (cut["latency"][0], cut["latency_status"][0]) == (None, "disconnected")
    own = Latency().on(SPACE)
    assert (own.batch, own.dtype, own.sign) == (1, "float32", -1) and len(own.fingerprint) == 16
    assert own.oriented(np.array([1.0, 2.0])).argmax() == 0


def test_what_was_not_timed_names_the_command(fake, run, capsys, tmp_path):
    says = r"nasbench201 were not timed on this device \(cpu .*; batch 8, bfloat16\); "
    says += "run jaxnas latency --batch 8 --dtype bfloat16 with the same --space first"
    with pytest.raises(UserError, match=says):
        score_archs(SPACE, [CHAIN], Latency(batch=8, dtype="bfloat16"))
    assert main(["score", "--archs", CHAIN, "--scorers", "latency", "--out", str(tmp_path / "out")]) == 2
    assert "run jaxnas latency with the same --space first" in capsys.readouterr().err
    run("latency", "--batch", 8, "--dtype", "bfloat16")
    assert score_archs(SPACE, [CHAIN], Latency(batch=8, dtype="bfloat16"))["latency"][0] == pytest.approx(8 * 0.077)
    with pytest.raises(UserError, match="latency: the operations"):
        score_archs(SPACE, [CHAIN], "latency")
    with pytest.raises(UserError, match="nasbench_nlp has no network for 'benchmark'"):
        Latency().on(SPACES["nasbench_nlp"])


def test_an_architecture_with_an_operation_that_was_not_timed(fake, run):
    run("latency", "--space", "nats_size", "--sample", 1, "--seed", 1)
    known, other = SPACES["nats_size"].sample(jax.random.key(1), 2)
    found = score_archs("nats_size", np.stack([known, other]), "latency")
    assert found["latency_status"].to_list() == ["ok", "failed"]
    assert found["latency"][1] is None


def test_a_limit_on_the_latency(fake, run, tmp_path):
    run("latency")
    words = ["--method", "random", "--scorers", "flops", "--budget", 40, "--out", tmp_path / "run", "--json"]
    found = json.loads(run("search", *words, "--at-most", "latency=0.05"))
    assert found["scores"]["feasible"] and found["scores"]["latency"] <= 0.05
    assert found["settings"]["scorers"]["latency"]["fingerprint"] == Latency().on(SPACE).fingerprint
    assert main([*map(str, ["search", *words, "--at-most", "latency=0.001"])]) == 2  # another goal


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_times_once_and_checks(fake, run, monkeypatch):
    first = json.loads(run("latency", "--check", 10, "--sample", 40, "--format", "json"))
    assert (first["space"], first["batch"], first["dtype"]) == ("nasbench201", 1, "float32")
    assert len(first["operations"]) == 21
    assert {"what": "ConvNorm 1x1 8x8x64->64", "ms": 0.001} in first["operations"]
    check = first["check"]
    assert check["networks"] == len(check["rows"]) == 10 and check["spearman"] > 0.9 and check["unknown"] == 0
    assert Timings.read(SPACE, 1, "float32").device == first["processor"]
    monkeypatch.setattr(timing, "of_pieces", None)
    assert json.loads(run("latency", "--format", "json"))["created"] == first["created"]
    text = run("latency", "--check", 10)
    assert "21 timed" in text and "whole networks (FLOPs" in text and "batch, type" in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--check", "2"], "--check is 2; a rank correlation needs at least 3 networks"),
        (["--batch", "0"], "--batch is 0; it must be at least 1"),
        (["--space", "nasbench_nlp"], "nasbench_nlp has no network for 'benchmark'"),
        (["--dtype", "int8"], "invalid choice 'int8' for argument '--dtype'"),
    ],
)
def test_what_cannot_be_timed(words, says, capsys):
    assert main(["latency", *words]) == 2
    assert says in capsys.readouterr().err


def test_timings_that_cannot_be_kept(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXNAS_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="no cache"), pytest.raises(UserError, match="name one by JAXNAS_CACHE"):
        Timings.read(SPACE, 1, "float32")


def test_real_programs_take_time():
    """Convolutions of 64 channels take some, zeros none; which takes longer is told by `jaxnas latency --check`."""
    network = SPACE.network()
    chosen = {str(piece): piece for piece in every(network, SPACE.encode(CHAIN)[None])}
    names = ["Zero 8x8x64->64", "ConvNorm 1x1 8x8x64->64", "ConvNorm 3x3 8x8x64->64"]
    told = []
    zero, one, three = timing.of_pieces([chosen[name] for name in names], 4, "float32", lambda: told.append(1))
    assert zero == 0 and 0 < one < 1000 and 0 < three < 1000
    assert len(told) == 3 * (1 + timing.ROUNDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nasbench101", "darts", "transnas101_macro", "nasbench_macro", "resnet"])
def test_every_kind_of_network_is_timed(name, run, monkeypatch):
    monkeypatch.setattr(timing, "ROUNDS", 1)
    found = json.loads(run("latency", "--space", name, "--sample", 1, "--check", 0, "--format", "json"))
    assert found["sample"]["architectures"] == 1 and found["sample"]["ms"][0] > 0
