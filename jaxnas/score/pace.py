"""How long scores take on this machine: kept by every run of `jaxnas score`, read by `--dry-run`."""

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from jaxnas.cli import versions
from jaxnas.cli.progress import duration
from jaxnas.cli.session import Session
from jaxnas.digest import digest
from jaxnas.evaluate import devices
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.scorers.protocol import options_of
from jaxnas.user_cache import keep, user_cache

SHARED = ("space", "repeats", "data", "files")  # settings that a time depends on


@dataclass(frozen=True)
class Pace:
    """What a run spent on one pass; see `jaxnas.evaluate.compiled.Spent`.

    Attributes:
      archs: that ran.
      seconds: of devices.
      programs: that were compiled.
      compiling: seconds.
      day: of the run.
    """

    archs: int
    seconds: float
    programs: int
    compiling: float
    day: str


def note(session: Session) -> None:
    """Keep what this process spent, unless a larger run of the same is known."""
    for evaluator in session.evaluators:
        spent, path = evaluator.spent, _path(session, evaluator)
        known = _read(path)
        if path is not None and spent.programs and spent.archs >= (known.archs if known else 1):
            keep(path, json.dumps(asdict(Pace(**asdict(spent), day=time.strftime("%Y-%m-%d")))))


def estimate(session: Session, archs: int, run: np.ndarray | None) -> str:
    """How long scoring takes, in words, with what the estimate is made of.

    Args:
      session: of the process.
      archs: how many different ones are scored.
      run: `[N, A]`, those of them that are listed; they tell how many programs there are.
    """
    known = {evaluator: _read(_path(session, evaluator)) for evaluator in session.evaluators}
    if new := ["/".join(one.name for one in e.scorers) for e, pace in known.items() if pace is None]:
        return (
            f"time: not known before {', '.join(new)} was measured on this machine with these options; "
            "--archs random:64 is enough"
        )
    on = len(devices.available(session.options.devices))
    compiling = seconds = 0.0
    for evaluator, pace in known.items():
        assert pace is not None
        programs = pace.programs if run is None else len(evaluator.programs(run))
        compiling += programs * pace.compiling / pace.programs
        seconds += archs * pace.seconds / pace.archs / on
    measured = [pace for pace in known.values() if pace is not None]
    least, last = min(pace.archs for pace in measured), max(pace.day for pace in measured)
    return (
        f"time: about {duration(compiling + seconds)}, of which up to {duration(compiling)} compile; so long took "
        f"{least:,} architectures on this machine, last on {last}"
    )


def _path(session: Session, evaluator: Evaluator) -> Path | None:
    """The file for a pass with these options on this machine; None where there is no cache."""
    settings, setup = session.settings(), evaluator.setup
    about = {name: settings.get(name) for name in SHARED}
    about["scorers"] = {one.name: options_of(one) for one in evaluator.scorers}
    about |= {"batch": setup.batch, "device": devices.named(setup.devices[:1]), "versions": versions.recorded()}
    folder = user_cache("paces")
    known = json.dumps(about | devices.arithmetic(), sort_keys=True, default=str)
    return None if folder is None else folder / f"{digest(known)}.json"


def _read(path: Path | None) -> Pace | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return None if path is None else Pace(**json.loads(path.read_bytes()))
    return None
