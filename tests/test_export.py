"""`jaxnas export`: what the formats compute is what the module computes."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnas import spaces
from jaxnas.cli.main import main
from jaxnas.errors import UserError
from jaxnas.export import FORMATS, Winner, write

SKIPS = "|skip_connect~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
POOLS = "|avg_pool_3x3~0|+|skip_connect~0|nor_conv_3x3~1|+|none~0|avg_pool_3x3~1|nor_conv_1x1~2|"
EXAMPLES = Path(__file__).parents[1] / "examples"
CLOSE = 1e-5


def small(name, arch=None, form="thin"):
    """A winner of less width than the benchmark's, whose running moments and biases are not those of a beginning."""
    space = spaces.get(name)
    arch = space.encode(arch or space.example)
    module = space.build(arch, rngs=nnx.Rngs(0), form=form)
    module.eval()
    return trained(Winner(name, space.decode(arch), module))


def trained(winner):
    """The same with other weights for whatever is 0 or 1 to begin with."""
    rng = np.random.default_rng(0)

    def changed(path, leaf):
        if path[-1] in ("kernel", "offset"):
            return leaf
        return leaf.replace(jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), jnp.float32))

    flat = nnx.to_flat_state(nnx.state(winner.module))
    nnx.update(winner.module, nnx.from_flat_state([(path, changed(path, leaf)) for path, leaf in flat]))
    return winner


def images(winner, number=3):
    return np.random.default_rng(1).standard_normal((number, *winner.image), np.float32)


def logits(winner, x):
    graphdef, state = nnx.split(winner.module)
    return np.asarray(jax.jit(lambda state, x: nnx.merge(graphdef, state)(x))(state, x))


def module_of(path):
    """What a Python file defines."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=CLOSE * np.abs(wanted).max())


# --- formats ----------------------------------------------------------------------------------------------------------


def test_stablehlo_takes_any_number_of_images(tmp_path):
    pytest.importorskip("flatbuffers", reason="it comes with the extra `export`")
    winner = small("nasbench201", POOLS)
    (path,) = write(winner, "stablehlo", tmp_path / "winner")
    assert path == tmp_path / "winner.stablehlo"
    program = jax.export.deserialize(path.read_bytes())
    for number in (1, 3):
        x = images(winner, number)
        assert_close(program.call(x), logits(winner, x))


@pytest.mark.slow
def test_flax_file_has_the_weights(tmp_path):
    winner = trained(Winner.build("nasbench201", SKIPS, seed=3))
    written = write(winner, "flax", tmp_path / "winner.py")
    assert written == [tmp_path / "winner.py", tmp_path / "winner.npz"]
    loaded = module_of(written[0]).load()
    x = images(winner)
    np.testing.assert_array_equal(logits(Winner("", "", loaded), x), logits(winner, x))


def test_weights_come_back(tmp_path):
    winner, other = small("nasbench201", SKIPS), small("nasbench201", SKIPS)
    for kernel in (leaf for path, leaf in nnx.to_flat_state(nnx.state(winner.module)) if path[-1] == "kernel"):
        kernel[...] += 1
    winner.save(tmp_path / "weights")
    other.load(tmp_path / "weights")
    assert {name: array.tobytes() for name, array in other.weights().items()} == {
        name: array.tobytes() for name, array in winner.weights().items()
    }
    with pytest.raises(UserError, match="weights of another network: modules/"):
        small("nasbench201", POOLS).load(tmp_path / "weights")
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(UserError, match=r"not the \.npz file of weights"):
        other.load(tmp_path / "text")


THIN = {  # the space: a form in which its networks are small
    "nasbench201": "thin",
    "nasbench101": "thin",
    "nasbench_macro": "thin",
    "nasnet": "thin",
    "darts": "thin",
    "transnas101_macro": "thin",
    "transnas101_micro": "taps",
    "resnext_a:cifar10": "taps",
    "resnet": "benchmark",  # the only kind of stem that pools
    "nats_size": "taps",
}


@pytest.mark.parametrize("name", ["nasbench201", "nasbench101", "nats_size"])
def test_torch_file_is_python_for_the_same_weights(tmp_path, name):
    """Without PyTorch: the file compiles, and every weight of what runs is in it once."""
    winner = small(name, form=THIN[name])
    path, weights = write(winner, "torch", tmp_path / "winner")
    compile(path.read_text(), str(path), "exec")
    with np.load(weights) as found:
        kinds = ("weight", "bias")
        sizes = sum(found[file].size for file in found.files if file.rpartition(".")[2] in kinds)
    assert sizes == winner.parameters


@pytest.mark.slow
@pytest.mark.parametrize("name", THIN)
def test_torch_module_computes_the_same(tmp_path, name):
    torch = pytest.importorskip("torch", reason="PyTorch comes with the extra `bench`")
    winner = small(name, form=THIN[name])
    path, _ = write(winner, "torch", tmp_path / "winner")
    x = images(winner, 2)
    with torch.no_grad():
        found = module_of(path).load()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    assert_close(found.numpy(), logits(winner, x))


def test_operations_that_reach_no_output_are_not_in_the_torch_module(tmp_path):
    dead_end = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    path, weights = write(small("nasbench201", dead_end), "torch", tmp_path / "winner")
    assert "stages_" not in path.read_text()
    with np.load(weights) as found:
        assert not [name for name in found.files if name.startswith("stages_")]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the exporter's
@pytest.mark.parametrize("name", sorted(THIN.keys() - {"resnet", "transnas101_micro"}))  # these take minutes
def test_onnx_graph_computes_the_same(tmp_path, name):
    pytest.importorskip("jax2onnx", reason="it comes with the extra `export`")
    onnxruntime = pytest.importorskip("onnxruntime", reason="it is not among the extras")
    winner = small(name, form=THIN[name])
    (path,) = write(winner, "onnx", tmp_path / "winner")
    session = onnxruntime.InferenceSession(str(path))
    x = images(winner)
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    assert_close(found, logits(winner, x))


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def result(tmp_path):
    """A search's directory."""
    run = tmp_path / "run"
    run.mkdir()
    record = {"settings": {"space": "nasbench201"}, "arch": SKIPS}
    (run / "result.json").write_text(json.dumps(record))
    return run


