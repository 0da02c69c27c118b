"""The ways of writing an architecture: all of them are read as the same one, and get the same scores."""

import json
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from jaxnas.correlate.command import main as correlate
from jaxnas.errors import UserError
from jaxnas.score.command import main as score
from jaxnas.spaces import SPACES, cell_space, own
from jaxnas.spaces.literals import read
from jaxnas.spaces.nats_size.space import WIDTHS
from jaxnas.spaces.nds.genotype import to_call
from jaxnas.spaces.nds.spaces import NDS
from jaxnas.tables.store import read_scores

REGIONS = ["--scorers", "regions", "--regions.batches", "1", "--regions.samples", "40"]
NASLIB = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
CELLS = ("normal", "reduce")
NASLIB_EDGES = ((1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (3, 2))


# --- the ways --------------------------------------------------------------------------------------------------------


def rows():
    """The ways of writing a row of numbers, which several spaces read."""
    return {
        "list": lambda space, arch: str(arch.tolist()),
        "row": lambda space, arch: ", ".join(map(str, arch)),
        "repr": lambda space, arch: repr(arch),
        "print": lambda space, arch: str(arch),
        "numbers of NumPy": lambda space, arch: str([*arch]),
    }


def index(space, arch):
    return str(space.arch_ids(arch[None])[0])


def names(space, arch):
    return [space.ops[op] for op in arch]


def naslib(space, arch):
    chosen = dict(zip(space.edges, names(space, arch), strict=True))
    return f"naslib:{tuple(NASLIB.index(chosen[edge]) for edge in NASLIB_EDGES)}"


def nni(space, arch):
    pairs = zip(space.edges, names(space, arch), strict=True)
    return {f"{source}_{target}": op.removeprefix("nor_") for (target, source), op in pairs}


def nodes(space, arch):
    pairs = [*zip(names(space, arch), (source for _, source in space.edges), strict=True)]
    return [tuple(pairs[:1]), tuple(pairs[1:3]), tuple(pairs[3:])]


def spec(space, arch):
    return json.loads(space.decode(arch))


def call(space, arch, **changes):
    """The call of a genotype with its width and depth."""
    text = to_call(space.genotype(arch)._replace(**changes))
    return f"{text[:-1]}, width={arch[0]}, depth={arch[1]})"


def grouped(space, arch):
    cells = space.genotype(arch)
    groups = {cell: [*zip(getattr(cells, cell)[::2], getattr(cells, cell)[1::2], strict=True)] for cell in CELLS}
    return f"{call(space, arch, **groups)[:-1]}, connectN=None, connects=None)"


CELL_SPACE = {
    "code": call,
    "assigned": lambda space, arch: f"DARTS_V2 = {call(space, arch)}",
    "of a module": lambda space, arch: f"genotypes.{call(space, arch)}",
    "log": lambda space, arch: f"2020-01-01 09:58:01,5 genotype = {call(space, arch)}; loss (0.3",
    "numbers of NumPy": lambda space, arch: call(space, arch).replace(", 0)", ", np.int64(0))"),
    "lists of ranges": lambda space, arch: call(space, arch).replace("range(2, 6)", "list(range(2, 6))"),
    "grouped": grouped,
    "Python": lambda space, arch: str(json.loads(space.decode(arch))),
    "call in an entry": lambda space, arch: json.dumps(
        {**spec(space, arch), "genotype": to_call(space.genotype(arch))}
    ),
    "flat": lambda space, arch: str(
        {**spec(space, arch)["genotype"], "width": int(arch[0]), "depth": int(arch[1])},
    ),
}
WAYS = {  # beside the string that `decode` gives
    "nasbench201": {
        **rows(),
        "index": index,
        "naslib": naslib,
        "NNI": lambda space, arch: json.dumps(nni(space, arch)),
        "NNI in Python": lambda space, arch: str(nni(space, arch)),
        "AutoDL": lambda space, arch: f"Structure(4 nodes with {space.decode(arch)})",
        "AutoDL's later name": lambda space, arch: f"CellStructure(4 nodes with {space.decode(arch)})",
        "AutoDL's list": lambda space, arch: str(nodes(space, arch)),
    },
    "nasbench101": {  # and the index: `test_indices_are_the_order_of_the_hashes` in test_nasbench101.py
        "Python": lambda space, arch: str(spec(space, arch)),
        "the files' keys": lambda space, arch: json.dumps(
            {"module_adjacency": spec(space, arch)["matrix"], "module_operations": spec(space, arch)["ops"]}
        ),
        "ModelSpec": lambda space, arch: "ModelSpec(matrix={matrix}, ops={ops})".format(**spec(space, arch)),
        "assigned": lambda space, arch: "cell = api.ModelSpec({matrix}, {ops})".format(**spec(space, arch)),
        "floats": lambda space, arch: changed(space, arch, float),
        "booleans": lambda space, arch: changed(space, arch, bool),
        "arrays": lambda space, arch: str({**spec(space, arch), "matrix": np.array(spec(space, arch)["matrix"])}),
        "printed arrays": lambda space, arch: "{{'matrix': {}, 'ops': {}}}".format(
            *map(np.array, spec(space, arch).values())
        ),
        "printed floats": lambda space, arch: "{{'matrix': {}, 'ops': {}}}".format(
            np.array(spec(space, arch)["matrix"], float), spec(space, arch)["ops"]
        ),
        "constants": lambda space, arch: str(
            {**spec(space, arch), "ops": [op.partition("-")[0].upper() for op in spec(space, arch)["ops"]]}
        ),
        "more keys": lambda space, arch: json.dumps({**spec(space, arch), "hash": "0a1", "params": 3}),
    },
    **{space.name: CELL_SPACE for space in NDS},
    "nats_size": {
        **rows(),
        "index": index,
        "list of widths": lambda space, arch: str([WIDTHS[place] for place in arch]),
    },
    "nasbench_macro": rows(),
    "transnas101_micro": rows(),
    "transnas101_macro": rows() | {"row": lambda space, arch: " ".join(str(module) for module in arch if module > 0)},
    "resnet": {},
    "resnext_a": {},
    "resnext_b": {},
    "vanilla": {},
    "nasbench_nlp": {},
}


def changed(space, arch, kind):
    matrix = [[kind(entry) for entry in row] for row in spec(space, arch)["matrix"]]
    return json.dumps({**spec(space, arch), "matrix": matrix})


# --- the same architecture -------------------------------------------------------------------------------------------


def test_every_space_lists_its_ways():
    assert WAYS.keys() == SPACES.keys()


@pytest.mark.parametrize(("name", "way"), [(name, way) for name, ways in WAYS.items() for way in ways])
def test_every_way_of_writing_is_the_same_architecture(name, way):
    space = SPACES[name]
    for arch in [space.encode(space.example), *space.sample(jax.random.key(3), 5)]:
        text = WAYS[name][way](space, arch)
        assert text != space.decode(arch)
        for wording in (text, f"  {text}\n"):
            found = space.encode(wording)
            assert found.dtype == np.int32
            np.testing.assert_array_equal(found, arch, err_msg=wording)


def of_one_program(space, archs):
    groups = space.groups(archs, "patches")
    most = max(groups, key=groups.count)
    return np.array([arch for arch, group in zip(archs, groups, strict=True) if group == most])


@pytest.mark.parametrize("name", ["nasbench201", "nasbench101", pytest.param("darts", marks=pytest.mark.slow)])
def test_every_way_of_writing_gets_the_same_scores(name, tmp_path, capsys):
    """A second command resumes a directory only with the same architectures; one with all ways scores them anew."""
    space, count = SPACES[name], len(WAYS[name])
    archs = of_one_program(space, space.sample(jax.random.key(4), 5 * count))[:count]
    assert len(archs) == count
    ways = {way: [write(space, arch) for arch in archs] for way, write in WAYS[name].items()}
    ways = {"decoded": [space.decode(arch) for arch in archs], **ways}
    for way, texts in ways.items():
        pl.DataFrame({"arch": texts}).write_csv(tmp_path / "archs.csv")
        argv = ["--space", name, "--archs", tmp_path / "archs.csv", "--out", tmp_path / "all", *REGIONS]
        assert score([*map(str, argv)]) == 0, (way, capsys.readouterr().err)
    mixed = [texts[place] for place, texts in enumerate([*ways.values()][1:])]
    pl.DataFrame({"arch": mixed}).write_csv(tmp_path / "archs.csv")
    argv = ["--space", name, "--archs", tmp_path / "archs.csv", "--out", tmp_path / "mixed", *REGIONS]
    assert score([*map(str, argv)]) == 0
    table, _ = read_scores(tmp_path / "all")
    assert table["arch"].to_list() == ways["decoded"]
    assert table["regions"].n_unique() > 1
    assert_frame_equal(read_scores(tmp_path / "mixed")[0], table)


def test_own_spaces_read_lists_and_no_indices():
    space = cell_space("mine", edges=((1, 0), (2, 0), (2, 1)), ops={"0": own.zero, "1": own.identity})
    assert space.encode("[0, 1, 1]").tolist() == space.encode("0|1|1").tolist() == [0, 1, 1]
    with pytest.raises(UserError, match="1 ops instead of 3"):
        space.encode("1")
    with pytest.raises(UserError, match="mine has no official indices"):
        space.from_ids(np.array([1]))


# --- single values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "string"),
    [
        ("0", "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"),
        ("9", "|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"),
        ("123", "|avg_pool_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"),
        ("1234", "|nor_conv_1x1~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|"),
        (
            "[3, 3, 4, 1, 3, 1]",
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|",
        ),
        (
            "naslib:(4, 0, 3, 1, 4, 3)",
            "|avg_pool_3x3~0|+|skip_connect~0|none~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_1x1~2|",
        ),
        (
            '{"0_1": "avg_pool_3x3", "0_2": "conv_1x1", "1_2": "skip_connect", "0_3": "conv_1x1", '
            '"1_3": "skip_connect", "2_3": "skip_connect"}',
            "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
        ),
    ],
)
def test_cells_of_nasbench201_by_hand(text, string):
    space = SPACES["nasbench201"]
    assert space.decode(space.encode(text)) == string


