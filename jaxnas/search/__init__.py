"""Search over a space: `python -m jaxnas.search`, and the methods behind it."""
