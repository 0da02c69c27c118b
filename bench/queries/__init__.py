"""`python -m bench.queries`: the quality of searches that ask an oracle."""
