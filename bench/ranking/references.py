"""`python -m bench.ranking.references`: measure the reference samples that are stored with jaxnas.

To be done again whenever a member of the consensus, its defaults or a space's sampler changes: a stored reference is
used only under the settings that stand in it. What is stored under the settings of today is not measured again: delete
the file where a score or the sampler is another one.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from jaxnas import spaces
from jaxnas.cli import frame
from jaxnas.cli.options import Options
from jaxnas.cli.progress import Progress
from jaxnas.evaluate import devices, references
from jaxnas.scorers import Consensus, Scorer
from jaxnas.scorers.protocol import options_of
from jaxnas.types import nullable

HERE = Path(__file__).parents[2] / "jaxnas" / "scorers" / "references"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Measure the members of the consensus on the reference samples of spaces, and store them with jaxnas."""

    spaces: tyro.conf.Positional[tuple[str, ...]]
    """Search spaces."""
    members: str | None = None
    """Comma-separated scores that are measured; by default those of the consensus."""
    archs: int = references.STORED_ARCHS
    """Architectures of the sample, the first ones; fewer where each compiles a program of its own."""
    out: Path = HERE
    """Directory."""


def measure(config: Measure) -> None:
    """Run the command."""
    devices.start()
    config.out.mkdir(exist_ok=True)
    for name in config.spaces:
        chosen_members: dict[str, Any] = {Consensus.name: Consensus(config.members)}
        options = Options(space=name, **chosen_members)
        space, source = spaces.get(name), options.source()
        chosen = options.select(space)
        measured = {member: score for member, score in chosen.items() if isinstance(score, Scorer)}
        settings = options.shared_settings(chosen, source)
        values = references.stored(space, measured, settings)
        archs = references.sample(space)[: min([config.archs, *map(len, values.values())])]
        missing = {member: score for member, score in measured.items() if member not in values}
        evaluators = options.evaluators(space, missing, source)
        with Progress(name, "architectures", len(archs) * len(evaluators)) as progress:
            for evaluator in evaluators:
                values |= references.measured(evaluator, archs, progress.advance)
        scores = {
            member: {"options": options_of(score), "values": nullable(references.rounded(values[member][: len(archs)]))}
            for member, score in measured.items()
        }
        record = {"settings": settings, "scores": scores}
        (config.out / f"{name}.json").write_text(json.dumps(record) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Measure, measure, argv, prog="bench.ranking.references")


if __name__ == "__main__":
    sys.exit(main())
