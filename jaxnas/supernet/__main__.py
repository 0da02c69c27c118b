"""`python -m jaxnas.supernet`."""

from jaxnas import process
from jaxnas.supernet.command import main

if __name__ == "__main__":
    process.run(main)
