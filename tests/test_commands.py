"""The console script `jaxnas`: one entry to all commands."""

import re
import subprocess
import sys

import pytest

from jaxnas.cli.main import COMMANDS, main


def test_help_lists_the_commands(capsys):
    assert main(["--help"]) == 0
    captured = capsys.readouterr()
    assert all(f"\n  {name} " in captured.out for name in ("search", "score", "correlate"))
    assert captured.err == ""


def test_no_command_is_bad_input(capsys):
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: jaxnas" in captured.err


@pytest.mark.parametrize(("typo", "meant"), [("serch", "'search'"), ("scor", "'score'"), ("-x", "choose from")])
def test_unknown_command_is_one_line(capsys, typo, meant):
    assert main([typo]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert meant in captured.err


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_explain_their_options_in_80_columns(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["help", name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"usage: jaxnas {name} [-h]")
    assert max(map(len, lines)) <= 80
    assert not any("None" in line for line in lines)


def test_help_fills_its_lines(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["score", "--help"]) == 0
    text = capsys.readouterr().out
    words = " ".join(text.split())
    assert "--space STR Search space. SPACE:DATASET (nasbench201:cifar100, darts:cifar10) counts and" in words
    broken = text.partition("standard input")[0].splitlines()
    assert all(len(line) > 70 or "--" in line for line in broken[-4:-1])
    assert "--jacov.width INT " in words and "--regression.width INT " in words


@pytest.mark.parametrize("words", [["help"], ["-h"], ["--help"]])
def test_help_is_the_usage(capsys, words):
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("usage: jaxnas COMMAND")


def test_version_is_one_line_and_imports_nothing():
    code = "import sys\nfrom jaxnas.cli.main import main\nmain(['--version'])\nassert 'jax' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"jaxnas \S+ \(jax \d\S+, Python 3\.\S+\)\n", done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_pass_on_the_exit_code(capsys, name):
    assert main([name, "--no-such-option"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_module_is_the_same_program():
    done = subprocess.run([sys.executable, "-m", "jaxnas", "nothing"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("jaxnas: unknown command 'nothing'")
