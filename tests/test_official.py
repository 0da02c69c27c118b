"""Benchmarks' own files as tables, without the benchmarks' code: small files of the same formats."""

import base64
import bz2
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jaxnas import spaces
from jaxnas.cli.main import main
from jaxnas.errors import UserError
from jaxnas.tables import load
from jaxnas.tables.official.pickles import TORCH_MAGIC, read_pickle
from jaxnas.tables.official.protobuf import fields
from jaxnas.tables.official.tfrecord import masked_crc32c, read_records

CELLS = spaces.get("nasbench201")
ARCHS = [CELLS.decode(arch) for arch in CELLS.from_ids(np.arange(3))]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def convert(*words):
    return main(["tables", "convert", *map(str, words)])


def one_line(capsys):
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1, captured
    return captured.err


# --- pickles ---------------------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


HARMLESS = {
    "array": np.arange(6.0).reshape(2, 3),
    "scalar": np.float32(1.5),
    "containers": [(1, "a", b"b"), OrderedDict(x={2.5, None}), frozenset([True]), 1j],
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numbers_strings_arrays_and_containers_are_read(tmp_path, protocol):
    path = tmp_path / "file.pickle"
    path.write_bytes(pickle.dumps(HARMLESS, protocol))
    found = read_pickle(path, "give another")
    np.testing.assert_array_equal(found.pop("array"), HARMLESS["array"])
    assert found == {name: value for name, value in HARMLESS.items() if name != "array"}


@pytest.mark.parametrize(
    "bad", [Evil(), [Evil()], np.array([Evil()], object), print, eval, getattr, Path("x"), pickle.loads, struct.pack]
)
def test_what_could_run_code_is_refused_before_it_does(tmp_path, capsys, bad):
    path = tmp_path / "file.pickle"
    path.write_bytes(pickle.dumps(bad))
    with pytest.raises(UserError, match=r"it holds \w+\..*, which could run code; give another"):
        read_pickle(path, "give another")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps(HARMLESS)[:-20], b"BZhno", b"PK\3\4no"])
def test_broken_pickles_are_one_line(tmp_path, content):
    path = tmp_path / "file.pickle"
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as a pickle"):
        read_pickle(path, "give another")


# --- NAS-Bench-201 and NATS-Bench ------------------------------------------------------------------------------------


def nats(archs):
    """A file of NATS-Bench's form: two seeds of CIFAR-10 at 200 epochs, one of CIFAR-100 at 12."""

    def result(seed, epochs, **accuracies):
        names = {f"{split.replace('_', '-')}@{epochs - 1}": value for split, value in accuracies.items()}
        return {"seed": seed, "epochs": epochs, "eval_acc1es": {"ori-test@0": 1.0, **names}, "net_state_dict": None}

    infos = OrderedDict()
    for index in range(len(archs)):
        long = {("cifar10", seed): result(seed, 200, ori_test=90.0 + index + seed / 1000) for seed in (777, 888)}
        short = {("cifar100", 777): result(777, 12, x_valid=50.0 + index, x_test=51.0 + index)}
        infos[index] = {
            "200": {"arch_str": archs[index], "all_results": OrderedDict(long)},
            "12": {"arch_str": archs[index], "all_results": OrderedDict(short)},
        }
    return {"meta_archs": archs, "arch2infos": infos, "evaluated_indexes": set(range(len(archs)))}


def test_nats_bench_is_converted_into_the_cache(tmp_path, capsys):
    (tmp_path / "nats.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(nats(ARCHS))))
    assert convert("nasbench201", tmp_path / "nats.pickle.pbz2") == 0
    assert "(table:nasbench201-accuracies): 6 rows; cifar10_ori-test_200, " in capsys.readouterr().out
    table = load("nasbench201-accuracies")
    assert table.columns[:4] == ["arch_id", "arch", "seed", "cifar10_ori-test_200"]
    assert table.row(1, named=True) == {
        "arch_id": 0, "arch": ARCHS[0], "seed": 888, "cifar10_ori-test_200": 90.888,
        "cifar100_x-valid_12": None, "cifar100_x-test_12": None, "cifar100_ori-test_12": None,
    } | dict.fromkeys(table.columns[4:])  # fmt: skip
    assert main(["tables", "verify", "nasbench201-accuracies"]) == 0
    assert "it has measured values, which nothing here can measure again" in capsys.readouterr().out
    assert table["cifar100_x-valid_12"].to_list() == [50.0, None, 51.0, None, 52.0, None]


def test_widths_have_the_same_form(tmp_path):
    (tmp_path / "sss.pickle").write_bytes(pickle.dumps(nats(["8:8:8:8:8", "8:8:8:8:16"])))
    assert convert("nats_size", tmp_path / "sss.pickle", "--out", tmp_path / "sss.parquet") == 0
    assert pl.read_parquet(tmp_path / "sss.parquet")["arch"].unique(maintain_order=True).to_list() == [
        "8:8:8:8:8", "8:8:8:8:16",
    ]  # fmt: skip


def old_torch(path, found):
    parts = (TORCH_MAGIC, 1001, {"little_endian": True}, found, [])
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))


