"""Files are there complete or not at all, whoever writes them."""

import contextlib
import os

import jax.numpy as jnp
import polars as pl
import pytest

from jaxnas import atomic_file, user_cache
from jaxnas.errors import UserError
from jaxnas.learn.agnet import pretrain
from jaxnas.tables import release
from jaxnas.tables.store import Store

WRITERS = {
    "store": lambda path: Store(path.parent, {}).put(path.name, b"new"),
    "table": lambda path: release.write(path, pl.DataFrame({"a": [1]}), {}),
    "cache": lambda path: user_cache.keep(path, "new"),
    "generator": lambda path: pretrain._save(path, [jnp.zeros(3)]),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.filterwarnings("ignore:the trained generator is not kept")
def test_what_cannot_be_finished_changes_nothing(tmp_path, monkeypatch, write):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(_):
        (unfinished,) = (entry.name for entry in tmp_path.iterdir() if entry != path)
        assert atomic_file.is_temporary(unfinished) and unfinished.endswith(f"-{os.getpid()}")
        raise OSError("full")

    with monkeypatch.context() as patch, contextlib.suppress(UserError):
        patch.setattr(os, "fsync", full)
        write(path)
    assert [*tmp_path.iterdir()] == [path] and path.read_bytes() == b"old"
    write(path)
    assert [*tmp_path.iterdir()] == [path] and path.read_bytes() != b"old"
