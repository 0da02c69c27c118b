"""`python -m jaxnas.search`."""

from jaxnas.cli.main import script

if __name__ == "__main__":
    script("search")
