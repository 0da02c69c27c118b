"""`python -m jaxnas.supernet`."""

from jaxnas.cli.main import script

if __name__ == "__main__":
    script("supernet")