@pytest.mark.slow
def test_command_takes_an_index_a_result_or_a_table(tmp_path, result, capsys):
    index = str(spaces.get("nasbench201").arch_ids(spaces.get("nasbench201").encode(SKIPS)[None])[0])
    written = []
    for number, given in enumerate((SKIPS, index, str(result), str(result / "result.json"))):
        assert main(["export", given, "--to", "torch", "--out", str(tmp_path / str(number))]) == 0
        assert SKIPS in capsys.readouterr().out
        written.append((tmp_path / f"{number}.npz").read_bytes())
    assert main(["export", "table:nasbench201", "--by", "flops", "--to", "torch", "--out", str(tmp_path / "best")]) == 0
    assert "nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["lstm", "--space", "nasbench_nlp", "--to", "flax"], "nasbench_nlp has no networks of images"),
        (["no architecture", "--to", "flax"], "malformed"),
        ([SKIPS, "--to", "torch", "--seed", "-1"], "--seed is -1"),
        ([SKIPS, "--to", "torchscript"], "torchscript"),
        ([SKIPS, "--to", "torch", "--out", "no/folder/winner"], "there is no directory no/folder for winner.py"),
        ([SKIPS, "--to", "torch", "--out", "there"], "there.py is there already"),
        (["none.json", "--to", "torch"], "none.json is no result.json of jaxnas search"),
        (["run", "--space", "nasbench101", "--to", "torch"], "--space nasbench101: run is of nasbench201"),
    ],
)
def test_bad_input_is_one_line(tmp_path, result, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    Path("there.py").touch()
    assert main(["export", *words]) == 2
    out, errors = capsys.readouterr()
    assert out == "" and errors.count("\n") == 1 and says in errors


def test_missing_package_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    assert main(["export", SKIPS, "--to", "onnx", "--out", str(tmp_path / "winner")]) == 2
    assert "--to onnx needs the package jax2onnx: pip install 'jaxnas[export]'" in capsys.readouterr().err


def test_unknown_format_is_one_line(tmp_path):
    with pytest.raises(UserError, match="unknown format 'jit'"):
        write(small("nasbench201", SKIPS), "jit", tmp_path / "winner")
    assert all(entry.suffixes for entry in FORMATS.values())


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_example_trains_resumes_and_is_exported(tmp_path, result):
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 10
    pixels = rng.integers(0, 255, (40, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels, labels=labels)
    out = tmp_path / "trained"
    words = [result / "result.json", tmp_path / "images.npz", "--batch", "12", "--out", out]

    def train(epochs):
        command = [sys.executable, EXAMPLES / "train_winner.py", *words, "--epochs", epochs]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert [line.partition(":")[0] for line in train(1)] == ["epoch 1"]
    first = (out / "weights.npz").read_bytes()
    assert [line.partition(":")[0] for line in train(2)] == ["epoch 2"]
    assert (out / "weights.npz").read_bytes() != first
    words = ["export", str(result), "--weights", str(out / "weights.npz"), "--to", "torch"]
    assert main([*words, "--out", str(tmp_path / "winner")]) == 0
