"""`python -m jaxnas.correlate`."""

from jaxnas import process
from jaxnas.correlate.command import main

if __name__ == "__main__":
    process.run(main)
