"""`python -m jaxnas.tables`."""

from jaxnas.cli.main import script

if __name__ == "__main__":
    script("tables")
