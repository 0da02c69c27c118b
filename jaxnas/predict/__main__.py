"""`python -m jaxnas.predict`."""

from jaxnas import process
from jaxnas.predict.command import main

if __name__ == "__main__":
    process.run(main)
