"""`python -m jaxnas.report`."""

from jaxnas.cli.main import script

if __name__ == "__main__":
    script("report")
