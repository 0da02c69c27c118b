"""`python -m jaxnas.correlate`."""

from jaxnas.commands import script

if __name__ == "__main__":
    script("correlate")
