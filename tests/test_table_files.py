"""Files of tables: of every kind that people have, the same rows; what cannot be read is one line that says where."""

import csv
import gzip
import io
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import polars as pl
import pytest

from jaxnas import spaces
from jaxnas.errors import UserError
from jaxnas.tables import read
from jaxnas.tables.archs import is_table, numbers, read_architectures, read_table
from jaxnas.tables.store import Store

SPACE = spaces.get("nats_size")
ARCHS = ["8:8:8:8:8", "8:8:8:16:32", "64:64:64:64:64"]
ROWS = [{"arch": arch, "acc": acc} for arch, acc in zip(ARCHS, (88.2, 69.5, 10.0), strict=True)]
CSV = "arch,acc\n" + "".join(f"{row['arch']},{row['acc']}\n" for row in ROWS)


def written(write):
    """The bytes that a function of polars writes into a buffer."""
    write(buffer := io.BytesIO())
    return buffer.getvalue()


FRAME = pl.DataFrame(ROWS)
FILES = {
    "a.csv": CSV.encode(),
    "UP.CSV": CSV.encode(),
    "a.tsv": CSV.replace(",", "\t").encode(),
    "tab.csv": CSV.replace(",", "\t").encode(),
    "a.txt": CSV.encode(),
    "bare": CSV.encode(),
    "a.csv.gz": gzip.compress(CSV.encode(), mtime=0),
    "semi.csv": CSV.replace(",", ";").replace(".", ",").encode(),
    "comment.csv": f"# made by me, in a hurry\n{CSV}# the end".encode(),
    "blank.csv": CSV.replace("\n", "\n\n").encode(),
    "spaces.csv": CSV.replace(",", ", ").encode(),
    "trailing.csv": CSV.replace("\n", ",\n").encode(),
    "dos.csv": CSV.replace("\n", "\r\n").encode(),
    "mark.csv": CSV.encode("utf-8-sig"),
    "utf16.csv": CSV.encode("utf-16"),
    "latin1.csv": CSV.replace("arch,acc", "arch,acc,pr\xe9cision").replace("\n8", ",1\n8").replace("\n6", ",1\n6")
    .replace("n,1", "n").replace("10.0\n", "10.0,1\n").encode("latin-1"),
    "a.json": json.dumps(ROWS).encode(),
    "columns.json": json.dumps(FRAME.to_dict(as_series=False)).encode(),
    "a.jsonl": "\n".join(map(json.dumps, ROWS)).encode(),
    "a.parquet": written(FRAME.write_parquet),
    "parquet": written(FRAME.write_parquet),
    "a.feather": written(FRAME.write_ipc),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_kind_has_the_same_rows(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    assert is_table(str(tmp_path / name))
    table = read_architectures(tmp_path / name, SPACE)
    assert [SPACE.decode(arch) for arch in table.archs] == ARCHS
    assert table.numbers("acc").tolist() == [88.2, 69.5, 10.0]


@pytest.mark.parametrize("name", read.STDIN)
def test_standard_input(monkeypatch, name):
    read.stdin.cache_clear()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(CSV.encode())))
    assert is_table(name)
    for _ in range(2):  # it can be read once only
        assert len(read_architectures(Path(name), SPACE).archs) == 3
    read.stdin.cache_clear()


@pytest.mark.parametrize("name", ["list.txt", "list.csv", "list.json", "list"])
def test_a_list_of_architectures_needs_no_header(tmp_path, name):
    lines = ["# mine", *ARCHS, ""]
    (tmp_path / name).write_text(json.dumps(ARCHS) if name.endswith("json") else "\n".join(lines))
    assert [SPACE.decode(arch) for arch in read_architectures(tmp_path / name, SPACE).archs] == ARCHS


def test_one_column_of_architectures_with_commas_needs_no_quotes(tmp_path):
    space = spaces.get("nasbench101")
    plain, quoted = space.example, '"' + space.example.replace('"', '""') + '"'
    (tmp_path / "a.csv").write_text(f"arch\n{plain}\n{quoted}\n")
    assert len(np.unique(read_architectures(tmp_path / "a.csv", space).archs, axis=0)) == 1


@pytest.mark.parametrize("column", ["Arch", "architecture", "Architecture", "arch_string", " ARCH STR "])
def test_columns_of_architectures_in_any_spelling(tmp_path, column):
    (tmp_path / "a.csv").write_text(f"{column},acc\n{ARCHS[0]},1\n")
    assert len(read_architectures(tmp_path / "a.csv", SPACE).archs) == 1


