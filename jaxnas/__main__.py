"""`python -m jaxnas`: the same as the console script `jaxnas`."""

from jaxnas.commands import main

if __name__ == "__main__":
    raise SystemExit(main())
