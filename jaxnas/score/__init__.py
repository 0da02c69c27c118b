"""Batch scoring from the command line: `python -m jaxnas.score`."""
