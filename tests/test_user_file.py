"""Users' Python files: what is wrong with one is said in a line, and what runs anywhere else runs here."""

import sys

import pytest

from jaxnas.errors import UserError
from jaxnas.user_file import fingerprint, load_variable, local

DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass, field

@dataclass
class Settings:
    widths: list[int] = field(default_factory=lambda: [1, 2])

settings = Settings()
"""
SAME = ["tfds:cifar10", "tfds:cifar10:test", "synthetic:pink", "own.py:space", "dir/a:ntk", "random:10"]
SAME += ["darts:cifar10", "/a/b:c", "C:/x", "./s3:/x", "./file:x", "|none~0|+|none~0|none~1|"]


@pytest.fixture
def load(tmp_path):
    """Write a file and load its variable `settings`."""

    def run(text, name="json.py"):  # the name of a module of Python's
        path = tmp_path / name
        path.write_text(text)
        return load_variable(f"{path}:settings", "--space", "setting", lambda value: True)

    return run


def test_dataclasses_find_their_module_and_no_other_is_replaced(load):
    import json

    first, second = load(DATACLASS), load(DATACLASS, "other.py")
    assert first.widths == second.widths == [1, 2]
    assert sys.modules["json"] is json
    assert type(first).__module__ != type(second).__module__


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("settings = 1\nsettings = = 2\n", "json.py:settings: the file does not run: line 2: SyntaxError: invalid"),
        ("def f():\n    return 1 / 0\n\nsettings = f()\n", "line 2: ZeroDivisionError: division by zero"),
        ("import nothing_like_that\n", "line 1: ModuleNotFoundError: No module named 'nothing_like_that'"),
        ("import json\n\nsettings = json.loads('')\n", "line 3: JSONDecodeError: Expecting value"),
        ("raise SystemExit\n", "line 1: SystemExit"),
        ("\0", "the file does not run: "),
    ],
)
def test_a_file_that_does_not_run_is_one_line(load, text, says):
    known = set(sys.modules)
    with pytest.raises(UserError) as error:
        load(text)
    assert says in str(error.value)
    assert str(error.value).startswith("--space ") and "\n" not in str(error.value)
    assert not {name for name in set(sys.modules) - known if "jaxnas" in name}


def test_fingerprint_is_that_of_the_content(tmp_path):
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.write_text("one")
    first, second = map(fingerprint, paths)
    paths[1].write_text("two")
    assert len(first) == 16
    assert first == second != fingerprint(paths[1])
    assert len({fingerprint(*paths), fingerprint(*paths[::-1]), first}) == 3


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("~", "HOME"),
        ("~/runs/x", "HOME/runs/x"),
        ("~/a.csv,~/b.csv, ~/c.csv", "HOME/a.csv,HOME/b.csv, HOME/c.csv"),
        ("~/own.py:space", "HOME/own.py:space"),
        ("~/scores:ntk", "HOME/scores:ntk"),
        ("a~/b", "a~/b"),
        ("~nobody-of-that-name", "~nobody-of-that-name"),
        ("./~nobody-of-that-name/x", "./~nobody-of-that-name/x"),
        *[
            (same, same)
            for same in ("tfds:cifar10", "tfds:cifar10:test", "synthetic:pink", "own.py:space", "dir/a:ntk")
        ],
        *[(same, same) for same in ("random:10", "darts:cifar10", "./s3:/x", "./file:x", "/a/b:c", "C:/x", "|none~0|")],
    ],
)
def test_home_is_expanded(monkeypatch, given, meant):
    monkeypatch.setenv("HOME", "/a/home")
    assert local(given, given) == meant.replace("HOME", "/a/home")


@pytest.mark.parametrize(
    "given", ["s3://b/z", "gs://b/z", "gs:b", "file:x", "file:///x", "hdfs://n/x", "abfs://x", "https://x"]
)
def test_addresses_are_refused_by_their_scheme(given):
    with pytest.raises(
        UserError, match=f"--out {given}: {given.partition(':')[0]}: is no place on this machine; give a lo"
    ):
        local(given, f"--out {given}")
    assert local(given, given, remote=True) == given


def test_an_address_among_several_paths_is_refused():
    with pytest.raises(UserError, match=r"s3: is no place on this machine.* is \./s3://b/x\.csv\)"):
        local("lab.csv, s3://b/x.csv,more.csv", "--oracle ...")


@pytest.mark.parametrize("given", ["~nobody-of-that-name/x", "a.csv,~nobody-of-that-name/b.csv"])
def test_the_home_of_nobody_is_refused(given):
    with pytest.raises(
        UserError, match=r"--out .*: there is no user 'nobody-of-that-name' .* is \./~nobody-of-that-name"
    ):
        local(given, f"--out {given}")
