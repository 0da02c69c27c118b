"""Tables of architectures: each benchmark's own columns, strings, numbers; what is wrong in them is one clear line."""

import json

import numpy as np
import polars as pl
import pytest

from jaxnas import spaces
from jaxnas.correlate import command as correlate
from jaxnas.errors import UserError
from jaxnas.tables.archs import read_architectures
from jaxnas.tables.store import Store

CELL101 = {"n_vertices": 3, "adj_bits": 0b101, "op1": 1, "op2": -1, "op3": -1, "op4": -1, "op5": -1}
RENAMED = [  # the same cell twice
    '{"f":{"op":"linear","input":["x","h_prev_0"]},"h_new_0":{"op":"activation_tanh","input":["f"]}}',
    '{"g":{"op":"linear","input":["x","h_prev_0"]},"h_new_0":{"op":"activation_tanh","input":["g"]}}',
]


def read(tmp_path, space, columns, suffix=".parquet", **options):
    table, path = pl.DataFrame(columns), tmp_path / f"table{suffix}"
    table.write_csv(path) if suffix == ".csv" else table.write_parquet(path)
    return read_architectures(path, spaces.get(space), **options).archs


# --- the benchmarks' own tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "file", "params"),
    [
        ("nasbench101", "nasbench101/accuracies_sample", "params"),
        ("nasbench201", "nasbench201/accuracies", None),
        ("transnas101_micro", "transnas101/micro", None),
        ("transnas101_macro", "transnas101/macro", None),
        ("nasbench_macro", "nasbench_macro/c10_half", "params"),
        ("nasbench_nlp", "nasbench_nlp/ptb_half", "num_params"),
        ("darts", "darts/c10_half", None),
    ],
)
def test_tables_need_no_key(tmp_path, shared_data, space, file, params):
    rows = pl.read_parquet(shared_data / f"{file}.parquet").head(200)
    archs = read(tmp_path, space, rows)
    assert len(archs) == 200
    assert read(tmp_path, space, {"arch": list(map(spaces.get(space).decode, archs))}).tolist() == archs.tolist()
    if params:
        assert spaces.get(space).params(archs).tolist() == rows[params].to_list()


@pytest.mark.parametrize("space", ["darts", "enas", "pnas", "nasnet", "amoeba", "resnext_a", "resnext_b"])
def test_nds_rows_are_read_from_net(tmp_path, shared_data, space):
    rows = pl.read_parquet(shared_data / "nds" / "imagenet_half.parquet").unique("net", maintain_order=True)
    rows = rows.filter(pl.col("space").str.to_lowercase().str.replace("-", "_") == f"{space}_in").head(20)
    assert len(rows) > 0
    np.testing.assert_allclose(spaces.get(space).params(read(tmp_path, space, rows)), rows["params"], rtol=1e-6)


def test_the_index_of_the_benchmark_is_read_when_named(tmp_path):
    with pytest.raises(UserError, match=r"no column 'arch' .*; try --key arch_id"):
        read(tmp_path, "nasbench201", {"arch_id": [0, 15624], "acc": [1.0, 2.0]})
    archs = read(tmp_path, "nasbench201", {"arch_id": [0, 15624], "acc": [1.0, 2.0]}, key="arch_id")
    assert spaces.get("nasbench201").arch_ids(archs).tolist() == [0, 15624]


# --- strings and numbers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_digits_stay_text(tmp_path, suffix):
    archs = read(tmp_path, "nasbench_macro", {"arch": ["00120012", "12011220"], "accuracy": [1.0, 2.0]}, suffix)
    assert archs.tolist() == [[0, 0, 1, 2, 0, 0, 1, 2], [1, 2, 0, 1, 1, 2, 2, 0]]


def test_the_first_column_wins_and_a_key_before_it(tmp_path):
    columns = {"mine": ["8:8:8:8:8"], "arch_str": ["16:16:16:16:16"], "arch": ["64:64:64:64:64"]}
    assert read(tmp_path, "nats_size", columns).tolist() == [[7] * 5]
    assert read(tmp_path, "nats_size", columns, key="mine").tolist() == [[0] * 5]


