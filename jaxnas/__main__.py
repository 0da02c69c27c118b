"""`python -m jaxnas`: the same as the console script `jaxnas`."""

from jaxnas.cli.main import script

if __name__ == "__main__":
    script()
