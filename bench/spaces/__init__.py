"""`python -m bench.spaces`: every score on every space."""