def test_strings_of_nasbench101_before_its_numbers(tmp_path):
    space = spaces.get("nasbench101")
    numbers = {name: [value] for name, value in CELL101.items()}
    (arch,) = read(tmp_path, "nasbench101", numbers)
    assert json.loads(space.decode(arch)) == {
        "matrix": [[0, 1, 0], [0, 0, 1], [0, 0, 0]],
        "ops": ["input", "conv1x1-bn-relu", "output"],
    }
    assert read(tmp_path, "nasbench101", numbers | {"arch": [space.example]}).tolist() == [
        space.encode(space.example).tolist()
    ]


def test_a_cell_in_two_wordings_has_the_mean_of_its_rows(tmp_path, capsys):
    space = spaces.get("nasbench_nlp")
    other = RENAMED[0].replace("tanh", "sigm")
    scored = [space.decode(space.encode(recipe)) for recipe in (RENAMED[0], other)]
    frame = pl.DataFrame({"row": [0, 1], "arch": scored, "params": [1, 2], "flops": [1, 2]})
    store = Store.open(tmp_path / "run", {"settings": {"space": space.name}, "part_size": 2, "scorers": {}})
    store.write(0, frame)
    table = pl.DataFrame({"recipe": [*RENAMED, other], "loss": [1.0, 3.0, 5.0]})
    table.write_parquet(tmp_path / "table.parquet")
    words = [str(tmp_path / "run"), str(tmp_path / "table.parquet"), "--target", "loss", "--bootstrap", "2", "--json"]
    assert correlate.main([*words, "--lower-is-better"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["compared"], report["scores"]["params"]["spearman"]) == (2, -1)
    assert report["scores"]["params"]["top_target"] == 5


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "columns", "says"),
    [
        (
            "nats_size",
            {"net": ["8:8:8:8:8"], "x": [1]},
            "the columns are net, x; call the one of architectures 'arch', or try --key",
        ),
        ("nats_size", {"arch": ["8:8:8:8:8", "8:8"]}, "row 1: '8:8': 2 widths instead of 5"),
        ("nats_size", {"arch": ["8:8:8:8:8", None]}, "row 1: '': 1 widths"),
        ("nats_size", {"arch": [8.0]}, "the column 'arch' holds Float64; give"),
        ("darts", {"arch": [8]}, "row 0: malformed architecture '8': it is a number"),
        ("nats_size", {"arch": pl.Series([], dtype=pl.String)}, "the list of architectures is empty"),
        ("darts", {"cell": ["x"]}, "or 'architecture' or 'genotype' or 'net'; the columns are cell"),
        ("nasbench101", {"n_vertices": [3]}, "no column 'arch' or 'adj_bits'"),
        ("nasbench101", {n: [v] for n, v in (CELL101 | {"op1": 3}).items()}, "row 0: n_vertices is 2 to 7"),
        ("nasbench101", {n: [v] for n, v in (CELL101 | {"op2": 0}).items()}, "row 0: n_vertices is 2 to 7"),
        ("nasbench101", {n: [v] for n, v in (CELL101 | {"adj_bits": 8}).items()}, "row 0: n_vertices is 2 to 7"),
        ("nasbench101", {n: [v] for n, v in (CELL101 | {"n_vertices": 8}).items()}, "row 0: n_vertices is 2 to 7"),
        ("nasbench101", {n: [v] for n, v in (CELL101 | {"adj_bits": 1}).items()}, "row 0: no path from input"),
        ("nasbench101", {n: [v] for n, v in (CELL101 | {"op1": 0.5}).items()}, "'op1' holds float64"),
    ],
)
def test_bad_tables(tmp_path, space, columns, says):
    with pytest.raises(UserError) as error:
        read(tmp_path, space, columns)
    assert says in str(error.value), error.value
    assert str(error.value).startswith(str(tmp_path / "table.parquet")) and "\n" not in str(error.value)
