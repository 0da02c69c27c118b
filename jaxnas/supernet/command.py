"""The command: train or resume, draw the curves, rank architectures into a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from jaxnas import spaces
from jaxnas.cli import frame, process
from jaxnas.cli.options import provenance
from jaxnas.cli.progress import Progress
from jaxnas.data.labelled import Labelled
from jaxnas.errors import UserError, check_package
from jaxnas.evaluate import devices
from jaxnas.score.table import describe, read_archs
from jaxnas.scorers import COUNTS
from jaxnas.spaces import Space
from jaxnas.spaces.subset import Subspace
from jaxnas.supernet.arms import Arm, Landmarks, Teacher
from jaxnas.supernet.batches import Images
from jaxnas.supernet.checkpoints import Checkpoints, Curves
from jaxnas.supernet.figure import draw_training
from jaxnas.supernet.guides import Scored, uniform
from jaxnas.supernet.options import Supernet
from jaxnas.supernet.ranking import Ranking
from jaxnas.supernet.training import State, Trainer
from jaxnas.tables.measured import Measurements, of_rows
from jaxnas.tables.store import MAKERS, Store
from jaxnas.types import Status

PARTS = ("train", "hinge", "ranking")
PAPER, COST = "Guo et al. (SPOS, ECCV 2020)", "one training for all"
SCORES = {  # name: sign
    "supernet_accuracy": 1,
    "supernet_loss": -1,
}
BEST = 5  # architectures that are printed
SHOWN = 5  # classes without an image that are named


def supernet(config: Supernet) -> None:
    """Run the command."""
    config.check()
    devices.cache_programs()
    space, data = spaces.get(config.space), config.images()
    network, known = config.network(space, data), config.measured(space)
    arm = config.arm(space, known)
    _say_what_is_missing(config, data, known)
    listed = read_archs(space, config.archs, config.seed)
    archs = _without(space, listed.archs, arm.archs if isinstance(arm, Landmarks) else None)
    images, parts = Images.of(data), dict(zip(PARTS, data.split(config.seed, config.shares), strict=True))
    ranking = Ranking(network, images, parts["ranking"], batch=config.rank_batch, batches=config.rank_batches)
    trainer = Trainer(network, images, parts, arm, config.sgd, sample=uniform(space), seed=config.seed)
    scorers = {name: {"sign": sign, "paper": PAPER, "cost": COST} for name, sign in SCORES.items()}
    manifest = {"settings": config.settings(arm, data), "part_size": 1, **provenance(data)}
    rows = {"archs": listed.counts() | {"landmarks": len(listed.archs) - len(archs)}} | _read(arm, known)
    manifest |= {"command": process.command(), "scorers": scorers | describe(dict(COUNTS)), "counted": space.counted}
    store = Store.open(config.out, manifest, mixed=config.mixed)
    store.update_manifest(rows=rows)  # which architectures are ranked is no setting
    with Checkpoints(store.path / "checkpoints", config.rankings) as saved:
        curves = _train(config, trainer, store, saved)
        _write_curves(store, curves)
        states = dict(saved.newest(trainer.init(), config.rankings))
    store.update_manifest(ranked_after=list(states))
    store.write(0, _rank(space, ranking, list(states.values()), archs))
    _report(store, curves, list(states))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return frame.run(Supernet, supernet, argv, prog="jaxnas supernet", kept="the last checkpoint is kept")


def _say_what_is_missing(config: Supernet, data: Labelled, known: Measurements | None) -> None:
    """Say on standard error which classes no image has, and which rows of --landmarks are left out or averaged."""
    unseen = np.setdiff1d(np.arange(data.classes), data.labels)
    if len(unseen):
        listed = ", ".join(map(str, unseen[:SHOWN])) + ", ..." * (len(unseen) > SHOWN)
        process.note(
            f"{data.name}: labels {data.labels.min()} to {data.labels.max()}: {data.classes} classes, counted "
            f"from 0; no image has {listed}"
        )
    if known is not None and (of_table := of_rows(known.counts())):
        process.note(f"{config.landmarks}: {of_table}")


def _read(arm: Arm, known: Measurements | None) -> dict[str, dict[str, Any]]:
    """Return, for JSON, what was read of --landmarks and of --teacher DIR:SCORE."""
    teacher = {"teacher": arm.pool.counts()} if isinstance(arm, Teacher) and isinstance(arm.pool, Scored) else {}
    return teacher | ({"landmarks": known.counts()} if known is not None else {})


def _without(space: Space, archs: np.ndarray, landmarks: np.ndarray | None) -> np.ndarray:
    """The architectures that are no landmarks, nor isomorphic to one; `UserError` if none is left."""
    if landmarks is None:
        return archs
    others = archs[~Subspace(space, landmarks).contains(archs)]
    if not len(others):
        raise UserError("--archs: every one of them is a landmark or isomorphic to one; give others to rank")
    if left_out := len(archs) - len(others):
        process.note(f"{left_out:,} architectures are not ranked: they are landmarks, or isomorphic")
    return others


def _train(config: Supernet, trainer: Trainer, store: Store, saved: Checkpoints) -> Curves:
    """Train from the newest checkpoint to the end."""
    epochs = config.sgd.epochs
    state, curves = saved.restore(trainer.init())
    if store.stranger:
        store.append(MAKERS, {"from_epoch": len(curves), **store.stranger})
    with Progress("training", "epochs", epochs, len(curves)) as progress:
        for number in range(len(curves), epochs):
            state, record = trainer.epoch(state, number)
            curves.append(record)
            progress.advance(1, f"loss {record['loss']:.3f}")
            if (number + 1) % config.save_every == 0 or number + 1 == epochs:
                saved.save(state, curves)
    return curves


def _rank(space: Space, ranking: Ranking, states: Sequence[State], archs: np.ndarray) -> pl.DataFrame:
    """The table of scores, which are means over the states."""
    found = []
    with Progress("ranking", "architectures", len(states) * len(archs)) as progress:
        for state in states:
            for scores in ranking.measure(state.params, archs):
                found.append(np.stack(scores))
                progress.advance(len(scores[0]))
    accuracy, loss = np.concatenate(found, 1).astype(np.float64).reshape(2, len(states), -1).mean(1)
    finite = np.isfinite(loss)  # the accuracy of logits that are not is that of always saying 0
    status = [Status(s).name for s in np.where(finite, Status.ok, Status.nonfinite)]
    return pl.DataFrame(
        {
            "row": np.arange(len(archs)),
            "arch": [space.decode(arch) for arch in archs],
            "supernet_accuracy": pl.Series(np.where(finite, accuracy, np.nan)).fill_nan(None),
            "supernet_accuracy_status": status,
            "supernet_loss": pl.Series(np.where(finite, loss, np.nan)).fill_nan(None),
            "supernet_loss_status": status,
            "params": space.params(archs).astype(np.float64),
            "flops": space.flops(archs).astype(np.float64),
        }
    )


def _write_curves(store: Store, curves: Curves) -> None:
    table = pl.DataFrame(curves)
    table.write_parquet(store.path / "curves.parquet")
    try:
        check_package("curves.png", "matplotlib", "report")
    except UserError as missing:
        process.note(str(missing))
        return
    draw_training(table, store.manifest["settings"], store.path / "curves.png")


def _report(store: Store, curves: Curves, epochs: Sequence[int]) -> None:
    table = store.read().sort("supernet_loss", nulls_last=True)
    seconds, after = sum(record["seconds"] for record in curves), ", ".join(map(str, epochs))
    print(f"{len(curves)} epochs in {seconds:.1f} s; {len(table)} architectures ranked after epochs {after}")
    print("best by supernet_loss (loss, accuracy):")
    for row in table.head(BEST).iter_rows(named=True):
        numbers = (row["supernet_loss"], row["supernet_accuracy"])
        known = row["supernet_loss"] is not None
        print(f"  {'  '.join(f'{n:.4f}' for n in numbers) if known else row['supernet_loss_status']}  {row['arch']}")
    print(f"written to {store.path}; compare: jaxnas correlate {store.path} TABLE --target COLUMN")
