"""`--shard auto`: who claims which part, and what becomes of the claims of processes that are gone."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from jaxnas.score.claims import STALE_SECONDS, Claims, Place, place
from jaxnas.score.command import main
from jaxnas.tables.store import read_scores


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "4"}, Place(2, 4)),
        ({"JOB_COMPLETION_INDEX": "3", "JOB_COMPLETIONS": "8"}, Place(3, 8)),
        ({"JOB_COMPLETION_INDEX": "3"}, Place(3, 4)),
    ],
)
def test_the_scheduler_says_where_to_begin(environment, expected):
    assert place(environment) == expected


def test_where_no_scheduler_says_so_processes_begin_at_random():
    assert len({place({}) for _ in range(20)}) > 1


@pytest.fixture
def begin(monkeypatch, tmp_path):
    """Claim parts of ten in a folder, from the start."""
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "0")

    def of(there=()):
        return Claims(tmp_path, range(10), lambda part: part in there)

    return of


def claim(folder, part, *marks):
    path = folder / f"claim-{part:05d}"
    path.write_text("".join(f"{mark}\n" for mark in marks))
    return path


def test_a_part_is_claimed_once(begin, tmp_path):
    one, two = begin({0, 1}), begin({0, 1})
    with one as first, two as second:
        assert [next(first), next(second), next(first), next(second)] == [2, 3, 4, 5]
        one.release(2)
        assert sorted(path.name for path in tmp_path.iterdir()) == [f"claim-{part:05d}" for part in (3, 4, 5)]
    assert not list(tmp_path.iterdir())


def test_claims_of_processes_that_are_gone_are_taken_over(begin, tmp_path, capsys):
    host, mine, gone = socket.gethostname(), os.getpid(), 2**22 + 1
    claim(tmp_path, 0, f"{host} {gone}")
    claim(tmp_path, 1, f"{host} {os.getppid()}")
    claim(tmp_path, 2, f"elsewhere {mine}")
    old = time.time() - STALE_SECONDS - 60
    os.utime(claim(tmp_path, 3, f"elsewhere {mine}"), (old, old))
    claim(tmp_path, 4, *[f"{host} {gone}"] * 3)
    with begin() as parts:
        assert list(parts) == [0, 3, 5, 6, 7, 8, 9]
        assert (tmp_path / "claim-00000").read_text() == f"{host} {gone}\n{host} {mine}\n"
    assert "part 4 is left out: 3 processes ended in it" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["claim-00001", "claim-00002", "claim-00004"]


def test_a_part_whose_process_ends_meanwhile_is_taken_in_the_next_round(begin, tmp_path):
    other = claim(tmp_path, 1, f"elsewhere {os.getpid()}")
    with begin() as parts:
        assert [next(parts) for _ in range(9)] == [0, 2, 3, 4, 5, 6, 7, 8, 9]
        os.utime(other, (time.time() - STALE_SECONDS - 60,) * 2)
        assert list(parts) == [1]


def test_a_claim_of_this_process_from_before_it_began_is_that_of_another(begin, tmp_path):
    other = claim(tmp_path, 1, f"{socket.gethostname()} {os.getpid()}")
    os.utime(other, (time.time() - 60,) * 2)
    with begin() as parts:
        assert 1 in parts


@pytest.mark.slow
def test_two_processes_share_a_run(tmp_path, capsys):
    fake = shutil.copy(Path(__file__).with_name("fake.py"), tmp_path)
    (tmp_path / "slow").write_text("0.2")
    options = ["--archs", "random:40", "--scorers", f"{fake}:FAKE", "--batch-size", "1", "--devices", "2"]
    command = [sys.executable, "-m", "jaxnas.score", "--out", str(tmp_path / "out"), *options, "--shard", "auto"]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("out/part-*")) and other.poll() is None:
        time.sleep(0.02)
    assert main(["--out", str(tmp_path / "out"), *options, "--shard", "auto"]) == 0
    said = other.communicate()[0]
    assert other.returncode == 0
    table, manifest = read_scores(tmp_path / "out")
    lines = (tmp_path / "out" / "parts.jsonl").read_text().splitlines()
    assert len(lines) == manifest["parts"]
    assert len({re.search(r'"pid": (\d+)', line)[1] for line in lines}) == 2
    assert "40 architectures are in" in said + capsys.readouterr().out
    assert not list(tmp_path.glob("out/claim-*"))
    assert main(["--out", str(tmp_path / "alone"), *options]) == 0
    assert_frame_equal(read_scores(tmp_path / "alone")[0], table, check_exact=True)
