"""The search of GenNAS's synthetic signals: `python -m jaxnas.search_signals`."""
