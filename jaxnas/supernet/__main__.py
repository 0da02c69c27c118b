"""`python -m jaxnas.supernet`."""

from jaxnas.commands import script

if __name__ == "__main__":
    script("supernet")