def new_torch(path, found):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(found, 2))
        archive.writestr("archive/version", "3")


@pytest.mark.parametrize("save", [old_torch, new_torch])
def test_files_of_torch_are_read_where_they_hold_no_tensors(tmp_path, capsys, save):
    save(tmp_path / "nb201.pth", nats(ARCHS))
    assert convert("nasbench201", tmp_path / "nb201.pth") == 0
    save(tmp_path / "nb201.pth", {"weights": torch_tensor()})
    capsys.readouterr()
    assert convert("nasbench201", tmp_path / "nb201.pth") == 2
    assert "give the benchmark's own file, NATS-tss-v1_0-3ffb9.pickle.pbz2" in one_line(capsys)


def torch_tensor():
    """Something that is pickled by the name of a function, as a tensor is."""
    return pl.Series


def test_other_pickles_are_one_line(tmp_path, capsys):
    for found, says in [
        ({"other": 1}, "is no file of all architectures (KeyError: 'meta_archs')"),
        (nats(["|no~0|", *ARCHS[1:]]), "is it a file of nasbench201?"),
        ([1, 2], "is no file of all architectures (TypeError"),
    ]:
        (tmp_path / "x.pickle").write_bytes(pickle.dumps(found))
        assert convert("nasbench201", tmp_path / "x.pickle") == 2
        assert says in one_line(capsys)
    assert convert("nasbench201", tmp_path / "missing.pickle") == 2
    assert "no such file; give the file of the benchmark nasbench201" in one_line(capsys)
    assert convert("nasbench20", tmp_path / "x.pickle") == 2
    assert "did you mean 'nasbench201'?" in one_line(capsys)


# --- NAS-Bench-101 ---------------------------------------------------------------------------------------------------


