"""What a predictor that learnt on one task or space knows about another.

Modes, each with n labels of the target:

  zero-shot  the source's network as it is;
  head       its last layer and the weights of its prior are trained on;
  finetune   all of it is;
  residual   ridge regression of what the source's prediction leaves, on the training-free scores;
  prior      any model: what it learnt on the source and the target's zero-label score, half and half, are where it
             starts on the target.

From one space to another the embeddings of ops with a common name are copied, and the others start at random: the two
spaces share no row (FLAN, ICML 2024). The prior stays at the target's zero-label score, and what is carried over is the
structural residual.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnas.errors import UserError
from jaxnas.learn import ridge
from jaxnas.learn.features import Pool, RankScale
from jaxnas.learn.graph_features import ABSENT
from jaxnas.learn.graph_net import inputs_of
from jaxnas.learn.models import Model, in_units, keys, prior_start, unit_ranks
from jaxnas.learn.training import Training, capacity, fit, initial, pad, predict
from jaxnas.spaces.graphs import OUTPUT, Graphs, adjacency, edges_of

ALIASES = {"skipconnect": "identity", "skip": "identity", **dict.fromkeys(ABSENT, "none")}
STEPS = 600  # of the training on the source, which has more labels
UNIT = 3**0.5  # deviation of a rank from -1 to 1 is 1 / UNIT


class Source(NamedTuple):
    """S networks that learnt on a source, the pool they learnt from, and how they will be trained on the target."""

    params: nnx.State
    pool: Pool
    how: Training


Transfer = Callable[..., np.ndarray]
"""`(source, pool, rows [S, n], labels [S, n], *, seed) -> [S, N]`: a `Model` with a source."""


def learn_source(
    pool: Pool, rows: np.ndarray, labels: np.ndarray, *, seed: int = 0, how: Training | None = None
) -> Source:
    """Return S networks trained on `labels` `[S, n]` of `rows` of the source's pool, for `STEPS` steps."""
    how, inputs = how or Training(), inputs_of(pool)
    longer = replace(how, steps=STEPS)
    rows, labels = pad(rows, labels, capacity(rows.shape[1]))
    params = initial(inputs, prior_start(pool), longer, seed=seed, models=len(rows))
    return Source(fit(params, inputs.at(rows), labels, longer, keys(seed, len(rows))), pool, how)


def repeated(source: Source, times: int) -> Source:
    """The S networks `times` times, for as many lists of labels each: list by list within a network."""
    return source._replace(params=jax.tree.map(lambda part: jnp.repeat(part, times, 0), source.params))


def check_alike(source: Pool, target: Pool) -> None:
    """Raise a `UserError` unless both pools have the same scores, and graphs of as many cells or none."""
    if source.names != target.names:
        raise UserError(
            f"the source has the scores {', '.join(source.names)}, the target {', '.join(target.names)}; "
            "give both the same ones in the same order"
        )
    old, new = (0 if pool.code is None else pool.code.cells for pool in (source, target))
    if old != new:
        raise UserError(f"the source's architectures have {old} cells, the target's {new}; choose another")


def carried(source: Source, pool: Pool, *, seed: int) -> nnx.State:
    """The source's parameters for the target's `pool`, which is `check_alike`d before the source is trained."""
    (old, _), (new, _) = source.pool.graphs_or_refuse(), pool.graphs_or_refuse()
    if old.classes == new.classes:
        return source.params
    params: Any = jax.tree.map(lambda part: part, source.params)  # a copy: the source stays as it is
    learnt = params["embedding"]["kernel"][...]
    fresh: Any = initial(inputs_of(pool), prior_start(pool), source.how, seed=seed, models=len(learnt))
    rows, table = op_rows(old.classes, new.classes), fresh["embedding"]["kernel"]
    copied = jnp.where((rows >= 0)[None, :, None], learnt[:, np.maximum(rows, 0)], table[...])
    params["embedding"]["kernel"], params["prior"] = table.replace(copied), fresh["prior"]
    return params


def op_rows(old: tuple[str, ...], new: tuple[str, ...]) -> np.ndarray:
    """Return for each of the classes `new` `[K]` the place in `old` of that with a common name, -1 for none."""
    places = {common_name(name): place for place, name in enumerate(old)}
    return np.array([places.get(common_name(name), -1) for name in new])


def common_name(op: str) -> str:
    """What an op is called in every space: `nor_conv_3x3` and `conv3x3-bn-relu` are both `conv3x3`."""
    plain = re.sub(r"^nor_|-bn-relu$|[_-]", "", op.lower())
    return ALIASES.get(plain, plain)