def test_indices_are_the_benchmarks(shared_data):
    space = SPACES["nasbench201"]
    table = pl.read_parquet(shared_data / "nasbench201" / "accuracies.parquet")
    archs = space.from_ids(table["idx"].to_numpy())
    assert [space.decode(arch) for arch in archs] == table["arch_str"].to_list()
    assert space.arch_ids(archs).tolist() == table["idx"].to_list()


def test_the_order_of_indices_holds_everywhere():
    """Of 15,625: ends, the row of index 1234, and a checksum, so that no version of Python shuffles otherwise."""
    rows = SPACES["nasbench201"].order()
    assert sorted(rows) == list(range(15_625))
    assert (rows[0], rows[1234], rows[-1]) == (13_931, 6251, 6512)
    assert int((rows * np.arange(1, 15_626)).sum()) == 957_913_909_270


def test_indices_of_the_size_space():
    space = SPACES["nats_size"]
    for index, widths in ((0, "8:8:8:8:8"), (11, "8:8:8:16:32"), (12, "8:8:8:16:40"), (284, "8:8:40:32:40")):
        assert space.decode(space.encode(str(index))) == widths
    assert space.arch_ids(space.enumerate()).tolist() == list(range(space.size))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("nasbench201", "(3, 3, 4, 1, 3, 1)", ["write [3, 3, 4, 1, 3, 1]", "write naslib:(3, 3, 4, 1, 3, 1)"]),
        ("nasbench201", "15625", ["no architecture 15625", "0 to 15624"]),
        ("nasbench201", "[3, 3, 4, 1, 3]", ["it has 5 numbers", "6 numbers from 0 to 4"]),
        ("nasbench201", "[3, 3, 4, 1, 3, 5]", ["number 5 is 5", "0 to 4"]),
        ("nasbench201", "naslib:(3, 3, 4, 1, 3, 5)", ["0 skip_connect, 1 none, 2 nor_conv_3x3", "1<-0, 2<-0, 3<-0"]),
        ("nasbench201", "naslib:", ["malformed", "expected |op~0|"]),
        ("nasbench201", "{'0_1': 'none'}", ["its keys are 0_1", "0_1, 0_2, 1_2, 0_3, 1_3, 2_3"]),
        ("nasbench201", "[(('none', 1),)]", ["node 1 has ('none', 1)"]),
        ("nasbench201", "[(('none', 0),)]", ["1 edges instead of 6"]),
        ("nasbench201", "(3)", ["neither a list nor a dictionary"]),
        ("nasbench201", "[open('x')]", ["open(...) is no plain value"]),
        ("nats_size", "32768", ["0 to 32767"]),
        ("nats_size", "[8, 16, 32, 48, 0]", ["number 0 is 8", "0 to 7"]),
        ("nasbench_macro", "1011220", ["7 layers", "lost zeros"]),
        ("transnas101_micro", "17", ["place in its file", "64-41414-"]),
        ("transnas101_macro", "1234", ["place in its file", "64-MODULES-basic"]),
        ("transnas101_macro", "[11, 2, 3]", ["malformed"]),
        ("darts", "17", ["NDS's networks have none"]),
        ("darts", "DARTS", ["unknown genotype 'DARTS'", "DARTS_V1, DARTS_V2"]),
        ("darts", "NASNet", ["normal has 10 entries; darts has 8"]),
        ("darts", "Genotype(normal=[], reduce=[]) Genotype()", ["2 calls of Genotype; give one"]),
        ("darts", "Genotype(normal=[('none', 2, 0)], reduce=[])", ["('none', 2, 0)"]),
        ("darts", "Genotype(1, 2, 3, 4, 5, 6, 7)", ["7 arguments instead of 6"]),
        ("darts", "Genotype(normal=[], normal=[])", ["an argument twice"]),
    ],
)
def test_what_cannot_be_read_says_what_to_do(name, text, words):
    with pytest.raises(UserError) as error:
        SPACES[name].encode(text)
    message = str(error.value)
    assert "\n" not in message
    for word in [text, *words]:
        assert word in message


