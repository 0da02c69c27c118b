"""What every command takes (--config, -q, -v), and completion by shells."""

import shlex
import shutil
import subprocess
import time

import pytest

from jaxnas.cli import process
from jaxnas.cli.common import split, words_of
from jaxnas.cli.main import COMMANDS, main
from jaxnas.cli.progress import Progress
from jaxnas.commands.completion import programs
from jaxnas.errors import UserError
from jaxnas.search.command import Search
from jaxnas.supernet.command import Supernet
from jaxnas.tables.command import VERBS
from jaxnas.tables.store import read_scores


@pytest.fixture(autouse=True)
def usual_loudness():
    yield
    process.set_loudness(quiet=False, verbose=False)


@pytest.fixture
def file(tmp_path):
    def write(text):
        (tmp_path / "run.toml").write_text(text)
        return tmp_path / "run.toml"

    return write


# --- --config --------------------------------------------------------------------------------------------------------


def test_a_file_says_what_a_command_line_says(file):
    text = """
    space = "darts"
    scorers = ["ntk", "regions"]
    at_most = "flops=6e8"
    download = true
    mixed = false
    [evolve]
    population = 20
    """
    assert words_of(file(text), Search) == [
        *("--space", "darts", "--scorers", "ntk,regions", "--at-most", "flops=6e8", "--download"),
        *("--evolve.population", "20"),
    ]
    assert words_of(file("shares = [0.5, 0.25, 0.25]"), Supernet) == ["--shares", "0.5", "0.25", "0.25"]


def test_the_command_line_comes_first(file, tmp_path, capsys):
    path = file(f"archs = 'random:7'\nscorers = 'params'\nseed = 3\nout = '{tmp_path / 'run'}'")
    assert main(["score", "--config", str(path), "--archs", "random:5"]) == 0
    table, manifest = read_scores(tmp_path / "run")
    assert (len(table), manifest["settings"]["seed"]) == (5, 3)


def test_a_manifest_repeats_its_run(tmp_path, capsys):
    words = ["score", "--archs", "random:4", "--scorers", "params", "--seed", "2"]
    assert main([*words, "--out", str(tmp_path / "a b")]) == 0
    manifest = tmp_path / "a b" / "manifest.json"
    assert main(["score", "--config", str(manifest), "--out", str(tmp_path / "again")]) == 0
    table, again = read_scores(tmp_path / "again")
    assert table.equals(read_scores(tmp_path / "a b")[0])
    assert again["command"].startswith(shlex.join(["jaxnas", *words, "--out", str(tmp_path / "a b")]))
    capsys.readouterr()
    (tmp_path / "other.json").write_text("{}")
    for path, says in [(manifest, "it was written by jaxnas score, not jaxnas search"),
                       (tmp_path / "other.json", "no manifest.json that tells its command")]:  # fmt: skip
        assert main(["search", "--config", str(path)]) == 2
        assert says in capsys.readouterr().err


