"""What counts as a new architecture in a search: isomorphic copies do not, where the benchmark lists classes."""

import numpy as np
import pytest

from jaxnas import spaces
from jaxnas.search.goal import Goal
from jaxnas.search.method import Task, is_new
from jaxnas.search.methods import evolve, local, predictor
from jaxnas.spaces.subset import Subspace
from jaxnas.types import Finished

NB101, NB201 = spaces.get("nasbench101"), spaces.get("nasbench201")
SEARCHES = {
    "local": lambda task: local.make(task, local.LocalOptions()),
    "evolve": lambda task: evolve.make(task, evolve.EvolveOptions(population=10, tournament=3, brood=5)),
    "predictor": lambda task: predictor.make(task, predictor.PredictorOptions(batch=20, members=1)),
}


@pytest.mark.parametrize("method", SEARCHES)
def test_no_search_asks_for_an_isomorphic_copy(method, monkeypatch):
    """Evolution to large cells, the others to small ones: so each one has copies among its candidates."""
    monkeypatch.setattr(predictor, "MODELS", {"graph": lambda pool, rows, labels, seed: -pool.ranks[None, :, 0]})
    monkeypatch.setattr(predictor, "DRAWN", 100)
    sign, budget = (1, 300) if method == "evolve" else (-1, 60)
    search = SEARCHES[method](Task(NB101, Goal({"params": sign}), seed=0, batch=8, budget=budget))
    state, asked = search.init(), []
    while not search.done(state):
        asked.append(search.ask(state))
        params = NB101.params(asked[-1])[None].astype(float)
        state = search.step(state, {"params": Finished(params, np.zeros(params.shape, int), {})})
    archs = np.concatenate(asked)
    assert len(np.unique(NB101.canonical(archs), axis=0)) == len(archs)


def test_a_copy_is_not_new():
    """Of NAS-Bench-101, which lists classes; NAS-Bench-201 lists and measures every architecture."""
    ops = ("conv1x1-bn-relu", "conv3x3-bn-relu")
    form = '{{"matrix":[[0,1,1,0],[0,0,0,1],[0,0,0,1],[0,0,0,0]],"ops":["input","{}","{}","output"]}}'
    copies = np.stack([NB101.encode(form.format(*order)) for order in (ops, ops[::-1])])
    table = Subspace(NB101, copies[:1])
    for space in (NB101, table):
        assert is_new(space, copies, copies[:0]).tolist() == [True, False]
        assert is_new(space, copies[1:], copies[:1]).tolist() == [False]
    archs = NB201.enumerate()[:50]
    copies = archs[(NB201.canonical(archs) == NB201.canonical(archs[:1])).all(1)]
    assert len(copies) > 1
    assert is_new(NB201, copies, copies[:0]).all()
