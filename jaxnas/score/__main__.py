"""`python -m jaxnas.score`."""

from jaxnas.cli.main import script

if __name__ == "__main__":
    script("score")