def test_a_text_is_read_and_not_run():
    assert read("[np.int64(3), list(range(2, 6)), true, {'a': (1., -2)}]") == [3, range(2, 6), True, {"a": (1.0, -2)}]
    for text in ("2 ** 999", "x", "f(1)", "[i for i in 3]", "__import__('os')", "range('a')", "((", "", "(" * 9999):
        with pytest.raises(ValueError, match=r"\w"):
            read(text)


# --- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_of_numbers(kind, tmp_path, capsys):
    space = SPACES["nasbench201"]
    for column in ([0, 1, 1234], [[3, 3, 4, 1, 3, 1], [4, 2, 1, 2, 1, 1]]):
        frame = pl.DataFrame({"arch": column})
        if kind == "csv":
            pl.DataFrame({"arch": [*map(str, column)]}).write_csv(tmp_path / "a.csv")
        else:
            frame.write_parquet(tmp_path / "a.parquet")
        out = tmp_path / f"{len(column)}"
        assert score(["--archs", str(tmp_path / f"a.{kind}"), "--scorers", "params", "--out", str(out)]) == 0
        expected = [space.decode(space.encode(str(number))) for number in column]
        assert read_scores(out)[0]["arch"].to_list() == expected


def test_an_index_on_the_command_line(tmp_path, capsys):
    assert score(["--archs", "1234", "--scorers", "params", "--out", str(tmp_path / "x")]) == 0
    table, _ = read_scores(tmp_path / "x")
    assert table.select("arch_id", "arch").rows() == [
        (1234, "|nor_conv_1x1~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|")
    ]


