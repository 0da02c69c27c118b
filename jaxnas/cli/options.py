"""What the commands that score share: options for the space, the scorers and the images, and the record of a run."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from jaxnas import data, scorers
from jaxnas.cli import versions
from jaxnas.cli.progress import Progress
from jaxnas.data import Source
from jaxnas.data.labelled import Labelled
from jaxnas.errors import check_least, check_seed
from jaxnas.evaluate import devices
from jaxnas.evaluate.evaluator import Evaluator
from jaxnas.evaluate.references import reference, to_measure
from jaxnas.scorers.consensus import Consensus
from jaxnas.scorers.protocol import AnyScore, Count, Pass, Scorer, options_of, pass_of
from jaxnas.scorers.reference import Reference
from jaxnas.scorers.registry import ALWAYS, DEFAULTS, listed
from jaxnas.spaces import Space, name_of
from jaxnas.user_file import fingerprint


def option_groups(title: str, options: Mapping[str, type[Any]]) -> type[Any]:
    """A dataclass with a group of options for each name: `--NAME.FIELD` for the fields of its class."""
    groups = [(name, of, field(default_factory=of)) for name, of in options.items()]
    return make_dataclass(title, groups, frozen=True, kw_only=True)


SCORERS = {name: type(score) for name, score in DEFAULTS.items() if options_of(score)}
SCORERS_HELP = (
    f"Comma-separated scores: {', '.join(DEFAULTS)}, of which {', '.join(ALWAYS)} are always reported; or "
    "path/to/file.py:VARIABLE for a score of yours."
)
SHARED_SETTINGS = ("space", "repeats", "data", "files")
ScorerOptions = option_groups("ScorerOptions", SCORERS)


@dataclass(frozen=True, kw_only=True)
class Options(ScorerOptions):  # type: ignore[misc,valid-type]
    """Which space is scored, by what and on which images."""

    space: str = "nasbench201"
    """Search space. SPACE:DATASET (nasbench201:cifar100, darts:cifar10) counts and builds the networks for another data
    set of its benchmark; scores do not depend on it. FILE.py:VARIABLE is a space of your own."""
    scorers: Annotated[str, tyro.conf.arg(help=SCORERS_HELP)] = Consensus.name
    repeats: int = 1
    """Measurements of each score, each with new inputs and, unless --ntk.preset says otherwise, new weights."""
    seed: int = 0
    """Seed of weights, inputs and the random sample of architectures."""
    data: str = "synthetic"
    """Images: `synthetic` (discs that cover each other; `synthetic:pink`, noise with a 1/f spectrum),
    `tfds:cifar10` (any TFDS image set, optionally `:split`), or a .npz file."""
    data_dir: str | None = None
    """Directory of the TFDS data sets."""
    download: bool = False
    """Let TFDS download the data set if it is not there."""
    devices: int | None = None
    """Devices to use: accelerators or, without one, cores of the CPU; by default all. No score depends on it. With --on
    ray those of each process, by default one accelerator or else all cores."""
    on: str | None = None
    """`ray` or `ray:ADDRESS`: let the machines of a Ray cluster do the work (pip install 'jaxnas[ray]'). Without an
    address the cluster of RAY_ADDRESS or of this machine, if there is one, or else the cores of this machine. The
    results are the same."""
    mixed: bool = False
    """Go on in an --out that another kind of processor, other XLA_FLAGS or other versions began. Scores of both differ
    by rounding, those of training by more; makers.jsonl in it tells which part was made by what."""
    batch_size: int | None = None
    """Architectures on a device at once; by default chosen from the scorers and the device's free memory."""

    def select(self, space: Space, more: Sequence[AnyScore] = ()) -> dict[str, AnyScore]:
        """Return the scores with their options, or raise a `UserError` if these make no sense.

        Args:
          space: that is scored.
          more: scores that --scorers may name, beside jaxnas's own.
        """
        check_least(self, {"repeats": 1})
        check_seed(self.seed)
        chosen = scorers.select(self.scorers, [*(getattr(self, name) for name in SCORERS), *more], space)
        chosen = {
            name: score.on(space) if isinstance(score, Scorer | Count) else score for name, score in chosen.items()
        }
        for score in chosen.values():
            if isinstance(score, Scorer):
                score.check()
        return chosen

    def evaluators(
        self, space: Space, chosen: Mapping[str, AnyScore], source: Source, *, most: int | None = None
    ) -> list[Evaluator]:
        """An evaluator for each pass that a measured score reads, on the devices that were asked for.

        Args:
          most: the largest number of architectures that they will get at a time, if that is known.
        """
        check_least(self, {"batch_size": 1})
        on = devices.available(self.devices)
        devices.cache_programs()
        batch = self.batch_size or (most and -(-most // len(on)))
        readers: dict[Pass, list[Scorer]] = {}
        for score in chosen.values():
            if isinstance(score, Scorer):
                readers.setdefault(pass_of(score), []).append(score)
        how: dict[str, Any] = {"repeats": self.repeats, "seed": self.seed, "batch": batch, "devices": on}
        evaluators = [Evaluator(space, one, source, together=more, **how) for one, *more in readers.values()]
        for evaluator in evaluators:
            evaluator.check()
        return evaluators

    def calibrated(
        self, space: Space, chosen: dict[str, AnyScore], evaluators: Sequence[Evaluator], source: Source
    ) -> dict[str, AnyScore]:
        """The scores, the consensus with its reference, which is measured if it is not known yet."""
        return against(chosen, self.reference(space, chosen, evaluators, source))

    def reference(
        self, space: Space, chosen: Mapping[str, AnyScore], evaluators: Sequence[Evaluator], source: Source
    ) -> Reference | None:
        """What the consensus compares with, if it is among the scores."""
        consensus = chosen.get(Consensus.name)
        if not isinstance(consensus, Consensus):
            return None
        members = {name: chosen[name] for name in consensus.needs}
        about = self.shared_settings(chosen, source)
        if not (count := to_measure(evaluators, space, members, about)):
            return reference(space, members, evaluators, about)
        with Progress("measuring the reference", "architectures", count) as progress:
            return reference(space, members, evaluators, about, progress.advance)

    def reference_archs(
        self, space: Space, chosen: Mapping[str, AnyScore], evaluators: Sequence[Evaluator], source: Source
    ) -> int:
        """How many measurements `calibrated` would begin with."""
        consensus = chosen.get(Consensus.name)
        if not isinstance(consensus, Consensus):
            return 0
        members = {name: chosen[name] for name in consensus.needs}
        return to_measure(evaluators, space, members, self.shared_settings(chosen, source))

    def shared_settings(self, chosen: Mapping[str, AnyScore], source: Source) -> dict[str, Any]:
        """What any score of an architecture depends on beside its options and the seed."""
        return {name: value for name, value in self.settings(chosen, source).items() if name in SHARED_SETTINGS}

    def source(self) -> Source:
        """The images."""
        return data.load(self.data, data_dir=self.data_dir, download=self.download)

    def settings(self, chosen: Mapping[str, AnyScore], source: Source) -> dict[str, Any]:
        """What the scores of an architecture depend on."""
        tasks = [task for score in chosen.values() if isinstance(task := getattr(score, "task", None), str)]
        own = [name for name in listed(self.scorers) if ".py:" in name]
        return {
            "space": name_of(self.space),
            "scorers": {name: options_of(score) for name, score in chosen.items()},
            "repeats": self.repeats,
            "seed": self.seed,
            "data": {"name": source.name, "fingerprint": source.fingerprint},
            **({"own_scores": own} if own else {}),
            **own_files(self.space, *tasks, *own),
        }


def against(chosen: dict[str, AnyScore], found: Reference | None) -> dict[str, AnyScore]:
    """The scores, the consensus with what it compares with."""
    consensus = chosen.get(Consensus.name)
    if found is None or not isinstance(consensus, Consensus):
        return chosen
    return chosen | {consensus.name: consensus.against({name: chosen[name] for name in consensus.needs}, found)}


def own_files(*names: str | Space) -> dict[str, Any]:
    """The setting `files`: fingerprints of the user's files among the names of a space and of tasks, if any."""
    paths = [name.rpartition(":")[0] if ".py:" in name else name for name in names if isinstance(name, str)]
    found = {path: fingerprint(path) for path in paths if path.endswith((".py", ".json"))}
    return {"files": found} if found else {}


def place(verb: str, space: str, *rest: object) -> str:
    """The directory of a run that names none; for a space of one's own, it has FILE-VARIABLE."""
    name = re.sub(r"(\.py)?:", "-", Path(name_of(space)).name)
    return "-".join(map(str, (f"runs/{verb}", name, *rest)))


def machine(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the bits of a score and may differ from machine to machine: some settings, versions, arithmetic."""
    own = {name: settings[name] for name in ("scorers", "data", "files") if name in settings}
    return {"settings": own, "versions": versions.recorded(), "arithmetic": devices.arithmetic()}


def provenance(source: Source | Labelled) -> dict[str, Any]:
    """Return where, when and with what a run was made; `versions` and `arithmetic` are compared when it goes on."""
    return {
        "data": source.description,
        "device": devices.named(devices.shared(jax.devices())),
        "arithmetic": devices.arithmetic(),
        "versions": versions.recorded(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
