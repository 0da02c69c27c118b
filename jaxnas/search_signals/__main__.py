"""`python -m jaxnas.search_signals`."""

from jaxnas.cli.main import script

if __name__ == "__main__":
    script("search-signals")
