"""`python -m jaxnas.predict`."""

from jaxnas.commands import script

if __name__ == "__main__":
    script("predict")
