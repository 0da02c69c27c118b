"""`python -m jaxnas.correlate`."""

from jaxnas.cli.main import script

if __name__ == "__main__":
    script("correlate")
