"""Users' Python files: what is wrong with one is said in a line, and what runs anywhere else runs here."""

import sys

import pytest

from jaxnas.errors import UserError
from jaxnas.user_file import fingerprint, load_variable

DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass, field

@dataclass
class Settings:
    widths: list[int] = field(default_factory=lambda: [1, 2])

settings = Settings()
"""


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
