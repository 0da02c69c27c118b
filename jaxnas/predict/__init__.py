"""Predictors that learn from measured architectures: `python -m jaxnas.predict`."""
