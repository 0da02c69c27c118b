"""`python -m jaxnas.supernet`."""

from jaxnas.supernet.command import main

if __name__ == "__main__":
    raise SystemExit(main())
