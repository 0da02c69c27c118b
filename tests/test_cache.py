"""`jaxnas cache`: what is kept between runs, and where."""

import json
from pathlib import Path

import pytest

from jaxnas import user_cache
from jaxnas.cli.main import main


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A cache with a program of three bytes, and a file that is none of it."""
    monkeypatch.setenv("JAXNAS_CACHE", str(tmp_path / "kept"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    folder = user_cache.user_cache("programs")
    assert folder == tmp_path / "kept" / "programs"
    (folder / "one").write_bytes(b"abc")
    (tmp_path / "kept" / "thesis.tex").touch()
    return tmp_path / "kept"


def found(capsys, *words):
    assert main(["cache", *words, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_what_is_kept(kept, capsys):
    told = found(capsys)
    assert told["directory"] == str(kept)
    sizes = {entry["kind"]: (entry["files"], entry["bytes"]) for entry in told["kinds"]}
    assert sizes == dict.fromkeys(user_cache.KINDS, (0, 0)) | {"programs": (1, 3)}
    assert main(["cache", "info"]) == 0
    text = capsys.readouterr().out
    assert "compiled programs" in text and f"in {kept}\n" in text


def test_clear_deletes_what_jaxnas_made(kept, capsys):
    assert found(capsys, "clear")["kinds"][0]["files"] == 1
    assert [path.name for path in kept.iterdir()] == ["thesis.tex"]
    assert found(capsys)["kinds"][0]["files"] == 0


def test_a_place_of_jax_is_told(kept, capsys, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    assert main(["cache"]) == 0
    assert "compiled programs are in elsewhere instead" in capsys.readouterr().out


def test_the_place(monkeypatch, tmp_path):
    monkeypatch.delenv("JAXNAS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache.root().name == "jaxnas"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JAXNAS_CACHE", "~/mine")
    assert user_cache.root() == Path(tmp_path / "mine")


def test_bad_input(capsys):
    assert main(["cache", "delete"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
