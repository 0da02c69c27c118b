"""How far a command is, on a terminal and elsewhere; fingerprints and seeds, which all commands share."""

import os
import pty
import sys
import time

import numpy as np
import pytest

from jaxnas.cli import progress
from jaxnas.digest import digest
from jaxnas.errors import UserError, check_seed
from jaxnas.evaluate import compiled


@pytest.fixture
def lines(monkeypatch):
    """What is said, a line every 10 ms."""
    said = []
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.01)
    monkeypatch.setattr(progress.process, "say", said.append)
    return said


def wait_for(lines, more=1):
    until, wanted = time.monotonic() + 10, len(lines) + more
    while len(lines) < wanted:
        assert time.monotonic() < until
        time.sleep(0.005)
    return lines[-1]


def test_a_line_says_phase_rate_and_what_is_left(lines):
    with progress.Progress("scoring", "architectures", 4000, 1000) as shown:
        assert wait_for(lines, 2).startswith("scoring: 1,000 of 4,000 architectures; ")
        with compiled._compiling():
            assert wait_for(lines, 2).startswith("compiling: 1,000 of 4,000")
        shown.advance(1500, "loss 0.5")
        line = wait_for(lines, 2)
        assert line.startswith("scoring: 2,500 of 4,000 architectures, ")
        assert "a second, " in line and " left, loss 0.5; " in line and line.endswith(" so far")
        shown.reach(4000)
        assert "left" not in wait_for(lines, 2)
    count = len(lines)
    time.sleep(0.05)
    assert len(lines) <= count + 1  # none after the end, but for one that was under way


def test_slow_work_has_seconds_each(lines):
    with progress.Progress("training", "epochs", 3) as shown:
        shown._started -= 100
        shown.advance(1)
        assert "100.0 s each, 3 min left" in wait_for(lines, 2)


def test_a_terminal_gets_a_bar(monkeypatch, lines):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress.Progress("ranking", "architectures", 7) as shown:
            shown.advance(3)
    assert lines == []
    text = os.read(ours, 2**16).decode()
    assert "ranking" in text and "3/7" in text


def test_fingerprints_tell_parts_apart():
    array = np.arange(6, dtype=np.int32)
    prints = [
        digest(array), digest(array[::-1]), digest(array.reshape(2, 3)), digest(array.astype(np.int64)),
        digest(b"a", b"b"), digest(b"ab"), digest("a", 1), digest("a", "1"), digest(),
    ]  # fmt: skip
    assert len({*prints}) == len(prints) and {len(each) for each in prints} == {16}
    assert digest(array) == digest(array.copy())


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_there_are_not(seed):
    with pytest.raises(UserError, match=f"--seed is {seed}; it must lie in 0 to 4294967295"):
        check_seed(seed)
