"""Comparisons of scores with measured accuracies: `python -m jaxnas.correlate`."""
