"""`python -m jaxnas.correlate`."""

from jaxnas.correlate.command import main

if __name__ == "__main__":
    raise SystemExit(main())
