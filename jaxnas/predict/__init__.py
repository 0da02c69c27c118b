"""Predictors that learn from measured architectures: `python -m jaxnas.predict`."""

from jaxnas.predict.command import Predict as Predict
from jaxnas.predict.command import main as main