def test_a_typing_mistake_lists_no_hundred_keys(file, capsys):
    assert main(["score", "--config", str(file("seeed = 1"))]) == 2
    assert capsys.readouterr().err.endswith("unknown key 'seeed'; did you mean 'seed'?\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("spaces = 'darts'", "unknown key 'spaces'; did you mean 'space'?"),
        ("[evolve]\npoplation = 2", "unknown key 'evolve.poplation'; did you mean 'evolve.population'?"),
        ("seed = true", "seed = True: this option takes a value, not true or false"),
        ("mixed = 1", "mixed = 1: say true or false"),
        ("seed 3", "no TOML: "),
        ("seed = 'x'", "--seed: 'x' is no whole number"),
    ],
)
def test_what_a_file_cannot_say_is_one_line(file, capsys, text, says):
    assert main(["search", "--config", str(file(text))]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert says in captured.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--config"], "--config needs a file"),
        (["--config=none.toml"], "--config none.toml: cannot read it (No such file or directory)"),
        (["--config", "s3://bucket/x.toml"], "is no place on this machine"),
        (["-q", "--verbose"], "--quiet and --verbose: say one of them"),
    ],
)
def test_common_options_that_make_no_sense(words, says, capsys):
    assert main(["spaces", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and says in captured.err


def test_positions_are_no_keys(file):
    with pytest.raises(UserError, match="unknown key 'shell'"):
        words_of(file("shell = 'bash'"), dict(_classes())["completion"])


def _classes():
    from jaxnas.cli import frame
    from jaxnas.commands import completion

    with frame.collecting() as found:
        completion.main([])
    return [(name.removeprefix("jaxnas "), of) for name, of in found.items()]


# --- -q, -v ----------------------------------------------------------------------------------------------------------


def test_common_options_stand_anywhere():
    common, rest = split(["a", "-q", "--format", "csv", "--config=x.toml", "b"])
    assert (common.quiet, common.verbose, str(common.config)) == (True, False, "x.toml")
    assert rest == ["a", "--format", "csv", "b"]


def test_quiet_and_verbose(capsys, tmp_path, monkeypatch):
    (tmp_path / "archs.txt").write_text("0\n1\n1\n")
    words = ["score", "--archs", str(tmp_path / "archs.txt"), "--scorers", "params"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    assert "note: " in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "b"), "-q"]) == 0
    assert capsys.readouterr().err == ""
    assert main([*words, "--out", str(tmp_path / "c"), "-v"]) == 0
    errors = capsys.readouterr().err
    assert "jaxnas " in errors and "programs" in errors and "note: " in errors
    assert main(["spaces", "nowhere", "-q"]) == 2
    assert "unknown space" in capsys.readouterr().err


def test_quiet_progress_says_nothing(monkeypatch, capsys):
    monkeypatch.setattr("jaxnas.cli.progress.LINE_SECONDS", 0.001)
    process.set_loudness(quiet=True, verbose=False)
    with Progress("scoring", "architectures", 4) as progress:
        progress.advance(2)
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


# --- completion ------------------------------------------------------------------------------------------------------


def script(shell, capsys, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    assert main(["completion", shell]) == 0
    path = tmp_path / f"jaxnas.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


def completed(command):
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_every_program_is_completed():
    found = {program.words: program for program in programs()}
    assert found.keys() == {*COMMANDS} - {"tables"} | {f"tables {verb}" for verb in VERBS}
    assert "--evolve.population" in found["search"].options and "--config" in found["cache"].options
    assert found["search"].values["--method"][0] == "sift" and found["top"].values["--format"][0] == "table"


@pytest.mark.parametrize(
    ("line", "some", "none"),
    [
        ("jaxnas sco", {"score", "scorers"}, {"search"}),
        ("jaxnas tables b", {"build"}, {"list"}),
        ("jaxnas search --method s", {"sift"}, {"prune", "search"}),
        ("jaxnas search --evolve.p", {"--evolve.population"}, {"--evolve.brood"}),
        ("jaxnas tables build --na", {"--name"}, {"--seed"}),
        ("jaxnas help st", {"status"}, {"top"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_shells_complete(shell, line, some, none, capsys, tmp_path):
    path = script(shell, capsys, tmp_path)
    words = line.split()
    bash = f"source {path}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _jaxnas; echo ${{COMPREPLY[@]}}"
    commands = {"bash": ["bash", "-c", bash], "fish": ["fish", "-N", "-c", f"source {path}; complete -C '{line}'"]}
    found = {*completed(commands[shell])}
    if (shell, words[1]) != ("fish", "help"):
        assert some <= found and not none & found


def test_zsh_completes(capsys, tmp_path):
    path = script("zsh", capsys, tmp_path)
    stubs = "compdef() {}; compadd() { shift; print -r -- $@ }; _describe() { print -r -- ${(P)2} }"
    lines = {"jaxnas search --method s": "prune", "jaxnas tables b": "verify", "jaxnas sc": "scorers:list"}
    for line, word in lines.items():
        words = line.split()
        code = f"{stubs}; source {path}; words=({line}); CURRENT={len(words)}; PREFIX=; _jaxnas"
        assert word in completed(["zsh", "-f", "-c", code])
