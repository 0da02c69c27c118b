"""The searches that are compared: of each method its options, and of AG-Net what may be changed in it."""

from dataclasses import replace
from typing import Any

from jaxnas.learn.agnet.forms import FORMS, PAPER, Form
from jaxnas.learn.agnet.weighted import Retraining
from jaxnas.search.methods.agnet import AgnetOptions
from jaxnas.search.methods.evolve import EvolveOptions
from jaxnas.search.methods.local import LocalOptions
from jaxnas.search.methods.predictor import PredictorOptions

BEFORE = Form("perceptron", Retraining(weighed=True, capped=True), ticks=15, candidates=100, subset=True)
GRAPHS = replace(BEFORE, retraining=replace(BEFORE.retraining, soft=False))

CHANGED = {  # the published form without a part of it, the form before all of these changes with one of them, ours
    "no-weights": replace(PAPER, ranked=False),
    "no-gradient": replace(PAPER, retraining=replace(PAPER.retraining, soft=False)),
    "trees": replace(PAPER, surrogate="trees"),
    "before": BEFORE,
    "before-graphs": GRAPHS,
    "before-processes": replace(BEFORE, surrogate="processes"),
    "before-fractions": replace(BEFORE, fractions=True),
    "before-once": replace(BEFORE, retraining=replace(BEFORE.retraining, weighed=False)),
    "before-hardware": replace(FORMS["hardware"], fractions=False),
    "before-all": replace(BEFORE, subset=False, candidates=300),
    "still": replace(FORMS["processes"], ticks=0),
}
OPTIONS: dict[str, list[Any]] = {  # behind a colon what is changed
    "agnet": [AgnetOptions()],
    "predictor": [PredictorOptions()],
    "evolve": [EvolveOptions()],
    "local": [LocalOptions()],
    "random": [],
    "agnet:paper": [AgnetOptions(preset="paper")],
    "agnet:hardware": [AgnetOptions(preset="hardware")],
    **{f"agnet:{name}": [AgnetOptions(), form] for name, form in CHANGED.items()},
}
USUAL = ("agnet", "predictor", "evolve", "local", "random")
BIRTHS = {"evolve": 4}  # times the budget, of which only those of new architectures are queries
