"""`python -m jaxnas.predict`."""

from jaxnas.cli.main import script

if __name__ == "__main__":
    script("predict")
