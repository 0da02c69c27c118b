"""`python -m jaxnas`: the same as the console script `jaxnas`."""

from jaxnas.commands import script

if __name__ == "__main__":
    script()