def scored(space: str, path: Path) -> pl.DataFrame:
    assert score(["--space", space, "--archs", "random:40", "--scorers", "params,flops", "--out", str(path)]) == 0
    return read_scores(path)[0]


def test_tables_have_the_benchmarks_index(tmp_path, capsys):
    table = scored("nasbench201", tmp_path / "a")
    space = SPACES["nasbench201"]
    assert table["arch_id"].dtype == pl.Int64
    assert [space.decode(arch) for arch in space.from_ids(table["arch_id"].to_numpy())] == table["arch"].to_list()
    table = scored("nasbench_macro", tmp_path / "b")
    assert table["arch_id"].dtype == pl.Int64 and table["arch_id"].null_count() == len(table)


def test_a_measured_table_may_have_indices_alone(tmp_path, capsys):
    table = scored("nasbench201", tmp_path / "a")
    measured = table.select(idx="arch_id", acc=pl.col("params") + 1.0)
    measured.write_csv(tmp_path / "acc.csv")
    argv = [tmp_path / "a", tmp_path / "acc.csv", "--target", "acc", "--key", "idx", "--bootstrap", "2", "--json"]
    capsys.readouterr()
    assert correlate([*map(str, argv)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["compared"], report["scores"].keys()) == (40, {"params", "flops", "live_flops"})
    assert report["scores"]["params"]["spearman"] == 1


def test_matrices_and_operations_in_columns_of_their_own():
    space = SPACES["nasbench101"]
    archs = space.sample(jax.random.key(0), 4)
    parts = [spec(space, arch) for arch in archs]
    for wrap in (lambda part: part, str, lambda part: str(np.array(part))):
        columns = {
            "module_adjacency": pl.Series([wrap(part["matrix"]) for part in parts]),
            "module_operations": pl.Series([wrap(part["ops"]) for part in parts]),
        }
        np.testing.assert_array_equal(space.from_table(columns), archs)


@pytest.mark.parametrize(
    "name", ["nasbench201", "nasbench_macro", "nats_size", "transnas101_micro", "transnas101_macro"]
)
def test_every_string_of_a_small_space_is_read_back(name):
    space = SPACES[name]
    archs = space.enumerate()
    np.testing.assert_array_equal([space.encode(space.decode(arch)) for arch in archs], archs)