@pytest.mark.parametrize("column", ["arch", "arch_str", "Architecture"])
@pytest.mark.parametrize("index", [None, ("0", "1", "2"), ("7", "3", "a")])
def test_columns_in_json_may_have_any_name_and_pandas_index(tmp_path, column, index):
    columns = {column: ARCHS, "acc": [88.2, None, 10]}
    if index:
        columns = {name: dict(zip(index, values, strict=True)) for name, values in columns.items()}
        columns["acc"] = dict(reversed(columns["acc"].items()))
    (tmp_path / "a.json").write_text(json.dumps(columns))
    table = read_architectures(tmp_path / "a.json", SPACE)
    assert [SPACE.decode(arch) for arch in table.archs] == ARCHS
    np.testing.assert_array_equal(table.numbers("acc"), [88.2, np.nan, 10])


@pytest.mark.parametrize("space", ["nasbench101", "nasbench_nlp"])
def test_an_object_that_is_an_architecture_is_no_table(tmp_path, space):
    own = spaces.get(space)
    (tmp_path / "a.json").write_text(own.example)
    assert read_architectures(tmp_path / "a.json", own).archs.tolist() == [own.encode(own.example).tolist()]


def test_ragged_columns_in_json(tmp_path):
    for columns in ({"arch": ARCHS, "acc": [1]}, {"arch": ARCHS, "n": 3}, {"arch_str": ARCHS, "acc": [1]}):
        (tmp_path / "a.json").write_text(json.dumps(columns))
        with pytest.raises(UserError, match=r"a\.json"):
            read_architectures(tmp_path / "a.json", SPACE)


# --- numbers ----------------------------------------------------------------------------------------------------------


def column(tmp_path, *cells, name="acc"):
    (tmp_path / "a.csv").write_text("\n".join([f"arch,{name}", *(f"x,{cell}" for cell in cells)]))
    return numbers(tmp_path / "a.csv", read_table(tmp_path / "a.csv"), "acc")


@pytest.mark.parametrize("missing", ["", "nan", "NaN", "N/A", "NA", "n/a", "null", "None", "-", " "])
def test_what_says_that_there_is_no_number(tmp_path, missing):
    np.testing.assert_array_equal(column(tmp_path, "94.2", missing, "1e1"), [94.2, np.nan, 10])


@pytest.mark.parametrize(
    ("separator", "cells", "values"),
    [
        (";", ("1,234", "12,345"), [1.234, 12.345]),
        ("\t", ("94,2", "1,234", "7"), [94.2, 1.234, 7]),
        ("\t", ("0,912", "0,934"), [0.912, 0.934]),
        ("\t", ("1,234", "12,345"), None),
        ("\t", ("7", "1,234,567", "-1,234"), None),
        (",", ('"1,234"', '"5"'), None),
    ],
)
def test_commas_are_decimal_where_they_cannot_separate_thousands(tmp_path, separator, cells, values):
    path = tmp_path / "a.tsv"
    path.write_text(
        "\n".join(f"{arch}{separator}{cell}" for arch, cell in [("arch", "acc"), *(("x", c) for c in cells)])
    )
    table = read_table(path)
    if values is None:
        with pytest.raises(UserError, match=r"'acc' holds '1,234.*', thousands or decimals; write thousands"):
            numbers(path, table, "acc")
    else:
        np.testing.assert_array_equal(numbers(path, table, "acc"), values)


def test_cells_may_be_long(tmp_path):
    before = csv.field_size_limit()
    (tmp_path / "a.csv").write_text(f'arch,note,acc\n"8:8:8:8:8",{"x" * 200_000},93.1\n')
    table = read_architectures(tmp_path / "a.csv", SPACE)
    assert table.archs.tolist() == [[0] * 5] and table.numbers("acc").tolist() == [93.1]
    (tmp_path / "b.csv").write_text("x" * 200_000 + "\n1\n")
    assert len(read_table(tmp_path / "b.csv")) == 1
    assert csv.field_size_limit() == before


def test_percent_and_blanks(tmp_path):
    np.testing.assert_array_equal(column(tmp_path, "94.2%", " 93 % ", "N/A", name=" acc "), [94.2, 93, np.nan])