def crc32c(data):
    """Bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def framed(*records):
    sizes = [struct.pack("<Q", len(record)) for record in records]
    return b"".join(
        size + struct.pack("<I", masked(size)) + record + struct.pack("<I", masked(record))
        for size, record in zip(sizes, records, strict=True)
    )


def double(number, value):
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


def evaluation(epoch, test):
    message = b"".join(double(n, v) for n, v in enumerate((epoch, 10.0 * epoch, 0.99, test - 0.01, test), 1))
    message += b"\x32\x04ckpt"  # field 6: a string
    return b"\x0a" + bytes([len(message)]) + message


def record(name, test, matrix="010001000", ops="input,conv3x3-bn-relu,output", epochs=108):
    metrics = evaluation(0, 0.1) + evaluation(epochs / 2, test / 2) + evaluation(epochs, test) + b"\x10\xac\x02"
    return json.dumps([name, epochs, matrix, ops, base64.b64encode(metrics).decode()]).encode()


def test_checksums_are_those_of_the_definition():
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, appendix B.4, has others; this is the usual check value
    texts = [b"", b"a", b"123456789", bytes(32), bytes(range(256)) * 3]
    assert masked_crc32c(texts).tolist() == [masked(text) for text in texts]


def test_fields_of_a_message():
    message = b"\x10\xac\x02" + double(1, 2.5) + b"\x1a\x02ab" + b"\x25" + struct.pack("<f", 0.5)
    assert list(fields(message)) == [(2, 300), (1, 2.5), (3, b"ab"), (4, 0.5)]
    for broken in (b"\x10", b"\x09abc", b"\x1a\x05ab", b"\x13"):
        with pytest.raises(ValueError, match=r"field|number"):
            list(fields(broken))


def test_nasbench101_is_converted(tmp_path):
    other = ("0110001000010000", "input,conv1x1-bn-relu,maxpool3x3,output")
    records = [record("b", 0.91), record("a", 0.9, *other), record("b", 0.93), record("b", 0.5, epochs=4)]
    (tmp_path / "nb.tfrecord").write_bytes(framed(*records))
    assert convert("nasbench101", tmp_path / "nb.tfrecord") == 0
    table = load("nasbench101-accuracies")
    assert table.select("module_hash", "seed", "test_108", "test_4").rows() == [
        ("a", 0, 0.9, None), ("b", 0, 0.91, 0.5), ("b", 1, 0.93, None),
    ]  # fmt: skip
    row = table.row(1, named=True)
    assert (row["valid_108"], row["seconds_108"], row["trainable_parameters"]) == (pytest.approx(0.9), 1080.0, 300)
    assert json.loads(row["arch"]) == {
        "matrix": [[0, 1, 0], [0, 0, 1], [0, 0, 0]], "ops": ["input", "conv3x3-bn-relu", "output"],
    }  # fmt: skip


def test_damaged_records_are_one_line(tmp_path, capsys):
    whole = framed(record("a", 0.9), record("b", 0.9))
    flipped = bytearray(whole)
    flipped[40] ^= 1
    for content, says in [
        (bytes(flipped), "the checksum of a record's data is wrong"),
        (bytes([whole[0] ^ 1]) + whole[1:], "checksum|ends within"),
        (whole[:-3], "it ends within a record"),
        (b"no record at all", "it ends within a record"),
        (b"", "has no records"),
        (framed(b"[1]"), "record 0 is no training of a cell"),
        (framed(record("a", 0.9, "0100")), "4 digits for 3 vertices"),
        (framed(json.dumps(["a", 108, "0100", "input,output", "!!"]).encode()), "record 0 is no training"),
    ]:
        (tmp_path / "nb.tfrecord").write_bytes(content)
        assert convert("nasbench101", tmp_path / "nb.tfrecord") == 2
        said = one_line(capsys)
        assert any(text in said for text in says.split("|")), (said, says)


def test_records_are_checked_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxnas.tables.official.tfrecord.AT_ONCE", 2)
    (tmp_path / "f").write_bytes(framed(b"a", b"bc", b"def", b"", b"g"))
    assert list(read_records(tmp_path / "f")) == [b"a", b"bc", b"def", b"", b"g"]


# --- TransNAS-Bench-101 ----------------------------------------------------------------------------------------------

MICRO, MACRO = spaces.get("transnas101_micro").example, spaces.get("transnas101_macro").example


@pytest.mark.parametrize("form", ["json", "pth"])
def test_transnas_is_converted_whatever_the_order_of_its_levels(tmp_path, form):
    metrics = {"valid_top1": [10.0, 20.0, 30.0], "time_elapsed": 5, "note": "text"}
    by_arch = {"micro": {MICRO: {"jigsaw": metrics}}, "macro": {MACRO: {"jigsaw": metrics}}}
    by_task = {"macro": {"jigsaw": {MACRO: metrics}}, "micro": {"jigsaw": {MICRO: metrics}}}
    path = tmp_path / f"transnas.{form}"
    for tree in (by_arch, by_task):
        path.write_text(json.dumps(tree)) if form == "json" else new_torch(path, tree)
        for space, arch in (("transnas101_micro", MICRO), ("transnas101_macro", MACRO)):
            assert convert(space, path) == 0
            assert load(f"{space}-accuracies").select(pl.exclude("arch_id")).rows(named=True) == [
                {"arch": arch, "jigsaw_valid_top1": 30.0, "jigsaw_time_elapsed": 5.0}
            ]


def test_other_trees_are_one_line(tmp_path, capsys):
    for content, says in [("{", "cannot be read as JSON"), ('{"a": 1}', "has no architecture of transnas101_micro")]:
        (tmp_path / "t.json").write_text(content)
        assert convert("transnas101_micro", tmp_path / "t.json") == 2
        assert says in one_line(capsys)


# --- in the other commands -------------------------------------------------------------------------------------------


def test_converted_accuracies_are_an_oracle_by_name(tmp_path, capsys):
    (tmp_path / "nats.pickle").write_bytes(pickle.dumps(nats(ARCHS)))
    assert convert("nasbench201", tmp_path / "nats.pickle") == 0
    words = ["--oracle", "table:nasbench201-accuracies", "--maximize", "cifar10_ori-test_200", "--method", "random"]
    capsys.readouterr()
    assert main(["search", *words, "--budget", "3", "--out", str(tmp_path / "run"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["arch"] == ARCHS[2] and result["settings"]["oracle"]["name"] == "table:nasbench201-accuracies"
    assert result["scores"]["cifar10_ori-test_200"] == pytest.approx(92 + (0.777 + 0.888) / 2)
