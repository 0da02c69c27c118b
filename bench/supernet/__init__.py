"""`python -m bench.supernet`: rankings of a supernet."""
