"""The reference samples of the consensus: stored with jaxnas for its own spaces, or else measured once and kept.

A reference is measured with one seed, whatever that of a run, so that it belongs to the space.
"""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxnas.digest import digest
from jaxnas.errors import UserError
from jaxnas.evaluate import devices
from jaxnas.evaluate.evaluator import Evaluator, count, summarise
from jaxnas.scorers.consensus import FAMILIES
from jaxnas.scorers.protocol import AnyScore, Count, Scorer, options_of
from jaxnas.scorers.reference import Reference
from jaxnas.spaces import Space
from jaxnas.types import nullable
from jaxnas.user_cache import keep, user_cache

SEED = 0
STORED_ARCHS, FEW_ARCHS, LEAST_ARCHS = 256, 128, 20  # of a stored reference at most, of a measured one, of any
ARCHS_AT_ONCE = 32  # between two reports of progress
DIGITS = 6  # of a value that is kept
Values = dict[str, np.ndarray]


def sample(space: Space) -> np.ndarray:
    """The architectures `[N, A]` of a space's reference, `STORED_ARCHS` if there are so many.

    They are connected, and no two of them are of one isomorphism class.

    Raises:
      UserError: the space has too few.
    """
    drawn = space.canonical(space.sample_evenly(jax.random.key(SEED), min(2 * STORED_ARCHS, space.size)))
    drawn = drawn[~space.is_disconnected(drawn)]
    _, first = np.unique(drawn, axis=0, return_index=True)
    if len(first) < LEAST_ARCHS:
        raise UserError(
            f"consensus compares with at least {LEAST_ARCHS} different architectures, {space.name} has {len(first)}; "
            "name single --scorers"
        )
    return drawn[np.sort(first)[:STORED_ARCHS]]


def reference(
    space: Space,
    scores: Mapping[str, AnyScore],
    evaluators: Sequence[Evaluator],
    settings: Mapping[str, Any],
    tell: Callable[[int], None] = lambda count: None,
) -> Reference:
    """The reference of `scores`: of as many architectures as are stored for all, or else of the first `FEW_ARCHS`.

    Args:
      space: where the sample comes from.
      scores: by name, with their options.
      evaluators: measure those that are measured; they go on with the seed that they have.
      settings: what a score depends on beside its options, the seed and the machine.
      tell: called with a number of architectures whenever an evaluator has measured so many more.
    """
    archs, found, missing = _known(space, scores, settings)
    for evaluator in evaluators:
        if any(one.name in missing for one in evaluator.scorers):
            values = measured(evaluator, archs, tell)
            for name in missing.keys() & values.keys():
                found[name] = rounded(values[name])
                _keep(missing[name], found[name])
    archs = archs[: min(map(len, found.values()), default=len(archs))]
    found = {name: values[: len(archs)] for name, values in found.items()}
    counted = {n: count(space, s, space.as_listed(archs)).value[0] for n, s in scores.items() if isinstance(s, Count)}
    return Reference({name: score.oriented((counted | found)[name]) for name, score in scores.items()}, FAMILIES)


def to_measure(
    evaluators: Sequence[Evaluator], space: Space, scores: Mapping[str, AnyScore], settings: Mapping[str, Any]
) -> int:
    """How many measurements of architectures `reference` would begin with, of all evaluators together."""
    archs, _, missing = _known(space, scores, settings)
    return len(archs) * sum(any(one.name in missing for one in evaluator.scorers) for evaluator in evaluators)


def _known(
    space: Space, scores: Mapping[str, AnyScore], settings: Mapping[str, Any]
) -> tuple[np.ndarray, Values, dict[str, str]]:
    """The sample `[N, A]`, the values `[N]` that are stored or kept, and under which keys to keep the others."""
    archs = sample(space)
    needed = {name: score for name, score in scores.items() if isinstance(score, Scorer)}
    found = stored(space, needed, settings)
    if len(found) == len(needed):
        return archs, found, {}
    archs = archs[:FEW_ARCHS]
    found = {name: values[:FEW_ARCHS] for name, values in found.items()}
    keys = {name: _key(archs, name, score, settings) for name, score in needed.items() if name not in found}
    found |= {name: values for name, key in keys.items() if (values := _kept(key)) is not None}
    return archs, found, {name: key for name, key in keys.items() if name not in found}


def rounded(values: np.ndarray) -> np.ndarray:
    """The values as they are kept: the same whether they were just measured or read."""
    return np.array([float(f"{value:.{DIGITS}g}") for value in values])


def measured(evaluator: Evaluator, archs: np.ndarray, tell: Callable[[int], None]) -> Values:
    """The values `[N]` of each scorer of an evaluator, whose seed is another one meanwhile."""
    seed = evaluator.setup.seed
    evaluator.redraw(SEED)
    parts = []
    for first in range(0, len(archs), ARCHS_AT_ONCE):
        some = archs[first : first + ARCHS_AT_ONCE]
        parts.append({name: summarise(wait())[0] for name, wait in evaluator.launch_each(some).items()})
        tell(len(some))
    evaluator.redraw(seed)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def stored(space: Space, scores: Mapping[str, AnyScore], settings: Mapping[str, Any]) -> Values:
    """The values of those of `scores` that are stored with jaxnas as they are under these settings."""
    file = resources.files("jaxnas.scorers").joinpath(f"references/{space.name}.json")
    if not file.is_file():
        return {}
    kept = json.loads(file.read_text())
    if kept["settings"] != _plain(settings):
        return {}
    return {
        name: _array(kept["scores"][name]["values"])
        for name, score in scores.items()
        if name in kept["scores"] and kept["scores"][name]["options"] == _plain(options_of(score))
    }


def _key(archs: np.ndarray, name: str, score: AnyScore, settings: Mapping[str, Any]) -> str:
    about = {**settings, "score": name, "options": options_of(score), "arithmetic": devices.arithmetic()}
    return digest(json.dumps(_plain(about), sort_keys=True), archs.astype(np.int32))


def _file(key: str) -> Path | None:
    folder = user_cache("references")
    return None if folder is None else folder / f"{key}.json"


def _kept(key: str) -> np.ndarray | None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return _array(json.loads(_file(key).read_text()))  # type: ignore[union-attr]
    return None


def _keep(key: str, values: np.ndarray) -> None:
    """Keep the values for later runs, if a file can be written; it appears complete or not at all."""
    if (path := _file(key)) is not None:
        keep(path, json.dumps(nullable(values)))


def _array(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _plain(settings: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(settings))
