"""Comparisons of scores with measured accuracies: `python -m jaxnas.correlate`."""

from jaxnas.correlate.command import Correlate as Correlate
from jaxnas.correlate.command import main as main
