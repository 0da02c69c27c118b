"""Commands as processes: real signals, closed and full streams, terminals, locales, caches that cannot be written."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxnas.cli import frame, process
from jaxnas.cli.main import main
from jaxnas.user_cache import user_cache

BEGIN = """
import hashlib, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start its background jobs without one
from jaxnas.cli import process
def ready(): print("ready", flush=True)
def computes(): ready(); hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # as XLA compiles: it hears nothing
def cleans_up():
    try: ready(); time.sleep(600)
    finally: time.sleep(0.5); print("clean")
def swallows():
    ready()
    while True:
        try: time.sleep(600)
        except KeyboardInterrupt: pass
def draws_a_bar():
    from rich.console import Console
    from rich.progress import track
    for _ in track(range(3), "drawing", console=Console(stderr=True)): computes()
def leaves_threads():
    threading.Thread(target=time.sleep, args=(600,)).start()
    ready(); time.sleep(600)
def fails():
    threading.Thread(target=time.sleep, args=(600,)).start()
    raise ZeroDivisionError("of the program")
def prints(): print("out"); return 0
def prints_much(): print("out" * 100_000); return 0
process.say_when_interrupted("last words")
"""
OPTIONS = [
    (["score", "--out", "x", "--archz", "all"], "unknown option: --archz, all; did you mean --archs?"),
    (["score", "--out", "x", "--arc", "all"], "unknown option: --arc, all; did you mean --archs?"),
    (["score", "--out", "x", f"--{'long' * 60}"], f"unknown option: --{'long' * 60};"),
    (["merge", "a"], "missing: --out PATH Directory"),
    (["score", "--out"], "--out needs a value;"),
    (["score", "--out", "x", "--repeats", "two"], "--repeats: 'two' is no whole number;"),
    (
        ["score", "--out", "x", "--ntk.bn", "batches"],
        "invalid choice 'batches' for argument '--ntk.bn'. Expected one of",
    ),
    (["search", "--evolve.poplation", "8"], "unknown option: --evolve.poplation, 8; did you mean --evolve.population?"),
    (["search", "--budget", "1e3"], "--budget: '1e3' is no whole number;"),
    (["supernet", "--out", "x", "--data", "synthetic", "--shares", "1", "2"], "--shares needs 3 values;"),
    (["correlate", "--targte", "x"], "unknown option: --targte, x; did you mean --target?"),
]
MISTAKES = """
import sys
from jaxnas.cli.main import main
for words in {words}:
    assert main(words) == 2