def joined(source: Pool, target: Pool) -> Pool:
    """The architectures of both, the source's first, ranks being those in the pools of their own.

    Ops with a common name are one.
    """
    both = target._replace(
        ranks=np.concatenate([source.ranks, target.ranks]),
        zero_label=np.concatenate([source.zero_label, target.zero_label]),
    )
    if source.code is None or target.code is None or source.graphs is None or target.graphs is None:
        return both._replace(code=None, graphs=None)
    old, new = ([common_name(op) for op in code.classes] for code in (source.code, target.code))
    classes, nodes = tuple(dict.fromkeys([*old, *new])), max(source.code.nodes, target.code.nodes)
    parts = [
        _as(graphs, np.array([classes.index(op) for op in names]), nodes)
        for graphs, names in ((source.graphs, old), (target.graphs, new))
    ]
    graphs = Graphs(*map(np.concatenate, zip(*parts, strict=True)))
    return both._replace(code=replace(target.code, classes=classes, nodes=nodes), graphs=graphs)


def _as(graphs: Graphs, classes: np.ndarray, nodes: int) -> Graphs:
    """Graphs with other classes `[K]`, padded to so many nodes."""
    room = (0, nodes - graphs.ops.shape[-1])
    matrix = np.pad(adjacency(graphs), ((0, 0), (0, 0), room, room))
    return Graphs(np.pad(classes[graphs.ops], ((0, 0), (0, 0), room), constant_values=OUTPUT), edges_of(matrix))


def with_prior(
    model: Model, source: Pool, target: Pool, rows: np.ndarray, labels: np.ndarray, *, seed: int
) -> list[Pool]:
    """The target's pool for S models that learnt `labels` `[S, n]` of the source, their prediction half of the prior.

    The other half is the zero-label score, which is one of the scores now, too.
    """
    found = model(joined(source, target), rows, labels, seed=seed)[:, len(source.ranks) :].T
    halves = (RankScale.fit(found)(found) + target.zero_label[:, None]) / 2
    ranks = np.column_stack([target.zero_label, target.ranks])
    names = ("zero-label", *target.names)
    return [target._replace(names=names, ranks=ranks, zero_label=own) for own in halves.T]


def on_pools(
    model: Model, pools: Sequence[Pool], _: Pool, rows: np.ndarray, labels: np.ndarray, *, seed: int
) -> np.ndarray:
    """Predict `[S, N]` by a model from S lists of rows, each with a pool of its own."""
    lists = zip(pools, rows[:, None], labels[:, None], strict=True)
    return np.concatenate([model(pool, own, values, seed=seed) for pool, own, values in lists])


def zero_shot(source: Source, pool: Pool, rows: np.ndarray, labels: np.ndarray, *, seed: int) -> np.ndarray:
    """Predict by the source's networks; the labels decide the unit alone."""
    return in_units(predict(carried(source, pool, seed=seed), inputs_of(pool), source.how), rows, labels)


def head(source: Source, pool: Pool, rows: np.ndarray, labels: np.ndarray, *, seed: int) -> np.ndarray:
    """Predict by the source's networks, the last layer trained on."""
    return _trained_on(source, pool, rows, labels, seed=seed, head_only=True)


def finetune(source: Source, pool: Pool, rows: np.ndarray, labels: np.ndarray, *, seed: int) -> np.ndarray:
    """Predict by the source's networks, trained on."""
    return _trained_on(source, pool, rows, labels, seed=seed, head_only=False)


def residual(source: Source, pool: Pool, rows: np.ndarray, labels: np.ndarray, *, seed: int) -> np.ndarray:
    """Predict by ridge regression on the source's prediction and the scores, held to the former alone."""
    known = predict(carried(source, pool, seed=seed), inputs_of(pool), source.how).T
    ranks = RankScale.fit(known)(known).T
    start = np.eye(1, 1 + pool.prior.shape[1])[0] * UNIT

    def one(rank: np.ndarray, own_rows: np.ndarray, own_labels: np.ndarray) -> np.ndarray:
        there, features = np.isfinite(own_labels), np.column_stack([rank, pool.prior])
        return ridge.fit_predict(features, own_rows[there], unit_ranks(own_labels[there]), start=start)

    found = np.stack([one(*own) for own in zip(ranks, rows, labels, strict=True)])
    return in_units(found, rows, labels)


PRIOR = "prior"  # the mode of any model
TRANSFERS: dict[str, Transfer] = {"zero-shot": zero_shot, "head": head, "finetune": finetune, "residual": residual}


def _trained_on(
    source: Source, pool: Pool, rows: np.ndarray, labels: np.ndarray, *, seed: int, head_only: bool
) -> np.ndarray:
    inputs, how = inputs_of(pool), source.how
    rows, labels = pad(rows, labels, capacity(rows.shape[1]))
    params, batches = carried(source, pool, seed=seed), keys(seed, len(rows))
    learnt = fit(params, inputs.at(rows), labels, how, batches, head_only=head_only)
    return in_units(predict(learnt, inputs, how), rows, labels)
