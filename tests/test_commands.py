"""The console script `jaxnas`: one entry to the three programs."""

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


@pytest.mark.parametrize(("typo", "meant"), [("serch", "'search'"), ("scores", "'score'"), ("-x", "choose from")])
def test_unknown_command_is_one_line(capsys, typo, meant):
    assert main([typo]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert meant in captured.err


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_explain_their_options(capsys, name):
    assert main([name, "--help"]) == 0
    assert "usage:" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_pass_on_the_exit_code(capsys, name):
    assert main([name, "--no-such-option"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_module_is_the_same_program():
    done = subprocess.run([sys.executable, "-m", "jaxnas", "nothing"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("jaxnas: unknown command 'nothing'")