def test_text_columns_of_other_files_are_numbers_too(tmp_path):
    frame = pl.DataFrame({"acc": ["94.2%", None, "-"]})
    np.testing.assert_array_equal(numbers(tmp_path, frame, "acc"), [94.2, np.nan, np.nan])


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (("true", "false"), "the column 'acc' holds true and false, no numbers; the first is 'true'"),
        (("93.1", "high"), "the column 'acc' holds text, no numbers; the first is 'high'"),
        (("93.1", "94.2%"), "the column 'acc' holds text, no numbers; the first is '94.2%'"),
        (('"93,1"', '"94,2"'), "the column 'acc' holds text, no numbers; the first is '93,1'"),
        (("1_000",), "the first is '1_000'"),
    ],
)
def test_what_is_no_number(tmp_path, cells, says):
    with pytest.raises(UserError) as error:
        column(tmp_path, *cells)
    assert says in str(error.value)


def test_a_column_that_is_not_there(tmp_path):
    frame = pl.DataFrame({"arch": ["x"], "acc": ["93%"], "loss": [1]})
    with pytest.raises(UserError, match=r"unknown column 'ac'; did you mean 'acc'\? choose from: acc, loss"):
        numbers(tmp_path, frame, "ac")
    with pytest.raises(UserError, match="no column 'acc', and none of arch holds numbers"):
        numbers(tmp_path, frame.select("arch"), "acc")


# --- what cannot be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.xlsx", b"PK", "no such kind of file: .xlsx; give .csv"),
        ("a.pkl.gz", b"", "no such kind of file: .pkl; give"),
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"arch,acc\n8:8:8:8:8,1\n8:8,2,3\n", "line 3 has 3 cells where the header has 2 (arch, acc); a cell"),
        (
            "a.csv",
            b"# mine\narch,acc\n\n8:8:8:8:8\nx,2\n",
            "line 4 has 1 cells where the header has 2 (arch, acc); fill",
        ),
        ("a.csv", b"arch,acc\nx,2\n8:8", "line 3 has 1 cells where the header has 2 (arch, acc); the file ends there"),
        ("a.csv", b"# mine\narch,acc\n\n8:8:8:8:8,1\n8:8,2\n", "line 5: '8:8': 2 widths"),
        ("a.csv", b'arch,acc\n"8:8:8:8:8"1,2\n', "line 2: cannot be read"),
        ("a.txt", b"8:8:8:8\n8:8:8:8:8\n", "line 1: '8:8:8:8': 4 widths"),
        ("a.txt", b'{"a":1,"b":2}\n', "line 1: '{"),
        ("a.txt", b"|none~0|\n", "line 1: '|none~0|': "),
        ("a.txt", b"V2 = Genotype(normal=[(1, 2)])\n", "line 1: 'V2 = Genotype("),
        ("a.csv", b"arch,acc,acc\n", "two columns are called 'acc'; rename one"),
        ("a.csv", CSV.encode("utf-16-le"), "it has null bytes; save it as UTF-8"),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)[:-9], "is it truncated?"),
        ("a.json", b'[{"arch": 1},\n{"arch"]', "line 2: cannot be read"),
        ("a.jsonl", b'{"arch": "8:8:8:8:8"}\n\n{"arch"', "line 3: cannot be read"),
        ("a.json", b"3", "neither a list nor an object"),
    ],
)
def test_bad_files(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        read_architectures(tmp_path / name, SPACE)
    assert says in str(error.value), error.value
    assert str(error.value).startswith(str(tmp_path / name))


def test_the_directory_of_a_run_is_a_table(tmp_path):
    archs = [SPACE.decode(arch) for arch in SPACE.sample(jax.random.key(0), 3)]
    Store.open(tmp_path, {"settings": {}, "part_size": 2}).write(0, pl.DataFrame({"row": range(3), "arch": archs}))
    assert [SPACE.decode(arch) for arch in read_architectures(tmp_path, SPACE).archs] == archs


def test_missing_files_and_directories(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_table(tmp_path / "a.csv")
    with pytest.raises(UserError, match="is a directory"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    ("spec", "table"),
    [
        ("missing.csv", True),
        ("missing.xlsx", True),
        ("-", True),
        ("8:8:8:8:8", False),
        ("00120012", False),
        ("x", False),
    ],
)
def test_what_is_called_like_a_file(spec, table):
    assert is_table(spec) is table
    assert not is_table(spaces.get("nasbench101").example)
    assert not is_table(spaces.get("darts").example)