"""
KEPT = "interrupted; finished parts are kept, and the same command goes on from there"


def start(program, before=""):
    code = f"{BEGIN}\n{before}\nprocess.run({program})"
    return subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("program", "prints"), [("computes", ""), ("cleans_up", "clean\n"), ("swallows", ""), ("leaves_threads", "")]
)
def test_a_signal_ends_the_process_at_once(program, prints, sent):
    with start(program) as running:
        assert running.stdout.readline() == "ready\n"
        began = time.perf_counter()
        running.send_signal(sent)
        time.sleep(0.1)
        running.send_signal(signal.SIGINT)  # the second one changes nothing
        assert running.communicate(timeout=60) == (prints, "last words\n")
    assert running.returncode == 130
    assert time.perf_counter() - began < 30


def test_a_progress_bar_leaves_the_message_and_the_cursor_alone():
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", f"{BEGIN}\nprocess.run(draws_a_bar)"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}) as running:
        os.close(theirs)
        drawn = b""
        while b"ready" not in drawn:
            drawn += os.read(ours, 1 << 16)
        running.send_signal(signal.SIGINT)
        said = _read(ours)
        assert running.wait(60) == 130
    after = said.rpartition("drawing")[2]
    assert process.SHOW_CURSOR in after
    assert after.endswith("last words\r\n")


def test_a_signal_that_is_ignored_stays_so():
    with start("cleans_up", before="signal.signal(signal.SIGTERM, signal.SIG_IGN)") as running:
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert running.poll() is None
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130


def test_a_fault_ends_the_process_with_its_traceback():
    with start("fails") as failed:
        out, errors = failed.communicate(timeout=60)
    assert (failed.returncode, out) == (1, "")
    assert errors.startswith("Traceback")
    assert errors.endswith("ZeroDivisionError: of the program\n")


@pytest.fixture
def cold(tmp_path):
    """Start a command that compiles for half a minute, on a terminal or not, and wait until it does."""
    command = [sys.executable, "-m", "jaxnas.score", "--out", str(tmp_path / "out")]
    command += ["--archs", "random:40", "--scorers", "te_nas"]
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    env.pop("JAX_COMPILATION_CACHE_DIR", None)

    def begin(*, terminal):
        ours, theirs = pty.openpty() if terminal else os.pipe()
        streams = {"stdin": theirs, "stdout": theirs} if terminal else {"stdout": subprocess.DEVNULL}
        running = subprocess.Popen(command, env=env, stderr=theirs, start_new_session=terminal, **streams)
        os.close(theirs)
        while not (tmp_path / "out" / "manifest.json").exists():
            assert running.poll() is None
            time.sleep(0.01)
        time.sleep(2)
        return running, ours

    return begin


@pytest.mark.parametrize(("sent", "terminal"), [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_signal_while_compiling(cold, tmp_path, sent, terminal):
    running, errors = cold(terminal=terminal)
    running.send_signal(sent)
    said = _read(errors)
    assert running.wait(60) == 130
    assert said.count("interrupted") == 1
    assert f"jaxnas score: {KEPT}" in said
    assert "Traceback" not in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.json"]
    assert said.rstrip().endswith("from there") or not terminal


def _read(descriptor, timeout=60):
    """Return everything that is written until the other side closes."""
    text = b""
    while select.select([descriptor], [], [], timeout)[0]:
        try:
            more = os.read(descriptor, 1 << 16)
        except OSError:  # of a terminal whose other side has closed
            more = b""
        if not more:
            break
        text += more
    os.close(descriptor)
    return text.decode()


def shell(words, ending, **env):
    """Run the command in a shell, which closes or redirects its streams."""
    line = f'exec "$@" {ending}'
    return subprocess.run(
        ["sh", "-c", line, "sh", sys.executable, *map(str, words)],
        env=os.environ | {name: str(value) for name, value in env.items()},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("ending", "code", "out", "says"),
    [
        (">&-", 0, "", ""),
        ("2>&-", 0, "out\n", ""),
        ("<&- >&- 2>&-", 0, "", ""),
        (">/dev/full", 1, "", "cannot write standard output: No space left on device"),
        (">/dev/full 2>/dev/full", 1, "", ""),
    ],
)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_closed_and_full_streams(ending, code, out, says):
    done = shell(["-c", f"{BEGIN}\nprocess.run(prints)"], ending)
    assert (done.returncode, done.stdout) == (code, out)
    assert done.stderr == (f"jaxnas: {says}\n" if says else "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("program", ["prints", "prints_much"])
def test_full_output_of_any_length(program):
    done = shell(["-c", f"{BEGIN}\nprocess.run({program})"], ">/dev/full")
    assert (done.returncode, done.stderr) == (1, "jaxnas: cannot write standard output: No space left on device\n")


def test_a_command_without_streams_keeps_its_work(tmp_path):
    words = ["-m", "jaxnas.score", "--archs", "random:5", "--scorers", "params", "--out", tmp_path / "out"]
    done = shell(words, ">&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "manifest.json",
        "parts.jsonl",
        "part-00000.parquet",
    }


@pytest.mark.parametrize("words", [["--help"], ["correlate", "--help"]])
def test_a_reader_of_the_help_may_leave(words):
    with subprocess.Popen([sys.executable, "-m", "jaxnas", *words], stdout=-1, stderr=-1, text=True) as running:
        running.stdout.close()
        assert running.stderr.read() == ""
    assert running.returncode == 1


def test_a_command_listens_before_it_imports_jax():
    """`python -m` imports the package before its `__main__` begins."""
    packages = ", ".join(f"jaxnas.{name}" for name in ("correlate", "predict", "score", "search", "supernet"))
    code = f"import sys\nimport jaxnas.__main__, {packages}\nassert not {{'jax', 'tyro'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_usage_needs_no_jax():
    code = "import sys\nfrom jaxnas.cli.main import main\nmain(['--help'])\nassert 'jax' not in sys.modules"
    assert (
        "Exit codes" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.parametrize(
    ("encoding", "options"), [("utf-8", OPTIONS), pytest.param("ascii", OPTIONS[::2], marks=pytest.mark.slow)]
)
def test_an_option_mistake_is_the_same_line_on_a_terminal_and_in_a_pipe(encoding, options):
    code = MISTAKES.format(words=[words for words, _ in options])
    env = os.environ | {"PYTHONIOENCODING": encoding, "TERM": "xterm-256color", "COLUMNS": "40"}
    command = [sys.executable, "-c", code]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        terminal = _read(ours).replace("\r\n", "\n")
    assert running.returncode == 0
    piped = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert (terminal, piped.stdout) == (piped.stderr, "")
    lines = terminal.splitlines()
    assert len(lines) == len(options)
    for line, (words, says) in zip(lines, options, strict=True):
        assert line.startswith(f"jaxnas {words[0]}: {says}")
        assert line.endswith(f" see jaxnas {words[0]} --help")


def test_a_locale_without_the_characters_of_a_path(tmp_path):
    words = ["-m", "jaxnas.score", "--archs", "random:5", "--scorers", "params", "--out"]
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    refused = shell([*words, tmp_path / "é"], "", **ascii_only)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert refused.stderr.endswith("not in ascii, the encoding of this locale; set PYTHONUTF8=1\n")
    assert list(tmp_path.iterdir()) == []
    printed = shell([*words, tmp_path / "é"], "", PYTHONIOENCODING="ascii", PYTHONUTF8="1")
    assert (printed.returncode, printed.stderr) == (0, "")
    assert "5 architectures are in" in printed.stdout
    assert (tmp_path / "é" / "manifest.json").exists()


def test_what_the_locale_cannot_read_is_refused(capsys):
    with pytest.raises(frame.UserError, match=r"'--out b\\udcff': not in utf-8"):
        list(frame._local(["--out", os.fsdecode(b"b\xff")]))


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for name, value in [("XDG_CACHE_HOME", str(tmp_path / "file")), ("HOME", str(tmp_path / "file"))]:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv(name, value)
        with pytest.warns(UserWarning, match=r"no cache \(.*Not a directory.*JAXNAS_CACHE"):
            assert user_cache("programs") is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / os.fsdecode(b"\xff")))
    with pytest.warns(UserWarning, match=r"no cache \(.*surrogates not allowed"):
        assert user_cache("programs") is None


def test_a_command_without_a_cache_says_so_once(tmp_path):
    (tmp_path / "file").touch()
    words = ["-m", "jaxnas.score", "--archs", "random:3", "--scorers", "regions", "--devices", "1"]
    words += ["--regions.batches", "1", "--regions.samples", "8", "--out", tmp_path / "out"]
    done = shell(words, "", XDG_CACHE_HOME=tmp_path / "file")
    assert done.returncode == 0
    assert done.stderr.startswith("note: no cache (")
    assert done.stderr.count("\n") == 1


def test_warnings_are_one_line_and_said_once(capsys):
    for name in ("'a'", "'b'"):
        process._note(UserWarning(f"cannot\n  keep {name}: full"))
    assert capsys.readouterr().err == "note: cannot keep 'a': full\n"


@pytest.mark.parametrize("words", [["--out=~/run"], ["--out", "~/run"]])
def test_home_is_expanded_after_an_equals_sign_too(words, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["score", *words, "--archs", "random:3", "--scorers", "params"]) == 0
    assert f"3 architectures are in {tmp_path / 'run'};" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    "words",
    [
        ["score", "--out=s3://bucket/z"],
        ["score", "--out", "file:x"],
        ["score", "--out", "x", "--data=gs://a/b.npz"],
        ["search", "--plot", "s3://bucket/x.png"],
        ["predict", "--train", "hdfs://n/x.csv", "--target", "y"],
        ["correlate", "s3://bucket/z", "table.csv", "--target", "y"],
    ],
)
def test_addresses_are_refused_by_name(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert ": is no place on this machine; give a local path" in captured.err
    assert list(tmp_path.iterdir()) == []


def test_data_sets_may_be_elsewhere():
    words = ["--data-dir", "gs://bucket", "--data_dir=gs://bucket", "--out", "x"]
    assert list(frame._local(words)) == words


def test_sentences_end_lines_between_words_on_terminals_alone(capsys, monkeypatch):
    process.tell("one two-three four", "  ")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "16")
    process.tell("one two-three four", "  ")
    assert capsys.readouterr().out == "  one two-three four\n  one two-three\n    four\n"
